"""How two or three frames of a stack differ: in light, in what they show, and in detail."""

from __future__ import annotations

import numpy as np

from focusd.register.sketch import Levels, Sketch

# What a camera adds where there is no light, levels of 255.
_BLACK_LEVEL = 3.0
# Blocks above this level, of 255, tell little of how bright a frame is: they would soon be white.
_HEADROOM = 180.0
_ENOUGH = 0.05
# Share of blocks whose detail tells: those with the most in both neighbours.
_DETAILED = 0.15
# Share of blocks that are without detail, more or less: theirs is the noise.
_PLAIN = 0.05
_LEAST_DETAIL = 0.05
# Detail counts from so many times its noise on, and tells from so many blocks on.
_CLEAR = 5.0
_FEWEST = 6
_SIGMA = 1.4826
# Standard error of a median beside that of a mean, and neighbouring blocks are not independent.
_MEDIAN_ERROR = 1.25
_CLUSTER = 2.0


def brightness_between(before: Sketch, after: Sketch) -> float:
    """Logarithm of how much brighter a frame is than another, over all of it that may yet grow brighter."""
    lit = _lit(after) - _lit(before)
    room = np.minimum(before.luma, after.luma) < np.float32(_HEADROOM)
    return float(np.median(lit[room] if room.mean() >= _ENOUGH else lit))


def unlike(one: Sketch, other: Sketch) -> float:
    """Say how differently two frames show things, whatever their light: 0 the same, 1 strangers."""
    first, second = _lit(one), _lit(other)
    first, second = first - first.mean(), second - second.mean()
    power = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return 1 - float((first * second).sum()) / power if power > 0 else 0.0


def detail_beside(before: Sketch, sketch: Sketch, after: Sketch) -> tuple[float, float]:
    """Compare a frame's detail with the lesser of its neighbours', where both of them have much.

    What comes into focus and goes again is at least as sharp in the middle as at one of the ends, whatever
    the focus; and a knock blurs along one direction at least.

    Returns
    -------
    tuple of float
        Logarithm of the share of the detail's power that is there, in the direction and at the size where
        least is, and its standard deviation.
    """
    worst = (np.inf, 0.0)
    # The power of detail goes by the square of the light.
    lifts = [np.float32(np.exp(2 * brightness_between(each, sketch))) for each in (before, after)]
    for one, middle, other in zip(before.detail, sketch.detail, after.detail, strict=True):
        one, other = one * lifts[0], other * lifts[1]
        floor = min(_quantile(each, _PLAIN) for each in (one, middle, other))
        least = np.minimum(one, other) - np.float32(floor)
        # Picked by their noise, blocks would fall back to the mean in the frame between.
        plain = least <= np.median(least)
        noise = _SIGMA * float(np.median(np.abs(one - other)[plain]))
        where = least >= max(_quantile(least, 1 - _DETAILED), _CLEAR * noise, 1e-3)
        if where.sum() < _FEWEST:
            continue
        kept = np.maximum(middle[where] - np.float32(floor), 0)
        base = least[where]
        share = np.log(
            (kept + np.float32(0.1) * base + np.float32(_LEAST_DETAIL))
            / (np.float32(1.1) * base + np.float32(_LEAST_DETAIL))
        )
        found = float(np.median(share))
        spread = _SIGMA * float(np.median(np.abs(share - found)))
        doubt = _MEDIAN_ERROR * _CLUSTER * spread / float(np.sqrt(where.sum()))
        worst = min(worst, (found, doubt))
    return worst if np.isfinite(worst[0]) else (0.0, 0.0)


def _quantile(values: Levels, share: float) -> float:
    """As NumPy's, which is four times as slow."""
    at = share * (values.size - 1)
    low = int(at)
    high = min(low + 1, values.size - 1)
    parted = np.partition(values, (low, high), axis=None)
    return float(parted[low]) + (at - low) * float(parted[high] - parted[low])


def _lit(sketch: Sketch) -> Levels:
    return np.asarray(np.log(sketch.luma + np.float32(_BLACK_LEVEL)), np.float32)
