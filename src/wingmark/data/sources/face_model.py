"""A parametric 3D face: shape, expression and pose in, landmarks out.

The face is a relief z(x, y) over its frontal plane, and every feature (eyes, lips, brows, ...) is a curve in that
plane. Axes are those of a picture: x to the right, y down, z toward the viewer; the origin lies between the eyes
and one unit is about 10 cm. "right" is the person's right, at the left of the picture.

All functions take a `Head` of single numbers, or of arrays (N, 1) that hold N heads and broadcast over points.
"""

from typing import NamedTuple

import numpy as np

Number = float | np.ndarray
Curve = tuple[np.ndarray, np.ndarray]  # x and y (..., n)


class Head(NamedTuple):
    """What makes a face. The defaults are the neutral mean face, seen from the front.

    The means are about those of adults, set by eye until the mean landmarks came close to those of 300W: 63 mm between
    the pupils, 48 mm from the root of the nose to its base, 20 mm on to the line of the lips and 44 mm on to the chin,
    a mouth of 52 mm. Landmarks lie where annotators put them: inside the corners of the eyes, on the upper edge of the
    brows, at the cheek before the ear.
    """

    # shape
    half_width: Number = 0.74  # at the eyes
    chin: Number = 1.08
    skull: Number = 1.12
    jaw: Number = 2.15  # exponent of the lower outline: 1.8 is pointed, 2.6 square
    eye_x: Number = 0.316
    eye_half_width: Number = 0.130
    eye_half_height: Number = 0.048
    eye_slant: Number = 0.008
    brow_y: Number = -0.158
    brow_thickness: Number = 0.050
    brow_arch: Number = 0.065
    brow_slant: Number = 0.0  # inner ends down
    nose_length: Number = 0.455
    nose_half_width: Number = 0.162
    nose_height: Number = 0.23
    mouth_y: Number = 0.645
    mouth_half_width: Number = 0.262
    upper_lip: Number = 0.060
    lower_lip: Number = 0.085
    # expression
    mouth_gap: Number = 0.0  # between the lips
    smile_right: Number = 0.0
    smile_left: Number = 0.0
    brow_raise_right: Number = 0.0
    brow_raise_left: Number = 0.0
    lid_right: Number = 1.0  # 1 open, 0 closed
    lid_left: Number = 1.0
    gaze_x: Number = 0.0
    gaze_y: Number = 0.0
    # pose in radians: yaw to the right of the picture, pitch down, roll clockwise
    yaw: Number = 0.0
    pitch: Number = 0.0
    roll: Number = 0.0
    # the camera: its distance in units; place in the picture, in its sides from its middle; scale is sides per unit
    distance: Number = 14.0
    center_x: Number = 0.0
    center_y: Number = 0.0
    scale: Number = 0.37


TIP = 0.115  # of the nose, above its base


def lowest(head: Head):
    """y of the chin, which goes down with the lower lip."""
    return head.chin + 0.55 * head.mouth_gap


def height(head: Head, y):
    """How far the head reaches on y's side of the eyes."""
    return np.where(y > 0, lowest(head), head.skull)


def half_width(head: Head, y):
    """Half of the face's breadth at height y."""
    down, up = np.clip(y / lowest(head), 0, 1), np.clip(-y / head.skull, 0, 1)
    return head.half_width * np.sqrt((1 - down**head.jaw) * (1 - up**3.0))


def depth(head: Head, y):
    """z of the outline and z of the middle of the bare relief at height y."""
    down, up = np.clip(y / lowest(head), 0, 1), np.clip(-y / head.skull, 0, 1)
    return 0.8 * down**2.5, 0.9 * np.sqrt(1 - up**2.4) - 0.1 * down**6


def relief(head: Head, x, y):
    """z(x, y): an ellipse for each height, with nose, brows, sockets, cheeks, lips and chin on top."""
    back, front = depth(head, y)
    across = np.clip(x / np.maximum(half_width(head, y), 1e-6), -1, 1)
    z = back + (front - back) * np.sqrt(1 - across**2)
    mouth, under, tip = head.mouth_y, head.mouth_y + head.mouth_gap, head.nose_length - TIP
    bumps = [  # height, place (on both sides) and size
        (-0.10, 0.8 * head.eye_x, -0.01, 0.15, 0.10),  # eye sockets
        (0.05, head.eye_x, 0.0, 0.12, 0.075),  # eyeballs
        (0.05, 0.25, -0.2, 0.22, 0.08),  # brows
        (0.04, 0.40, 0.28, 0.17, 0.15),  # cheekbones
        (0.07, 0.0, mouth, 0.27, 0.22),  # the teeth below the skin
        (0.035, 0.0, mouth - 0.035, 0.18, 0.035),  # lips
        (0.045, 0.0, under + 0.045, 0.16, 0.04),
        (-0.03, 0.0, under + 0.14, 0.15, 0.04),
        (0.06, 0.0, lowest(head) - 0.1, 0.16, 0.10),  # chin
        (0.09, 0.72 * head.nose_half_width, tip + 0.03, 0.055, 0.06),  # nostrils
    ]
    side = np.abs(x)
    for bump, bump_x, bump_y, size_x, size_y in bumps:
        z = z + bump * np.exp(-(((side - bump_x) / size_x) ** 2) - ((y - bump_y) / size_y) ** 2)
    along = np.clip((y + 0.06) / (tip + 0.06), 0, 1)
    ridge = head.nose_height * along**1.2 * np.where(y > tip, np.exp(-(((y - tip) / 0.08) ** 2)), 1.0)
    return z + ridge * np.exp(-((side / (0.07 + 0.035 * along)) ** 2))


