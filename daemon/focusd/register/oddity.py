"""Frames that do not belong: black, badly exposed, from another stack, blurred by a knock.

From frame to frame a stack changes little and one way. What holds a frame between two others lies between
them; a frame that lies far from both of them while they lie near each other is the odd one out. So a frame is
judged when the next has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from focusd.register.likeness import brightness_between, detail_beside, unlike
from focusd.register.sketch import Sketch

Reason = Literal["black", "exposure", "foreign", "blurred", "shifted"]
T = TypeVar("T")

# A frame is black if no block reaches this level of 255.
_BLACK = 4.0
# What a change must be against the one that two other frames have between them.
_BEYOND = 3.0
_BEYOND_LIGHT = 2.0
# Frames unlike by less than this may have their detail compared, block by block.
_ALIKE = 0.03
# Changes that good frames have, as logarithm, share and logarithm: below these nothing is odd.
_LEAST_EXPOSURE = 0.22
_LEAST_UNLIKE = 0.10
_LEAST_BLUR = 0.12
# Standard deviations that lost detail must have.
_SURE = 4.0

_WORDS = {
    "black": ("the brightest part reaches level {value:.1f} of 255", "at least {limit:.1f} is expected"),
    "exposure": ("{value:.2f} times the light of its neighbours", "{limit:.2f} is the furthest expected"),
    "foreign": ("differs from its neighbours by {value:.2f}", "at most {limit:.2f} is expected"),
    "blurred": ("{value:.2f} of its neighbours' detail", "at least {limit:.2f} is expected"),
    "shifted": ("{value:.1f} px off where the others lie", "at most {limit:.1f} px is expected"),
}


@dataclass(frozen=True, slots=True)
class Oddity:
    """Why a frame does not belong.

    Parameters
    ----------
    reason : {'black', 'exposure', 'foreign', 'blurred', 'shifted'}
        What is wrong.
    value : float
        What was measured; its meaning goes by the reason and stands in the text.
    limit : float
        What it was held against.
    """

    reason: Reason
    value: float
    limit: float

    def __str__(self) -> str:
        found, wanted = _WORDS[self.reason]
        return f"{self.reason}: {found.format(value=self.value)}, {wanted.format(limit=self.limit)}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {"reason": self.reason, "value": round(self.value, 4), "limit": round(self.limit, 4)}


@dataclass(frozen=True, slots=True)
class Judged(Generic[T]):
    """What went into a gate, as it comes out.

    Parameters
    ----------
    item : object
        As it went in.
    sketch : Sketch
        Of the frame.
    oddity : Oddity or None
        Why it does not belong; None if it does.
    """

    item: T
    sketch: Sketch
    oddity: Oddity | None


class Gate(Generic[T]):
    """Lets frames through in their order, each judged when the next has come.

    Frames must come in the order of their positions, either way. It keeps two sketches and one item.
    """

    def __init__(self) -> None:
        self._before: Sketch | None = None
        self._held: tuple[T, Sketch] | None = None
        self._worst = _Links()

    def enter(self, item: T, sketch: Sketch) -> list[Judged[T]]:
        """Take in a frame; return the one before it, judged, if there was one.

        Parameters
        ----------
        item : object
            What stands for the frame: it comes out again as it is.
        sketch : Sketch
            Of the frame.
        """
        out = [] if self._held is None else [self._judged(self._held, sketch)]
        self._held = (item, sketch)
        return out

    def close(self) -> list[Judged[T]]:
        """Return the last frame, judged by those before it alone, and be as new."""
        out = [] if self._held is None else [self._judged(self._held, None)]
        self.__init__()  # type: ignore[misc]
        return out

    def _judged(self, held: tuple[T, Sketch], after: Sketch | None) -> Judged[T]:
        item, sketch = held
        before = self._before
        oddity = _black(sketch)
        if oddity is None and before is not None and before.is_like(sketch):
            if after is None:
                oddity = self._worst.last(before, sketch)
            elif after.is_like(sketch) and _black(after) is None:
                oddity = _between(before, sketch, after)
            if oddity is None:
                self._worst.take(before, sketch)
        if oddity is None:
            self._before = sketch
        return Judged(item, sketch, oddity)


class _Links:
    """How far neighbours that belong lie apart at most."""

    def __init__(self) -> None:
        self._count = 0
        self._exposure = 0.0
        self._unlike = 0.0

    def take(self, before: Sketch, after: Sketch) -> None:
        self._count += 1
        self._exposure = max(self._exposure, abs(brightness_between(before, after)))
        self._unlike = max(self._unlike, unlike(before, after))

    def last(self, before: Sketch, sketch: Sketch) -> Oddity | None:
        """Judge a frame that none follows."""
        if self._count < 2:
            return None
        return _apart(before, sketch, None, self._exposure, self._unlike)


def _between(before: Sketch, sketch: Sketch, after: Sketch) -> Oddity | None:
    """Judge a frame by the two beside it."""
    exposure, difference = abs(brightness_between(before, after)), unlike(before, after)
    found = _apart(before, sketch, after, exposure, difference)
    if found is not None:
        return found
    # Where one of the two lies elsewhere, or is of another stack, blocks do not show the same.
    here, there = unlike(before, sketch), unlike(sketch, after)
    if here > _ALIKE + _BEYOND * min(difference, there) or there > _ALIKE + _BEYOND * min(difference, here):
        return None
    left, doubt = detail_beside(before, sketch, after)
    limit = max(_LEAST_BLUR, _SURE * doubt)
    if left < -limit:
        return Oddity("blurred", float(np.exp(left)), float(np.exp(-limit)))
    return None


def _apart(
    before: Sketch, sketch: Sketch, after: Sketch | None, exposure: float, difference: float
) -> Oddity | None:
    """Judge by light and likeness, against what others differ by."""
    beside = [each for each in (before, after) if each is not None]
    limit = max(_LEAST_UNLIKE, _BEYOND * difference)
    value = min(unlike(each, sketch) for each in beside)
    if value > limit:
        return Oddity("foreign", value, limit)
    limit = max(_LEAST_EXPOSURE, _BEYOND_LIGHT * exposure)
    value = min((brightness_between(each, sketch) for each in beside), key=abs)
    if abs(value) > limit:
        return Oddity("exposure", float(np.exp(value)), float(np.exp(np.copysign(limit, value))))
    return None


def _black(sketch: Sketch) -> Oddity | None:
    brightest = float(sketch.levels.max())
    return Oddity("black", brightest, _BLACK) if brightest < _BLACK else None
