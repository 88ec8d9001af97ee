"""A study: one recipe, trained and tested once for every combination of choices and seeds.

The format of the file is told at the top of configs/studies/two_losses.yaml.
"""

import os
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from wingmark.files import whole_file
from wingmark.foreign import read_yaml
from wingmark.run import resolve

# A hyphen separates the names in the name of a run.
NAME = re.compile(r"[A-Za-z0-9_.]+")
# Where a run lies, what it is called and how often it is saved are no settings of its training.
PLACE = ("name", "runs", "checkpoint_minutes")
EXAMPLE = "configs/studies/two_losses.yaml"
SWEEP = """\
# The runs of {file} as a W&B sweep, made by --sweep.
# A run reports to W&B if an overlay of the study holds a W&B logger that is
# online. `wandb login` once; then, where this project lies:
#   wandb sweep {path}
#       once; it tells the ID of the sweep
#   wandb agent ID
#       on each machine, as many as there are
#   wingmark study {file} --runs {runs}
#       at the end, where all run folders lie: completes what failed or was
#       stopped, which a grid does not hand out again, and compares
"""


@dataclass(frozen=True)
class Run:
    """One ordinary run of a study. configs: the recipe and its overlays, later ones win."""

    folder: Path
    configs: tuple[Path, ...]
    seed: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def last_checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def trained(self) -> Path:
        """An empty file that says that training came to its end: a checkpoint alone does not."""
        return self.folder / "trained"

    @property
    def state(self) -> str:
        """`done`, `trained` but not tested, `interrupted` in training, or `not started`."""
        if self.trained.is_file():  # a test by hand of half a training does not make it done
            return "done" if (self.folder / "metrics.json").is_file() else "trained"
        return "interrupted" if self.last_checkpoint.is_file() else "not started"

    @property
    def fit_arguments(self) -> list[str]:
        """What makes this run when typed after `wingmark`."""
        configs = [word for config in self.configs for word in ("--config", str(config))]
        place = ["--runs", str(self.folder.parent), "--name", self.name]
        return ["fit", *configs, "--seed_everything", str(self.seed), *place]

    def settings(self) -> dict[str, Any]:
        """Every setting of the run, as `wingmark fit ... --print_config` tells them; ends there where one is wrong."""
        return resolve(self.fit_arguments)

    def check(self) -> dict[str, Any]:
        """The settings; a run that was made with other ones is refused: old and new ones are never mixed."""
        settings = self.settings()
        wanted = _flat(settings)
        if not any((self.folder / "checkpoints").glob("*")) and self.state == "not started":
            return settings
        config = self.folder / "config.yaml"
        way_out = f"delete {self.folder}, or give the study's file another name"
        if not config.is_file():
            raise FileNotFoundError(f"{config} does not exist, so nobody knows what made this run; {way_out}")
        made = _flat(read_yaml(config))
        for key in {**made, **wanted}:
            if key not in PLACE and made.get(key) != wanted.get(key):
                raise ValueError(
                    f"{self.folder} was made with {key} {made.get(key)}, and the study now says {wanted.get(key)}; "
                    f"{way_out}"
                )
        if self.state == "not started":
            raise FileNotFoundError(f"{self.last_checkpoint} does not exist, so training cannot go on; {way_out}")
        return settings


