"""The notebooks: each runs from top to bottom without a warning and draws something; the files hold no results."""

import re
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

from wingmark import protocol

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


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
