"""How fast training samples are made from photos of HELEN's size, against the ways in which it is usually done.

Rendered photos, 1,300 px wide with a face of about 550 px, become crops of 256 px with rotation, scale, shift, flip and
the photometric list of the recipe 300w_heatmap_awing. One process, one thread; all take turns, several rounds.

    wingmark              without a cache: reduced decoding, one warp, uint8; heatmaps are made on the device
    wingmark, cache       the same from `data.cache`
    read and warp         the cached piece and one warp, nothing else: what the cache could give at best
    decode and warp       the same where pieces are kept as JPEGs of quality 95, as other caches do
    straightforward       full decoding, averaged down, one warp, the same list, floats and 68 heatmaps of 64 x 64
    ... not averaged      the same without averaging, which aliases
    albumentations        full decoding, then everything by albumentations, normalized floats, no heatmaps
    torchlm               the same with torchlm's transforms, where that is installed

Then the memory of loader processes after each of several epochs. The project wants of wingmark 1.6 times the
straightforward way without cache; with cache 6 times that, and 0.7 of reading and warping.

    OMP_NUM_THREADS=1 python tests/benchmarks/loading.py [--photos 48] [--rounds 5] [--epochs 3]
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import simplejpeg
import torch
import yaml
from torch.utils.data import DataLoader

import wingmark.run
from wingmark.data import LandmarkDataModule
from wingmark.data.sources import SyntheticFaces
from wingmark.geometry import apply, compose, crop_to_image, invert, warp
from wingmark.transforms.photometric import A

RECIPE = Path(__file__).parents[2] / "configs" / "recipes" / "300w_heatmap_awing.yaml"
WIDTH, HEIGHT, RENDERED, CORNER = 1300, 1040, 1000, (150, 20)
SIZE, MARGIN = 256, 1.25
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])


def write_photos(folder: Path, count: int) -> None:
    """JPEG files with a rendered face before a busy background, and faces.csv."""
    source = SyntheticFaces(train=count, image_size=RENDERED)
    rows = ["image," + ",".join(f"{axis}{k}" for k in range(68) for axis in "xy")]
    random, (left, top) = np.random.default_rng(0), CORNER
    for number, face in enumerate(source.faces("train")):
        coarse = random.integers(0, 255, (HEIGHT // 10, WIDTH // 10, 3), np.uint8)
        photo = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        photo[top : top + RENDERED, left : left + RENDERED] = source.read_image(face)
        cv2.imwrite(str(folder / f"{number}.jpg"), photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        rows.append(f"{number}.jpg," + ",".join(f"{v:.3f}" for v in (face.landmarks_image + CORNER).ravel()))
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")


def data_of(folder: Path, cache: bool, workers: int = 0) -> LandmarkDataModule:
    settings = yaml.safe_load(RECIPE.read_text())
    settings["data"] |= {
        "source": {
            "class_path": "wingmark.data.sources.CSVFaces",
            "init_args": {"root": str(folder), "annotations": "faces.csv"},
        },
        "protocol": "csv-tight/inter-ocular/v1",
        "crop_size": SIZE,
        "num_workers": workers,
        "cache": str(folder / "cache") if cache else None,
        "holdout": None,
    }
    return wingmark.run.build_data(settings)


def straightforward(data: LandmarkDataModule, averaged: bool) -> Callable[[int, int], object]:
    faces, photometric, flip = data.faces("train"), data.photometric, data.schema.flip
    rows = np.arange(64)

    def sample(index: int, epoch: int):
        random = np.random.default_rng([epoch, index])
        face = faces[index]
        image = cv2.cvtColor(cv2.imread(str(face.image)), cv2.COLOR_BGR2RGB)
        jitter = data.geometry.sample(random)
        to_image = crop_to_image(data.protocol.crop_box(face), SIZE, MARGIN, **jitter)
        step = np.sqrt(abs(np.linalg.det(to_image[:, :2])))
        warped = to_image
        if averaged and step > 2:
            image = cv2.resize(image, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
            warped = compose(np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]]), to_image)
        crop = cv2.warpAffine(image, warped, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        crop = photometric(crop, random)
        image = np.ascontiguousarray(((crop - MEAN) / STD).transpose(2, 0, 1))
        landmarks = face.landmarks_image[flip if jitter["flip"] else slice(None)]
        cells = (apply(invert(to_image), landmarks) + 0.5) / 4 - 0.5
        maps = np.zeros((len(cells), 64, 64), np.float32)
        for k, (x, y) in enumerate(cells):
            maps[k] = np.exp(-((rows[:, None] - y) ** 2 + (rows - x) ** 2) / (2 * 1.5**2))
        return torch.from_numpy(image), torch.from_numpy(maps)

    return sample


def cropped(data: LandmarkDataModule, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The fully decoded photo cut to the protocol's square, and the landmarks in it."""
    face = data.faces("train")[index]
    image = cv2.cvtColor(cv2.imread(str(face.image)), cv2.COLOR_BGR2RGB)
    box = data.protocol.crop_box(face)
    half = max(box.width, box.height) * MARGIN / 2
    left, top = max(0, round(box.x - half)), max(0, round(box.y - half))
    return image[top : round(box.y + half), left : round(box.x + half)], face.landmarks_image - (left, top)


