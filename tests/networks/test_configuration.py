"""Networks from YAML: jsonargparse reads dictionaries into factories and refuses what does not exist."""

import json
from functools import partial

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser

from wingmark.networks import CoordinateHead, FeatureNetwork, HeatmapHead, NetworkFactory, TimmNetwork

HEATMAPS = {
    "class_path": "wingmark.networks.FeatureNetwork",
    "init_args": {
        "backbone": "resnet10t",
        "out_indices": [1, 2, 3, 4],
        "head": {"class_path": "wingmark.networks.HeatmapHead", "init_args": {"channels": 16}},
    },
}
COORDINATES = {
    "class_path": "wingmark.networks.FeatureNetwork",
    "init_args": {"backbone": "resnet10t", "head": {"class_path": "wingmark.networks.CoordinateHead"}},
}
WHOLE = {"class_path": "wingmark.networks.TimmNetwork", "init_args": {"model": "resnet10t"}}
HOURGLASS = {
    "class_path": "wingmark.networks.TimmNetwork",
    "init_args": {"model": "hourglass1", "options": {"width": 8, "coord_conv": True}},
}


def build(config: dict) -> NetworkFactory:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=NetworkFactory)
    return parser.instantiate(parser.parse_object({"network": config})).network


@pytest.mark.parametrize(
    ("config", "network_type", "head_type", "shape"),
    [
        (HEATMAPS, FeatureNetwork, HeatmapHead, (1, 10, 16, 16)),
        (COORDINATES, FeatureNetwork, CoordinateHead, (1, 5, 2)),
        (WHOLE, TimmNetwork, None, (1, 5, 2)),
    ],
)
def test_dictionaries_become_networks(config, network_type, head_type, shape):
    network = build(config)(outputs=10, crop_size=64)
    assert type(network) is network_type
    assert head_type is None or type(network.head) is head_type
    (output,) = network.eval()(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert output.shape == shape


def misspelt(config: dict, where: str, key: str) -> dict:
    """The dictionary with one more argument, in the network or in its head."""
    arguments = dict(config["init_args"])
    if where == "head":
        arguments["head"] = {**arguments["head"], "init_args": {key: 1}}
    else:
        arguments[key] = 1
    return {**config, "init_args": arguments}


@pytest.mark.parametrize(
    ("config", "where", "key"),
    [(HEATMAPS, "head", "chanels"), (COORDINATES, "network", "bakbone"), (WHOLE, "network", "outputs")],
)
def test_misspelt_arguments_are_refused(config, where, key):
    """`outputs` belongs to the codec: it cannot be said twice."""
    with pytest.raises(ArgumentError, match=key):
        build(misspelt(config, where, key))


def test_a_head_is_no_network():
    with pytest.raises(ArgumentError, match="in_channels"):
        build(HEATMAPS["init_args"]["head"])


def test_options_are_read_from_a_dictionary_and_from_the_command_line():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=NetworkFactory)
    arguments = [f"--network={json.dumps(HOURGLASS)}", "--network.init_args.options.width=16"]
    network = parser.instantiate(parser.parse_args(arguments)).network(outputs=4, crop_size=64)
    assert network.model.stacks[0].entry.conv.out_channels == 16


def test_factories_work_without_a_configuration_too():
    factory: NetworkFactory = partial(TimmNetwork, "resnet10t")
    assert isinstance(factory(outputs=4, crop_size=64), TimmNetwork)
