"""What the fusion suite's subjects are put together from; sizes in pixels at any size of picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.sheet import Sheet
from focusd_sim.texture import noise, octaves

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]
Tint = tuple[float, float, float]

STEP_UM = 40.0
"""Between stops of the suite, um; large beside the whole um to which the renderer rounds heights."""

# Standard deviation of what a good lens and sensor do to a sharp edge, px.
_CORE_PX = 0.5
# Strength of a texture's octaves, from 1 px up: fine detail, as pictures a pixel sharp have it.
_SPECTRUM = (0.9, 0.8, 0.64, 0.51, 0.41, 0.33, 0.26)
# One sphere on this much ground, px**2; one bristle of a sheet on this much.
_SPHERE_AREA_PX = 75_000
_BRISTLE_AREA_PX = 200_000
# Outlines are drawn this much larger and shrunk.
_FINER = 2


def textured(
    rng: np.random.Generator, shape: tuple[int, int], tint: Tint, contrast: float = 0.30
) -> NDArray[np.float32]:
    """Colour with detail at every scale down to the pixel, (rows, cols, 3) BGR, 0 to 1."""
    grey = np.zeros(shape, np.float32)
    for octave, share in enumerate(_SPECTRUM):
        grey += np.float32(share) * noise(rng, shape, 2.0**octave)
    grain = 1 + np.float32(contrast) * grey / np.float32(math.hypot(*_SPECTRUM))
    hue = np.float32(contrast / 5) * octaves(rng, shape, 32, 2)
    colour = np.array(tint, np.float32) * grain[..., None] + hue[..., None] * np.array([1, 0, -1], np.float32)
    return np.asarray(np.clip(colour, 0.02, 0.97), np.float32)


def bristles(
    rng: np.random.Generator,
    shape: tuple[int, int],
    height_um: float,
    tint: Tint,
    width_px: tuple[int, int],
    contrast: float,
) -> Sheet:
    """Draw curved bristles, all about `height_um` high (they lie on one gently tilted plane).

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (rows, cols).
    height_um : float
        z of the sheet's middle.
    tint : tuple of float
        BGR, 0 to 1.
    width_px : tuple of int
        Thinnest and thickest.
    contrast : float
        Of the bristles' texture; the tint's brightness is 1.
    """
    rows, cols = shape
    cover = np.zeros((rows * _FINER, cols * _FINER), np.uint8)
    t = np.linspace(0, 1, 25)[:, None]
    for _ in range(max(2, round(rows * cols / _BRISTLE_AREA_PX))):
        middle = rng.uniform(0, 1, 2) * (cols, rows)
        angle = rng.uniform(0, math.pi)
        half = np.array([math.cos(angle), math.sin(angle)]) * rng.uniform(140, 320)
        bend = middle + rng.uniform(-60, 60, 2)
        path = (middle - half) * (1 - t) ** 2 + bend * 2 * t * (1 - t) + (middle + half) * t**2
        points = np.rint(path * _FINER).astype(np.int32)
        width = int(rng.integers(width_px[0] * _FINER, width_px[1] * _FINER + 1))
        cv2.polylines(cover, [points], False, 255, width, cv2.LINE_AA)
    alpha = _shrunk(cover)
    # Round: lighter along the middle.
    shade = np.float32(0.6) + np.float32(0.5) * cv2.GaussianBlur(alpha, (0, 0), 1.5)
    colour = textured(rng, shape, tint, contrast) * shade[..., None]
    tilt = np.linspace(-1, 1, cols, dtype=np.float32)[None, :] * np.float32(0.5 * STEP_UM)
    plane = np.broadcast_to(np.float32(height_um) + tilt, shape)
    return _premultiplied(colour, alpha, np.ascontiguousarray(plane))


def bright_leaves(rng: np.random.Generator, shape: tuple[int, int], top: float) -> Sheet:
    """Bright textured leaves, each an ellipse, on one tilted plane in the near half of the stack."""
    rows, cols = shape
    cover = np.zeros((rows * _FINER, cols * _FINER), np.uint8)
    for row in _spread(rng, rows, 240):
        for col in _spread(rng, cols, 240):
            axes = (round(rng.uniform(60, 100) * _FINER), round(rng.uniform(20, 60) * _FINER))
            at = (round(col * _FINER), round(row * _FINER))
            cv2.ellipse(cover, at, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    alpha = _shrunk(cover)
    colour = textured(rng, shape, (0.80, 0.84, 0.82), 0.14)
    rise = np.linspace(0.0, 0.9, rows, dtype=np.float32)[:, None] * np.float32(top)
    return _premultiplied(colour, alpha, np.ascontiguousarray(np.broadcast_to(rise, shape)))


def spheres(rng: np.random.Generator, shape: tuple[int, int], foot_um: float, rise_um: float) -> Sheet:
    """Textured caps standing on `foot_um`, no two touching."""
    rows, cols = shape
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    alpha, height = np.zeros(shape, np.float32), np.full(shape, foot_um, np.float32)
    placed: list[tuple[float, float, float]] = []
    for _ in range(20 * max(2, round(rows * cols / _SPHERE_AREA_PX))):
        if len(placed) >= max(2, round(rows * cols / _SPHERE_AREA_PX)):
            break
        radius = rng.uniform(0.5, 1) * min(110.0, rows / 4)
        row, col = rng.uniform(0, rows), rng.uniform(0, cols)
        if any(math.hypot(row - r, col - c) < radius + other + 20 for r, c, other in placed):
            continue
        placed.append((row, col, radius))
        away = np.hypot(y - np.float32(row), x - np.float32(col))
        # Cut a little above the equator: the rim is a step in height, with the ground behind it.
        cap = np.sqrt(np.maximum(0, 1 - (away / np.float32(1.02 * radius)) ** 2))
        inside = np.clip(np.float32(radius) + np.float32(0.5) - away, 0, 1)
        alpha = np.maximum(alpha, inside)
        height = np.where(inside > 0, np.float32(foot_um) + np.float32(rise_um) * cap, height)
    shade = np.float32(0.75) + np.float32(0.25) * (height - np.float32(foot_um)) / np.float32(rise_um)
    colour = textured(rng, shape, (0.40, 0.50, 0.62)) * shade[..., None]
    return Sheet.of(colour.astype(np.float32), _core(alpha), height)


def flat_patches(
    rng: np.random.Generator,
    shape: tuple[int, int],
    colour: Field,
    share: float = 0.35,
    radius_px: tuple[float, float] = (70, 100),
) -> Mask:
    """Paint discs of one plain colour each over `colour`, in place; return where."""
    rows, cols = shape
    where = np.zeros(shape, np.uint8)
    pitch = 2.3 * radius_px[1]
    for row in _spread(rng, rows, pitch):
        for col in _spread(rng, cols, pitch):
            wanted, radius = rng.uniform() < share, round(rng.uniform(*radius_px))
            tint = rng.uniform(0.15, 0.8) * rng.uniform(0.8, 1.2, 3)
            if wanted or not where.any():
                mark = np.zeros(shape, np.uint8)
                cv2.circle(mark, (round(col), round(row)), radius, 1, -1)
                colour[mark > 0] = tint
                where |= mark
    return where > 0


def dots(rng: np.random.Generator, colour: Field, where: Mask) -> None:
    """Paint bright dots of 3 to 7 px over `colour`, in place, where they may be."""
    marks = np.zeros(where.shape, np.float32)
    for _ in range(max(6, where.size // 12_000)):
        at = (int(rng.integers(where.shape[1])), int(rng.integers(where.shape[0])))
        cv2.circle(marks, at, int(rng.integers(1, 4)), 1.0, -1)
    spot = (_core(marks) * where)[..., None]
    colour += spot * (np.float32(0.97) - colour)


def _spread(rng: np.random.Generator, length: int, pitch: float) -> NDArray[np.float64]:
    """Places about `pitch` apart, each moved a little at random."""
    count = max(1, round(length / pitch))
    return (np.arange(count) + 0.5 + rng.uniform(-0.12, 0.12, count)) * (length / count)


def opaque(colour: Field, height_um: Field) -> Sheet:
    """Make a sheet that covers the whole picture."""
    return _premultiplied(colour, np.ones(height_um.shape, np.float32), height_um)


def _premultiplied(colour: Field, alpha: Field, height_um: Field) -> Sheet:
    """Make a sheet whose heights are known everywhere, so none need be extended."""
    bgra = np.empty((*alpha.shape, 4), np.uint8)
    bgra[..., :3] = np.clip(colour, 0, 1) * alpha[..., None] * 255 + 0.5
    bgra[..., 3] = alpha * 255 + 0.5
    return Sheet(bgra, height_um)


def _core(alpha: Field) -> Field:
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), _CORE_PX), np.float32)


def _shrunk(cover: NDArray[np.uint8]) -> Field:
    """Coverage, 0 to 1, of outlines drawn `_FINER` times too large."""
    size = (cover.shape[1] // _FINER, cover.shape[0] // _FINER)
    small = np.asarray(cv2.resize(cover, size, interpolation=cv2.INTER_AREA), np.float32)
    return _core(np.asarray(small / np.float32(255), np.float32))
