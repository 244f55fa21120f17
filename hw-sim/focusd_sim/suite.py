"""The fusion suite: stacks whose picture and depth are known, drawn one frame at a time.

Each stack is made from its name and a seed alone; frames are rendered when asked for and not kept, so a
stack of any length needs the memory of its scene.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from focusd.errors import ConfigError
from focusd_sim import suite_scenes
from focusd_sim.scene import Scene
from focusd_sim.sensor import Sensor
from focusd_sim.suite_flaws import Flaws
from focusd_sim.suite_parts import STEP_UM, Mask
from focusd_sim.suite_scenes import Subject

_Maker = Callable[[np.random.Generator, tuple[int, int], int], Subject]
# Maker, frames, megapixels.
_STACKS: dict[str, tuple[_Maker, int, float]] = {
    "general": (suite_scenes.general, 24, 1.5),
    "scene-a": (suite_scenes.never_focused, 24, 1.0),
    "scene-b": (suite_scenes.focused, 24, 1.0),
    "wide": (suite_scenes.wide, 24, 0.96),
    "bristles": (suite_scenes.bristly, 24, 1.0),
    "flat": (suite_scenes.flat, 30, 1.0),
}
NAMES = tuple(_STACKS)
"""Names of the suite's stacks."""

_NONE = Flaws()

_LIMITS_FRAMES = (2, 200)
_LIMITS_MEGAPIXELS = (0.02, 12.5)
_ASPECT = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class SuiteStack:
    """A stack with its truth.

    Parameters
    ----------
    name : str
        Of the scene.
    subject : Subject
        What is looked at.
    positions_um : tuple of float
        Focus of each frame, um, ascending, on the axis of `height_um`.
    seed : int
        Of noise, flicker, dust and drift, 0 or more.
    noise : float
        Standard deviation of each channel's own noise, levels of 255, 0 to 60; that of the luma is 0.67 of
        it.
    flaws : Flaws
        All off by default.
    """

    name: str
    subject: Subject
    positions_um: tuple[float, ...]
    seed: int
    noise: float = 0.0
    flaws: Flaws = _NONE

    @property
    def scene(self) -> Scene:
        """What is rendered."""
        return self.subject.scene

    @property
    def truth(self) -> NDArray[np.uint8]:
        """Everything in focus, (rows, cols, 3) BGR, read-only: framed as the first frame, without flaws."""
        return self.scene.all_in_focus

    @property
    def height_um(self) -> NDArray[np.float32]:
        """True z, um, (rows, cols), read-only; NaN where only a ground that is never in focus is seen."""
        return self.scene.height_um

    @property
    def masks(self) -> dict[str, Mask]:
        """Named places, each (rows, cols) bool; see `Subject`."""
        return self.subject.masks

    @property
    def step_um(self) -> float:
        """Between neighbouring frames, um."""
        return STEP_UM

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Render one frame.

        Parameters
        ----------
        index : int
            0 to ``len(positions_um) - 1``.

        Returns
        -------
        ndarray of uint8, (rows, cols, 3)
            BGR, a fresh array; always the same for the same index.

        Raises
        ------
        ConfigError
            When there is no such frame.
        """
        ideal = self.scene.render(
            self.positions_um[self._checked(index)],
            magnification=self.magnification(index),
            shift_px=self.shift_px(index),
        )
        if self.flaws.dust_spots:
            ideal = self.flaws.dusted(ideal, self.seed)
        sensor = Sensor(
            read_noise=self.noise, flicker=self.flaws.flicker, colour_flicker=self.flaws.colour_flicker
        )
        return sensor.expose(ideal, frame=index, seed=self.seed)

    def magnification(self, index: int) -> float:
        """Scale of a frame about the picture's centre: 1 for the first, and for all without breathing."""
        return 1 + self.flaws.breathing * self._share(index)

    def shift_px(self, index: int) -> tuple[float, float]:
        """Slide of a frame along (row, column), px; none for the first frame."""
        return self.flaws.shift_px(self._share(index), self.seed)

    def spoiled(self, flaws: Flaws) -> SuiteStack:
        """Return the same stack with these flaws."""
        return replace(self, flaws=flaws)

    def with_noise(self, noise: float) -> SuiteStack:
        """Return the same stack with this much noise, levels of 255; the scene is shared, so it is cheap."""
        return replace(self, noise=noise)

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self.positions_um):
            raise ConfigError(
                f"stack {self.name!r} has no frame {index}: it has frames 0 to {len(self.positions_um) - 1}"
            )
        return index

    def _share(self, index: int) -> float:
        """How far through the stack a frame lies, 0 to 1."""
        return self._checked(index) / (len(self.positions_um) - 1)


def stack_named(
    name: str,
    *,
    seed: int,
    noise: float,
    frames: int | None = None,
    megapixels: float | None = None,
    flaws: Flaws = _NONE,
) -> SuiteStack:
    """Make one of the suite's stacks.

    Parameters
    ----------
    name : str
        ``general`` (spheres, crossing bristles, dots, flat patches; 24 frames, 1.5 MP), ``scene-a`` (bright
        foreground, smooth ground never in focus), ``scene-b`` (the same, textured ground that comes into
        focus), ``wide`` (blur discs up to 70 px), ``bristles`` (of their own colour over far ground) or
        ``flat`` (plain areas, 30 frames).
    seed : int
        Of everything random, 0 or more; the same seed gives the same stack.
    noise : float
        See `SuiteStack`.
    frames : int, optional
        2 to 200. The blur a step gives is fixed, so more frames reach deeper.
    megapixels : float, optional
        0.02 to 12.5, at 3:2. Details keep their size in px: a larger picture shows more of them.
    flaws : Flaws
        All off by default.

    Raises
    ------
    ConfigError
        When there is no stack of that name, or a figure is out of range.

    Notes
    -----
    A scene needs about 40 bytes a pixel for each sheet that fills the picture; the suite's have one to five.
    """
    if name not in _STACKS:
        close = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"no stack named {name!r}: {hint}There are {', '.join(NAMES)}")
    maker, usual_frames, usual_megapixels = _STACKS[name]
    frames = usual_frames if frames is None else frames
    megapixels = usual_megapixels if megapixels is None else megapixels
    for what, value, (least, most) in (
        ("frames", frames, _LIMITS_FRAMES),
        ("megapixels", megapixels, _LIMITS_MEGAPIXELS),
        ("noise", noise, (0, 60)),
    ):
        if not least <= value <= most:
            raise ConfigError(f"{what} of stack {name!r} is {value}: it must be from {least} to {most}")
    if seed < 0:
        raise ConfigError(f"seed of stack {name!r} is {seed}: it must be 0 or more")
    rows = round(math.sqrt(megapixels * 1e6 / _ASPECT))
    shape = (rows, round(rows * _ASPECT))
    subject = maker(np.random.default_rng((seed, NAMES.index(name))), shape, frames)
    first_um = -STEP_UM * (frames - 1) / 2
    positions_um = tuple(first_um + STEP_UM * index for index in range(frames))
    return SuiteStack(name, subject, positions_um, seed, noise, flaws)
