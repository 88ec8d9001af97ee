"""A small valid set for every reader of annotations, made by what the readers' own tests write."""

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import scipy.io

from wingmark.data import sources
from wingmark.data.own_boxes import read_boxes
from wingmark.data.sources import Source
from wingmark.types import Face

TESTS = Path(__file__).parents[1]


class SmallSet(NamedTuple):
    """How to read a set, the files of it that hold annotations, and what a change in them may do.

    one_face: of a file, or of a line of it, no more than one face may change with it.
    last_number: a file may end in a number without a line end, of which nothing tells whether it was cut off.
    """

    read: Callable[[], list[Face]]
    files: list[Path]
    one_face: str | None = None  # "file", "line"
    last_number: bool = False


def writers(name: str) -> ModuleType:
    """The module of a test."""
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_source(source: Source, root: Path, pattern: str, one_face: str | None = None, **options) -> SmallSet:
    """All splits of a source, and the pictures where it keeps them among its annotations."""

    def read() -> list[Face]:
        faces = [face for split in ("train", "val", "test") for face in source.faces(split)]
        if isinstance(source, (sources.COFW, sources.COFW68, sources.Kaggle15)):
            for face in faces:
                source.read_image(face)
        return faces

    return SmallSet(read, sorted(root.rglob(pattern)), one_face, **options)


def from_root(name: str, source: type[Source], pattern: str, one_face: str | None = None, **options):
    """The tree of the fixture `root` of a source's test."""

    def build(folder: Path) -> SmallSet:
        root = inspect.unwrap(writers(f"data/sources/test_{name}").root)(folder)
        return of_source(source(str(root)), root, pattern, one_face, **options)

    return build


def wflw_tests(folder: Path) -> SmallSet:
    test = writers("data/sources/test_wflw")
    root = inspect.unwrap(test.root)(folder)
    inspect.unwrap(test.subset_lists)(root)
    return of_source(sources.WFLW(str(root), lists="test"), root, "list_98pt_test*.txt", "line")


def detector_boxes(folder: Path) -> SmallSet:
    test = writers("data/sources/test_ibug300w")
    root = inspect.unwrap(test.root)(folder)
    corners = {Path(name).name: [1.0 + i, 2.0, 30.0, 40.0] for i, name in enumerate(test.TREE)}
    for name in ("ibug", "helen_testset"):
        test.write_boxes(root / f"Bounding Boxes/bounding_boxes_{name}.mat", corners)
    return of_source(sources.IBUG300W(str(root)), root, "*.mat")


def ibug300w_private(folder: Path) -> SmallSet:
    writers("data/sources/test_ibug300w_private").write_tree(folder)
    return of_source(sources.IBUG300WPrivate(str(folder)), folder, "*.pts", "file")


def celeba(ending: str) -> Callable[[Path], SmallSet]:
    def build(folder: Path) -> SmallSet:
        test = writers("data/sources/test_celeba")
        test.write(folder, {f"img_align_celeba/{image}": "" for image in test.SPLITS})
        people = test.rows(
            " ", {image: [person] for image, person in zip(test.SPLITS, (2880, 2, 2880, 31), strict=True)}
        )
        texts = {
            "list_landmarks_align_celeba": test.TXT,
            "list_eval_partition": test.PARTITION,
            "identity_CelebA": people,
        }
        if ending == "csv":
            rows = test.rows(",", test.LANDMARKS)
            texts = {name: "image_id,value\n" + text.replace(" ", ",") for name, text in texts.items()}
            texts["list_landmarks_align_celeba"] = ",".join(["image_id", *test.COLUMNS]) + "\r\n" + rows
        test.write(folder, {f"{name}.{ending}": text for name, text in texts.items()})
        source = sources.CelebA(str(folder))
        return of_source(source, folder, f"*.{ending}", "line", last_number=True)

    return build


def coco_faces(folder: Path) -> SmallSet:
    test = writers("data/sources/test_coco_faces")
    hrnet = {"center": [5, 6.5], "scale": 0.4, "box_size": 82.0}
    flags = (("22012", {}), ("12222", hrnet), ("22222", {}))
    test.write(folder, *(test.annotation(10 + i % 2, v, **more) for i, (v, more) in enumerate(flags)))
    source = sources.COCOFaces(str(folder), schema="five", test="annotations/test.json")
    return in_lines(of_source(source, folder, "*.json", "line"))


def coco_wholebody(folder: Path) -> SmallSet:
    test = writers("data/sources/test_coco_wholebody")
    test.write(folder, "train", test.person(785, 0), test.person(139, 1, (3, 67)))
    test.write(folder, "val", test.person(139, 2, **test.NO_FACE), test.person(139, 3))
    return in_lines(of_source(sources.COCOWholeBody(str(folder)), folder, "*.json", "line"))


def in_lines(small: SmallSet) -> SmallSet:
    """The same with a line for each annotation of a JSON file."""
    for path in small.files:
        path.write_text(path.read_text().replace('{"image_id"', '\n{"image_id"'))
    return small


def csv_faces(folder: Path) -> SmallSet:
    test = writers("data/sources/test_csv_faces")
    root = inspect.unwrap(test.root)(folder)
    header = f"image,split,group,tags,x_min,y_min,x_max,y_max,{test.XY}"
    rows = [f"b.png,train,anna,dark; old,1,2,31,42,{test.A}", f'"with, comma.jpg",test,,,1,2,3,4,{test.B}']
    source = test.source_of(root, header, *rows, f"more/a.jpg,val,,,5,6,7,8,{test.A.replace('20,30.5', ',')}")
    return of_source(source, root, "faces.csv", "line", last_number=True)


