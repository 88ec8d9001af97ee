"""Every YAML of the project is built: recipes and overlays by the command line, fragments by the type they are for."""

from pathlib import Path

import jsonargparse
import pytest

from wingmark import protocol, schema
from wingmark.codecs import CodecFactory
from wingmark.data.sources import Source
from wingmark.landmark_cli import LandmarkCLI
from wingmark.losses import LandmarkLoss
from wingmark.networks import NetworkFactory

CONFIGS = Path(__file__).parents[1] / "configs"
FRAGMENTS = {"codecs": CodecFactory, "losses": LandmarkLoss, "networks": NetworkFactory, "sources": Source}


def files(folder: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / folder).glob("*.yaml"))


def test_every_folder_is_known():
    assert {path.name for path in CONFIGS.iterdir()} == {
        *FRAGMENTS,
        "protocols",
        "recipes",
        "overlays",
        "schemas",
        "studies",
        "sweeps",
    }


class Built(LandmarkCLI):
    """Stops where the real one would start training."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def build(*configs: str) -> Built:
    arguments = [word for name in configs for word in ("--config", str(CONFIGS / f"{name}.yaml"))]
    without_download = ["--model.network.init_args.pretrained", "false"]
    return Built(["fit", *arguments, "--trainer.accelerator", "cpu", "--trainer.devices", "1", *without_download])


@pytest.mark.parametrize("name", files("recipes"))
def test_recipes_build(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli = build(f"recipes/{name}")
    assert cli.model.schema == cli.datamodule.schema
    assert cli.model.codec.kind in cli.model.objective.loss.expects
    assert list(tmp_path.iterdir()) == []  # nothing is read or written before the run


@pytest.mark.parametrize("name", files("overlays"))
def test_overlays_build_on_a_recipe(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build("recipes/demo", f"overlays/{name}")


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in FRAGMENTS for name in files(folder)])
def test_fragments_build(folder, name):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=FRAGMENTS[folder], sub_configs=True)
    part = parser.instantiate_classes(parser.parse_args(["--part", str(CONFIGS / folder / f"{name}.yaml")])).part
    if folder == "codecs":
        part = part(schema=schema.get("ibug68"))
        assert part.outputs in (68, 69, 136)
    elif folder == "networks":
        part = part(outputs=68, crop_size=128)
    assert part is not None


@pytest.mark.parametrize("name", files("schemas"))
def test_schemas_are_sound(name):
    assert schema.get(str(CONFIGS / "schemas" / f"{name}.yaml")).num_landmarks > 0


@pytest.mark.parametrize("name", files("protocols"))
def test_protocols(name):
    assert protocol.get(str(CONFIGS / "protocols" / f"{name}.yaml")).digest