@dataclass(frozen=True)
class Study:
    """The runs of a study, first choices first.

    file: what was read. folder: where its runs, its overlays and its comparison lie.
    inline: the overlays that are written in the study itself, by the file that `write_overlays` puts them into.
    """

    file: Path
    folder: Path
    runs: tuple[Run, ...]
    inline: dict[Path, dict[str, Any]]

    @classmethod
    def load(cls, file: Path, runs: Path) -> "Study":
        """Read a study whose runs lie below the folder `runs`.

        Raises FileNotFoundError, and ValueError where the file does not say what a study says; it names the key.
        """
        content = _read(file)
        folder, inline = runs / file.stem, {}

        def overlay(key: str, name: str, value: Any) -> Path:
            if not isinstance(value, dict):
                return _path(file, key, value)
            path = folder / "overlays" / f"{name}.yaml"
            inline[path] = _with_paths(file, key, value)
            return path

        configs = [_path(file, "recipe", content["recipe"])]
        for number, value in enumerate(_overlays(file, content)):
            configs.append(overlay(f"overlays.{number}", f"all{number}", value))
        axes = [
            {name: overlay(f"axes.{axis}.{name}", f"{axis}-{name}", value) for name, value in choices.items()}
            for axis, choices in _axes(file, content).items()
        ]
        grid = []
        for chosen, seed in product(product(*axes), _seeds(file, content)):
            top = (choices[name] for choices, name in zip(axes, chosen, strict=True))
            grid.append(Run(folder / "-".join([*chosen, f"seed{seed}"]), (*configs, *top), seed))
        if len(grid) < 2:
            raise ValueError(f"{file} has a single run; give it an axis with two choices, or two seeds")
        return cls(file, folder, tuple(grid), inline)

    def write_overlays(self) -> None:
        """Write down what the commands of the runs refer to."""
        for path, content in self.inline.items():
            with whole_file(path) as temporary:
                temporary.write_text(f"# From {self.file}\n{yaml.safe_dump(content, sort_keys=False)}")

    def run(self, name: str) -> Run:
        """The run of that name."""
        for run in self.runs:
            if run.name == name:
                return run
        raise ValueError(f"{self.file} has no run {name!r}; it has {', '.join(run.name for run in self.runs)}")

    def write_sweep(self, path: Path) -> None:
        """Write the same grid as a W&B sweep, whose agents run the study one run at a time."""
        sweep = {
            "program": "wingmark",
            "command": ["${program}", "study", str(self.file), "--runs", str(self.folder.parent), "${args}"],
            "project": "wingmark",
            "method": "grid",
            "parameters": {"only": {"values": [run.name for run in self.runs]}},
        }
        head = SWEEP.format(file=self.file, path=path, runs=self.folder.parent)
        with whole_file(path) as temporary:
            temporary.write_text(head + yaml.safe_dump(sweep, sort_keys=False))


class _Loader(yaml.SafeLoader):
    """YAML as usual, but a key that comes twice is refused: the first one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{self.name}: {key} is there twice (line {node.start_mark.line + 1} and after)")
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    """What the file says, with no other keys than those of a study."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; give a study such as {EXAMPLE}")
    try:
        with open(file) as stream:
            content = yaml.load(stream, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    keys = content.keys() if isinstance(content, dict) else set()
    if not {"recipe", "seeds"} <= keys <= {"recipe", "overlays", "axes", "seeds"}:
        raise ValueError(
            f"{file} must have the keys recipe and seeds, may have overlays and axes, and has "
            f"{', '.join(map(str, keys)) or 'none'}; see {EXAMPLE}"
        )
    return content


def _path(file: Path, key: str, value: Any) -> Path:
    """The file that a study names, as seen from here; a relative path counts from the study's folder."""
    if not isinstance(value, str):
        raise ValueError(f"{file}: {key} must name a YAML file, got {value!r}")
    path = (file.parent / value).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"{file}: {key} names {value}, but {os.path.relpath(path)} does not exist")
    return Path(os.path.relpath(path))


def _with_paths(file: Path, key: str, value: Any) -> Any:
    """Settings whose YAML files are found from anywhere: what is written into another folder must not lose them."""
    if isinstance(value, dict):
        return {name: _with_paths(file, f"{key}.{name}", part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_paths(file, f"{key}.{number}", part) for number, part in enumerate(value)]
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        return str(_path(file, key, value).resolve())
    return value


def _overlays(file: Path, content: dict[str, Any]) -> list[Any]:
    overlays = content.get("overlays", [])
    if not isinstance(overlays, list):
        raise ValueError(f"{file}: overlays must be a list of YAML files and mappings, got {overlays!r}")
    return overlays


def _axes(file: Path, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    axes = content.get("axes", {})
    if not isinstance(axes, dict):
        raise ValueError(f"{file}: axes must name each axis and its choices, got {axes!r}")
    for axis, choices in axes.items():
        if not isinstance(choices, dict) or not choices:
            raise ValueError(f"{file}: axes.{axis} must name its choices, got {choices!r}")
        for name in (axis, *choices):
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise ValueError(
                    f"{file}: {name!r} in axes.{axis} must be a name of letters, digits, _ and dots; put numbers and "
                    "words like on or no in quotes"
                )
    return axes


def _seeds(file: Path, content: dict[str, Any]) -> list[int]:
    seeds = content["seeds"]
    sound = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not sound or len({*seeds}) < len(seeds):
        raise ValueError(f"{file}: seeds must be a list of different numbers from 0, such as [0, 1], got {seeds!r}")
    return seeds


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    flat = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
