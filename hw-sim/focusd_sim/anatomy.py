"""A wasp's head after Vespula: its solids, marks and cuticle. Lengths in um, in the head's own frame.

The head's frame has x to the viewer's right, y up and z out of the face, 0 in the middle of the scene.
"""

from __future__ import annotations

import cv2
import numpy as np

from focusd_sim.solids import Field, Patch, Surface, View, ellipsoid, hexagons, turn
from focusd_sim.texture import noise, octaves, smoothstep

FLOOR_UM = -1300.0
"""Height of the emptiness around the head."""

POSE = turn(yaw_deg=-19, pitch_deg=-4, roll_deg=3)
"""From the head's frame to the view's."""

# Colours: BGR, linear light.
BLACK = np.array([0.016, 0.015, 0.017], np.float32)
YELLOW = np.array([0.012, 0.40, 0.86], np.float32)
AMBER = np.array([0.015, 0.17, 0.50], np.float32)
_EYE = np.array([0.022, 0.020, 0.040], np.float32)
_FACET_UM = 33.0


def in_view(point_um: tuple[float, float, float]) -> tuple[float, float, float]:
    """Turn a point of the head's frame into the view's."""
    x, y, z = (float(v) for v in POSE @ np.asarray(point_um, np.float64))
    return x, y, z


def head(view: View, rng: np.random.Generator) -> Surface:
    """Put the head together, without antennae and hairs.

    Parameters
    ----------
    view : View
    rng : numpy.random.Generator
        Of cuticle and marks.
    """
    surface = Surface(view, FLOOR_UM)
    ragged = (
        noise(rng, view.shape, 60 / view.um_per_px) * 14 + noise(rng, view.shape, 16 / view.um_per_px) * 5
    )
    mottle = octaves(rng, view.shape, 240 / view.um_per_px, 24 / view.um_per_px)
    _cranium(surface, ragged, mottle)
    for side in (-1, 1):
        _mandible(surface, side, ragged, mottle)
    _clypeus(surface, ragged, mottle)
    for side in (-1, 1):
        _eye(surface, side, mottle)
        _socket(surface, side)
    for x, y in ((0.0, 1335.0), (-225.0, 1560.0), (225.0, 1560.0)):
        _ocellus(surface, x, y)
    _cuticle(surface, rng)
    return surface


def _own(view: View, patch: Patch) -> tuple[Field, Field, Field]:
    """Coordinates of the patch's surface in the head's frame, um."""
    x, y = view.grid(patch.box)
    back = POSE.T.astype(np.float32)
    own = [back[i, 0] * x + back[i, 1] * y + back[i, 2] * patch.z_um for i in range(3)]
    return own[0], own[1], own[2]


def mixed(base: Field, over: Field, share: Field) -> Field:
    """Colour `base` (rows, cols, 3) or (3,) with a `share` (rows, cols), 0 to 1, of `over`."""
    return np.asarray(base + (over - base) * share[..., None], np.float32)


def _tinted(base: Field, mottle: Field, amount: float) -> Field:
    return np.asarray(base * np.exp(np.float32(amount) * mottle)[..., None], np.float32)


def _warmed(mottle: Field) -> Field:
    """Yellow, here and there towards orange."""
    spots = smoothstep(mottle, -0.4, 2.6) * np.float32(0.75)
    return _tinted(mixed(np.broadcast_to(YELLOW, (*mottle.shape, 3)), AMBER, spots), mottle, 0.08)


