"""Lamps on GPIO lines, each through whatever switches its current."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from gpiozero import DigitalOutputDevice
from gpiozero.pins import Factory

from focusd.config import LightConfig
from focusd.errors import ConfigError


class Lights:
    """The rig's lamps; all are dark from the moment their pins are taken.

    A lamp that a low level lights needs a pull-up on the board, or it burns while no program holds its line.

    Parameters
    ----------
    lights : mapping of str to LightConfig
        Lamps by name.
    factory : gpiozero.pins.Factory
        Where pins come from.
    """

    def __init__(self, lights: Mapping[str, LightConfig], factory: Factory) -> None:
        self._lights = dict(lights)
        self._lines: dict[str, DigitalOutputDevice] = {}
        try:
            for name, light in lights.items():
                self._lines[name] = DigitalOutputDevice(
                    light.pin,
                    active_high=light.active == "high",
                    initial_value=False,
                    pin_factory=factory,
                )
        except BaseException:
            self.close()
            raise

    def begin(self) -> float:
        """Switch on what burns for a whole job; see `focusd.rig.Lights.begin`."""
        return self._switch_on([name for name, light in self._lights.items() if light.on == "job"])

    def turn_on(self, name: str | None) -> float:
        """Switch on one light of those that burn for shots, or all of them; see `focusd.rig.Lights.turn_on`.

        Raises
        ------
        ConfigError
            There is no such light, or it burns for the whole job.
        """
        shot = self._shot()
        if name is None:
            return self._switch_on(shot)
        if name not in shot:
            raise ConfigError(
                f"there is no light {name!r} that takes turns; there are: "
                f"{', '.join(sorted(shot)) or 'none'}",
                light=name,
            )
        self._switch_off([other for other in shot if other != name])
        return self._switch_on([name])

    def turn_off(self) -> None:
        """Switch off what burns for a shot."""
        self._switch_off(self._shot())

    def end(self) -> None:
        """All off; a line that fails keeps none of the others on."""
        self._switch_off(list(self._lines))

    def close(self) -> None:
        """All off, and give the pins back."""
        with ExitStack() as every:
            for line in self._lines.values():
                every.callback(line.close)
            self.end()
            self._lines = {}

    def _shot(self) -> list[str]:
        return [name for name, light in self._lights.items() if light.on == "shot"]

    def _switch_on(self, names: list[str]) -> float:
        for name in names:
            self._lines[name].on()
        return max((self._lights[name].warm_up_s for name in names), default=0.0)

    def _switch_off(self, names: list[str]) -> None:
        with ExitStack() as every:
            for name in names:
                if name in self._lines:
                    every.callback(self._lines[name].off)
