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
            return _lgpio_factory()
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


def _lgpio_factory() -> Factory:
    """Return gpiozero's lgpio factory, with pins that become outputs at the level asked for.

    gpiozero's own claim the line low and then set it (2.0.1, `LGPIOPin`): on EN that is a motor switched on
    for some microseconds, at every start and every `focusd release`.
    """
    import lgpio
    from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin

    class SteadyPin(LGPIOPin):  # type: ignore[misc]  # gpiozero is untyped
        def output_with_state(self, state: bool) -> None:
            lgpio.gpio_claim_output(self.factory._handle, self._number, int(bool(state)))

    factory = LGPIOFactory()
    factory.pin_class = SteadyPin
    return factory
