"""Targets for calibrating: a flat chart, and a ruler on a slope of 45 degrees."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from focusd_sim.lens import Lens
from focusd_sim.scene import Scene
from focusd_sim.sheet import Sheet
from focusd_sim.texture import octaves

PITCH_UM = 100.0
"""Distance of the ruler's lines, along the ruler."""
ANGLE_DEG = 45.0
"""Slope of the ruler."""

_CHART_REACH_UM = 100.0
_LINE_SHARE = 0.3


def chart(seed: int, shape: tuple[int, int] | None = None) -> Scene:
    """Make a flat sheet of dots at height 0, strong in detail down to the pixel.

    Parameters
    ----------
    seed : int
        Of the dots.
    shape : tuple of int, optional
        (rows, cols), default (256, 384).
    """
    shape = shape or (256, 384)
    colour = _grained(np.random.default_rng(seed), shape, np.full(shape, 0.5, np.float32), 0.2)
    sheet = Sheet.of(colour, np.ones(shape, np.float32), np.zeros(shape, np.float32))
    return Scene("chart", Lens(), [sheet], np.zeros((*shape, 3), np.uint8), _CHART_REACH_UM)


def ruler(seed: int, shape: tuple[int, int] | None = None) -> Scene:
    """Make a ruler of 100 um pitch that rises from left to right at 45 degrees, on grained ground.

    Parameters
    ----------
    seed : int
        Of the grain.
    shape : tuple of int, optional
        (rows, cols), default (160, 240), which is 960 um deep.
    """
    shape = shape or (160, 240)
    lens = Lens()
    angle = math.radians(ANGLE_DEG)
    across_um = (np.arange(shape[1]) - (shape[1] - 1) / 2) * lens.object_pixel_um
    # What runs uphill is seen shortened.
    along_um = across_um / math.cos(angle)
    edge = 0.5 + lens.object_pixel_um / PITCH_UM
    phase = np.abs((along_um / PITCH_UM + 0.5) % 1 - 0.5) * 2
    line = np.clip((_LINE_SHARE - phase) * edge * PITCH_UM / lens.object_pixel_um / 2 + 0.5, 0, 1)
    light = np.broadcast_to(0.7 - 0.5 * line.astype(np.float32), shape).astype(np.float32)
    colour = _grained(np.random.default_rng(seed), shape, light, 0.12)
    height_um = np.broadcast_to((across_um * math.tan(angle)).astype(np.float32), shape).copy()
    sheet = Sheet.of(colour, np.ones(shape, np.float32), height_um)
    reach_um = float(height_um.max())
    return Scene("ruler", lens, [sheet], np.zeros((*shape, 3), np.uint8), reach_um)


def _grained(
    rng: np.random.Generator, shape: tuple[int, int], light: NDArray[np.float32], strength: float
) -> NDArray[np.float32]:
    grain = 1 + np.float32(strength) * octaves(rng, shape, 4, 1)
    colour = np.repeat((light * grain)[..., None], 3, axis=2)
    return np.asarray(np.clip(colour, 0.02, 0.98), np.float32)
