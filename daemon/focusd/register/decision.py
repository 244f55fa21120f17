"""Whether a stack is corrected at all, and by which model."""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees, hypot
from typing import Literal

import numpy as np

from focusd.optics import Optics
from focusd.register.transform import Transform

Applied = Literal["none", "translation", "similarity", "affine"]

# Less than this at the corner is not worth what interpolation costs, px.
_WORTH_PX = 0.25
# Less than so many standard errors is not believed.
_SIGMAS = 4.0
# Nor is a limit above this: early frames, all blurred, are unsure of their place, but harm nothing.
_MOST_PX = 3.0
# Beyond this many times the limit one frame is enough, else two in a row are needed.
_CLEARLY = 2.0
_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Decision:
    """What is corrected, and why.

    Parameters
    ----------
    model : {"none", "translation", "similarity", "affine"}
        Of the frames from here on; only ever becomes richer.
    words : str
        One sentence with figures.
    shift_px : float
        Largest shift of the middle measured so far, px.
    scale : float
        Of the last frame, over the first.
    turn_deg : float
        Of the last frame, against the first.
    sigma_px : float
        How sure the last frame's corner is, px.
    frames : int
        Frames measured.
    """

    model: Applied
    words: str
    shift_px: float = 0.0
    scale: float = 1.0
    turn_deg: float = 0.0
    sigma_px: float = 0.0
    frames: int = 0


def perspective_px(optics: Optics, pupil_um: float, shape: tuple[int, ...]) -> float:
    """How far a corner moves while the whole camera crosses the depth of field of one frame, px.

    What is in focus always has the same size; what is not is scaled by ``1 / (D - z)``, D from the entrance
    pupil to the plane of focus.
    """
    return hypot(*shape[:2]) / 2 * optics.depth_of_field_um / pupil_um


class Judge:
    """Decides, as frames come, for `auto`.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of the frames.
    richest : {"translation", "similarity", "affine"}
        Most that is corrected.
    why : str
        Why no more than that, for the words.
    """

    def __init__(self, shape: tuple[int, ...], richest: Applied, why: str = "") -> None:
        self._shape = shape[:2]
        self._richest = richest
        self._why = why
        self._beyond = {"none": 0, "translation": 0}
        self._shift_px = 0.0
        self._frames = 0
        self._decision = Decision("none", "nothing is corrected: one frame tells nothing")

    @property
    def decision(self) -> Decision:
        """As of the last frame."""
        return self._decision

    def judge(self, measured: Transform, sigma_px: float) -> Transform:
        """Take a frame's place as measured; return what to warp it by."""
        self._frames += 1
        shift = measured.shift_px(self._shape)
        self._shift_px = max(self._shift_px, hypot(*shift))
        limit_px = min(_MOST_PX, max(_WORTH_PX, _SIGMAS * sigma_px))
        shifted = _shift_of(measured, self._shape)
        away = {
            "none": measured.corner_shift_px(self._shape),
            "translation": measured.away_px(shifted, self._shape),
        }
        model = self._decision.model
        for simple, richer in (("none", "translation"), ("translation", self._richest)):
            over = away[simple] / limit_px
            self._beyond[simple] = self._beyond[simple] + 1 if over > 1 else 0
            clear = over > _CLEARLY or self._beyond[simple] >= _FRAMES
            if model == simple and clear and richer != simple:
                model = richer  # type: ignore[assignment]
        self._decision = Decision(
            model,
            self._words(model, away, limit_px, measured),
            self._shift_px,
            measured.scale,
            degrees(measured.turn_rad),
            sigma_px,
            self._frames,
        )
        return self.applied(measured)

    def applied(self, measured: Transform) -> Transform:
        """Return the part of a place that is corrected."""
        if self._decision.model == "none":
            return Transform.identity()
        if self._decision.model == "translation":
            return _shift_of(measured, self._shape)
        return measured

    def _words(self, model: Applied, away: dict[str, float], limit_px: float, measured: Transform) -> str:
        seen = (
            f"after {self._frames} frames the picture has shifted by {self._shift_px:.2f} px at most, its "
            f"scale is {measured.scale:.5f} and its turn {degrees(measured.turn_rad):.3f} degrees"
        )
        if model == "none":
            return (
                f"nothing is corrected: {seen}: {away['none']:.2f} px at the corner, below {limit_px:.2f} px"
            )
        if model == "translation":
            if self._why:
                return f"shifts alone are corrected: {seen}; {self._why}"
            return (
                f"shifts alone are corrected: {seen}: scale and turn move the corner by "
                f"{away['translation']:.2f} px, below {limit_px:.2f} px"
            )
        return f"shift, scale and turn are corrected: {seen}"


def _shift_of(transform: Transform, shape: tuple[int, ...]) -> Transform:
    x, y = transform.shift_px(shape)
    return Transform(np.array([[1, 0, x], [0, 1, y]]))
