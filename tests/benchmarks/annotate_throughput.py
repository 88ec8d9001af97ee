"""How much of the bare model's throughput `wingmark annotate` keeps on a folder of photos.

Photos 1,300 px wide with a face of about 550 px, rendered and stored as JPEGs. Bare: the network and its decoding
alone, on ready crops of the same faces in batches of 16. Annotate: the same faces from files to files, with given boxes
and the default outputs (overlay, csv, json), then with the tables alone. All take turns, several rounds; the medians of
the ratios are told. Weights are random, which costs the same.

    python tests/benchmarks/annotate_throughput.py [--photos 48] [--rounds 3] [--threads 1] [--processor-time]

threads: of the network. Decoding and writing use all cores besides, so with as many threads as cores they compete.
processor-time: count seconds of processors, of all threads, instead of seconds: no matter how busy the machine is, it
tells the ratio that is left where the network alone would use all cores.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import torch

import wingmark.protocol
from wingmark import LandmarkModule
from wingmark.annotation import Results, annotate_images, boxes_of, find_input
from wingmark.codecs import Coordinates, Heatmap
from wingmark.data.sources import SyntheticFaces
from wingmark.engines import TorchEngine
from wingmark.geometry import tight_box
from wingmark.infer import Landmarker
from wingmark.losses import MSELoss, WingLoss
from wingmark.networks import FeatureNetwork, HeatmapHead, TimmNetwork

WIDTH, FACE = 1300, 550
BATCH = 16


def model(backbone: str) -> LandmarkModule:
    """Of random weights, on crops of 128 (CNN-6) or 256 px."""
    if backbone == "wing_cnn6":
        size, network, codec, loss = 128, partial(TimmNetwork, backbone), Coordinates, WingLoss()
    else:
        head = partial(HeatmapHead, channels=64)
        network = partial(FeatureNetwork, backbone, head, (1, 2, 3, 4))
        size, codec, loss = 256, Heatmap, MSELoss()
    protocol = wingmark.protocol.get("300w/inter-ocular/v1")
    return LandmarkModule(network, codec, loss, wingmark.schema.get("ibug68"), protocol, size, compile=False)


def write_photos(folder: Path, count: int) -> None:
    """`in/*.jpg` and boxes.csv: drawn faces, enlarged, with the grain of a camera."""
    source, random = SyntheticFaces(train=count, image_size=384), np.random.default_rng(0)
    (folder / "in").mkdir()
    rows = ["id,x_min,y_min,x_max,y_max"]
    for number, face in enumerate(source.faces("train")):
        box = tight_box(face.landmarks_image)
        scale = FACE / max(box.width, box.height)
        a = np.array([[scale, 0, WIDTH / 2 - scale * box.x], [0, scale, 500 - scale * box.y]])
        image = cv2.warpAffine(source.read_image(face), a, (WIDTH, 1000), borderMode=cv2.BORDER_REFLECT)
        image = np.clip(image + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        name = f"{number:04d}.jpg"
        (folder / "in" / name).write_bytes(simplejpeg.encode_jpeg(image, 90, colorsubsampling="420"))
        corners = (WIDTH - scale * box.width) / 2, 500 - scale * box.height / 2
        rows.append(f"{name},{corners[0]},{corners[1]},{WIDTH - corners[0]},{1000 - corners[1]}")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")


def bare(engine: TorchEngine, crops: np.ndarray, clock: Callable[[], float]) -> float:
    """Faces a second of the network and its decoding."""
    started = clock()
    for start in range(0, len(crops), BATCH):
        engine(crops[start : start + BATCH])
    return len(crops) / (clock() - started)


def annotated(landmarker: Landmarker, folder: Path, formats: list[str], clock: Callable[[], float]) -> float:
    """Faces a second of the whole way."""
    started = clock()
    images = find_input(str(folder / "in"))
    boxes = boxes_of(images.names, folder / "boxes.csv")
    with Results(folder / "out", formats, landmarker.schema, {}) as results:
        annotate_images(landmarker, images, results, boxes)
    return results.faces / (clock() - started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--models", nargs="+", default=["wing_cnn6", "resnet18", "hrnet_w18"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder, arguments.photos)
        for backbone in arguments.models:
            engine = TorchEngine(model(backbone), torch.device("cpu"), "32")
            landmarker = Landmarker(engine, batch_size=BATCH)
            images = find_input(str(folder / "in"))
            boxes = boxes_of(images.names, folder / "boxes.csv")
            crops = np.concatenate([landmarker.cut(images.root / n, boxes[n]).crops for n in images.names])
            bare(engine, crops[:BATCH], clock)
            ways = ["overlay", "csv", "json"], ["csv", "json"]
            rounds = [
                (bare(engine, crops, clock), *(annotated(landmarker, folder, way, clock) for way in ways))
                for _ in range(arguments.rounds)
            ]
            alone, whole, tables = (statistics.median(speeds) for speeds in zip(*rounds, strict=True))
            ratios = [statistics.median(speeds[way] / speeds[0] for speeds in rounds) for way in (1, 2)]
            print(
                f"{backbone}: bare {alone:.1f} faces/s, annotate {whole:.1f} ({ratios[0]:.2f}), tables alone "
                f"{tables:.1f} ({ratios[1]:.2f})"
            )
            sys.stdout.flush()
