"""What the person of a `face_model` head looks like: skin, eyes, lips, beard, hair."""

from typing import NamedTuple

import numpy as np

SKINS = np.array(
    [(242, 210, 186), (234, 194, 164), (220, 174, 138), (194, 140, 104), (152, 104, 76), (112, 76, 58), (84, 58, 48)],
    float,
)
HAIRS = np.array(
    [(28, 22, 20), (44, 30, 24), (74, 48, 32), (110, 74, 44), (176, 136, 86), (140, 66, 36), (160, 156, 150)], float
)
IRISES = np.array([(70, 44, 26), (96, 62, 34), (96, 110, 66), (84, 124, 156), (110, 130, 140)], float)
LIPSTICKS = np.array([(170, 20, 44), (196, 40, 84), (130, 20, 60), (214, 84, 92)], float)
SHADOWS = np.array([(90, 60, 110), (60, 80, 120), (110, 60, 50), (60, 60, 66)], float)


class Style(NamedTuple):
    """A way to wear hair, or a hat."""

    hairline: float  # y of the border above the nose; -2 is none
    volume: float  # thickness, in head sizes; 0 is bald
    part: float = 0.0  # slope of the border
    fray: float = 0.015  # how far the border's strands reach, in units
    curl: float = 0.0  # how far strands swing
    down: float = 0.0  # y where locks behind the face end; 0 is none
    front: float = 0.0  # how much of the cheeks locks before the face cover, 0 to 1; 0 is none
    hat: bool = False


SHORT = (
    Style(-0.62, 0.12),
    Style(-0.58, 0.17, fray=0.03),
    Style(-0.64, 0.05, fray=0.008),  # shorn
    Style(-0.55, 0.15, part=0.3),
    Style(-0.58, 0.26, fray=0.04, curl=0.05),
    Style(-0.45, 0.18, part=0.15, fray=0.12),  # tousled over the forehead
    Style(-0.80, 0.06),  # receding
    Style(-2.0, 0.0),  # bald
    Style(-0.42, 0.16, hat=True),
)
LONG = (
    Style(-0.62, 0.15, down=1.7, front=0.3),
    Style(-0.60, 0.18, down=1.3, front=0.6),
    Style(-0.55, 0.18, part=0.35, down=1.8, front=0.7, fray=0.03),
    Style(-0.58, 0.28, down=1.5, front=0.5, curl=0.08),
    Style(-0.30, 0.13, down=1.5, front=0.5, fray=0.10),  # bangs to the brows
    Style(-0.36, 0.13, part=0.25, down=1.2, front=0.4, fray=0.12),
    Style(-0.60, 0.06),  # tied back
    Style(-0.62, 0.12, part=0.2),
    Style(-0.45, 0.15, down=1.6, front=0.5, hat=True),
)


class Paint(NamedTuple):
    """Colors (RGB, 0 to 255) and hair of one face."""

    skin: np.ndarray
    hair: np.ndarray
    crown: np.ndarray  # what the top of the head is covered by: hair or a hat
    brow: np.ndarray
    iris: np.ndarray
    white: np.ndarray  # of the eyes
    lips: np.ndarray
    lids: np.ndarray
    liner: float  # width of the dark rim of the upper lid
    blush: float  # strength of the red of the cheeks
    rough: float  # strength of spots and blotches
    age: float  # strength of folds and bags, 0 to 1
    beard: float  # its strength, 0 without
    mustache: float
    beard_from: float  # |x| where the beard begins: 0, or more for a chin left bare
    beard_to: float  # |x| where it ends: a goatee is narrow
    style: Style
    hairline: float  # its y above the nose
    part: float  # its slope
    volume: float  # thickness of the hair, in head sizes
    glasses: bool


def _between(colors: np.ndarray, position: float) -> np.ndarray:
    """A color on the way through a list of colors, position from 0 to 1."""
    at = position * (len(colors) - 1)
    low = min(int(at), len(colors) - 2)
    return colors[low] + (at - low) * (colors[low + 1] - colors[low])


def mix(rng: np.random.Generator, feminine: bool) -> Paint:
    """The colors of one person, and the hair."""
    tone = rng.random() ** 1.5
    skin = np.clip(_between(SKINS, tone) * rng.uniform(0.9, 1.05) * rng.uniform(0.95, 1.05, 3), 0, 255)
    dark = tone > 0.45  # dark hair and brown eyes go with dark skin
    hair = HAIRS[rng.integers(2 if dark else len(HAIRS))] * rng.uniform(0.7, 1.2)
    iris = IRISES[rng.integers(2 if dark else len(IRISES))] * rng.uniform(0.7, 1.15)
    red = rng.uniform(0.15, 0.6)
    style = choose_style(rng, feminine)
    bearded, mustached = rng.random(2) < (0.0 if feminine else 0.4)
    beard, shaven, wide = rng.uniform(0.2, 0.95, 2), rng.random(), rng.random()
    return Paint(
        skin=skin,
        hair=hair,
        crown=rng.uniform(10, 230) + rng.normal(0, 40, 3) if style.hat else hair,
        brow=np.minimum(hair, 110) + rng.uniform(0.05, 0.55) * (skin - np.minimum(hair, 110)),
        iris=iris,
        white=np.array([226, 218, 212]) * rng.uniform(0.7, 1.05),
        lips=(1 - red) * skin + red * np.array([176, 70, 76]) * (1 - 0.45 * tone),
        lids=rng.uniform(0.6, 0.9) * skin,
        liner=rng.uniform(0.010, 0.022),
        blush=rng.uniform(0.1, 0.6),
        rough=rng.uniform(0.01, 0.05),
        age=rng.random() ** 1.5,
        beard=beard[0] if bearded else 0.0,
        mustache=beard[1] if mustached else 0.0,
        beard_from=0.16 if shaven < 0.1 else 0.0,
        beard_to=0.25 if wide < 0.4 else 1.0,
        style=style,
        hairline=style.hairline + float(rng.normal(0, 0.03)),
        part=float(rng.choice([-1, 1])) * style.part + float(rng.normal(0, 0.04)),
        volume=style.volume * float(rng.uniform(0.8, 1.25)),
        glasses=rng.random() < 0.16,
    )


def choose_style(rng: np.random.Generator, feminine: bool) -> Style:
    styles = LONG if (rng.random() < 0.85) == feminine else SHORT
    return styles[rng.integers(len(styles))]


def make_up(paint: Paint, rng: np.random.Generator) -> Paint:
    """The same person with lipstick, shadowed lids, dark lashes and rouge."""
    return paint._replace(
        lips=LIPSTICKS[rng.integers(len(LIPSTICKS))] * rng.uniform(0.7, 1.1),
        lids=SHADOWS[rng.integers(len(SHADOWS))] * rng.uniform(0.7, 1.2),
        liner=rng.uniform(0.028, 0.045),
        blush=rng.uniform(0.6, 1.0),
        rough=0.5 * paint.rough,
    )
