"""What a real rig adds to a stack of the fusion suite."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from focusd.errors import ConfigError

# Dust: radii in px, and the share of the light it takes.
_SPOT_PX = (2.0, 6.0)
_SPOT_LOSS = (0.15, 0.4)


@dataclass(frozen=True, slots=True)
class Flaws:
    """What a real rig adds to a stack; each is off at 0.

    Parameters
    ----------
    flicker : float
        Largest change of the lamp's light between frames, a fraction, 0 to 1 (uniform in +-).
    colour_flicker : float
        The same for each channel on its own.
    breathing : float
        Share by which the picture grows from the first frame to the last, linearly in position, -0.5 to 0.5.
    drift_px : float
        How far the picture slides from the first frame to the last, px, 0 to 200: steadily, in a direction
        the seed gives, with a little wandering (zero at both ends).
    dust_spots : int
        Dark spots that stay where they are on the sensor, 0 to 1000.

    Raises
    ------
    ConfigError
        When a figure is out of range.
    """

    flicker: float = 0.0
    colour_flicker: float = 0.0
    breathing: float = 0.0
    drift_px: float = 0.0
    dust_spots: int = 0

    def __post_init__(self) -> None:
        limits = {
            "flicker": (0, 1),
            "colour_flicker": (0, 1),
            "breathing": (-0.5, 0.5),
            "drift_px": (0, 200),
            "dust_spots": (0, 1000),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"flaws.{name} is {getattr(self, name)}: it must be from {least} to {most}; 0 is off"
                )

    def shift_px(self, share: float, seed: int) -> tuple[float, float]:
        """Slide along (row, column), px, when `share` of the stack (0 to 1) is done."""
        if not self.drift_px:
            return 0.0, 0.0
        angle = np.random.default_rng((seed, 0xD21F7)).uniform(0, 2 * math.pi)
        # A tenth of the way to one side and back, then to the other.
        aside = 0.1 * math.sin(2 * math.pi * share)
        row = share * math.sin(angle) + aside * math.cos(angle)
        col = share * math.cos(angle) - aside * math.sin(angle)
        return self.drift_px * row, self.drift_px * col

    def dusted(self, picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """Darken `picture`, (rows, cols, 3), in place, where the spots of this seed lie; return it."""
        rng = np.random.default_rng((seed, 0xD057))
        rows, cols = picture.shape[:2]
        for _ in range(self.dust_spots):
            row, col = rng.uniform(0, rows), rng.uniform(0, cols)
            radius, loss = rng.uniform(*_SPOT_PX), rng.uniform(*_SPOT_LOSS)
            top, left = max(0, int(row - radius - 2)), max(0, int(col - radius - 2))
            part = picture[top : int(row + radius) + 3, left : int(col + radius) + 3]
            y, x = np.mgrid[: part.shape[0], : part.shape[1]]
            dark = loss * np.clip(radius + 0.5 - np.hypot(y + top - row, x + left - col), 0, 1)
            part[...] = np.rint(part * (1 - dark[..., None]))
        return picture
