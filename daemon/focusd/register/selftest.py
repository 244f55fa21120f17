"""Whether scale is found without bias: known pictures, drawn at two scales, laid on each other.

The pictures are sums of waves, so each scale is drawn exactly and nothing is resampled. OpenCV's
`findTransformECC` under-estimates scale where it smooths the template itself [1]_; focusd does not use it.

References
----------
.. [1] OpenCV issue 29774.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from focusd.register.fit import fit
from focusd.register.outline import Outline
from focusd.register.transform import Transform

_SHAPE = (320, 320)
_SCALE = 1.01
_WAVES = 60
# Cycles a pixel.
_FINEST = 0.2
_SEEDS = (1, 2, 3)
_ECC_SMOOTHING_PX = 5
_ECC_STEPS = (int(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT), 200, 1e-9)


Picture = npt.NDArray[np.uint16]
_Find = Callable[[Picture, Picture, Transform], Transform]


@cache
def scale_bias() -> float:
    """Relative error of the scale that focusd's own fit finds at 1.01, mean of three pictures."""
    return _bias(_ours)


@cache
def ecc_scale_bias() -> float:
    """Relative error of the scale that OpenCV's `findTransformECC` finds, started at the right one."""
    return _bias(_ecc)


def _bias(find: _Find) -> float:
    true = Transform.similarity(_SHAPE, scale=_SCALE)
    pictures = [(_drawn(Transform.identity(), seed), _drawn(true.inverse(), seed)) for seed in _SEEDS]
    return float(np.mean([find(one, other, true).scale / _SCALE - 1 for one, other in pictures]))


def _ours(one: Picture, other: Picture, _: Transform) -> Transform:
    return fit(Outline.of(one), Outline.of(other), Transform.identity(), "similarity").transform


def _ecc(one: Picture, other: Picture, true: Transform) -> Transform:
    mask = np.full(_SHAPE, 255, np.uint8)
    _, matrix = cv2.findTransformECC(
        one.astype(np.float32),
        other.astype(np.float32),
        true.matrix.astype(np.float32),
        cv2.MOTION_AFFINE,
        _ECC_STEPS,
        mask,
        _ECC_SMOOTHING_PX,
    )
    return Transform(np.asarray(matrix, np.float64))


def _drawn(where: Transform, seed: int) -> Picture:
    """Draw the picture of a seed at the places that a transform gives its pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: _SHAPE[0], : _SHAPE[1]]
    at = where.at(np.column_stack([x.ravel(), y.ravel()]).astype(np.float64))
    height = np.zeros(len(at))
    for _ in range(_WAVES):
        frequency, turn = _FINEST * np.sqrt(rng.uniform(0.02, 1)), rng.uniform(0, np.pi)
        along = at @ np.array([np.cos(turn), np.sin(turn)])
        height += np.cos(2 * np.pi * (frequency * along + rng.uniform()))
    return np.asarray(np.rint(32768 + height * (8000 / np.sqrt(_WAVES))), np.uint16).reshape(_SHAPE)
