"""What boxes of a detector cost a model that was trained on tight ones, and what a second look gets back.

The test faces of a run that dlib finds, each cut out by its tight box, by dlib's box, and by that with `refine`.

    python tests/benchmarks/detector_boxes.py runs/NAME
"""

import argparse

import numpy as np

import wingmark.run
from wingmark.annotation.tracking import overlap
from wingmark.detectors import Dlib
from wingmark.geometry import tight_box
from wingmark.infer import Landmarker
from wingmark.progress import progress

SAME_FACE = 0.3  # intersection over union

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    run = parser.parse_args().run
    data, detector = wingmark.run.load_data(run), Dlib()
    once, twice = (Landmarker.load(run, refine=refine) for refine in (False, True))
    faces, protocol = data.faces("test"), data.protocol
    errors = []
    for face, normalizer in zip(
        progress(faces, "faces", len(faces)), protocol.normalizers_of(faces, data.schema), strict=True
    ):
        image, tight = data.source.read_image(face), tight_box(face.landmarks_image[face.valid])
        found = max(detector(image), key=lambda box, tight=tight: overlap(box, tight), default=None)
        if found is None or overlap(found, tight) < SAME_FACE:
            continue
        faces_found = once(image, [tight]), once(image, [found]), twice(image, [found])
        distances = [np.linalg.norm(f.landmarks_image[0] - face.landmarks_image, axis=1) for f in faces_found]
        errors.append([distance[face.valid].mean() / normalizer for distance in distances])
    print(f"{len(errors)} of {len(faces)} test faces found by dlib, {protocol.label}")
    for name, nme in zip(("tight box", "dlib's box", "dlib's box, refined"), np.array(errors).T, strict=True):
        fr = (nme > protocol.threshold).mean()
        print(f"{name:20} NME {100 * nme.mean():5.2f} %   FR@{100 * protocol.threshold:g} {100 * fr:5.2f} %")
