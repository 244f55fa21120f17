"""A wasp's antennae, reaching out of its face towards the viewer. Lengths in um, in the view's frame."""

from __future__ import annotations

import numpy as np

from focusd_sim.anatomy import BLACK, FLOOR_UM, YELLOW, in_view, mixed
from focusd_sim.solids import Matrix, Surface, View, ellipsoid
from focusd_sim.texture import noise, smoothstep

_BROWN = np.array([0.012, 0.045, 0.11], np.float32)

FLAGELLA = {
    -1: ((-1000, 1080, 760), (-1700, 1950, 1120), (-2650, 1500, 1230), (-2760, 250, 1130)),
    1: ((480, 1180, 860), (1150, 2080, 1240), (2350, 1850, 1240), (2560, 420, 880)),
}
"""Of each side's flagellum: the control points of a cubic Bezier curve in the view's frame, um."""


def antennae(view: View, rng: np.random.Generator) -> Surface:
    """Both antennae: scape, pedicel, and ten segments of flagellum each, coming towards the viewer.

    Parameters
    ----------
    view : View
    rng : numpy.random.Generator
        Of the cuticle.
    """
    surface = Surface(view, FLOOR_UM)
    for side, curve in FLAGELLA.items():
        root = in_view((side * 345, 260, 330))
        _rod(surface, np.array([root, curve[0]]), (82, 108), True, 9.0)
        for part in range(11):
            t = np.array([part, part + 0.97]) / 11
            ends = _bezier(np.array(curve), t)
            radius_um = 84.0 if part == 0 else 108.0 - 2.6 * part
            _rod(surface, ends, (radius_um, radius_um * 1.04), False, 5.0)
    relief = noise(rng, view.shape, max(1.0, 9 / view.um_per_px)) * np.float32(1.4)
    relief += noise(rng, view.shape, max(1.0, 22 / view.um_per_px)) * np.float32(2.0)
    down, across = np.gradient(np.asarray(relief, np.float32), view.um_per_px)
    surface.normal[..., 0] -= np.float32(0.6) * across
    surface.normal[..., 1] += np.float32(0.6) * down
    return surface


def _bezier(control: Matrix, t: Matrix) -> Matrix:
    """Points (n, 3) of a cubic Bezier curve at each of `t` (n,)."""
    weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return np.asarray(weights @ control)


def _rod(surface: Surface, ends: Matrix, radii_um: tuple[float, float], scape: bool, blunt: float) -> None:
    """Add a blunt-ended rod of closely set spheres."""
    length_um = float(np.linalg.norm(ends[1] - ends[0]))
    count = max(6, round(length_um / (radii_um[0] / 5)))
    for t in np.linspace(0, 1, count):
        centre = ends[0] + t * (ends[1] - ends[0])
        squeeze = abs(2 * t - 1) ** blunt
        waist = 1 - 0.2 * squeeze
        radius_um = (radii_um[0] + t * (radii_um[1] - radii_um[0])) * waist
        at = (float(centre[0]), float(centre[1]), float(centre[2]))
        patch = ellipsoid(surface.view, at, (radius_um, radius_um, radius_um), np.eye(3))
        dark = np.broadcast_to(BLACK * np.float32(1.3), (*patch.z_um.shape, 3))
        # The scape is yellow beneath, the flagellum a warm brown.
        below = smoothstep(-patch.normal[1], 0.1, 0.3) if scape else smoothstep(-patch.normal[1], -0.2, 0.8)
        colour = mixed(dark, YELLOW if scape else _BROWN, below)
        surface.unite(patch, np.asarray(colour * np.float32(1 - 0.5 * squeeze), np.float32), 0.7)
