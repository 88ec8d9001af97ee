"""Five floors: imports only go down, and never in a circle."""

import ast
from pathlib import Path

import wingmark

ROOT = Path(wingmark.__file__).parent
FLOORS = [
    {"types", "schema", "protocol", "geometry", "heatmaps", "curves"},
    {
        "losses",
        "codecs",
        "networks",
        "metrics",
        "transforms",
        "schedules",
        "files",
        "foreign",
        "trust",
        "progress",
        "confidence",
        "detectors",
    },
    {"data"},
    {"objective", "finder", "model", "cascade", "checkpoints", "interruption", "loggers", "callbacks", "evaluation"},
    {"cli", "landmark_cli", "training", "run", "study", "annotation", "commands", "engines", "infer", "export"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# On these floors a room knows only the floors below; elsewhere rooms may use their neighbors.
WITHOUT_NEIGHBORS = {1}


def modules() -> dict[str, Path]:
    paths = {path.relative_to(ROOT.parent).with_suffix(""): path for path in ROOT.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


def imports_of(path: Path) -> set[str]:
    """Modules of wingmark that a file imports anywhere, functions included."""
    known, found = modules(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "wingmark"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "wingmark":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}: relative imports hide the room they come from")
    return found


def room(module: str) -> str:
    return module.split(".")[1]


GRAPH = {name: imports_of(path) for name, path in modules().items() if name != "wingmark"}


def test_every_room_has_a_floor():
    assert {room(name) for name in GRAPH} == set(FLOOR_OF)


def test_imports_only_go_down():
    for module, targets in GRAPH.items():
        for target in targets:
            own, other = FLOOR_OF[room(module)], FLOOR_OF[room(target)]
            assert other <= own, f"{module} (floor {own}) imports {target} (floor {other})"
            if other == own and own in WITHOUT_NEIGHBORS:
                assert room(target) == room(module), f"{module} knows its neighbor {target}"


def test_no_circles():
    # A package's own __init__ gathers its modules; inside a room the modules themselves must form no circle.
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for target in GRAPH.get(module, ()):
                visit(target, (*path, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


def test_no_catch_all_rooms():
    assert not {part for name in GRAPH for part in name.split(".")} & {"utils", "helpers", "common", "misc"}


def test_only_transforms_knows_albumentations():
    users = {
        name
        for name, path in modules().items()
        if "import albumentations" in path.read_text() or "from albumentations" in path.read_text()
    }
    assert {room(name) for name in users} == {"transforms"}


def test_files_stay_small():
    lengths = sorted(len(path.read_text().splitlines()) for path in modules().values())
    assert lengths[-1] <= 300
    assert lengths[len(lengths) // 2] <= 110
