"""Detectors, with a stand-in for the file of YuNet that takes bright squares for faces."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wingmark.detectors import Dlib, YuNet
from wingmark.types import Box


def write_yunet(path) -> None:
    """A net with the inputs and outputs of YuNet: a white cell of 8 x 8 is a face 80 x 96 around its upper left."""
    onnx = pytest.importorskip("onnx", reason="onnx, from wingmark[export], writes the stand-in")
    from onnx import TensorProto, helper, numpy_helper

    nodes, outputs, weights = [], [], []
    for stride in (8, 16, 32):
        kernel = np.zeros((16, 3, stride, stride), np.float32)
        bias = np.zeros(16, np.float32)
        if stride == 8:
            kernel[:2] = 1 / (255 * 3 * 64)  # class and object: how white
        bias[4:6] = np.log(80 / stride), np.log(96 / stride)  # after the shift of the center, 0
        weights += [numpy_helper.from_array(kernel, f"k{stride}"), numpy_helper.from_array(bias, f"b{stride}")]
        weights.append(numpy_helper.from_array(np.array([1, -1, 16]), f"shape{stride}"))
        nodes += [
            helper.make_node("Conv", ["input", f"k{stride}", f"b{stride}"], [f"c{stride}"], strides=[stride, stride]),
            helper.make_node("Transpose", [f"c{stride}"], [f"t{stride}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"t{stride}", f"shape{stride}"], [f"r{stride}"]),
        ]
        parts = {"cls": (0, 1), "obj": (1, 2), "bbox": (2, 6), "kps": (6, 16)}
        for name, (first, end) in parts.items():
            for which, value in (("first", first), ("end", end)):
                weights.append(numpy_helper.from_array(np.array([value]), f"{name}{stride}{which}"))
            weights.append(numpy_helper.from_array(np.array([2]), f"{name}{stride}axis"))
            slots = [f"r{stride}", *(f"{name}{stride}{which}" for which in ("first", "end", "axis"))]
            nodes.append(helper.make_node("Slice", slots, [f"{name}_{stride}"]))
    for name, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            outputs.append(
                helper.make_tensor_value_info(f"{name}_{stride}", TensorProto.FLOAT, [1, (640 // stride) ** 2, size])
            )
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "yunet", [image], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize("scale", [1, 2])
def test_yunet_boxes_are_pixels_of_the_image(tmp_path, scale):
    write_yunet(tmp_path / "yunet.onnx")
    image = np.zeros((640, 640, 3), np.uint8)
    image[160:168, 320:328] = 255
    image[480:488, 80:88] = 255
    image = np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)
    boxes = YuNet(str(tmp_path / "yunet.onnx"))(image)
    assert len(boxes) == 2
    found = sorted(boxes, key=lambda box: box.x)
    for box, (x, y) in zip(found, [(80, 480), (320, 160)], strict=True):
        corners = np.array([x - 40, y - 48, x + 40, y + 48]) * scale - 0.5
        expected = Box.from_corners(*corners.tolist())
        np.testing.assert_allclose(
            [box.x, box.y, box.width, box.height], [expected.x, expected.y, expected.width, expected.height], atol=0.01
        )


def test_yunet_finds_nothing(tmp_path):
    write_yunet(tmp_path / "yunet.onnx")
    assert YuNet(str(tmp_path / "yunet.onnx"))(np.zeros((640, 640, 3), np.uint8)) == []


def test_yunet_needs_its_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"YuNet: there is no file .*gone\.onnx; give the \.onnx of YuNet"):
        YuNet(str(tmp_path / "gone.onnx"))
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"YuNet: OpenCV cannot use .*a\.onnx .*; download it again"):
        YuNet(str(tmp_path / "a.onnx"))


def test_dlib_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[dlib\]'"):
        Dlib()


def test_dlib_boxes(monkeypatch):
    """dlib's rectangles name their first and last pixel."""

    class Rectangle:
        def __init__(self, *sides):
            self.left, self.top, self.right, self.bottom = (lambda side=side: side for side in sides)

    class Module:
        @staticmethod
        def get_frontal_face_detector():
            return lambda image, upsample: [Rectangle(10, 20, 19, 39), Rectangle(0, 0, 99, 99)]

    monkeypatch.setitem(sys.modules, "dlib", Module)
    assert Dlib()(np.zeros((5, 5, 3), np.uint8)) == [Box(49.5, 49.5, 100, 100), Box(14.5, 29.5, 10, 20)]


def test_threads_take_turns_in_dlib(monkeypatch):
    inside, most = 0, 0

    class Module:
        @staticmethod
        def get_frontal_face_detector():
            def detect(image, upsample):
                nonlocal inside, most
                inside += 1
                most = max(most, inside)
                time.sleep(0.01)
                inside -= 1
                return []

            return detect

    monkeypatch.setitem(sys.modules, "dlib", Module)
    detector = Dlib()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detector, [np.zeros((5, 5, 3), np.uint8)] * 8)) == [[]] * 8
    assert most == 1
