"""Ellipsoids seen from above: the forms a procedural insect is put together from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.texture import smoothstep

Field = NDArray[np.float32]
Matrix = NDArray[np.float64]


def turn(yaw_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Matrix:
    """Rotation by roll about z (towards the lens), then pitch about x (right), then yaw about y (up)."""
    a, b, c = (math.radians(v) for v in (yaw_deg, pitch_deg, roll_deg))
    about_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    about_z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_y @ about_x @ about_z)


@dataclass(frozen=True, slots=True)
class View:
    """Where the pixels look: orthographic, x right, y up, z towards the lens, all um from the middle."""

    shape: tuple[int, int]
    um_per_px: float

    def pixel(self, x_um: float, y_um: float) -> tuple[float, float]:
        """Column and row of a point."""
        rows, cols = self.shape
        return (cols - 1) / 2 + x_um / self.um_per_px, (rows - 1) / 2 - y_um / self.um_per_px

    def grid(self, box: tuple[slice, slice]) -> tuple[Field, Field]:
        """Give x of the columns (1, n) and y of the rows (n, 1) of `box`, um."""
        rows, cols = self.shape
        x = (np.arange(box[1].start, box[1].stop, dtype=np.float32) - np.float32((cols - 1) / 2))[None, :]
        y = (np.float32((rows - 1) / 2) - np.arange(box[0].start, box[0].stop, dtype=np.float32))[:, None]
        return x * np.float32(self.um_per_px), y * np.float32(self.um_per_px)


@dataclass(slots=True)
class Patch:
    """A solid's visible surface inside its bounding box; every field (rows, cols), float32.

    ``q`` is the surface in the solid's own frame with the axes scaled to 1: a unit vector.
    """

    box: tuple[slice, slice]
    cover: Field
    z_um: Field
    normal: tuple[Field, Field, Field]
    q: tuple[Field, Field, Field]


def ellipsoid(
    view: View, centre_um: tuple[float, float, float], axes_um: tuple[float, float, float], frame: Matrix
) -> Patch:
    """Look at an ellipsoid.

    Parameters
    ----------
    view : View
    centre_um : tuple of float
        x, y, z.
    axes_um : tuple of float
        Half-axes along its own x, y, z.
    frame : ndarray, (3, 3)
        Rotation from its own axes to the view's.
    """
    scaled = np.asarray(frame) @ np.diag(axes_um)
    half_x, half_y = (float(np.linalg.norm(scaled[i])) for i in (0, 1))
    left, top = view.pixel(centre_um[0] - half_x, centre_um[1] + half_y)
    right, bottom = view.pixel(centre_um[0] + half_x, centre_um[1] - half_y)
    rows, cols = view.shape
    box = (
        slice(min(max(int(top) - 2, 0), rows - 1), max(min(int(bottom) + 3, rows), 1)),
        slice(min(max(int(left) - 2, 0), cols - 1), max(min(int(right) + 3, cols), 1)),
    )
    x, y = view.grid(box)
    x, y = x - np.float32(centre_um[0]), y - np.float32(centre_um[1])
    inverse = np.linalg.inv(scaled).astype(np.float32)
    flat = [inverse[i, 0] * x + inverse[i, 1] * y for i in range(3)]
    along = inverse[:, 2]
    a = float(along @ along)
    b = sum(f * w for f, w in zip(flat, along, strict=True))
    c = sum(f * f for f in flat) - np.float32(1)
    inside = np.asarray(b * b - np.float32(a) * c, np.float32)
    # Analytic slope of `inside` across a pixel, for a smooth outline.
    step = np.float32(view.um_per_px)
    slopes = []
    for i in (0, 1):
        db = float(inverse[:, i] @ along)
        dc = sum(2 * f * w for f, w in zip(flat, inverse[:, i], strict=True))
        slopes.append((2 * b * np.float32(db) - np.float32(a) * dc) * step)
    cover = np.clip(inside / (np.hypot(slopes[0], slopes[1]) + np.float32(1e-9)) + np.float32(0.5), 0, 1)
    z = (np.sqrt(np.maximum(inside, 0)) - b) / np.float32(a)
    q = [f + w * z for f, w in zip(flat, along, strict=True)]
    n = [sum(inverse[k, i] * q[k] for k in range(3)) for i in range(3)]
    length = np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2) + np.float32(1e-9)
    return Patch(
        box,
        cover.astype(np.float32),
        np.asarray(z + np.float32(centre_um[2]), np.float32),
        (n[0] / length, n[1] / length, np.maximum(n[2] / length, np.float32(0.02))),
        (q[0], q[1], q[2]),
    )


class Surface:
    """Solids united into one surface: height, normal and material of what is seen at each pixel.

    Attributes
    ----------
    z_um : ndarray of float32, (rows, cols)
    cover : ndarray of float32, (rows, cols)
        0 where nothing is seen.
    normal : ndarray of float32, (rows, cols, 3)
    albedo : ndarray of float32, (rows, cols, 3)
        BGR, linear light.
    gloss : ndarray of float32, (rows, cols)
        Strength of reflections.
    """

    def __init__(self, view: View, floor_um: float) -> None:
        self.view = view
        self.z_um = np.full(view.shape, floor_um, np.float32)
        self.cover = np.zeros(view.shape, np.float32)
        self.normal = np.zeros((*view.shape, 3), np.float32)
        self.normal[..., 2] = 1
        self.albedo = np.zeros((*view.shape, 3), np.float32)
        self.gloss = np.zeros(view.shape, np.float32)

    def unite(
        self,
        patch: Patch,
        albedo: Field,
        gloss: float | Field,
        *,
        lift_um: float | Field = 0.0,
        mask: Field | None = None,
    ) -> Field:
        """Put `patch` in wherever it stands in front.

        Parameters
        ----------
        patch : Patch
        albedo : ndarray of float32, (3,) or (patch rows, patch cols, 3)
        gloss : float or ndarray
        lift_um : float or ndarray
            Added to the patch's height.
        mask : ndarray of float32, optional
            Share of the patch that is there, 0 to 1.

        Returns
        -------
        ndarray of float32, (patch rows, patch cols)
            How much of each pixel the patch took.
        """
        box = patch.box
        z = patch.z_um + lift_um
        gap = z - self.z_um[box]
        slope = np.abs(cv2.Sobel(gap, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(gap, cv2.CV_32F, 0, 1))
        taken = patch.cover * np.clip(gap / (slope / 8 + np.float32(0.5)) + np.float32(0.5), 0, 1)
        if mask is not None:
            taken = taken * mask
        taken = np.asarray(taken, np.float32)
        self.z_um[box] = np.where(taken >= 0.5, z, self.z_um[box])
        self.cover[box] = np.maximum(self.cover[box], taken)
        for i in range(3):
            self.normal[box][..., i] += taken * (patch.normal[i] - self.normal[box][..., i])
            self.albedo[box][..., i] += taken * (albedo[..., i] - self.albedo[box][..., i])
        self.gloss[box] += taken * (gloss - self.gloss[box])
        return taken


def hexagons(s: Field, t: Field, pitch: float) -> tuple[Field, Field, Field]:
    """Split a plane into hexagonal cells.

    Parameters
    ----------
    s, t : ndarray of float32
        Position, in the unit of `pitch`.
    pitch : float
        Distance of neighbouring centres.

    Returns
    -------
    ds, dt, seam : ndarray of float32
        Offset from the cell's centre in half pitches, and 1 on the seam between cells falling to 0 inside.
    """
    u, v = s / np.float32(pitch), t / np.float32(pitch * math.sqrt(3))
    au, av = u - np.rint(u), v - np.rint(v)
    bu, bv = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
    first = au**2 + 3 * av**2 <= bu**2 + 3 * bv**2
    ds = np.where(first, au, bu)
    dt = np.where(first, av, bv) * np.float32(math.sqrt(3))
    away = np.maximum(np.abs(ds), np.abs(ds) / 2 + np.abs(dt) * np.float32(math.sqrt(3) / 2))
    return 2 * ds, 2 * dt, smoothstep(away.astype(np.float32), 0.32, 0.5)
