"""The numbers of the pyramid rule, one setting for every stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

KAPPA = (0.753, 0.184, 0.08, 0.039, 0.019)
"""Mean absolute value of each band of unit white Gaussian noise, finest first (dimensionless)."""

DETAIL_UNIT = 512
"""Units of an energy plane in one 8-bit level."""

SHARP_LEVELS = 3
"""Bands whose magnitudes add up to sharpness: fine detail places it, coarse is all that soft optics have."""


@dataclass(frozen=True, slots=True)
class Window:
    """How a level's energy is measured.

    Parameters
    ----------
    near : tuple of float
        Taps of the narrow window, which places detail: in the middle, beside it, two away.
    reach : {2, 4}
        Half the width of the wide window, a box, which gathers what is too faint to be placed.
    halved : bool
        On a grid of half the level's size, of means of 2x2 pixels: a quarter of the work.
    boxed : bool
        Evidence of focus comes from a box of 3x3, not from the narrow window.
    """

    near: tuple[float, float, float]
    reach: int
    halved: bool
    boxed: bool = False


# Gaussians of three taps, sigma 0.5 and 0.45; a triangle, which is a box of three twice.
_HALVED = Window((0.78698605, 0.10650697, 0.0), 2, halved=True)
_FINE = Window((0.8552, 0.0724, 0.0), 4, halved=False)
_COARSE = Window((3 / 9, 2 / 9, 1 / 9), 4, halved=False)

Mode = Literal["default", "fast"]
"""How much work a frame is worth: the best picture, or a time of its own below decoding."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How much each pixel of a frame counts: its local detail, raised to a high power.

    A high power makes the weighted mean a choice where one frame is clearly the sharpest, and a mean of all
    frames where none is. Sums commute, so the order of frames does not matter and partial fusions merge.

    Parameters
    ----------
    sigma : float
        Noise of the frames, standard deviation in 8-bit levels, above 0 to 16.
    windows : tuple of Window
        By level.
    from_finer, from_coarser : float
        Share of the finer level's energy a level takes over, and of the coarser level's.
    evidence, evidence_span : float
        Detail this many times the noise is taken for focus; from there on, in part, over the span.
    half_powers : tuple of int
        By level: the power that squared energies are raised to, 12, 10, 7 or 5. Where detail is coarse a
        frame in focus stands out less, and a high power would pick up the seams between frames.
    cap : float
        Energies above this, in 8-bit levels, are all the same: keeps the 24th power inside float32.
    square_unit : float
        Squared energies are divided by this before the power, so that weights stay between 1e-27 and 1e26
        and their sums inside float32 for any number of frames.
    floor_noise, floor_least : float
        What is added to the energy, in squares, so that noise does not choose: multiples of the band's noise,
        at least so many levels.
    base_offset, base_unit : float
        The base's weight is ``((energy + offset) * unit) ** 8``.
    """

    sigma: float
    windows: tuple[Window, ...] = (_HALVED, replace(_FINE, boxed=True), _FINE, _COARSE, _COARSE)
    from_finer: float = 0.3
    from_coarser: float = 0.08
    evidence: float = 2.0
    evidence_span: float = 0.5
    half_powers: tuple[int, ...] = (12, 12, 10, 7, 5)
    cap: float = 100.0
    square_unit: float = 90.0
    floor_noise: float = 4.0
    floor_least: float = 0.7
    base_offset: float = 0.3
    base_unit: float = 1.0 / 16.0

    @classmethod
    def of(cls, mode: Mode, sigma: float) -> Rule:
        """Rule of a mode."""
        return cls(sigma) if mode == "default" else cls(sigma, windows=(_HALVED,) * len(KAPPA))

    def grid_level(self, level: int) -> int:
        """Level whose grid a level's energy lies on."""
        return level + 1 if self.windows[level].halved else level

    @property
    def noise(self) -> tuple[float, ...]:
        """Mean magnitude of noise in each band, 8-bit levels."""
        return tuple(kappa * self.sigma for kappa in KAPPA)

    @property
    def floors(self) -> tuple[float, ...]:
        """What is added to each band's energy in squares, 8-bit levels."""
        return tuple(max(self.floor_noise * noise, self.floor_least) for noise in self.noise)

    def tolerance(self, level: int) -> float:
        """Levels by which fused luma may pass what all frames showed nearby: what noise can explain."""
        return min(1.5 if level == 0 else 2.0, max(0.5, 1.5 * self.sigma))
