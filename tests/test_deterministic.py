"""`--trainer.deterministic true` goes with every recipe, also on a GPU, where several operations would refuse it.

That is told here without one, by the operations that a step asks of PyTorch. REFUSED are those for which the
documentation of `torch.use_deterministic_algorithms` (2.13) announces an error on CUDA; all others it names have a
deterministic form there, which the setting chooses, and convolutions and matrix products get theirs by cuDNN's and
cuBLAS's settings, which Lightning makes. Nothing here ran on CUDA.
"""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from wingmark.landmark_cli import LandmarkCLI
from wingmark.model import LandmarkModule
from wingmark.types import Batch

CONFIGS = Path(__file__).parents[1] / "configs"
REFUSED = {
    *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
    *("max_unpool2d", "max_unpool3d", "upsample_linear1d_backward", "upsample_bilinear2d_backward"),
    *("_upsample_bilinear2d_aa_backward", "upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward"),
    *("upsample_trilinear3d_backward", "reflection_pad1d_backward", "reflection_pad2d_backward"),
    *("reflection_pad3d_backward", "nll_loss_forward", "nll_loss2d_forward", "_ctc_loss_backward"),
    *("_embedding_bag", "put", "put_", "histc", "bincount", "median.dim", "nanmedian.dim"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "scatter_reduce", "scatter_reduce_"),
}


class Operations(TorchDispatchMode):
    """Notes what is asked of PyTorch, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__  # such as median.dim
        self.names |= {name, name.partition(".")[0]}
        return function(*args, **(kwargs or {}))


def refused(operations: Operations) -> set[str]:
    return operations.names & REFUSED


@pytest.fixture(autouse=True)
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_what_is_refused_is_noticed():
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    grid = torch.rand(1, 4, 4, 2)
    with Operations() as operations:
        values = F.grid_sample(image, grid, align_corners=False).sum() + F.adaptive_avg_pool2d(image, 2).sum()
        (values + F.interpolate(image, size=16, mode="bilinear").sum()).backward()
        image.detach().flatten().median(dim=0)
    bilinear = {"upsample_bilinear2d_backward"}
    named = {"grid_sampler_2d_backward", "_adaptive_avg_pool2d_backward", "median.dim"}
    assert refused(operations) - bilinear == named and bilinear <= refused(operations)


class Built(LandmarkCLI):
    """Stops where the real one would start training."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def build(recipe: str, *arguments: str) -> LandmarkModule:
    small = ["--data.crop_size=64", "--model.network.init_args.pretrained=false"]
    if "hourglass" in recipe:
        small.append("--model.network.init_args.options.width=8")
    on_cpu = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.deterministic=true"]
    return Built(["fit", f"--config={CONFIGS}/recipes/{recipe}.yaml", *on_cpu, *small, *arguments]).model


def faces(model: LandmarkModule) -> Batch:
    random, count, size = torch.Generator().manual_seed(0), model.schema.num_landmarks, model.crop_size
    image = torch.randint(0, 256, (2, 3, size, size), generator=random, dtype=torch.uint8)
    landmarks = torch.rand(2, count, 2, generator=random) * size
    to_image = torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3)
    normalizer = torch.full((2,), 30.0, dtype=torch.float64)
    valid = torch.ones(2, count, dtype=torch.bool)
    return Batch(image, landmarks, landmarks.double(), valid, to_image, normalizer, torch.arange(2))


def step_and_validation(model: LandmarkModule) -> Operations:
    """The operations of a training step, of the scores and of the calibration, on two faces."""
    batch, optimizer = faces(model), model.optimizer(model.parameters())
    with Operations() as operations:
        torch.stack(model.train().losses(batch)).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            found = model.eval().predict_step(batch, 0)
            model._update(model.test_scores, batch, found)
            model.test_scores.compute()
            if model.codec.kind == "heatmap":
                model.note_errors(found, batch)
                model.calibrate()
    assert {"convolution_backward", "sort"} <= operations.names
    return operations


SHORT = {"demo", "300w_heatmap_awing", "300w_wing_cnn6", "wflw_awing_hourglass4"}  # of each kind one


def long_but(short: set[str], folder: str) -> list:
    names = sorted(path.stem for path in (CONFIGS / folder).glob("*.yaml"))
    return [pytest.param(name, marks=() if name in short else pytest.mark.long) for name in names]


@pytest.mark.parametrize("recipe", long_but(SHORT, "recipes"))
def test_every_recipe_is_deterministic(recipe):
    assert refused(step_and_validation(build(recipe))) == set()


@pytest.mark.parametrize("network", long_but(set(), "networks"))
def test_every_network_is_deterministic(network):
    heads = "300w_heatmap_awing"
    if "coordinates" in network or "classifier" in network:
        heads = "300w_regression_wing"
    elif network == "hourglass4":
        heads = "300w_awing_hourglass4"  # which draws the boundary
    settings = [f"--model.network={CONFIGS}/networks/{network}.yaml", "--model.network.init_args.pretrained=false"]
    if "hourglass" in network:
        settings.append("--model.network.init_args.options.width=8")
    assert refused(step_and_validation(build(heads, *settings))) == set()
