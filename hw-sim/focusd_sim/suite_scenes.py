"""What the fusion suite looks at: subjects that are hard for one reason each, with masks of where.

Everything in them is sized in pixels, not in parts of the picture: a larger picture shows more of the same,
so figures taken at different sizes compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.lens import Lens
from focusd_sim.scene import Scene
from focusd_sim.sheet import Sheet
from focusd_sim.suite_parts import (
    STEP_UM,
    Field,
    Mask,
    bright_leaves,
    bristles,
    dots,
    flat_patches,
    opaque,
    spheres,
    textured,
)
from focusd_sim.texture import noise

# Where a foreground's halo is looked for, px outside it.
_RING_PX = (3, 30)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A scene and where in it something particular is to be seen.

    Parameters
    ----------
    scene : Scene
        Heights lie within the travel of the stack it was made for.
    masks : dict of str to ndarray of bool, (rows, cols)
        ``flat``: no detail in any frame, for noise. ``ring``: 3 to 30 px outside a foreground, over its
        ground. ``foreground``: the foreground itself. Only those that are not empty.
    """

    scene: Scene
    masks: dict[str, Mask]


def general(rng: np.random.Generator, shape: tuple[int, int], frames: int) -> Subject:
    """Spheres on a wavy ground, bright dots, flat patches, bristles crossing above at three depths."""
    lens = lens_of(1.2)
    top = _top_um(frames)
    ground_um = _waves(shape, -0.9 * top, 0.1 * top, 44.0)
    colour = textured(rng, shape, (0.42, 0.46, 0.44), 0.34)
    patches = flat_patches(rng, shape, colour)
    dots(rng, colour, ~patches)
    sheets = [opaque(colour, ground_um), spheres(rng, shape, -0.6 * top, 0.75 * top)]
    for depth, tint in ((0.72, (0.14, 0.18, 0.24)), (0.84, (0.35, 0.60, 0.85)), (0.96, (0.80, 0.84, 0.86))):
        sheets.append(bristles(rng, shape, depth * top, tint, (3, 9), 0.45))
    return _subject("general", lens, sheets, top, ground=sheets[0], patches=patches)


def never_focused(rng: np.random.Generator, shape: tuple[int, int], frames: int) -> Subject:
    """Scene A: a bright foreground before a smooth ground that no frame has in focus."""
    top = _top_um(frames)
    soft = np.float32(0.22) + np.float32(0.03) * noise(rng, shape, 260)
    ground = np.clip(soft[..., None] * np.array([1.15, 1.0, 0.85], np.float32), 0, 1)
    level = np.rint(ground * 255).astype(np.uint8)
    # Smooth in eight bits too: steps of one level are all the ground has.
    return _subject("scene-a", lens_of(2.4), [bright_leaves(rng, shape, top)], top, behind=level)


def focused(rng: np.random.Generator, shape: tuple[int, int], frames: int) -> Subject:
    """Scene B: the same foreground before a textured ground that comes into focus."""
    top = _top_um(frames)
    ground = opaque(textured(rng, shape, (0.30, 0.26, 0.22)), _waves(shape, -0.95 * top, -0.6 * top))
    return _subject("scene-b", lens_of(2.4), [ground, bright_leaves(rng, shape, top)], top, ground=ground)


def wide(rng: np.random.Generator, shape: tuple[int, int], frames: int) -> Subject:
    """Bristles crossing near a lens of wide aperture: blur discs of 70 px in 24 frames."""
    top = _top_um(frames)
    ground = opaque(textured(rng, shape, (0.42, 0.46, 0.44)), _waves(shape, -0.95 * top, -0.2 * top))
    sheets = [ground, spheres(rng, shape, -0.7 * top, 0.5 * top)]
    for depth, tint in ((0.55, (0.14, 0.18, 0.24)), (0.95, (0.80, 0.84, 0.86))):
        sheets.append(bristles(rng, shape, depth * top, tint, (5, 12), 0.35))
    return _subject("wide", lens_of(70 / 23), sheets, top, ground=ground)


def bristly(rng: np.random.Generator, shape: tuple[int, int], frames: int) -> Subject:
    """Many bristles, each sheet of its own colour and almost without texture, over far ground."""
    top = _top_um(frames)
    colour = textured(rng, shape, (0.30, 0.34, 0.32), 0.26)
    sheets = [opaque(colour, _waves(shape, -0.95 * top, -0.65 * top))]
    for depth, tint in (
        (0.0, (0.20, 0.50, 0.88)),
        (0.3, (0.05, 0.05, 0.06)),
        (0.6, (0.78, 0.84, 0.88)),
        (0.9, (0.80, 0.62, 0.45)),
    ):
        sheets.append(bristles(rng, shape, depth * top, tint, (2, 6), 0.08))
    return _subject("bristles", lens_of(1.6), sheets, top, ground=sheets[0])


def flat(rng: np.random.Generator, shape: tuple[int, int], frames: int) -> Subject:
    """Plain areas of several brightnesses, with islands of detail between them."""
    top = _top_um(frames)
    colour = textured(rng, shape, (0.42, 0.46, 0.44))
    patches = flat_patches(rng, shape, colour, share=0.75, radius_px=(90, 150))
    ground = opaque(colour, _waves(shape, -0.5 * top, 0.5 * top))
    return _subject("flat", lens_of(1.0), [ground], top, ground=ground, patches=patches)


def lens_of(blur_px_per_step: float) -> Lens:
    """Give the lens whose blur disc is `blur_px_per_step` wide, px, at one step from focus."""
    slope = blur_px_per_step * Lens().object_pixel_um / (2 * STEP_UM)
    return Lens(na=slope / math.hypot(1, slope))


def _subject(
    name: str,
    lens: Lens,
    sheets: Sequence[Sheet],
    top: float,
    *,
    ground: Sheet | None = None,
    behind: NDArray[np.uint8] | None = None,
    patches: Mask | None = None,
) -> Subject:
    shape = sheets[0].height_um.shape
    if behind is None:
        behind = np.zeros((*shape, 3), np.uint8)
    reach = top + STEP_UM / 2
    scene = Scene(name, lens, sheets, behind, reach)
    front = np.zeros(shape, np.uint8)
    for sheet in sheets:
        if sheet is not ground:
            front |= sheet.bgra[..., 3]
    away = np.asarray(cv2.distanceTransform((front == 0).astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    if not front.any():
        away[...] = np.inf
    # No blur of anything in the stack reaches so far.
    clear_px = lens.disc_radius_px(2 * reach) + 4
    masks = {
        "ring": (away >= _RING_PX[0]) & (away <= _RING_PX[1]),
        "foreground": front == 255,
    }
    if patches is not None:
        edge = cv2.distanceTransform(patches.astype(np.uint8), cv2.DIST_L2, 5)
        masks["flat"] = (edge > clear_px) & (away > clear_px)
    elif ground is None:
        masks["flat"] = away > clear_px
    return Subject(scene, {key: mask for key, mask in masks.items() if mask.any()})


def _top_um(frames: int) -> float:
    """Height of the stack's last stop; its first is as far below 0."""
    return STEP_UM * (frames - 1) / 2


def _waves(shape: tuple[int, int], low_um: float, high_um: float, roll_px: float = 70.0) -> Field:
    """Give a ground that rolls between two heights, its crests 6.3 `roll_px` apart at any size of picture."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    across, down = x / np.float32(roll_px), y / np.float32(0.7 * roll_px)
    wave = np.float32(0.6) * np.sin(across) + np.float32(0.4) * np.sin(down + 1)
    return np.asarray((low_um + high_um) / 2 + (high_um - low_um) / 2 * wave, np.float32)
