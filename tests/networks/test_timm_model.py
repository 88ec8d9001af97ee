"""Names and weights: what is loaded, and what is refused."""

from functools import partial

import pytest
import safetensors.torch
import timm
import torch

from wingmark.networks import CoordinateHead, FeatureNetwork, TimmNetwork

POOLED = partial(CoordinateHead, pool=True)


def networks(name: str, **settings) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
    """Both networks made of a timm model, each with the timm model inside."""
    feature = FeatureNetwork(name, POOLED, outputs=10, crop_size=64, **settings)
    whole = TimmNetwork(name, outputs=10, crop_size=64, **settings)
    return [(feature, feature.backbone.model), (whole, whole.model)]


@pytest.mark.parametrize(
    ("name", "classifier", "resized"),
    [
        ("resnet10t", {"fc.weight", "fc.bias"}, set()),
        ("mobilenetv3_small_050", {"classifier.weight", "classifier.bias"}, set()),
        ("test_convnext", {"head.fc.weight", "head.fc.bias"}, set()),
        ("test_vit", {"head.weight", "head.bias"}, {"pos_embed"}),
    ],
)
def test_weights_of_a_file_are_all_loaded_but_the_classifier(tmp_path, name, classifier, resized):
    saved = timm.create_model(name, num_classes=3).state_dict()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(saved, path)
    for network, inside in networks(name, weights=str(path)):
        loaded = inside.state_dict()
        different = {k for k, v in loaded.items() if v.shape != saved[k].shape or not torch.equal(v, saved[k])}
        assert different == resized | (classifier if isinstance(network, TimmNetwork) else set())


def test_checkpoints_of_torch_are_read_too(tmp_path):
    saved = timm.create_model("resnet10t").state_dict()
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": saved}, path)
    for _, inside in networks("resnet10t", weights=str(path)):
        assert torch.equal(inside.state_dict()["layer4.0.conv1.weight"], saved["layer4.0.conv1.weight"])


@pytest.mark.parametrize("make", [partial(FeatureNetwork, head=POOLED), TimmNetwork])
def test_weights_that_do_not_fit_are_refused(tmp_path, make):
    def refused(model: str, file, error=ValueError) -> str:
        with pytest.raises(error) as caught:
            make(model, weights=str(file), outputs=10, crop_size=64)
        return str(caught.value)

    deeper = tmp_path / "resnet14t.pth"
    torch.save(timm.create_model("resnet14t").state_dict(), deeper)
    message = refused("resnet10t", deeper)
    assert "is no file of resnet10t: 0 tensors missing" in message

    half = timm.create_model("resnet10t").state_dict()
    torch.save({k: v for k, v in half.items() if "layer4" not in k}, tmp_path / "half.pth")
    assert "tensors missing ['layer4.0.bn1.bias'" in refused("resnet10t", tmp_path / "half.pth")

    half["conv1.0.weight"] = torch.zeros(2, 2)
    torch.save(half, tmp_path / "shape.pth")
    assert "does not fit resnet10t" in refused("resnet10t", tmp_path / "shape.pth")

    (tmp_path / "text.pth").write_text("hello")
    assert "holds no named tensors that can be read" in refused("resnet10t", tmp_path / "text.pth")
    assert "no file" in refused("resnet10t", tmp_path / "missing.pth", FileNotFoundError)


def test_only_one_source_of_weights():
    with pytest.raises(ValueError, match="pretrained: true and weights: a.pth exclude each other"):
        TimmNetwork("resnet10t", pretrained=True, weights="a.pth", outputs=4, crop_size=64)


@pytest.mark.parametrize("make", [partial(FeatureNetwork, head=POOLED), TimmNetwork])
def test_a_failed_download_tells_the_ways_out(monkeypatch, make):
    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConnectionError, match=r"of resnet10t .*no route to host.*pretrained: false.*weights: FILE"):
        make("resnet10t", pretrained=True, outputs=4, crop_size=64)


def test_a_model_without_published_weights_tells_the_ways_out():
    with pytest.raises(ConnectionError, match="No pretrained weights exist for nf_resnet26.*pretrained: false"):
        TimmNetwork("nf_resnet26", pretrained=True, outputs=4, crop_size=64)


@pytest.mark.parametrize(("typo", "nearest"), [("resnt18", "resnet18"), ("hrnetw18", "hrnet_w18")])
def test_unknown_names_get_the_closest(typo, nearest):
    with pytest.raises(ValueError, match=f"no model '{typo}'; the closest names are .*{nearest}"):
        TimmNetwork(typo, outputs=4, crop_size=64)


@pytest.mark.parametrize(
    ("backbone", "out_indices", "reason"),
    [("resnet10t", (7,), "out of range"), ("hardcorenas_a", (-1,), "feature_cls")],
)
def test_levels_that_a_backbone_lacks_are_refused(backbone, out_indices, reason):
    with pytest.raises(ValueError, match=f"{backbone} gives no feature levels .*{reason}.*TimmNetwork"):
        FeatureNetwork(backbone, POOLED, out_indices, outputs=4, crop_size=64)


def test_options_reach_timm():
    assert TimmNetwork("hourglass1", {"width": 16}, outputs=5, crop_size=64).model.stacks[0].maps.in_channels == 16
    assert TimmNetwork("test_vit", {"patch_size": 8}, outputs=4, crop_size=64).model.pos_embed.shape[1] == 1 + 8 * 8


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("hourglass1", {"widht": 64}, "unexpected keyword argument 'widht'"),
        ("hrnet_w18_small", {"width": 64}, "unexpected keyword argument.*width"),
        ("hourglass1", {"width": 64.0}, "empty.*argument"),
        ("hourglass1", {"stacks": 2}, "multiple values for keyword argument 'stacks'"),
        ("resnet10t", {"num_classes": 3}, "multiple values for keyword argument 'num_classes'"),
        ("test_vit", {"img_size": 32}, "multiple values for keyword argument 'img_size'"),
    ],
)
def test_options_that_a_model_does_not_take_are_refused_by_name(model, options, reason):
    with pytest.raises(ValueError, match=rf"{model} with num_classes and options {{.*}} \(.*({reason}).*leave out"):
        TimmNetwork(model, options, outputs=4, crop_size=64)


def test_weights_are_checked_against_the_model_with_its_options(tmp_path):
    options = {"width": 8, "coord_conv": True}
    file = tmp_path / "weights.pth"
    saved = timm.create_model("hourglass2", num_classes=5, **options).state_dict()
    torch.save(saved, file)
    loaded = TimmNetwork("hourglass2", options, weights=str(file), outputs=5, crop_size=64).model.state_dict()
    different = {key for key, value in loaded.items() if not torch.equal(value, saved[key])}
    assert different == {f"stacks.{i}.maps.{tensor}" for i in (0, 1) for tensor in ("weight", "bias")}
    with pytest.raises(ValueError, match="is no file of hourglass2: 2 tensors missing .*stem.0.weight"):
        TimmNetwork("hourglass2", {"width": 8}, weights=str(file), outputs=5, crop_size=64)
    with pytest.raises(ValueError, match="does not fit hourglass2: .*\n.*size mismatch"):
        TimmNetwork("hourglass2", {**options, "width": 16}, weights=str(file), outputs=5, crop_size=64)
    with pytest.raises(ValueError, match="options {'widht': 8}"):
        TimmNetwork("hourglass2", {"widht": 8}, weights=str(file), outputs=5, crop_size=64)
