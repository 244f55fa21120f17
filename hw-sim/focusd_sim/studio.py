"""Studio light on a surface: a soft box, a fill, a rim light, and what they reflect."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.texture import smoothstep

Field = NDArray[np.float32]

_KEY = np.array([-0.50, 0.62, 0.60])
_FILL = np.array([0.85, 0.10, 0.45])
_BOX = np.array([-0.62, 0.66, 0.42])
_STRIP = np.array([0.92, 0.15, 0.36])
# BGR, linear.
_KEY_COLOUR = np.array([0.88, 0.97, 1.08], np.float32)
_FILL_COLOUR = np.array([0.60, 0.46, 0.36], np.float32)
_RIM_COLOUR = np.array([1.05, 1.0, 0.85], np.float32)
_SKY_COLOUR = np.array([0.30, 0.28, 0.25], np.float32)


def occlusion(z_um: Field, um_per_px: float, reach_um: tuple[float, ...] = (40, 120, 400)) -> Field:
    """Share of the surrounding light that reaches each point, 0 to 1, from how deep it lies among others."""
    open_ = np.ones_like(z_um)
    rows, cols = z_um.shape
    for radius_um in reach_um:
        sigma_px = radius_um / um_per_px
        shrink = max(1, int(sigma_px / 4))
        small = cv2.resize(
            z_um, (max(2, cols // shrink), max(2, rows // shrink)), interpolation=cv2.INTER_AREA
        )
        around = cv2.resize(cv2.GaussianBlur(small, (0, 0), max(0.5, sigma_px / shrink)), (cols, rows))
        depth = np.maximum(around - z_um, 0) / np.float32(radius_um)
        open_ = open_ * (1 / (1 + np.float32(1.3) * depth))
    return np.asarray(open_, np.float32)


def lit(normal: Field, albedo: Field, gloss: Field, open_: Field, shadow: Field) -> Field:
    """Light a surface.

    Parameters
    ----------
    normal : ndarray of float32, (rows, cols, 3)
        x right, y up, z towards the lens; need not be of unit length.
    albedo : ndarray of float32, (rows, cols, 3)
        BGR, linear.
    gloss : ndarray of float32, (rows, cols)
        Strength of reflections, about 0 to 2.
    open_ : ndarray of float32, (rows, cols)
        From `occlusion`.
    shadow : ndarray of float32, (rows, cols)
        Share of the key light that arrives, 0 to 1.

    Returns
    -------
    ndarray of float32, (rows, cols, 3)
        BGR, linear light, may exceed 1.
    """
    length = np.sqrt(np.einsum("ijk,ijk->ij", normal, normal)) + np.float32(1e-9)
    x, y, z = (normal[..., i] / length for i in range(3))
    key, fill = (_dot(x, y, z, d / np.linalg.norm(d)) for d in (_KEY, _FILL))
    key_light = np.maximum((key + np.float32(0.25)) / np.float32(1.25), 0) * shadow
    fill_light = np.maximum((fill + np.float32(0.3)) / np.float32(1.3), 0)
    sky = (np.float32(0.55) + np.float32(0.45) * y) * open_
    edge = np.clip(1 - z, 0, 1) ** 3
    rim = edge * smoothstep(y * np.float32(0.6) + np.abs(x), 0.1, 0.9) * open_**2
    # The line of sight (0, 0, 1) mirrored at the surface.
    rx, ry, rz = 2 * z * x, 2 * z * y, 2 * z * z - 1
    # A polished surface shows the lamp's outline, a dull one a glow in its direction.
    polish = smoothstep(gloss, 0.8, 1.2)
    glow = np.maximum(_dot(rx, ry, rz, _BOX / np.linalg.norm(_BOX)), 0) ** 7
    lamp = _window(rx, ry, rz, _BOX, (0.50, 0.62))
    box_light = (glow * np.float32(0.75) + (lamp - glow * np.float32(0.75)) * polish) * shadow
    strip_light = _window(rx, ry, rz, _STRIP, (0.14, 0.75)) * (np.float32(0.15) + np.float32(0.85) * polish)
    fresnel = np.float32(0.05) + np.float32(0.95) * np.clip(1 - z, 0, 1) ** 5
    mirror = fresnel * gloss * (np.float32(0.15) + np.float32(0.85) * open_**2)
    horizon = smoothstep(ry, -0.3, 0.9) * np.float32(0.55)
    out = np.empty_like(albedo)
    for i in range(3):
        diffuse = (
            _KEY_COLOUR[i] * np.float32(1.15) * key_light * (np.float32(0.4) + np.float32(0.6) * open_)
            + _FILL_COLOUR[i] * np.float32(0.55) * fill_light * open_
            + _SKY_COLOUR[i] * sky
        )
        shine = (
            _KEY_COLOUR[i] * np.float32(9.0) * box_light
            + _FILL_COLOUR[i] * np.float32(6.0) * strip_light
            + _SKY_COLOUR[i] * horizon * 2
        )
        out[..., i] = (
            albedo[..., i] * diffuse + mirror * shine + _RIM_COLOUR[i] * np.float32(0.28) * rim * gloss
        )
    return out


def developed(linear: Field) -> Field:
    """Roll off the highlights and encode for a screen: linear light to values of 0 to 1."""
    # A film curve with toe and shoulder (Hable 2010), white at 4.
    curve = _film(np.maximum(linear, 0) * np.float32(1.9)) / _film(np.float32(4.5))
    return np.asarray(np.clip(curve, 0, 1) ** np.float32(1 / 2.2), np.float32)


def _film(x: Field | np.float32) -> Field:
    a, b, c, d, e, f = (np.float32(v) for v in (0.22, 0.30, 0.10, 0.20, 0.01, 0.30))
    return np.asarray((x * (a * x + c * b) + d * e) / (x * (a * x + b) + d * f) - e / f, np.float32)


def _dot(x: Field, y: Field, z: Field, d: NDArray[np.float64]) -> Field:
    return np.asarray(np.float32(d[0]) * x + np.float32(d[1]) * y + np.float32(d[2]) * z, np.float32)


def _window(x: Field, y: Field, z: Field, towards: NDArray[np.float64], half: tuple[float, float]) -> Field:
    """Look for a lit rectangle with soft edges in the direction (x, y, z)."""
    axis = towards / np.linalg.norm(towards)
    right = np.cross([0, 1, 0], axis)
    right /= np.linalg.norm(right)
    up = np.cross(axis, right)
    ahead = np.maximum(_dot(x, y, z, axis), np.float32(0.05))
    across, along = _dot(x, y, z, right) / ahead, _dot(x, y, z, up) / ahead
    inside = smoothstep(np.abs(across), half[0] * 1.2, half[0] * 0.8)
    return inside * smoothstep(np.abs(along), half[1] * 1.2, half[1] * 0.8) * (ahead > np.float32(0.06))
