"""Building what a checkpoint names: the same as the command line builds, and nothing of foreign modules."""

import functools
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import nn

from wingmark import codecs, losses, networks
from wingmark.losses import LandmarkLoss, WingLoss
from wingmark.model import LandmarkModule
from wingmark.trust import build_arguments, is_trusted

RECIPES = sorted((Path(__file__).parents[1] / "configs" / "recipes").glob("*.yaml"))


def told(part: Any) -> Any:
    """What something is made of, in plain values."""
    if isinstance(part, functools.partial):
        made = next(filter(inspect.isclass, (part.func, *part.args)))  # jsonargparse calls it by a function
        return made, {key: told(value) for key, value in part.keywords.items()}
    if isinstance(part, nn.Module):
        return type(part), {k: told(v) for k, v in vars(part).items() if k[0] != "_"}
    return part


def by_command_line(model: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings as config.yaml has them, and the parts that jsonargparse makes of them."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(LandmarkModule, "model", skip={"schema", "protocol", "crop_size"})
    parsed = parser.parse_object({"model": model})
    settings = yaml.safe_load(parser.dump(parsed, skip_unset=False))["model"]
    return settings, vars(parser.instantiate_classes(parsed, instantiate_groups=False).model)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*instantiate_classes")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_parts_are_those_of_the_command_line(recipe):
    settings, expected = by_command_line(yaml.safe_load(recipe.read_text())["model"])
    built = build_arguments(LandmarkModule, settings, "model")
    assert built.keys() == expected.keys()
    parameters = [nn.Parameter(torch.zeros(1))]
    for key, part in expected.items():
        if key == "optimizer":  # jsonargparse's is a function
            ours, theirs = built[key](parameters), part(parameters)
            assert (type(ours), ours.defaults) == (type(theirs), theirs.defaults)
        else:
            assert told(built[key]) == told(part), key


def test_nested_parts_are_built_and_lists_become_tuples():
    head = {"class_path": "wingmark.networks.HeatmapHead", "init_args": {"channels": 8}}
    network = {"backbone": "resnet18", "head": head, "out_indices": [1, 2]}
    built = build_arguments(
        LandmarkModule,
        {
            "network": {"class_path": "wingmark.networks.FeatureNetwork", "init_args": network},
            "codec": {
                "class_path": "wingmark.codecs.Heatmap",
                "init_args": {"decoder": {"class_path": "wingmark.codecs.Argmax"}, "sigma": 2.0},
            },
            "loss": {"class_path": "wingmark.losses.WingLoss", "init_args": {"w": 5.0}},
            "schedule": None,
        },
        "model",
    )
    assert built["network"].func is networks.FeatureNetwork and built["network"].keywords["out_indices"] == (1, 2)
    inner = built["network"].keywords["head"]
    assert (inner.func, inner.keywords) == (networks.HeatmapHead, {"channels": 8})
    assert built["codec"].keywords == {"decoder": codecs.Argmax(), "sigma": 2.0}
    assert type(built["loss"]) is losses.WingLoss and built["loss"].w == 5.0 and built["schedule"] is None


class SumOfLosses(WingLoss):
    """A loss of one's own: made of others, with more options for its base."""

    def __init__(self, parts: list[LandmarkLoss], sizes: tuple[int, ...] = (), **options) -> None:
        super().__init__(**options)
        self.parts, self.sizes = nn.ModuleList(parts), sizes


@pytest.fixture
def own_loss(monkeypatch) -> dict[str, Any]:
    """A config of it, in a module called `mypackage.losses`."""
    module = ModuleType("mypackage.losses")
    module.SumOfLosses = SumOfLosses
    monkeypatch.setattr(SumOfLosses, "__module__", "mypackage.losses")
    monkeypatch.setitem(sys.modules, "mypackage", ModuleType("mypackage"))
    monkeypatch.setitem(sys.modules, "mypackage.losses", module)
    parts = [{"class_path": "wingmark.losses.L1Loss"}, {"class_path": "wingmark.losses.L2Loss"}]
    arguments = {"parts": parts, "sizes": [1, 2], "w": 3.0}
    return {"loss": {"class_path": "mypackage.losses.SumOfLosses", "init_args": arguments}}


def test_a_class_of_ones_own_must_be_allowed(own_loss, monkeypatch):
    monkeypatch.delenv("WINGMARK_TRUST", raising=False)
    with pytest.raises(ValueError, match=r"model\.loss names .*set the environment variable WINGMARK_TRUST=mypackage$"):
        build_arguments(LandmarkModule, own_loss, "model")
    monkeypatch.setenv("WINGMARK_TRUST", "mypackage")
    loss = build_arguments(LandmarkModule, own_loss, "model")["loss"]
    assert [type(part) for part in loss.parts] == [losses.L1Loss, losses.L2Loss]
    assert (loss.sizes, loss.w) == ((1, 2), 3.0)


def test_what_a_trusted_module_imports_is_not_trusted(own_loss, monkeypatch):
    monkeypatch.setenv("WINGMARK_TRUST", "mypackage")
    monkeypatch.setattr(SumOfLosses, "__module__", "elsewhere")
    with pytest.raises(ValueError, match=r"model\.loss must name a LandmarkLoss, got 'mypackage\.losses\.SumOfLosses'"):
        build_arguments(LandmarkModule, own_loss, "model")


def test_trust_ends_at_a_dot(monkeypatch):
    monkeypatch.setenv("WINGMARK_TRUST", " a.b ,c,")
    names = ("a.b", "a.b.x", "c.d", "wingmark.losses", "torch.nn", "torch.optim.adam")
    assert all(map(is_trusted, names))
    assert not any(map(is_trusted, ("", "a", "a.bc", "cc", "wingmark_evil", "torch", "torch.hub", "torch.nnx", "os")))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"loss": {"class_path": "L1Loss"}}, "model.loss must name a class by module and name, got 'L1Loss'"),
        ({"loss": {"class_path": "wingmark.losses.No"}}, "'wingmark.losses.No', which is not there"),
        ({"loss": {"class_path": "wingmark.losses.L1Loss", "more": 1}}, r"unknown keys \['more'\]"),
        ({"loss": {"class_path": "wingmark.losses.L1Loss", "init_args": 3}}, "must hold names and values, got 3"),
        ({"compile": {"class_path": "wingmark.losses.L1Loss"}}, "model.compile names the class .* nothing there"),
        ({"codec": {"class_path": "wingmark.losses.L1Loss"}}, "model.codec must name a Codec"),
    ],
)
def test_what_fits_nowhere_is_named(settings, fault):
    with pytest.raises(ValueError, match=fault):
        build_arguments(LandmarkModule, settings, "model")
