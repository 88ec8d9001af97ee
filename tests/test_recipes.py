"""What recipes promise in their comments."""

from pathlib import Path

import pytest
import torch
import yaml

from wingmark.schedules import Exponential, Steps

RECIPES = Path(__file__).parents[1] / "configs" / "recipes"


def recipe(name: str) -> dict:
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text())


# Faces of WFLW in batches of 8 and 32, 300W in batches of 8, on one process and on several; and very few.
@pytest.mark.parametrize("steps_per_epoch", [843, 210, 354, 88, 7, 1])
@pytest.mark.parametrize("name", [f"{data}_awing_hourglass4" for data in ("wflw", "300w", "cofw", "aflw")])
def test_adaptive_wing_changes_its_rate_at_the_first_step_of_epochs_80_and_160(name, steps_per_epoch):
    content = recipe(name)
    epochs, settings = content["trainer"]["max_epochs"], content["model"]["schedule"]["init_args"]
    optimizer = torch.optim.RMSprop([torch.nn.Parameter(torch.zeros(1))], **content["model"]["optimizer"]["init_args"])
    (factor,) = Steps(**settings, optimizer=optimizer, total_steps=epochs * steps_per_epoch).lr_lambdas
    rates = {epoch: [1e-4 * factor(epoch * steps_per_epoch + step) for step in (-1, 0)] for epoch in (80, 160)}
    assert rates[80] == pytest.approx([1e-4, 1e-5]) and rates[160] == pytest.approx([1e-5, 1e-6])
    assert optimizer.param_groups[0]["lr"] == 1e-4 and 1e-4 * factor(epochs * steps_per_epoch) == pytest.approx(1e-6)


@pytest.mark.parametrize("data", ["wflw", "cofw", "aflw"])
def test_adaptive_wing_differs_in_the_data_alone(data):
    other, w300 = recipe(f"{data}_awing_hourglass4"), recipe("300w_awing_hourglass4")
    for own in ("source", "protocol"):
        assert other["data"].pop(own) != w300["data"].pop(own)
    assert other == w300


@pytest.mark.parametrize("data", ["cofw", "aflw"])
def test_wing_differs_in_the_data_alone(data):
    other, w300 = recipe(f"{data}_wing_cnn6"), recipe("300w_wing_cnn6")
    for own in ("source", "protocol"):
        assert other["data"].pop(own) != w300["data"].pop(own)
    assert other == w300


@pytest.mark.parametrize(
    ("name", "steps", "last"), [("300w_wing_cnn6", 120_000, 3e-7), ("wflw_wing_cnn6", 800 * 843, 3e-8)]
)
def test_wing_goes_from_the_papers_first_rate_to_its_last(name, steps, last):
    content = recipe(name)
    assert content["trainer"] in (
        {"max_epochs": -1, "max_steps": steps, "log_every_n_steps": 50},
        {"max_epochs": 800, "log_every_n_steps": 50},
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], **content["model"]["optimizer"]["init_args"])
    settings = content["model"]["schedule"]["init_args"]
    (factor,) = Exponential(**settings, optimizer=optimizer, total_steps=steps).lr_lambdas
    assert [3e-5 * factor(step) for step in (0, steps - 1)] == pytest.approx([3e-5, last])
    assert 3e-5 * factor((steps - 1) / 2) == pytest.approx((3e-5 * last) ** 0.5)  # a straight line of its logarithm


def test_wing_on_300w_and_wflw_differs_in_the_data_and_the_length_alone():
    wflw, w300 = recipe("wflw_wing_cnn6"), recipe("300w_wing_cnn6")
    for content in (wflw, w300):
        del content["data"]["source"], content["data"]["protocol"], content["trainer"], content["model"]["schedule"]
    assert wflw == w300
