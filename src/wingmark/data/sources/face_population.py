"""How the `Head`s of `face_model` differ: people, their expressions, their poses and where the picture shows them."""

import numpy as np

from wingmark.data.sources.face_model import Head, landmarks

# How much the measures of a head differ from person to person: standard deviations, in units of `face_model`.
SPREAD = {
    "half_width": 0.045,
    "chin": 0.065,
    "skull": 0.04,
    "jaw": 0.28,
    "eye_x": 0.018,
    "eye_half_width": 0.010,
    "eye_half_height": 0.010,
    "eye_slant": 0.014,
    "brow_y": 0.024,
    "brow_thickness": 0.012,
    "brow_arch": 0.020,
    "brow_slant": 0.014,
    "nose_length": 0.036,
    "nose_half_width": 0.020,
    "nose_height": 0.04,
    "mouth_y": 0.026,
    "mouth_half_width": 0.022,
    "upper_lip": 0.015,
    "lower_lip": 0.018,
}
# What follows what, as (measure, other measure, change per standard deviation of the other): a long face has all of it
# lower, and broad noses and mouths come together.
TOGETHER = (
    ("mouth_y", "nose_length", 0.032),
    ("chin", "mouth_y", 0.03),
    ("mouth_half_width", "nose_half_width", 0.008),
)
# How many faces carry each tag; a face can carry several.
TAG_RATES = {"pose": 0.20, "expression": 0.25, "illumination": 0.18, "make-up": 0.15, "occlusion": 0.18, "blur": 0.14}
POSE, PROFILE = 25, 75  # degrees of yaw: a face turned by POSE or more is tagged, none is turned by more than PROFILE


class Draws:
    """The random numbers of N faces, handed out column by column, (N, 1) each."""

    def __init__(self, generators: list[np.random.Generator]):
        self._normal = iter(np.stack([g.standard_normal(40) for g in generators]).clip(-2.5, 2.5).T[..., None])
        self._uniform = iter(np.stack([g.random(40) for g in generators]).T[..., None])

    def normal(self) -> np.ndarray:
        """Standard normal numbers, cut at 2.5."""
        return next(self._normal)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        return low + (high - low) * next(self._uniform)

    def sign(self) -> np.ndarray:
        return np.where(next(self._uniform) < 0.5, -1.0, 1.0)


def draw_people(draws: Draws) -> Head:
    """N neutral heads, seen from the front."""
    mean = Head()
    off = {name: draws.normal() for name in SPREAD}
    shape = {name: getattr(mean, name) + SPREAD[name] * off[name] for name in SPREAD}
    for name, other, change in TOGETHER:
        shape[name] = shape[name] + change * off[other]
    return mean._replace(**shape)


def draw_expressions(draws: Draws, people: Head, strong: np.ndarray) -> Head:
    """The people with a calm face or a smile, or a strong expression.

    Those are an open mouth, a laugh, closed eyes, a wink, a frown, surprise, pursed lips.
    """
    kind = np.where(strong, np.floor(draws.uniform(0, 7)), -1)
    amount, left = draws.uniform(), draws.sign() > 0
    opened, laugh, closed, wink, frown, surprise, pursed = (kind == k for k in range(7))
    smiling = (draws.uniform() < 0.5) & ~(frown | pursed | opened | surprise)
    smile = np.where(smiling, draws.uniform(0.3, 1.2), 0.25 * draws.normal())
    gap = np.where(draws.uniform() < np.where(smiling, 0.6, 0.2), draws.uniform(0.02, 0.09), 0.0)
    gap = np.where(opened | surprise, 0.12 + 0.25 * amount, np.where(laugh, 0.08 + 0.12 * amount, gap))
    smile = np.where(laugh, 0.9 + 0.5 * amount, np.where(frown, -0.9, smile))
    lopsided = 0.12 * draws.normal()
    raised = np.where(surprise, 0.07, np.where(frown, -0.045, 0.016 * draws.normal()))
    raised_more = 0.008 * draws.normal()
    lid = np.where(surprise, 1.3, np.where(laugh, 0.7, 1 - 0.15 * smiling + 0.13 * draws.normal()))
    return people._replace(
        mouth_gap=np.where(pursed, 0.0, gap),
        mouth_half_width=people.mouth_half_width * np.where(pursed, 0.72, 1.0),
        smile_right=smile + lopsided,
        smile_left=smile - lopsided,
        brow_raise_right=raised + raised_more,
        brow_raise_left=raised - raised_more,
        lid_right=np.where(closed | (wink & ~left), 0.05, lid),
        lid_left=np.where(closed | (wink & left), 0.05, lid),
        gaze_x=0.022 * draws.normal(),
        gaze_y=0.006 * draws.normal(),
    )


def draw_poses(draws: Draws, heads: Head, turned: np.ndarray) -> Head:
    """The heads before a camera, some turned far to the side, each with all its landmarks in the picture."""
    large = draws.sign() * (POSE + (PROFILE - POSE) * draws.uniform() ** 1.7)
    heads = heads._replace(
        yaw=np.deg2rad(np.where(turned, large, 9.9 * draws.normal())),
        pitch=np.deg2rad(8 * draws.normal()),
        roll=np.deg2rad(9 * draws.normal()),
        distance=8 * 4 ** draws.uniform(),
        scale=draws.uniform(0.31, 0.44),
    )
    points = landmarks(heads, "wflw98")
    least, most = -0.49 - points.min(1), 0.49 - points.max(1)
    x, y = (0.5 + 0.5 * draws.sign() * draws.uniform() ** 2 for _ in range(2))
    return heads._replace(center_x=(least + x * (most - least))[:, :1], center_y=(least + y * (most - least))[:, 1:])
