"""Find the landmarks of one's own images or of a video: pictures with them drawn, and tables.

INPUT is an image, a folder (with its subfolders), a pattern in quotes such as 'photos/*.jpg', one video file, or webcam
(webcam:1 is the second one; it is recorded until Ctrl-C). Of folders and patterns only images are taken.

Face boxes come from --boxes, a csv file with id,x_min,y_min,x_max,y_max in pixels counted from 0, where id is the
path of an image relative to INPUT, with #0, #1, ... for several faces on it; or from a detector, a class or a YAML
file, with its own settings after it: --detector wingmark.detectors.YuNet --detector.model FILE.onnx. Without either
the whole image is the box. On videos a face is followed: the landmarks of a frame tell where to look in the next one.
Boxes of NAME.mp4 are those of NAME/000001, its first frame, and of later ones where new faces come.

Written are an overlay of each image (a .jpg, named as it) or of the video (.mp4), landmarks.csv (CSVFaces reads it),
boxes.csv (--boxes and data.boxes read it), landmarks.json, and where asked for a .pts file per face, counted from 1 as
those of 300W. Images without a face are listed, which is no failure; the exit status is 1 where something could not be
read, or no face was found at all. Ctrl-C keeps what was found. Coordinates are those of the pixels as they are stored,
also where EXIF says to turn the photo, whose overlay is upright. A face of a video is lost where its landmarks
collapse, leave the frame, or are expected to be far off.
"""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from wingmark.annotation import (
    FORMATS,
    ImageInput,
    OneEuro,
    Results,
    Tracker,
    Video,
    VideoInput,
    annotate_images,
    annotate_video,
    boxes_of,
    find_input,
)
from wingmark.detectors import Detector, whole_image
from wingmark.infer import Landmarker
from wingmark.training import quiet_libraries

log = logging.getLogger(__name__)

