"""The notebooks, and the study whose runs they read.

Each notebook runs from top to bottom without a warning and draws something; the files hold no results.
"""

import json
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

from wingmark import protocol
from wingmark.cli import main
from wingmark.commands import study

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def two_losses(tmp_path_factory) -> Path:
    """A folder with the project's configs and notebooks, in which the study two_losses has been run."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("configs", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)

    def status(arguments: list[str]) -> int:
        main(arguments)  # in this process, which spares the start of an interpreter for each command
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(study, "_status", status)
        main(["study", "configs/studies/two_losses.yaml"])
    return folder


def test_the_study(two_losses, monkeypatch, capsys):
    """From its file to its comparison; a second call has nothing to do."""
    monkeypatch.chdir(two_losses)
    monkeypatch.setattr(study, "_status", lambda arguments: pytest.fail(f"{arguments} was run once more"))
    names = ["wing-seed0", "wing-seed1", "l2-seed0", "l2-seed1"]
    folder = two_losses / "runs" / "two_losses"
    assert {path.name for path in folder.iterdir()} == {*names, "overlays", "comparison"}
    assert {path.name for path in (folder / "comparison").iterdir()} == {"comparison.json", "comparison.csv", "ced.png"}
    methods = json.loads((folder / "comparison" / "comparison.json").read_text())["methods"]
    assert [(method["name"], method["seeds"]) for method in methods] == [("wing", [0, 1]), ("l2", [0, 1])]
    losses = [yaml.safe_load((folder / name / "config.yaml").read_text())["model"]["loss"] for name in names]
    assert [loss["class_path"].rpartition(".")[2] for loss in losses] == ["WingLoss"] * 2 + ["L2Loss"] * 2
    scores = [json.loads((folder / name / "metrics.json").read_text())["scores"]["full"]["nme"] for name in names]
    assert len({*scores}) == 4 and max(scores) < 0.2  # untrained networks are off by more than half an eye distance

    capsys.readouterr()
    comparison = main(["study", "configs/studies/two_losses.yaml"])
    assert capsys.readouterr().out.splitlines()[:4] == [
        f"[{i}/4] {name}: done before" for i, name in enumerate(names, 1)
    ]
    found = [row.value for row in comparison.rows if (row.subset, row.score) == ("full", "nme")]
    np.testing.assert_allclose(found, [np.mean(scores[:2]), np.mean(scores[2:])], rtol=1e-12)


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_runs_without_a_warning_and_draws(path, two_losses, tmp_path, monkeypatch):
    """In a copy of the project in which the runs that a notebook reads are there."""
    folder = two_losses / "notebooks"
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own backend makes pictures of figures
    files_before = sorted(folder.rglob("*"))
    notebook = nbformat.read(path, as_version=4)
    # Without folders to search, `python3` is the interpreter of this test, whatever else is installed by that name.
    kernel = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(notebook, timeout=120, km=kernel, resources={"metadata": {"path": str(folder)}})
    client.execute(cleanup_kc=True)  # otherwise a kernel that was handed in goes on running

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    pictures = [kind for output in outputs for kind in output.get("data", {}) if kind.startswith("image/")]
    assert pictures
    assert len(nbformat.writes(notebook)) < 1_000_000
    assert sorted(folder.rglob("*")) == files_before


@each_notebook
def test_is_stored_without_results(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == KERNEL
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, "clear all outputs before you save it"


@each_notebook
def test_defines_nothing_and_names_no_local_path(path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert "jupyter lab" in cells[0].source
    for cell in cells:
        assert not re.search(r"""["'](/|~/|[A-Z]:\\)""", cell.source), cell.source
        assert str(Path.home()) not in cell.source
        if cell.cell_type == "code":
            assert not re.search(r"^\s*(async def|def|class)\s", cell.source, re.MULTILINE), cell.source


@each_notebook
def test_names_protocols_that_exist(path):
    """Also in the lines that are commented out, for readers with data of their own."""
    for name in re.findall(r'"([\w-]+/[\w-]+/v\d+)"', "".join(cell.source for cell in nbformat.read(path, 4).cells)):
        assert protocol.get(name)
