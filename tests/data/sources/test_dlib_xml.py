"""dlib's XML from small trees, and real ones where WINGMARK_DATA names them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wingmark.data.sources import DlibXML
from wingmark.data.sources.reading import leaving_out
from wingmark.types import Box

DATA = os.environ.get("WINGMARK_DATA")
real = pytest.mark.skipif(DATA is None, reason="WINGMARK_DATA is not set: the folder of real samples/dlib/")

POINTS = [[10, 20], [30, 20], [20, 30], [12, 40], [28, -40]]
BOX = "top='90' left='194' width='37' height='36'"
PROLOG = "<?xml version='1.0' encoding='ISO-8859-1'?>\n<?xml-stylesheet type='text/xsl' href='a.xsl'?>\n"


def parts(points=POINTS, name="{:02d}", order=range(5)) -> str:
    return "".join(f"<part name='{name.format(i)}' x='{points[i][0]}' y='{points[i][1]}'/>\n" for i in order)


def image(file: str, *boxes: str) -> str:
    return f"<image file='{file}' width='9' height='9'>\n" + "".join(boxes) + "</image>\n"


def box(inner: str | None = None, attributes: str = BOX) -> str:
    return f"<box {attributes}>\n{parts() if inner is None else inner}</box>\n"


def write(root: Path, *images: str, file: str = "faces.xml", prolog: str = PROLOG) -> None:
    for name in ("a b.jpg", "sub/é.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()  # holds nothing: listing must not decode it
    (root / file).parent.mkdir(exist_ok=True)
    text = f"{prolog}<dataset><name>x</name>\n<images>\n{''.join(images)}</images></dataset>"
    (root / file).write_bytes(text.encode("latin-1"))


def faces_of(root: Path, file: str = "faces.xml", schema: str = "five"):
    return DlibXML(str(root), schema=schema, train=file).faces("train")


def test_faces_are_read_in_the_order_of_the_file(tmp_path):
    write(tmp_path, image("sub/é.png", box(), box(parts(POINTS[::-1]), "top='1' left='2' width='1' height='3'")))
    faces = faces_of(tmp_path)
    assert [face.id for face in faces] == ["sub/é.png#0", "sub/é.png#1"]
    assert all(face.group == "sub/é.png" and face.image == tmp_path / "sub/é.png" for face in faces)
    np.testing.assert_array_equal(faces[0].landmarks_image, POINTS)
    np.testing.assert_array_equal(faces[1].landmarks_image, POINTS[::-1])
    assert faces[0].landmarks_image.dtype == np.float64 and faces[0].valid.all() and not faces[0].occluded.any()


def test_box_is_made_of_whole_pixels(tmp_path):
    """Columns 194 to 230 and rows 90 to 125: 37 and 36 of them; a box of one column has its center in it."""
    write(tmp_path, image("a b.jpg", box(), box(attributes="top='1' left='2' width='1' height='3'")))
    first, second = faces_of(tmp_path)
    assert first.boxes == {"dataset": Box((194 + 230) / 2, (90 + 125) / 2, 37, 36)}
    assert second.boxes == {"dataset": Box(2, 2, 1, 3)}


@pytest.mark.parametrize("name", ["{}", "{:02d}", "{:03d}"])
def test_parts_are_sorted_by_number(tmp_path, name):
    """As strings, 10 stands before 2."""
    points = np.random.default_rng(0).integers(0, 99, (68, 2)).tolist()
    by_string = sorted(range(68), key=lambda i: name.format(i))
    write(tmp_path, image("a b.jpg", box(parts(points, name, by_string))))
    np.testing.assert_array_equal(faces_of(tmp_path, schema="ibug68")[0].landmarks_image, points)


def test_missing_part_has_no_location(tmp_path):
    write(tmp_path, image("a b.jpg", box(), box(parts(order=(4, 0, 1, 3)))))
    face = faces_of(tmp_path)[1]
    assert face.valid.tolist() == [True, True, False, True, True] and np.isnan(face.landmarks_image[2]).all()
    np.testing.assert_array_equal(face.landmarks_image[3:], POINTS[3:])


def test_ignored_boxes_are_left_out(tmp_path):
    write(tmp_path, image("a b.jpg", box("", f"{BOX} ignore='1'"), box(attributes=f"{BOX} ignore='0'")))
    assert [face.id for face in faces_of(tmp_path)] == ["a b.jpg#0"]


def test_paths_start_from_the_file(tmp_path):
    write(tmp_path, image("../sub\\é.png", box()), image("../a b.jpg", box()), file="xml/faces.xml")
    assert [face.id for face in faces_of(tmp_path, "xml/faces.xml")] == ["sub/é.png#0", "a b.jpg#0"]
    write(tmp_path, image("../../a b.jpg", box()), file="xml/faces.xml")
    with pytest.raises(ValueError, match="leaves the folder"):
        faces_of(tmp_path, "xml/faces.xml")


def test_each_split_has_its_file(tmp_path):
    write(tmp_path, image("a b.jpg", box()), file="a.xml")
    write(tmp_path, image("a b.jpg", box(), box()), file="b.xml")
    source = DlibXML(str(tmp_path), schema="five", val="a.xml", test="b.xml")
    assert [len(source.faces(split)) for split in ("train", "val", "test")] == [0, 1, 2]


BAD = {
    "no parts": (box(""), "the box has no parts"),
    "a sixth part": (box(parts() + "<part name='5' x='1' y='1'/>"), "the part '5' is none of the landmarks 0 to 4"),
    "a part by name": (box("<part name='nose' x='1' y='1'/>"), "the part 'nose' is none of the landmarks"),
    "a part twice": (box(parts() + "<part name='4' x='1' y='1'/>"), "the part '4' is there twice"),
    "no x": (box("<part name='0' y='1'/>"), "could not convert string to float: 'no x'"),
    "no number": (box("<part name='0' x='1,5' y='1'/>"), "could not convert string to float: '1,5'"),
    "not finite": (box("<part name='0' x='nan' y='1'/>"), "expected finite numbers, got 'nan'"),
    "no top": (box(attributes="left='1' width='3' height='3'"), "could not convert string to float: 'no top'"),
    "no width": (box(attributes="top='1' left='1' width='0' height='3'"), "the box is 0 x 3 pixels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_box_is_named_with_its_line(tmp_path, case):
    broken, message = BAD[case]
    write(tmp_path, image("a b.jpg", box()), image("sub/é.png", broken))
    line = (tmp_path / "faces.xml").read_text("latin-1").split("sub/")[0].count("\n") + 2
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        faces_of(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'faces.xml'}, line {line}: ")
    with leaving_out() as left_out:
        assert [face.id for face in faces_of(tmp_path)] == ["a b.jpg#0"]
    assert left_out == [str(error.value)]


def test_missing_image(tmp_path):
    write(tmp_path, image("gone.jpg", box()))
    with pytest.raises(ValueError, match=r"faces\.xml, line 6: there is no image .*gone\.jpg"):
        faces_of(tmp_path)


def test_other_markup(tmp_path):
    write(tmp_path, image("a b.jpg", box(), box()))
    with pytest.raises(ValueError, match=r"faces\.xml: schema ibug68 has a landmark that no box has; choose another"):
        faces_of(tmp_path, schema="ibug68")


def test_damaged_xml(tmp_path):
    write(tmp_path, image("a b.jpg", box()))
    whole = (tmp_path / "faces.xml").read_bytes()
    for damaged in (b"", whole[:-30], whole.replace(b"'90'", b"90"), whole.replace(b"ISO-8859-1", b"nonsense")):
        (tmp_path / "faces.xml").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"faces\.xml: not a whole XML file of dlib \(") as error:
            faces_of(tmp_path)
        assert str(error.value).endswith("write it again")


def test_document_type_is_refused(tmp_path):
    laughs = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10 if i else 'ha'}'>" for i in range(9))
    write(tmp_path, image("&l8;", box()), prolog=f"<!DOCTYPE dataset [{laughs}]>")
    with pytest.raises(ValueError, match="not a whole XML file of dlib .a DOCTYPE"):
        faces_of(tmp_path)


def test_nothing_in_the_file_and_no_file(tmp_path):
    write(tmp_path, image("a b.jpg"))
    with pytest.raises(ValueError, match=r"faces\.xml: no box that is not ignored"):
        faces_of(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match=r"DlibXML: there is no file .*gone/faces\.xml; set .*init_args\.train to a file in it, or to null",
    ):
        faces_of(tmp_path / "gone")


@real
def test_real_samples():
    names = {"train": "training_with_face_landmarks.xml", "test": "testing_with_face_landmarks.xml"}
    source = DlibXML(f"{DATA}/samples/dlib/faces", schema="ibug68", **names)
    faces = source.faces("train")
    assert len(faces) == 18 and len(source.faces("test")) == 25
    assert [face.id for face in faces[:7]] == [f"2007_007763.jpg#{number}" for number in range(7)]
    np.testing.assert_array_equal(faces[0].landmarks_image[[0, 8, 16]], [[201, 107], [213, 129], [231, 105]])
    assert faces[0].boxes == {"dataset": Box(212, 108, 37, 37)} and all(face.valid.all() for face in faces)


def test_parts_around_another_element_of_the_box(tmp_path):
    """imglab writes the label of a box inside it."""
    write(tmp_path, image("a b.jpg", box("<label>person</label>\n" + parts())))
    np.testing.assert_array_equal(faces_of(tmp_path)[0].landmarks_image, POINTS)


@pytest.mark.parametrize(("inner", "after"), [("<part name='00' x='1' y='2'/>\n", ""), ("", box())])
def test_elements_in_the_wrong_place(tmp_path, inner, after):
    write(tmp_path, image("a b.jpg", box(), inner) + after)
    with pytest.raises(
        ValueError, match=r"faces.xml: not a whole XML file of dlib \(a (part|box) in the wrong place, line"
    ):
        faces_of(tmp_path)