SHOWN = 10  # of what was left out; landmarks.json lists all
DETECT_SECONDS = 1.0  # new faces are looked for so often
JITTER = {"jitter": "jitter of the landmarks as found", "jitter_smoothed": "after smoothing"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(settings=[])  # those of the detector
    parser.add_argument("input", metavar="INPUT", help="image, folder, pattern, video or webcam")
    parser.add_argument("--model", type=Path, required=True, help="run folder, .ckpt, or file of `wingmark export`")
    parser.add_argument(
        "--output", type=Path, default=Path("annotated"), metavar="FOLDER", help="a new one; default: annotated"
    )
    parser.add_argument(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=["overlay", "csv", "json"],
        help="what to write; default: overlay csv json",
    )
    boxes = parser.add_mutually_exclusive_group()
    boxes.add_argument("--boxes", type=Path, metavar="FILE", help="csv file of face boxes")
    boxes.add_argument("--detector", metavar="CLASS", help="class or YAML file that finds the faces")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32", help="of the network; default: 32")
    parser.add_argument("--batch-size", type=int, default=16, metavar="COUNT", help="default: 16")
    parser.add_argument("--flip", action="store_true", help="also look at the mirrored face, and take the mean")
    parser.add_argument("--refine", action="store_true", help="look twice, the second time where landmarks were found")
    parser.add_argument("--smooth", action="store_true", help="calm the landmarks of a video (One-Euro filter)")
    parser.add_argument(
        "--min-cutoff", type=float, default=1.0, metavar="HZ", help="of a face at rest: less is calmer; default: 1"
    )
    parser.add_argument(
        "--beta", type=float, default=10.0, help="Hz per face size a second: more follows faster; default: 10"
    )


def run(arguments: argparse.Namespace) -> Results:
    """Write the files and print what was found, how fast, and what was left out."""
    quiet_libraries()
    detector = _detector(arguments)
    chosen = find_input(arguments.input)
    _refuse(arguments, chosen)
    video = None if isinstance(chosen, ImageInput) else Video(chosen)
    boxes = None
    if arguments.boxes is not None:
        names = (video.has, video.frame_name(1)) if video else (set(chosen.names).__contains__, chosen.names[0])
        boxes = boxes_of(*names, arguments.boxes)
    landmarker = Landmarker.load(
        arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        detector=detector,
        flip=arguments.flip,
        refine=arguments.refine,
        batch_size=arguments.batch_size,
    )
    if detector is None and boxes is None:
        log.warning("without --detector or --boxes each whole image is taken for the box of a face")
    started = time.perf_counter()
    with Results(arguments.output, arguments.format, landmarker.schema, _about(arguments, landmarker)) as results:
        if video is None:
            annotate_images(landmarker, chosen, results, boxes)
        else:
            annotate_video(_tracker(arguments, landmarker, detector), video, results, boxes)
    _tell(results, time.perf_counter() - started)
    return results


def _about(arguments: argparse.Namespace, landmarker: Landmarker) -> dict[str, Any]:
    """What the JSON file tells of where its faces come from."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    rules = {"schema": landmarker.schema.name, "protocol": landmarker.protocol.to_dict()}
    return {**{name: value for name, value in plain.items() if name not in ("output", "format")}, **rules}


def _tracker(arguments: argparse.Namespace, landmarker: Landmarker, detector: Detector | None) -> Tracker:
    smooth = (lambda: OneEuro(arguments.min_cutoff, arguments.beta)) if arguments.smooth else None
    if detector is not None:
        return Tracker(landmarker, detector, DETECT_SECONDS, smooth)
    # Where faces have given boxes, the whole image is none.
    return Tracker(landmarker, whole_image if arguments.boxes is None else lambda frame: [], None, smooth)


def _detector(arguments: argparse.Namespace) -> Detector | None:
    if arguments.detector is None:
        if arguments.settings:
            raise ValueError(
                f"unrecognized arguments: {' '.join(arguments.settings)[:80]}; a pattern goes in quotes; see wingmark "
                "annotate --help"
            )
        return None
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--detector", type=Detector, sub_configs=True)
    try:
        parsed = parser.parse_args(["--detector", arguments.detector, *arguments.settings])
        return parser.instantiate_classes(parsed).detector
    except ArgumentError as error:
        reason = str(error).strip().splitlines()[-1].strip(" -")
        raise ValueError(
            f"--detector {arguments.detector}: {reason}; give a class such as wingmark.detectors.YuNet, or a YAML file "
            "of one, and its settings: --detector.model FILE"
        ) from error


def _refuse(arguments: argparse.Namespace, chosen: ImageInput | VideoInput) -> None:
    """Options that the input has no use for, values that mean nothing, results beside other files: ValueError."""
    images = isinstance(chosen, ImageInput)
    if arguments.smooth and images:
        raise ValueError("--smooth is for videos: images have no order in time")
    if arguments.boxes is not None and not images and isinstance(chosen.source, int):
        raise ValueError("--boxes are for images and video files; find the faces of a webcam with --detector")
    if arguments.batch_size < 1 or not arguments.min_cutoff > 0 or not arguments.beta >= 0:
        raise ValueError("--batch-size must be 1 or more, --min-cutoff above 0, --beta 0 or more")
    output = arguments.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} is there already: choose another --output, or delete it")
    if Path(arguments.input).is_dir() and output.resolve().is_relative_to(Path(arguments.input).resolve()):
        raise ValueError(
            f"--output {output} lies in {arguments.input}, where its pictures would be annotated next time: give a "
            "folder beside it"
        )


def _tell(results: Results, seconds: float) -> None:
    """Print what was found. Exit status 1 where something could not be read or no face was found, 130 after Ctrl-C."""
    faces = f"{results.faces} face{'s' * (results.faces != 1)}"
    pictures = f"{results.pictures} {'frame' if 'fps' in results.summary else 'image'}{'s' * (results.pictures != 1)}"
    print(f"{faces} on {pictures} in {seconds:.1f} s, {results.faces / seconds:.1f} a second, in {results.folder}")
    for name, meaning in JITTER.items():
        if (value := results.summary.get(name)) is not None:
            print(f"{meaning}: {value:.2f} % of the face size")
    _list("without a face", results.without_face)
    _list("could not be read", results.left_out)
    if results.interrupted:
        print("interrupted: the rest was not looked at", file=sys.stderr)
        sys.exit(130)
    if results.left_out:
        sys.exit(1)
    if not results.faces:
        sys.exit("wingmark: no face was found")


def _list(what: str, entries: list[str]) -> None:
    if entries:
        print(f"{len(entries)} {what}:")
        for entry in entries[:SHOWN]:
            print(f"  {entry}")
        if len(entries) > SHOWN:
            print(f"  and {len(entries) - SHOWN} more, see landmarks.json")