def _cranium(surface: Surface, ragged: Field, mottle: Field) -> None:
    patch = ellipsoid(surface.view, in_view((0, 120, -1000)), (1960, 1730, 1310), POSE)
    x, y, _ = _own(surface.view, patch)
    edge, spots = ragged[patch.box], mottle[patch.box]
    colour = _tinted(np.broadcast_to(BLACK, (*x.shape, 3)), spots, 0.15)
    # The crown-shaped mark between the antennae, notched above and waisted at the sockets.
    half_um = np.interp(y, (-250, 60, 330, 560, 760), (330, 175, 190, 420, 470)).astype(np.float32)
    notch = smoothstep(np.abs(x) * np.float32(0.9) - (y - 560), -14, 14)
    crown = smoothstep(half_um - np.abs(x) + edge, -14, 14) * smoothstep(760 - y + edge, -14, 14)
    crown = crown * smoothstep(y, -320, -280) * np.maximum(notch, 0)
    # Yellow in the bay of each eye and down its inner margin, and the long cheeks behind and below them.
    out = np.abs(x)
    bay = smoothstep(np.hypot((out - 985) / 270, (y - 330) / 260) + edge / 260, 1.04, 0.96)
    middle = np.interp(y, (-620, -120, 250), (985, 930, 960)).astype(np.float32)
    half = np.interp(y, (-700, -420, 0, 330), (0, 75, 105, 160)).astype(np.float32)
    streak = smoothstep(half - np.abs(out - middle) + edge * np.float32(0.7), -12, 12) * (y < 330)
    margin = np.maximum(bay, streak)
    cheek = smoothstep(np.abs(x) - (1050 + 0.35 * (y + 900)) + edge, -14, 14)
    cheek = cheek * smoothstep(y, 720, 600) * smoothstep(y, -1180, -1080)
    yellow = _warmed(spots)
    colour = mixed(colour, yellow, np.maximum(np.maximum(crown, margin), cheek))
    # A swelling of the frons and the groove down its middle.
    lift = 130 * np.exp(-((x / 620) ** 2) - ((y - 560) / 520) ** 2)
    lift = lift - 26 * np.exp(-((x / 38) ** 2)) * smoothstep(y, 500, 800) * smoothstep(y, 1500, 1200)
    surface.unite(patch, colour, 0.5, lift_um=lift.astype(np.float32))
    _bend(surface, patch, lift.astype(np.float32))


def _bend(surface: Surface, patch: Patch, lift_um: Field) -> None:
    """Tilt normals by the slope of what was lifted."""
    down, across = np.gradient(lift_um, surface.view.um_per_px)
    surface.normal[patch.box][..., 0] -= across * patch.cover
    surface.normal[patch.box][..., 1] += down * patch.cover


def _clypeus(surface: Surface, ragged: Field, mottle: Field) -> None:
    patch = ellipsoid(surface.view, in_view((0, -640, -440)), (980, 800, 860), POSE)
    x, y, _ = _own(surface.view, patch)
    edge, spots = ragged[patch.box], mottle[patch.box]
    colour = _warmed(spots)
    # A shield: narrow above, widest below the middle.
    half_um = np.interp(
        y, (-1330, -1260, -1120, -900, -560, -240, -90, -30), (300, 480, 640, 700, 560, 400, 330, 260)
    ).astype(np.float32)
    inner_um = np.minimum(half_um - np.abs(x), np.minimum(-40 - y, y + 1320))
    inner_um = cv2.GaussianBlur(inner_um, (0, 0), max(0.5, 24 / surface.view.um_per_px))
    # A wedge from above, and three spots below it, as Vespula germanica has them.
    out = np.abs(x)
    wedge_um = np.interp(y, (-700, -660, -420, -190), (0, 22, 52, 130)).astype(np.float32)
    mark = smoothstep(wedge_um - out + edge, -9, 9) * smoothstep(y, -700, -680)
    for at_x, at_y, radius in ((0.0, -930.0, 66.0), (250.0, -800.0, 58.0)):
        away = np.hypot(out - np.float32(at_x), (y - np.float32(at_y)) * np.float32(0.8))
        mark = np.maximum(mark, smoothstep(np.float32(radius) - away + edge, -9, 9))
    rim = smoothstep(inner_um + edge * np.float32(0.5), 46, 26)
    colour = mixed(colour, BLACK, np.maximum(mark, rim))
    lift = -75 * smoothstep(inner_um, 95, 0) ** 2
    surface.unite(patch, colour, 0.75, lift_um=lift, mask=smoothstep(inner_um, -3, 3))
    _bend(surface, patch, lift)


