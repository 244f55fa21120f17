"""The end stop: a switch the carriage presses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Switch:
    """Where the switch is and how it is wired.

    Parameters
    ----------
    position_um : float
        Carriage position at which it closes.
    hysteresis_um : float
        It opens again this far back.
    side : {"near", "far"}
        Which way of travel presses it.
    active_high : bool
        Level of its line while pressed.
    """

    position_um: float = 0.0
    hysteresis_um: float = 15.0
    side: Literal["near", "far"] = "near"
    active_high: bool = False


class EndStop:
    """A switch that drives a line.

    Parameters
    ----------
    switch : Switch
        Where it is.
    drive : callable
        Called as ``drive(level)`` at once and whenever the level changes.
    position_um : float
        Of the carriage now.
    """

    def __init__(self, switch: Switch, drive: Callable[[bool], None], position_um: float) -> None:
        self._switch = switch
        self._sign = 1.0 if switch.side == "far" else -1.0
        self._drive = drive
        self._stuck = False
        self._position_um = position_um
        self.pressed = self._depth_um(position_um) >= 0
        drive(self.pressed == switch.active_high)

    def update(self, position_um: float) -> None:
        """Follow the carriage to `position_um`."""
        self._position_um = position_um
        if self._stuck:
            return
        depth_um = self._depth_um(position_um)
        pressed = depth_um >= (-self._switch.hysteresis_um if self.pressed else 0.0)
        if pressed != self.pressed:
            self.pressed = pressed
            self._drive(pressed == self._switch.active_high)

    def stick(self, stuck: bool) -> None:
        """Jam the switch as it is, or free it."""
        self._stuck = stuck
        self.update(self._position_um)

    def _depth_um(self, position_um: float) -> float:
        return (position_um - self._switch.position_um) * self._sign