def rotate(head: Head, x, y, z):
    """Points as the camera sees them: turned about the middle of the face, which becomes the origin."""
    y, z = y - 0.35, z - 0.5
    x, z = x * np.cos(head.yaw) + z * np.sin(head.yaw), z * np.cos(head.yaw) - x * np.sin(head.yaw)
    y, z = y * np.cos(head.pitch) + z * np.sin(head.pitch), z * np.cos(head.pitch) - y * np.sin(head.pitch)
    x, y = x * np.cos(head.roll) - y * np.sin(head.roll), y * np.cos(head.roll) + x * np.sin(head.roll)
    return x, y, z


def place(head: Head, x, y, z):
    """Perspective: rotated points to positions (..., 2) in sides of the picture from its middle."""
    scale = head.scale * head.distance / (head.distance - z)
    return np.stack(np.broadcast_arrays(head.center_x + scale * x, head.center_y + scale * y), axis=-1)


def project(head: Head, x, y, z):
    """Points of the head to positions (..., 2) in sides of the picture from its middle."""
    return place(head, *rotate(head, x, y, z))


def _mirror(ring: Curve, pivot: int) -> Curve:
    """The ring of the left eye or brow from one of the right: again clockwise, starting with the mirrored `pivot`."""
    x, y = ring
    order = (pivot - np.arange(x.shape[-1])) % x.shape[-1]
    return -x[..., order], y[..., order]


def _eye(head: Head, lid) -> Curve:
    """24 points around the right eye: outer corner, upper lid, inner corner, lower lid."""
    s = np.linspace(0, 1, 13)
    x = -head.eye_x + head.eye_half_width * (2 * s - 1)
    line = head.eye_slant * (1.4 * s - 0.9)
    low = line + 0.8 * head.eye_half_height * np.sin(np.pi * s**1.15) ** 0.9
    high = line - 1.25 * head.eye_half_height * np.sin(np.pi * s**0.85) ** 0.85
    high = low + lid * (high - low)
    return np.concatenate([x, x[..., 11:0:-1]], -1), np.concatenate([high, low[..., 11:0:-1]], -1)


def _brow(head: Head, raised) -> Curve:
    """33 points around the right brow: outer tip, upper edge, inner end, lower edge."""
    t = np.linspace(0, 1, 17)
    x = -head.eye_x - 0.268 + 0.46 * t
    hump = head.brow_arch * (np.sin(np.pi * t**0.75) - 0.3 * (1 - t) - 0.3 * t**2)
    middle = head.brow_y - raised - hump + head.brow_slant * (2 * t - 1)
    half = 0.5 * head.brow_thickness * np.sin(0.5 * np.pi * np.minimum(1, 1.5 * t)) * (1 - 0.15 * t)
    x = np.broadcast_to(x, middle.shape)
    high, low = middle - half, middle + half
    return np.concatenate([x, x[..., :0:-1]], -1), np.concatenate([high, low[..., :0:-1]], -1)


def _lip_ring(head: Head, half_width, t, above, below) -> Curve:
    """A closed line `above` and `below` the line between the mouth's corners, for t from -1 (right) to 1 (left)."""
    smile = np.where(t < 0, head.smile_right, head.smile_left)
    x = t * (half_width + 0.05 * smile)
    line = head.mouth_y - 0.05 * smile * np.abs(t) ** 1.6
    back = slice(-2, 0, -1)
    return (
        np.concatenate([x, x[..., back]], -1),
        np.concatenate([line - above, (line + below)[..., back]], -1),
    )


