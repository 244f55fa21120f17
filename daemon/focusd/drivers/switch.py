"""A switch on a GPIO line: an end stop, or the stop button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gpiozero import InputDevice
from gpiozero.pins import Factory


class Switch:
    """A switch on a GPIO line.

    Parameters
    ----------
    line : int
        BCM number.
    active : {'low', 'high'}
        Level while it is pressed.
    pull : {'up', 'down', 'none'}
        The Pi's own resistor.
    factory : gpiozero.pins.Factory
        Where pins come from.
    """

    def __init__(
        self,
        line: int,
        active: Literal["low", "high"],
        pull: Literal["up", "down", "none"],
        factory: Factory,
    ) -> None:
        # gpiozero derives the active level from a pull and wants it stated without one; the level itself is
        # compared here, since a switch may be wired against its pull. Not a Button: that starts threads.
        pull_up = {"up": True, "down": False, "none": None}[pull]
        self.line = line
        self.active_high = active == "high"
        self._input = InputDevice(
            line, pull_up=pull_up, active_state=None if pull_up is not None else True, pin_factory=factory
        )
        self._when_pressed: Callable[[], None] | None = None

    @property
    def is_pressed(self) -> bool:
        """Whether the switch is at its active level."""
        return bool(self._input.pin.state) == self.active_high

    def watch(self, when_pressed: Callable[[], None]) -> None:
        """Have `when_pressed` called whenever it is pressed, on a thread of the pins' library.

        Only once the level stands: a motor's cables make spikes in a switch's.
        """
        self._when_pressed = when_pressed
        self._input.pin.edges = "rising" if self.active_high else "falling"
        self._input.pin.when_changed = self._on_edge

    def close(self) -> None:
        """Give the pin back."""
        self._input.close()

    def _on_edge(self, _ticks: float, _state: int) -> None:
        if self._when_pressed is not None and self.is_pressed:
            self._when_pressed()
