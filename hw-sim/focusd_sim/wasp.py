"""The demo's scene: a wasp's head, drawn from a seed, 5.5 mm wide and 2.5 mm deep."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.anatomy import FLOOR_UM, head
from focusd_sim.feelers import antennae
from focusd_sim.hairs import Hairs
from focusd_sim.lens import Lens
from focusd_sim.scene import Scene
from focusd_sim.sheet import Sheet
from focusd_sim.solids import Field, Surface, View
from focusd_sim.studio import developed, lit, occlusion
from focusd_sim.texture import noise, smoothstep

REACH_UM = 1270.0
"""Heights lie within plus and minus this: 128 stops of 20 um."""

_WIDTH_UM, _HEIGHT_UM = 6144.0, 4096.0
_SHAPE = (1024, 1536)


def wasp(seed: int, shape: tuple[int, int] | None = None) -> Scene:
    """Draw the wasp.

    Parameters
    ----------
    seed : int
        Of cuticle, hairs and backdrop.
    shape : tuple of int, optional
        (rows, cols), default (1024, 1536), a pixel being 4 um wide on the wasp; at other sizes the pixels
        are larger or smaller, so that the wasp fills the frame.
    """
    shape = shape or _SHAPE
    um_per_px = max(_WIDTH_UM / shape[1], _HEIGHT_UM / shape[0])
    lens = Lens(pixel_um=um_per_px * Lens().magnification)
    view = View(shape, um_per_px)
    rng = np.random.default_rng(seed)
    face, feelers = head(view, rng), antennae(view, rng)
    fringe, short, long_, near = _hairs(rng, face, feelers)
    sheets = [
        fringe.sheet(view),
        _sheet(face, _shadow(face, feelers)),
        short.sheet(view),
        long_.sheet(view),
        near.sheet(view, _sheet(feelers, np.ones(shape, np.float32))),
    ]
    return Scene("wasp", lens, sheets, _backdrop(rng, shape), REACH_UM)


def _sheet(surface: Surface, shadow: Field) -> Sheet:
    open_ = occlusion(surface.z_um, surface.view.um_per_px)
    colour = developed(lit(surface.normal, surface.albedo, surface.gloss, open_, shadow))
    return Sheet.of(colour, surface.cover, np.clip(surface.z_um, -REACH_UM, REACH_UM))


def _shadow(face: Surface, feelers: Surface) -> Field:
    """Share of the key light that passes the antennae."""
    rows, cols = face.view.shape
    px = 1 / face.view.um_per_px
    shift = np.array([[1, 0, 330 * px], [0, 1, 420 * px]])
    moved = cv2.warpAffine(feelers.cover, shift, (cols, rows))
    soft = cv2.GaussianBlur(moved, (0, 0), max(0.5, 55 * px))
    return np.asarray(1 - np.float32(0.6) * soft, np.float32)


def _hairs(rng: np.random.Generator, face: Surface, feelers: Surface) -> tuple[Hairs, Hairs, Hairs, Hairs]:
    """Fringe behind the head, down on the face, bristles before it, and down on the antennae."""
    fringe = _grown(rng, face, 850, (90, 360), (5, 8), lean=0.9, where="rim")
    short = _grown(rng, face, 2000, (45, 100), (4, 6), lean=1.35, where="face")
    long_ = _grown(rng, face, 120, (200, 440), (7, 10), lean=0.6, where="crown")
    near = _grown(rng, feelers, 1500, (25, 55), (3, 5), lean=0.8, where="rod")
    return fringe, short, long_, near


def _grown(
    rng: np.random.Generator,
    surface: Surface,
    count: int,
    length_um: tuple[float, float],
    width_um: tuple[float, float],
    *,
    lean: float,
    where: str,
) -> Hairs:
    """Let hairs grow from a surface, along its normal and leaning outward from the middle and up."""
    chance = _density(surface, where).astype(np.float64)
    rows, cols = np.divmod(rng.choice(chance.size, count, p=chance.ravel() / chance.sum()), chance.shape[1])
    view = surface.view
    x = (cols - (view.shape[1] - 1) / 2) * view.um_per_px
    y = ((view.shape[0] - 1) / 2 - rows) * view.um_per_px
    normal = surface.normal[rows, cols].astype(np.float64)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    z = surface.z_um[rows, cols].astype(np.float64) - 8
    root = np.stack([x, y, z], axis=1)
    comb = np.stack([x / 1800, 0.35 + y / 2600, np.zeros(count)], axis=1) + rng.normal(0, 0.32, (count, 3))
    length = rng.uniform(*length_um, (count, 1))
    first = normal + 0.35 * lean * comb
    second = normal * (1 - 0.45 * lean) + lean * comb
    bend = root + 0.5 * length * first
    tip = root + length * second / np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 0.5)
    tip[:, 2] = np.clip(tip[:, 2], -REACH_UM + 20, REACH_UM - 5)
    bend[:, 2] = np.clip(bend[:, 2], -REACH_UM + 20, REACH_UM - 5)
    dark, gold = np.array([0.05, 0.05, 0.06]), np.array([0.30, 0.56, 0.72])
    share = {"rim": 0.85, "face": 0.92, "crown": 0.25, "rod": 0.6}[where]
    golden = rng.uniform(size=(count, 1)) < share
    colour = np.where(golden, gold, dark) * rng.uniform(0.75, 1.15, (count, 1))
    return Hairs(root, bend, tip, rng.uniform(*width_um, count), colour)


def _density(surface: Surface, where: str) -> Field:
    """How likely a hair grows at each pixel: few on eyes and other glassy parts."""
    covered = np.where((surface.cover > 0.95) & (surface.z_um > FLOOR_UM + 60), 1.0, 0.0)
    facing = surface.normal[..., 2] / np.linalg.norm(surface.normal, axis=2)
    # Seams between facets are dull; the eye as a whole is not.
    glassy = cv2.dilate(surface.gloss, np.ones((9, 9), np.uint8)) > 1.05
    rows = surface.view.shape[0]
    height = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    if where == "rim":
        return np.asarray(
            covered * (facing < 0.42) * np.where(glassy, 0.2, 1) * (0.2 + 0.8 * height**1.5), np.float32
        )
    if where == "face":
        return np.asarray(covered * ~glassy * (0.25 + facing), np.float32)
    if where == "crown":
        return np.asarray(covered * ~glassy * (0.03 + height**3), np.float32)
    return np.asarray(covered, np.float32)


def _backdrop(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Something green, far behind and out of focus."""
    rows, cols = shape
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, cols, dtype=np.float32)[None, :]
    cloud = noise(rng, shape, cols / 3.2) * np.float32(0.5)
    light = np.float32(0.85) * np.exp(-(((x - 0.30) / 0.70) ** 2) - ((y - 0.12) / 0.85) ** 2)
    light = light + np.float32(0.12) * cloud + np.float32(0.22)
    warm = smoothstep(np.asarray(x * 0.6 + (1 - y) * 0.4 + 0.1 * cloud, np.float32), 0.35, 1.0)
    deep, teal, leaf = (
        np.array(c, np.float32) for c in ((0.10, 0.085, 0.045), (0.44, 0.47, 0.22), (0.24, 0.44, 0.30))
    )
    far = teal + (leaf - teal) * warm[..., None]
    colour = deep + (far - deep) * np.clip(light, 0, 1)[..., None]
    # The body behind the head.
    away = np.hypot((x - 0.60) / 0.40, (y - 0.60) / 0.50) + np.float32(0.04) * cloud
    body = smoothstep(away.astype(np.float32), 1.15, 0.45)[..., None] * np.float32(0.72)
    stripe = smoothstep(np.abs(y - 0.78 + 0.25 * (x - 0.6)).astype(np.float32), 0.16, 0.02)[..., None]
    coat = np.array((0.05, 0.06, 0.07), np.float32) + stripe * np.array((0.02, 0.22, 0.30), np.float32)
    colour = colour + (coat - colour) * body
    # Dithered, or so slow a gradient shows its steps.
    grain = rng.uniform(-0.5, 0.5, (rows, cols, 1)).astype(np.float32)
    return np.clip(np.rint(colour * 255 + grain), 0, 255).astype(np.uint8)