def _lips(head: Head) -> tuple[Curve, Curve]:
    """24 points around the outer and 16 around the inner lip line, from the right corner over the upper lip."""
    t = np.linspace(-1, 1, 13)
    t = t * np.abs(t) ** 0.25  # annotators crowd around the middle, more so on the inner line
    arc = (1 - t**2) ** 0.75
    bow = arc * (1 + 0.1 * t**2) - 0.22 * np.exp(-((t / 0.18) ** 2))
    below = (head.lower_lip + 0.85 * head.mouth_gap) * arc
    outer = _lip_ring(head, head.mouth_half_width, t, head.upper_lip * bow + 0.15 * head.mouth_gap * arc, below)
    t = np.linspace(-1, 1, 9)
    t = t * np.abs(t) ** 0.6
    gap = head.mouth_gap * (1 - t**2) ** 0.75
    return outer, _lip_ring(head, 0.86 * head.mouth_half_width, t, 0.15 * gap, 0.85 * gap)


def _equal_parts(count: int) -> np.ndarray:
    """Angles from the ear (0) to the chin (90 degrees) that divide half of the mean jaw line into equal parts."""
    angle = np.linspace(0, np.pi / 2, 2001)
    y = lowest(Head()) * np.sin(angle)
    length = np.cumsum(np.hypot(np.diff(half_width(Head(), y), prepend=Head().half_width), np.diff(y, prepend=0)))
    return np.interp(np.linspace(0, length[-1], count + 1), length, angle)


_JAW_ANGLES = _equal_parts(16)


def cheeks(head: Head, y) -> tuple[np.ndarray, np.ndarray]:
    """x of the right and left end of what is seen at height y: the outline, or the contour of a cheek turned away."""
    width = half_width(head, y)
    back, front = depth(head, y)

    def contour(turn):
        along, across = width * np.cos(turn), (front - back) * np.maximum(np.sin(turn), 0)
        return width * along / np.maximum(np.hypot(along, across), 1e-9)

    return -contour(-head.yaw), contour(head.yaw)


def _jaw(head: Head) -> Curve:
    """33 points (x, y) of the jaw from the right ear over the chin to the left ear, on the ends of what is seen."""
    y = lowest(head) * np.sin(_JAW_ANGLES)
    right, left = cheeks(head, y)
    y = np.broadcast_to(y, right.shape)
    back_up = slice(-2, None, -1)
    return np.concatenate([right, left[..., back_up]], -1), np.concatenate([y, y[..., back_up]], -1)


def curves(head: Head) -> dict[str, Curve]:
    """The drawn curves by name, in the frontal plane."""
    outer, inner = _lips(head)
    right_eye, left_eye = _eye(head, head.lid_right), _mirror(_eye(head, head.lid_left), 12)
    down = np.linspace(0, 1, 4) * (head.nose_length - TIP + 0.015) - 0.015
    base_y = head.nose_length + np.array([-0.04, -0.012, 0.006, -0.012, -0.04])
    base_x = head.nose_half_width * np.array([-0.85, -0.42, 0.0, 0.42, 0.85])
    pupil_x = np.array([-1.0, 1.0]) * head.eye_x + head.gaze_x
    return {
        "jaw": _jaw(head),
        "right_brow": _brow(head, head.brow_raise_right),
        "left_brow": _mirror(_brow(head, head.brow_raise_left), 16),
        "bridge": (0.0 * down, down),
        "base": (base_x, base_y),
        "right_eye": right_eye,
        "left_eye": left_eye,
        "outer_lip": outer,
        "inner_lip": inner,
        "pupils": (pupil_x, head.gaze_y - 0.008 + 0.0 * pupil_x),
    }


_ALL = slice(None)
_NOSE = {"bridge": _ALL, "base": _ALL}
_LIPS = {"outer_lip": slice(None, None, 2), "inner_lip": slice(None, None, 2)}
# Which points of which curves are the landmarks, in their order.
LAYOUTS = {
    "ibug68": {
        "jaw": slice(None, None, 2),
        "right_brow": slice(0, 17, 4),
        "left_brow": slice(0, 17, 4),
        **_NOSE,
        "right_eye": slice(None, None, 4),
        "left_eye": slice(None, None, 4),
        **_LIPS,
    },
    "wflw98": {
        "jaw": _ALL,
        "right_brow": [0, 4, 8, 12, 16, 17, 21, 25, 29],
        "left_brow": slice(None, None, 4),
        **_NOSE,
        "right_eye": slice(None, None, 3),
        "left_eye": slice(None, None, 3),
        **_LIPS,
        "pupils": _ALL,
    },
}


def landmarks(head: Head, schema: str) -> np.ndarray:
    """Landmarks (..., K, 2) in the schema's order, in sides of the picture from its middle.

    What the head turns away lies on the contour of the cheek at the same height, where the annotators of 300W and WFLW
    put it.
    """
    drawn = curves(head)
    parts = [(drawn[name][0][..., part], drawn[name][1][..., part]) for name, part in LAYOUTS[schema].items()]
    x, y = (np.concatenate(axis, -1) for axis in zip(*parts, strict=True))
    x = np.clip(x, *cheeks(head, y))
    return project(head, x, y, relief(head, x, y))
