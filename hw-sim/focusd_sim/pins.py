"""Simulated GPIO: gpiozero's mock pins, watched by the physics and pulled by the board's resistors.

The daemon's drivers get a `SimFactory` as their ``pin_factory=`` and notice nothing. Every change of level
is told to the observers of that line as ``(line, level, t_s)``; what the physics answers comes back through
`SimFactory.drive`. Nothing here touches ``gpiozero.Device.pin_factory``, so two factories live side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from gpiozero import PinFixedPull, PinInvalidPull
from gpiozero.pins.mock import MockFactory, MockPin
from gpiozero.pins.pi import PiPin

from focusd.clock import Clock
from focusd.errors import ConfigError

Observer = Callable[[int, bool, float], None]
Pull = Literal["up", "down"]

_LAST_LINE = 27  # the 40-pin header carries GPIO0 to GPIO27
_PI_4B = "c03112"


class _Line:
    """A copper track: its level, what pulls it, who looks at it."""

    __slots__ = ("board_pull", "driven", "level", "number", "observers", "pin")

    def __init__(self, number: int, board_pull: Pull | None) -> None:
        self.number = number
        self.board_pull = board_pull
        self.driven: bool | None = None
        self.level = board_pull == "up"
        self.observers: tuple[Observer, ...] = ()
        self.pin: SimPin | None = None

    def resting(self, pull: str) -> bool:
        """Level while no output drives the line; a floating track keeps its charge."""
        if self.driven is not None:
            return self.driven
        if self.board_pull is not None:
            return self.board_pull == "up"
        return self.level if pull == "floating" else pull == "up"

    def change(self, level: bool, t_s: float) -> None:
        self.level = level
        for observer in self.observers:
            observer(self.number, level, t_s)


class SimPin(MockPin):  # type: ignore[misc]  # gpiozero is untyped
    """A mock pin on a `_Line`; keeps no list of past states, which grows without bound."""

    def __init__(self, factory: SimFactory, info: Any) -> None:
        super().__init__(factory, info)
        self._now_s = factory.clock.now_s
        self._line = factory.track(self._number)
        self._line.pin = self
        self._state = self._line.level
        self._rest()

    def clear_states(self) -> None:
        """Keep nothing."""
        self.states = ()

    def _change_state(self, value: bool) -> bool:
        if self._state == value:
            return False
        self._state = value
        self._line.change(value, self._now_s())
        return True

    def _call_when_changed(self) -> None:
        PiPin._call_when_changed(self, self._now_s(), self._state)

    def _set_pull(self, value: str) -> None:
        if self._function != "input":
            raise PinFixedPull(f"cannot set pull on non-input pin {self!r}")
        if self.info.pull and value != self.info.pull:
            raise PinFixedPull(f"{self!r} has a fixed pull resistor")
        if value not in ("floating", "up", "down"):
            raise PinInvalidPull("pull must be floating, up, or down")
        self._pull = value
        self._rest()

    def _rest(self) -> None:
        """Take the level the outside gives; tell gpiozero's callbacks of the edge, if it is one."""
        level = self._line.resting(self._pull)
        if not self._change_state(level) or self._when_changed is None:
            return
        if self._edges == "both" or self._edges == ("rising" if level else "falling"):
            self._call_when_changed()


class SimFactory(MockFactory):  # type: ignore[misc]  # gpiozero is untyped
    """A Raspberry Pi 4B's header whose lines end in the simulated rig.

    `close` is what the kernel does when the process dies: every line turns input and goes where the board
    pulls it. The same factory then serves the next process.

    Parameters
    ----------
    clock : Clock
        Stamps every edge with rig time.
    board_pulls : mapping of int to {"up", "down"}, optional
        Resistors on the board, by BCM line. They win over the Pi's own pulls, which are weaker.

    Raises
    ------
    ConfigError
        For a line outside 0 to 27 or another word than "up" and "down".
    """

    def __init__(self, clock: Clock, board_pulls: Mapping[int, Pull] | None = None) -> None:
        super().__init__(revision=_PI_4B, pin_class=SimPin)
        self.clock = clock
        self._tracks: dict[int, _Line] = {}
        for line, pull in (board_pulls or {}).items():
            if pull not in ("up", "down"):
                raise ConfigError(f"board pull of line {line} is {pull!r}: say 'up' or 'down'")
            self._tracks[_checked(line)] = _Line(line, pull)

    def track(self, line: int) -> _Line:
        """Return the copper of BCM line `line`."""
        if line not in self._tracks:
            self._tracks[_checked(line)] = _Line(line, None)
        return self._tracks[line]

    def watch(self, line: int, observer: Observer) -> None:
        """Have ``observer(line, level, t_s)`` called after every change of the line's level."""
        track = self.track(line)
        track.observers = (*track.observers, observer)

    def drive(self, line: int, level: bool | None) -> None:
        """Drive `line` from outside, as a switch does; None lets go. An output of the Pi wins over it."""
        track = self.track(line)
        track.driven = level
        if track.pin is None:
            resting = track.resting("floating")
            if resting != track.level:
                track.change(resting, self.clock.now_s())
        elif track.pin.function == "input":
            track.pin._rest()

    def level(self, line: int) -> bool:
        """Level of `line` now, whether or not a pin was ever opened on it."""
        return self.track(line).level

    def close(self) -> None:
        """Release every pin, as the kernel does for a process that died."""
        super().close()
        for track in self._tracks.values():
            track.pin = None

    def reset(self) -> None:
        """Forget every pin and reservation; the lines go to their pulls."""
        self.close()
        super().reset()

    def ticks(self) -> float:
        """Rig time, seconds."""
        return self.clock.now_s()


def _checked(line: int) -> int:
    if not 0 <= line <= _LAST_LINE:
        raise ConfigError(f"GPIO line {line} does not exist: the header has lines 0 to {_LAST_LINE} (BCM)")
    return line