def dlib_xml(folder: Path) -> SmallSet:
    test = writers("data/sources/test_dlib_xml")
    image = test.image("sub/é.png", test.box(), test.box(test.parts(test.POINTS[::-1])))
    test.write(folder, image, test.image("a b.jpg", test.box(test.parts(order=(4, 2, 0)))))
    return of_source(sources.DlibXML(str(folder), schema="five", train="faces.xml"), folder, "*.xml", "line")


def hrnet_csv(folder: Path) -> SmallSet:
    test = writers("data/sources/test_hrnet_csv")
    rows = [f"Test/ü.PNG,0.4,20,30.5,{test.A},82", f"a b.jpg,0.1,5,6,{test.B},9", f"Test/ü.PNG,1,1,2,{test.B},10.25"]
    test.write(folder, f"{test.HEADER},box_size", *rows)
    source = sources.HRNetCSV(str(folder), schema="five", test="test.csv")
    return of_source(source, folder, "test.csv", "line", last_number=True)


def jd_landmark(folder: Path) -> SmallSet:
    root = inspect.unwrap(writers("data/sources/test_jd_landmark").root)(folder)
    small = of_source(sources.JDLandmark(str(root)), root, "*.txt", "file", last_number=True)
    return small._replace(files=[*small.files, *root.rglob("*.rect")])


def menpo(folder: Path) -> SmallSet:
    test = writers("data/sources/test_menpo")
    test.write(folder, "b/a face.JPG", test.pts(), ".pts")
    test.write(folder, "a/ü.png", test.ljson(LJSON=test.group([*test.POINTS[:4], [None, None]])), ".ljson")
    test.write(folder, "c.png", test.ljson(pupils=test.group(test.POINTS[:2]), all=test.group()), ".ljson")
    small = of_source(sources.Menpo(str(folder), schema="five"), folder, "*.pts", "file")
    return small._replace(files=[*small.files, *folder.rglob("*.ljson")])


def merl_rav(folder: Path) -> SmallSet:
    root = inspect.unwrap(writers("data/sources/test_merl_rav").organized)(folder)
    return of_source(sources.MERLRAV(str(root)), root, "*.pts", "file")


def refined(folder: Path) -> SmallSet:
    inner = writers("conftest").DotFaces()
    writers("data/sources/test_refined").write(
        folder / "predictions.npz", **writers("data/sources/test_refined").found_in(inner)
    )

    def read() -> list[Face]:
        source = sources.Refined(inner, str(folder / "predictions.npz"))  # which keeps what it has read
        faces = {split: source.faces(split) for split in ("train", "val", "test")}
        return [face for of_split in faces.values() for face in of_split]

    return SmallSet(read, [folder / "predictions.npz"])


def own_boxes(folder: Path) -> SmallSet:
    path = folder / "boxes.csv"
    rows = "".join(f"images/ü {i}.jpg#0,{i},2.5,{i + 30},{i + 40}.75\n" for i in range(4))
    path.write_text("id,x_min,y_min,x_max,y_max\n" + rows)

    def read() -> list[Face]:
        return [Face(name, path, np.zeros((1, 2)), "", {"file": box}) for name, box in read_boxes(path).items()]

    return SmallSet(read, [path], "line", last_number=True)


def packed(build: Callable[[Path], SmallSet]) -> Callable[[Path], SmallSet]:
    """The same with its MATLAB files compressed."""

    def build_packed(folder: Path) -> SmallSet:
        small = build(folder)
        for path in small.files:
            content = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
            scipy.io.savemat(path, content, do_compression=True)
        return small

    return build_packed


BUILD: dict[str, Callable[[Path], SmallSet]] = {
    "wflw": from_root("wflw", sources.WFLW, "*rect_attr*.txt", "line"),
    "wflw, test lists": wflw_tests,
    "300w": from_root("ibug300w", sources.IBUG300W, "*.pts", "file"),
    "300w, boxes .mat": detector_boxes,
    "300w, boxes packed": packed(detector_boxes),
    "300w_private": ibug300w_private,
    "300wlp": from_root("ibug300wlp", sources.IBUG300WLP, "*.mat", "file"),
    "300vw": from_root("ibug300vw", sources.IBUG300VW, "annot/*1.pts", "file"),
    "cofw": from_root("cofw", sources.COFW, "*.mat"),
    "cofw68": from_root("cofw68", sources.COFW68, "*.mat"),
    "aflw": from_root("aflw", sources.AFLW, "*.mat"),
    "aflw, packed": packed(from_root("aflw", sources.AFLW, "*.mat")),
    "aflw_sqlite": from_root("aflw_sqlite", sources.AFLWSqlite, "aflw.sqlite"),
    "celeba": celeba("txt"),
    "celeba, csv": celeba("csv"),
    "coco_faces": coco_faces,
    "coco_wholebody": coco_wholebody,
    "csv": csv_faces,
    "dlib_xml": dlib_xml,
    "hrnet_csv": hrnet_csv,
    "jd_landmark": jd_landmark,
    "kaggle15": from_root("kaggle15", sources.Kaggle15, "training.csv", "line"),
    "lapa": from_root("lapa", sources.LaPa, "*.txt", "file"),
    "menpo": menpo,
    "merl_rav": merl_rav,
    "refined": refined,
    "data.boxes": own_boxes,
}