def albumentations_alone(data: LandmarkDataModule) -> Callable[[int, int], object]:
    geometry = data.geometry
    affine = A.Affine(
        rotate=(-geometry.rotation, geometry.rotation),
        scale=(1 - geometry.scale, 1 + geometry.scale),
        translate_percent=(-geometry.shift, geometry.shift),
        p=1.0,
    )
    listed = list(data.photometric._compose.transforms)
    steps = [
        A.Resize(SIZE, SIZE, interpolation=cv2.INTER_AREA),
        affine,
        A.HorizontalFlip(p=0.5),
        *listed,
        A.Normalize(),
    ]
    whole = A.Compose(steps, keypoint_params=A.KeypointParams("xy", remove_invisible=False))

    def sample(index: int, epoch: int):
        image, landmarks = cropped(data, index)
        found = whole(image=image, keypoints=landmarks)
        return torch.from_numpy(np.ascontiguousarray(found["image"].transpose(2, 0, 1))), found["keypoints"]

    return sample


def torchlm_transforms() -> ModuleType | None:
    """The module of torchlm's transforms, without the rest of the package, which needs a runtime for ONNX."""
    found = importlib.util.find_spec("torchlm")
    if found is None:
        return None
    sys.modules["torchlm"] = ModuleType("torchlm")
    sys.modules["torchlm"].__path__ = list(found.submodule_search_locations)
    return importlib.import_module("torchlm.transforms")


def torchlm_alone(data: LandmarkDataModule, lm: ModuleType) -> Callable[[int, int], object]:
    geometry = data.geometry
    whole = lm.LandmarksCompose(
        [
            lm.LandmarksResize((SIZE, SIZE)),
            lm.LandmarksRandomRotate(int(geometry.rotation), prob=1.0),
            lm.LandmarksRandomScale(geometry.scale, prob=1.0),
            lm.LandmarksRandomTranslate(geometry.shift, prob=1.0),
            lm.LandmarksRandomHorizontalFlip(prob=0.5),
            lm.LandmarksRandomBrightness(prob=0.5),
            lm.LandmarksRandomHSV(prob=0.3),
            lm.LandmarksRandomMask(prob=0.2),
            lm.LandmarksResize((SIZE, SIZE)),
            lm.LandmarksNormalize(mean=0.0, std=255.0),
            lm.LandmarksToTensor(),
        ]
    )

    def sample(index: int, epoch: int):
        image, landmarks = cropped(data, index)
        return whole(image.copy(), landmarks.astype(np.float32))

    return sample


def contenders(folder: Path) -> dict[str, Callable[[int, int], object]]:
    plain, cached = data_of(folder, cache=False), data_of(folder, cache=True)
    without, dataset = plain.dataset("train"), cached.dataset("train")
    count = len(dataset)

    def read_and_warp(index: int, epoch: int):
        jitter = cached.geometry.sample(np.random.default_rng([epoch, index]))
        region = dataset.regions[index]
        to_image = crop_to_image(cached.protocol.crop_box(dataset.faces[index]), SIZE, MARGIN, **jitter)
        return warp(region.pixels, compose(invert(region.to_image), to_image), SIZE)

    encoded = [simplejpeg.encode_jpeg(region.pixels, 95) for region in map(dataset.regions.__getitem__, range(count))]

    def decode_and_warp(index: int, epoch: int):
        jitter = cached.geometry.sample(np.random.default_rng([epoch, index]))
        to_image = crop_to_image(cached.protocol.crop_box(dataset.faces[index]), SIZE, MARGIN, **jitter)
        pixels = simplejpeg.decode_jpeg(encoded[index], "RGB")
        return warp(pixels, compose(invert(dataset.regions[index].to_image), to_image), SIZE)

    ways = {
        "wingmark": lambda index, epoch: without[index, epoch],
        "wingmark, cache": lambda index, epoch: dataset[index, epoch],
        "read and warp": read_and_warp,
        "decode and warp": decode_and_warp,
        "straightforward": straightforward(plain, averaged=True),
        "... not averaged": straightforward(plain, averaged=False),
        "albumentations": albumentations_alone(plain),
    }
    lm = torchlm_transforms()
    return ways if lm is None else {**ways, "torchlm": torchlm_alone(plain, lm)}


def private_mib(pid: int) -> float:
    """Memory of a process that no other shares (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def memory(folder: Path, epochs: int) -> list[list[float]]:
    """Private memory of each of two loader processes after each epoch, without and with cache."""
    found = []
    for cache in (False, True):
        loader: DataLoader = data_of(folder, cache, workers=2).train_dataloader()
        for epoch in range(epochs):
            loader.sampler.set_epoch(epoch)
            for _ in loader:
                pass
            found.append([private_mib(worker.pid) for worker in loader._iterator._workers])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder, arguments.photos)
        ways = contenders(folder)
        rates = {way: [] for way in ways}
        for round_ in range(arguments.rounds + 1):
            for way, sample in ways.items():
                start = time.process_time()  # this process alone: others may be busy
                for index in range(arguments.photos):
                    sample(index, round_)
                if round_:  # the first warms up
                    rates[way].append(arguments.photos / (time.process_time() - start))
        base = rates["straightforward"]
        for way, found in rates.items():
            ratios = [one / other for one, other in zip(found, base, strict=True)]
            spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"{way:18} {statistics.median(found):7.1f} samples/s  {statistics.median(ratios):6.2f} {spread}")
        for way in ("read and warp", "decode and warp"):
            ratios = [one / other for one, other in zip(rates["wingmark, cache"], rates[way], strict=True)]
            print(f"wingmark, cache / {way}: {statistics.median(ratios):.2f}")
        size = sum(file.stat().st_size for file in folder.glob("cache/*/*")) / arguments.photos
        print(f"cache: {size / 2**20:.2f} MiB a face")
        rows = memory(folder, arguments.epochs)
        for title, part in (("without", rows[: arguments.epochs]), ("with", rows[arguments.epochs :])):
            epochs = "; ".join(" ".join(f"{mib:.0f}" for mib in workers) for workers in part)
            print(f"private MiB of two loader processes after each epoch, {title} cache: {epochs}")


if __name__ == "__main__":
    main()
