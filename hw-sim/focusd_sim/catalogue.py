"""The built-in scenes, by name."""

from __future__ import annotations

import difflib

from focusd.errors import ConfigError
from focusd_sim.bench_scenes import slope, spheres
from focusd_sim.config import SimConfig
from focusd_sim.rulers import chart, ruler
from focusd_sim.scene import Scene, scene_from_files
from focusd_sim.wasp import wasp


def scene_of(sim: SimConfig) -> Scene:
    """Return the scene of a simulated rig: the user's pair of files, or a built-in one by name.

    Raises
    ------
    ConfigError
        As `scene_from_files` and `scene_named`.
    """
    if sim.pair is not None:
        pair = sim.pair
        return scene_from_files(pair.image, pair.height_map, (pair.far_um, pair.near_um))
    return scene_named(sim.scene, seed=sim.seed)


_MAKERS = {"wasp": wasp, "slope": slope, "spheres": spheres, "chart": chart, "ruler": ruler}
NAMES = tuple(_MAKERS)
"""The scenes there are."""


def scene_named(name: str, *, seed: int = 1, shape: tuple[int, int] | None = None) -> Scene:
    """Make one of the built-in scenes.

    Parameters
    ----------
    name : str
        ``wasp`` (the demo, 1024 x 1536, heights of +-1270 um), ``slope`` (a textured plane, 120 x 160,
        +-190 um), ``spheres`` (spheres and bristles over a ground, 200 x 300, +-190 um), ``chart`` (flat,
        256 x 384) or ``ruler`` (100 um pitch at 45 degrees, 160 x 240, +-478 um).
    seed : int
        Of everything random in it; the same seed gives the same scene.
    shape : tuple of int, optional
        (rows, cols) in place of the default, at least 32 x 32. The wasp fills the frame at any size.

    Raises
    ------
    ConfigError
        When there is no scene of that name, or the shape is too small.
    """
    if name not in _MAKERS:
        close = difflib.get_close_matches(name, _MAKERS, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"no scene named {name!r}: {hint}there are {', '.join(_MAKERS)}")
    if shape is not None and min(shape) < 32:
        raise ConfigError(f"scene {name!r} of {shape[0]} x {shape[1]} px: ask for at least 32 x 32")
    return _MAKERS[name](seed, shape)