def _mandible(surface: Surface, side: int, ragged: Field, mottle: Field) -> None:
    frame = POSE @ turn(roll_deg=side * 24, yaw_deg=side * 12)
    depth_um = -60.0 if side < 0 else 10.0
    patch = ellipsoid(surface.view, in_view((side * 500, -1400, depth_um)), (660, 330, 420), frame)
    edge, spots = ragged[patch.box], mottle[patch.box]
    colour = _warmed(spots)
    inward = -side * patch.q[0]
    # Dark, toothed biting edge, amber on the way to it.
    teeth = np.float32(0.05) * np.cos(patch.q[1] * np.float32(14))
    colour = mixed(colour, AMBER, smoothstep(inward + edge / 500, 0.15, 0.55))
    colour = mixed(colour, BLACK, smoothstep(inward + teeth + edge / 700, 0.55, 0.66))
    colour = mixed(colour, BLACK, smoothstep(-inward + edge / 700, 0.80, 0.9))
    surface.unite(patch, colour, 1.0)


def _eye(surface: Surface, side: int, mottle: Field) -> None:
    frame = POSE @ turn(yaw_deg=side * 34, roll_deg=side * 11)
    patch = ellipsoid(surface.view, in_view((side * 1330, 270, -640)), (640, 1290, 700), frame)
    x, y, _ = _own(surface.view, patch)
    # The bay that makes it a kidney, towards the antenna.
    bay = smoothstep(np.hypot((np.abs(x) - 690) / 400, (y - 330) / 330), 0.93, 0.96)
    spots = mottle[patch.box]
    across, up = np.arcsin(np.clip(patch.q[0], -1, 1)) * 640, np.arcsin(np.clip(patch.q[1], -1, 1)) * 1290
    ds, dt, seam = hexagons(across.astype(np.float32), up.astype(np.float32), _FACET_UM)
    band = np.float32(0.5) + np.float32(0.5) * np.sin(
        patch.q[1] * 5 + patch.q[0] * 3 + np.float32(0.6) * spots
    )
    sheen = np.array([0.050, 0.030, 0.075], np.float32)
    colour = mixed(np.broadcast_to(_EYE, (*x.shape, 3)), sheen, band.astype(np.float32))
    colour = np.asarray(colour * (1 - np.float32(0.72) * seam)[..., None], np.float32)
    gloss = np.float32(1.35) * (1 - np.float32(0.55) * seam)
    lift = np.asarray(-3.0 * seam, np.float32)
    taken = surface.unite(patch, colour, gloss, lift_um=lift, mask=bay)
    # Each facet is a little dome.
    for i in range(3):
        dome = np.float32(frame[i, 0]) * ds + np.float32(frame[i, 1]) * dt
        surface.normal[patch.box][..., i] += np.float32(0.13) * taken * dome


def _socket(surface: Surface, side: int) -> None:
    ring = ellipsoid(surface.view, in_view((side * 345, 255, 262)), (165, 165, 110), POSE)
    surface.unite(ring, BLACK, 0.8)


def _ocellus(surface: Surface, x_um: float, y_um: float) -> None:
    z_um = -1000 + 1310 * max(0.0, 1 - (x_um / 1960) ** 2 - ((y_um - 120) / 1730) ** 2) ** 0.5
    ring = ellipsoid(surface.view, in_view((x_um, y_um, z_um)), (128, 128, 70), POSE)
    surface.unite(ring, BLACK, 0.6)
    bead = ellipsoid(surface.view, in_view((x_um, y_um + 6, z_um + 12)), (100, 100, 92), POSE)
    amber = np.array([0.008, 0.022, 0.05], np.float32)
    surface.unite(bead, amber, 1.8)


def _cuticle(surface: Surface, rng: np.random.Generator) -> None:
    """Roughen everything but the eyes: a fine grain, and pits."""
    view = surface.view
    plain = np.clip((np.float32(1.15) - surface.gloss) * 4, 0.08, 1)
    relief = noise(rng, view.shape, max(1.0, 9 / view.um_per_px)) * np.float32(0.7)
    relief += noise(rng, view.shape, max(1.0, 26 / view.um_per_px)) * np.float32(2.2)
    pits = smoothstep(noise(rng, view.shape, max(1.0, 30 / view.um_per_px)), 1.25, 1.9)
    relief = np.asarray((relief - 9 * pits) * plain, np.float32)
    down, across = np.gradient(relief, view.um_per_px)
    surface.normal[..., 0] -= np.float32(0.55) * across
    surface.normal[..., 1] += np.float32(0.55) * down
    surface.albedo *= (1 - np.float32(0.45) * pits * plain)[..., None]
