"""Lamps on the rig's light lines: what they shed on the scene during an exposure.

A rig with lamps stands in a dark room: without one that burns there is nothing to see.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.config import LightConfig
from focusd.errors import ConfigError
from focusd_sim.config import LampConfig, LampSide
from focusd_sim.pins import SimFactory

# After its warm-up a lamp is within exp(-5), 0.7 %, of its full light.
_TIME_CONSTANTS = 5.0
# Of the middle's light, what is lost or won at the edge of the picture by a lamp that stands at one side.
_SLOPE = 0.5
# How far back an exposure may lie that is asked for, in times that a lamp was on.
_KEPT = 256


@dataclass(slots=True)
class _Lamp:
    config: LampConfig
    lit_level: bool
    on_s: float | None = None
    burnt: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def observe(self, _line: int, level: bool, t_s: float) -> None:
        if level != self.lit_level:
            if self.on_s is not None:
                self.burnt.append((self.on_s, t_s))
            self.on_s = None
        elif self.on_s is None:
            self.on_s = t_s

    def mean(self, open_s: float, close_s: float) -> float:
        """Mean light over an exposure that lies in the past; it goes out at once and comes on slowly."""
        spans = [*self.burnt] if self.on_s is None else [*self.burnt, (self.on_s, close_s)]
        light_s = 0.0
        for on_s, off_s in spans:
            begins_s, ends_s = max(on_s, open_s), min(off_s, close_s)
            if begins_s < ends_s:
                light_s += self._shed_s(ends_s - on_s) - self._shed_s(begins_s - on_s)
        return self.config.brightness * light_s / (close_s - open_s)

    def _shed_s(self, burning_s: float) -> float:
        """Light shed since it was switched on, in seconds of full light."""
        tau_s = self.config.warm_up_s / _TIME_CONSTANTS
        return burning_s + tau_s * float(np.expm1(-burning_s / tau_s)) if tau_s else burning_s


class Lamps:
    """The lamps of a rig.

    Parameters
    ----------
    lights : mapping of str to LightConfig
        The daemon's: lines, and the levels that light them.
    lamps : mapping of str to LampConfig
        What hangs on them; one that is not named has its defaults.
    factory : SimFactory
        Whose lines are watched.

    Raises
    ------
    ConfigError
        For a lamp that is on no line.
    """

    def __init__(
        self, lights: Mapping[str, LightConfig], lamps: Mapping[str, LampConfig], factory: SimFactory
    ) -> None:
        unwired = sorted(set(lamps) - set(lights))
        if unwired:
            raise ConfigError(
                f"sim.lamps has {', '.join(unwired)}, and [lights] has "
                f"{', '.join(sorted(lights)) or 'none'}: give each lamp a light of its name"
            )
        self._lamps: dict[str, _Lamp] = {}
        for name, light in lights.items():
            lamp = self._lamps[name] = _Lamp(lamps.get(name, LampConfig()), light.active == "high")
            lamp.observe(light.pin, factory.level(light.pin), factory.clock.now_s())
            factory.watch(light.pin, lamp.observe)

    def levels(self, open_s: float, close_s: float) -> dict[str, float]:
        """Return each lamp's mean light over an exposure that lies in the past; 1 exposes well.

        Parameters
        ----------
        open_s, close_s : float
            Rig time.
        """
        return {name: lamp.mean(open_s, close_s) for name, lamp in self._lamps.items()}

    def lit(self, ideal: NDArray[np.uint8], open_s: float, close_s: float) -> tuple[NDArray[np.uint8], float]:
        """Return the scene as these lamps light it, and the light in its brightest place.

        Parameters
        ----------
        ideal : ndarray of uint8, (rows, cols, 3)
            In even light; not changed.
        open_s, close_s : float
            Rig time of the exposure.

        Returns
        -------
        tuple of (ndarray of uint8, float)
            The picture, shaded and no brighter than `ideal`, and what its values are to be multiplied by.
        """
        rows, cols = ideal.shape[:2]
        light = np.zeros(cols, np.float64)
        for name, mean in self.levels(open_s, close_s).items():
            light += mean * _across(cols, self._lamps[name].config.side)
        most = float(light.max())
        if most == 0:
            return np.zeros_like(ideal), 0.0
        if most == float(light.min()):
            return ideal, most
        share = np.repeat((light / most).astype(np.float32)[None, :, None], 3, axis=2)
        shaded = cv2.multiply(ideal, np.repeat(share, rows, axis=0), dtype=cv2.CV_8U)
        return np.asarray(shaded, np.uint8), most


@lru_cache(maxsize=8)
def _across(cols: int, side: LampSide) -> NDArray[np.float64]:
    """Light along a row, 1 on average."""
    slope = {"left": -_SLOPE, "ring": 0.0, "right": _SLOPE}[side]
    return 1 + slope * np.linspace(-1, 1, cols)
