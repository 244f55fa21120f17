"""A serial port of the system, its failures in focusd's words."""

from __future__ import annotations

import termios
from typing import TYPE_CHECKING

from focusd.errors import ConfigError, RailError

if TYPE_CHECKING:
    from serial import Serial

_SLOWEST_BAUD, _FASTEST_BAUD = 9_000, 500_000


class SerialWire:
    """A serial port of the system; see `open_serial`."""

    def __init__(self, name: str, port: Serial) -> None:
        self._name = name
        self._port = port

    @property
    def name(self) -> str:
        """Its path."""
        return self._name

    def write(self, data: bytes) -> None:
        """Send; raises `RailError` when the port fails."""
        try:
            self._port.write(data)
        except (OSError, termios.error) as error:  # pyserial's own are OSErrors
            raise self._failed(error) from error

    def read(self, count: int) -> bytes:
        """Wait for so many bytes, or the time-out; raises `RailError` when the port fails."""
        try:
            return bytes(self._port.read(count))
        except (OSError, termios.error) as error:
            raise self._failed(error) from error

    def reset_input(self) -> None:
        """Forget what was not read; raises `RailError` when the port fails."""
        try:
            self._port.reset_input_buffer()
        except (OSError, termios.error) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def _failed(self, error: Exception) -> RailError:
        return RailError(
            f"serial port {self._name} failed: {error}; check its plug, and that no other program uses "
            "it, then start focusd again",
            port=self._name,
        )


def open_serial(path: str, baud: int = 115_200, timeout_s: float = 0.1) -> SerialWire:
    """Open a serial port for TMC2209s; nobody else can meanwhile.

    Parameters
    ----------
    path : str
        E.g. ``/dev/serial0``.
    baud : int
        9000 to 500000; the chip follows whatever it hears.
    timeout_s : float
        Silence that ends an answer, s. An answer takes 1 ms at 115200 baud; the rest is for the system.

    Raises
    ------
    ConfigError
        No such port, no right to it, in use, not a serial port; or pyserial is not installed.
    """
    if not _SLOWEST_BAUD <= baud <= _FASTEST_BAUD:
        raise ConfigError(f"{baud} baud: a TMC2209 takes {_SLOWEST_BAUD} to {_FASTEST_BAUD}", baud=baud)
    try:
        from serial import Serial
    except ImportError as error:
        raise ConfigError(
            "[rail.tmc2209] needs pyserial: apt install python3-serial, or pip install 'focusd[tmc]'"
        ) from error
    try:
        return SerialWire(path, Serial(path, baud, timeout=timeout_s, write_timeout=1.0, exclusive=True))
    except (OSError, termios.error) as error:
        raise ConfigError(
            f"rail.tmc2209.port {path}: {error}; check that config.txt has enable_uart=1, that focusd's "
            "user is in the group dialout, that the serial console is off (raspi-config) and that no other "
            "program has the port",
            port=path,
        ) from error
