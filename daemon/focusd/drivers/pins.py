"""The machine's own GPIO, through one of gpiozero's pin factories."""

from __future__ import annotations

from typing import Literal

from gpiozero.pins import Factory

from focusd.errors import ConfigError

__all__ = ["Factory", "open_pins"]


def open_pins(library: Literal["lgpio", "rpigpio"]) -> Factory:
    """Open this machine's pins through the library that the configuration names; never another one.

    Raises
    ------
    ConfigError
        The library is not installed, or there are no pins to open.
    """
    try:
        if library == "lgpio":
            from gpiozero.pins.lgpio import LGPIOFactory

            return LGPIOFactory()
        from gpiozero.pins.rpigpio import RPiGPIOFactory

        return RPiGPIOFactory()
    except ImportError as error:
        package = {"lgpio": "python3-lgpio", "rpigpio": "python3-rpi.gpio or python3-rpi-lgpio"}[library]
        raise ConfigError(
            f'gpio is "{library}" but its library is not installed ({error}): apt install {package}'
        ) from error
    except Exception as error:  # gpiozero and the libraries raise whatever they like here
        raise ConfigError(
            f'gpio is "{library}" but the pins cannot be opened: {error}; is this a Raspberry Pi, and is '
            "the user in the group gpio?"
        ) from error
