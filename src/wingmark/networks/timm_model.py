"""timm models by name, with weights from the network or from a file, and errors that tell the way out."""

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn


def create_timm_model(
    name: str,
    *,
    crop_size: int,
    pretrained: bool,
    weights: str | None,
    options: dict[str, Any],
    **arguments,
) -> nn.Module:
    """Build the timm model `name` (an architecture, or `architecture.tag`), passing `arguments` on to timm.

    pretrained: download timm's weights for that name.
    weights: a local file of such weights instead (.safetensors, .pth), as timm names them; see `check_weights`.
    options: more arguments for timm, those that the user chose; they decide which tensors the model has.

    Raises ValueError for an unknown name, for both sources at once and for a file that does not fit, FileNotFoundError
    for a missing file, ConnectionError where nothing could be downloaded, TypeError for arguments that timm refuses.
    """
    names = timm.list_models() + timm.list_models(include_tags=True)
    if name not in names:
        nearest = ", ".join(difflib.get_close_matches(name, names, n=5, cutoff=0))
        raise ValueError(f"timm has no model {name!r}; the closest names are {nearest}")
    if pretrained and weights is not None:
        raise ValueError(f"pretrained: true and weights: {weights} exclude each other; leave one out")
    # Transformers with a position table must know the size; all others refuse the argument.
    if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False):
        arguments["img_size"] = crop_size
    if weights is not None:
        check_weights(name, weights, options)
        arguments["pretrained_cfg_overlay"] = {"file": weights}
    try:
        return timm.create_model(name, pretrained=pretrained or weights is not None, **arguments, **options)
    except (OSError, RuntimeError) as error:
        if weights is not None:
            raise ValueError(f"weights: {weights} does not fit {name}: {error}") from error
        if pretrained:
            raise ConnectionError(
                f"pretrained: true, but the weights of {name} could not be had ({error}); set pretrained: false to "
                "start from scratch, or weights: FILE to a local copy"
            ) from error
        raise


def check_weights(name: str, weights: str, options: dict[str, Any]) -> None:
    """Refuse a file whose tensors are not, name by name, those of the timm model `name`, apart from its classifier.

    timm itself ignores what is missing or left over as soon as a classifier is replaced: a ResNet-34 file would
    fill half a ResNet-18 without a word.
    """
    if not Path(weights).is_file():
        raise FileNotFoundError(f"weights: no file {weights}")
    try:
        found = set(timm.models.load_state_dict(weights))
    except Exception as error:  # a file that is no checkpoint can fail in any way
        raise ValueError(f"weights: {weights} holds no named tensors that can be read ({error})") from error
    with torch.device("meta"):  # names without memory
        whole = timm.create_model(name, **options)
    prefixes = tuple(f"{layer}." for layer in classifier_names(whole))
    missing, unknown = (
        sorted(key for key in keys if not key.startswith(prefixes))
        for keys in (whole.state_dict().keys() - found, found - whole.state_dict().keys())
    )
    if missing or unknown:
        raise ValueError(
            f"weights: {weights} is no file of {name}: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}; give the weights of this model as timm saves them"
        )


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the layers of a timm model that give its outputs; most have one, some none."""
    names = model.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
