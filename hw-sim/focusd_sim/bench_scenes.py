"""Small scenes for tests: quick to build and to draw, with every difficulty of a real one in little."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.lens import Lens
from focusd_sim.scene import Scene
from focusd_sim.sheet import Sheet
from focusd_sim.texture import octaves

REACH_UM = 190.0
"""Heights of the small scenes lie within plus and minus this: 20 stops of 20 um."""


def slope(seed: int, shape: tuple[int, int] | None = None) -> Scene:
    """Make a textured plane that rises from left (-190 um) to right (+190 um).

    Parameters
    ----------
    seed : int
        Of the texture.
    shape : tuple of int, optional
        (rows, cols), default (120, 160).
    """
    shape = shape or (120, 160)
    rng = np.random.default_rng(seed)
    height_um = np.broadcast_to(np.linspace(-REACH_UM, REACH_UM, shape[1], dtype=np.float32), shape)
    colour = _textured(rng, shape, (0.45, 0.5, 0.55))
    sheet = Sheet.of(colour, np.ones(shape, np.float32), height_um)
    return Scene("slope", Lens(), [sheet], np.zeros((*shape, 3), np.uint8), REACH_UM)


def spheres(seed: int, shape: tuple[int, int] | None = None) -> Scene:
    """Make textured spheres over a tilted ground, with bristles crossing in front.

    Parameters
    ----------
    seed : int
        Of textures and bristles.
    shape : tuple of int, optional
        (rows, cols), default (200, 300).
    """
    shape = shape or (200, 300)
    rows, cols = shape
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    floor_um = np.float32(-REACH_UM) + np.float32(120) * (y / rows)
    sheets = [Sheet.of(_textured(rng, shape, (0.35, 0.45, 0.4)), np.ones(shape, np.float32), floor_um)]

    balls = ((0.40, 0.25, 0.20, 90.0), (0.62, 0.58, 0.26, 130.0), (0.30, 0.82, 0.16, 60.0))
    tints = ((0.3, 0.5, 0.8), (0.7, 0.5, 0.35), (0.4, 0.75, 0.5))
    alpha = np.zeros(shape, np.float32)
    height_um = np.zeros(shape, np.float32)
    colour = np.zeros((*shape, 3), np.float32)
    for (row, col, radius, top_um), tint in zip(balls, tints, strict=True):
        radius_px = radius * rows
        away_px = np.hypot(y - row * rows, x - col * cols)
        cap = np.sqrt(np.maximum(0, 1 - (away_px / radius_px) ** 2))
        inside = np.clip(radius_px - away_px + np.float32(0.5), 0, 1)
        mine = inside > 0
        shade = np.float32(0.35) + np.float32(0.65) * cap
        colour[mine] = (_textured(rng, shape, tint) * shade[..., None])[mine]
        # The back of the ball rests 130 um below its top.
        height_um[mine] = (np.float32(top_um - 130) + np.float32(130) * cap)[mine]
        alpha = np.maximum(alpha, inside)
    sheets.append(Sheet.of(colour, alpha, height_um))
    sheets.append(_bristles(rng, shape))
    return Scene("spheres", Lens(), sheets, np.zeros((*shape, 3), np.uint8), REACH_UM)


def _bristles(rng: np.random.Generator, shape: tuple[int, int]) -> Sheet:
    """Draw a dozen bristles leaning every way, 120 um high at the root and 180 um at the tip."""
    rows, cols = shape
    alpha = np.zeros(shape, np.uint8)
    height_um = np.zeros(shape, np.float32)
    for _ in range(12):
        root = rng.uniform((0.1 * cols, 0.3 * rows), (0.9 * cols, 0.9 * rows))
        tip = root + rng.uniform((-0.2 * rows, -0.35 * rows), (0.2 * rows, -0.2 * rows))
        points = [root + t * (tip - root) for t in np.linspace(0, 1, 9)]
        for part, (a, b) in enumerate(pairwise(points)):
            ends = [[round(float(v) * 16) for v in p] for p in (a, b)]
            cv2.line(alpha, ends[0], ends[1], 255, 1 if part > 4 else 2, cv2.LINE_AA, 4)
            cv2.line(height_um, ends[0], ends[1], 120.0 + 60 * part / 7, 4, cv2.LINE_8, 4)
    colour = np.empty((*shape, 3), np.float32)
    colour[:] = (0.1, 0.25, 0.45)
    return Sheet.of(colour, alpha.astype(np.float32) / np.float32(255), height_um)


def _textured(
    rng: np.random.Generator, shape: tuple[int, int], tint: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Make a colour with detail at every scale down to the pixel, (rows, cols, 3) in 0 to 1."""
    grain = 1 + np.float32(0.28) * octaves(rng, shape, 16, 1)
    hue = np.float32(0.06) * octaves(rng, shape, 24, 12)
    colour = np.array(tint, np.float32) * grain[..., None] + hue[..., None] * np.array([1, 0, -1], np.float32)
    return np.asarray(np.clip(colour, 0.02, 0.98), np.float32)
