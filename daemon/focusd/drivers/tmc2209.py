"""A TMC2209 on a serial line: set up, asked how it is. Steps go by its pins, see `stepper`.

One wire carries both directions: the Pi's RX is joined to PDN_UART, its TX through 1 kohm, and so whatever is
sent comes back as an echo before the answer. Datagrams can be lost or spoilt, since the motor's cables are
near; every exchange is checked and repeated a few times, and nothing is taken for done that the chip has not
counted (data sheet, rev. 1.09, sections 4.1 and 4.2).
"""

from __future__ import annotations

from typing import Protocol

from focusd.errors import ConfigError
from focusd.tmc_datagram import (
    ADDRESSES,
    REPLY_BYTES,
    NoAnswer,
    NoEcho,
    Register,
    TmcError,
    WrongEcho,
    read_request,
    reply_value,
    write_request,
)
from focusd.tmc_settings import READABLE, TmcSettings
from focusd.tmc_status import TmcStatus

ATTEMPTS = 5
"""How often an exchange is tried in all."""

_VERSION = 0x21
_RELATIVES = {0x20: "a TMC2208, TMC2224 or TMC2225", 0x40: "a TMC2300 or TMC2240"}
_ALL_FLAGS = 0b111
# More than any answer: reading so much ends by the time-out, that is when the line has been silent so long.
_LISTEN_BYTES = 64


class WrongChip(TmcError):
    """Something answers like a TMC2209 and is none."""

    advice = "without [rail.tmc2209] a chip is used as it is strapped"


class WriteLost(TmcError):
    """The chip answers, but does not count what is written to it."""

    advice = "check the 1 kohm resistor in the Pi's TX, and that two chips do not share an address"


class SettingsLost(TmcError):
    """The chip has counted a write and yet does not hold what was written."""

    advice = "see whether another program writes to the chip, and whether two chips share an address"


class ChipReset(TmcError):
    """The chip was reset: its settings are gone and the motor has not followed since."""

    advice = "the motor supply (VM) has dipped or been cut: check it and its plug, then home"


class ChipFault(TmcError):
    """The chip has switched the motor off to protect itself."""

    advice = "check the motor's cable, the current and the cooling, then home"


class Wire(Protocol):
    """A half-duplex line that hears itself."""

    @property
    def name(self) -> str:
        """What to call it in a message: its path."""
        ...

    def write(self, data: bytes) -> None:
        """Send."""
        ...

    def read(self, count: int) -> bytes:
        """Wait for so many bytes; return fewer when the line falls silent."""
        ...

    def reset_input(self) -> None:
        """Forget what has come and was not read."""
        ...


class Tmc2209:
    """One chip on a line.

    Parameters
    ----------
    wire : Wire
        The line.
    address : int
        0 to 3: MS1 is bit 0, MS2 bit 1.

    Raises
    ------
    ConfigError
        No such address.

    Notes
    -----
    Every method may raise `TmcError` (`NoAnswer`, `NoEcho`, `WrongEcho`, `WrongCrc`, `WrongAddress`), after
    `ATTEMPTS` attempts. Against a silent line that takes 9 times the wire's time-out.
    """

    def __init__(self, wire: Wire, address: int = 0) -> None:
        if not 0 <= address < ADDRESSES:
            raise ConfigError(f"rail.tmc2209.address {address}: 0 to {ADDRESSES - 1}", address=address)
        self._wire = wire
        self._address = address

    def configure(self, settings: TmcSettings) -> None:
        """Set the chip up; to be done while the motor is off, and again after a `ChipReset` or `ChipFault`.

        Raises
        ------
        WrongChip
            It is no TMC2209.
        WriteLost, SettingsLost
            It did not take the settings.
        ChipReset
            It was reset on the way.
        """
        version = self.read(Register.IOIN) >> 24
        if version != _VERSION:
            known = _RELATIVES.get(version, "no chip that focusd knows")
            raise self._error(
                WrongChip,
                f"its version is 0x{version:02x}, that of {known}, not 0x{_VERSION:02x}",
                version=version,
            )
        registers = settings.registers()
        # Cleared first: a reset while the rest is written shows.
        self.write(Register.GSTAT, _ALL_FLAGS)
        for register, value in registers.items():
            self.write(register, value)
        held = {register: self.read(register) for register in READABLE}
        self._refuse_reset(self.status())
        for register, value in held.items():
            if value != registers[register]:
                raise self._error(
                    SettingsLost,
                    f"{register.name} is 0x{value:08x} after 0x{registers[register]:08x} was written",
                    register=register.name,
                    value=value,
                    expected=registers[register],
                )

    def status(self) -> TmcStatus:
        """Return the chip's flags; they stay as they are."""
        return TmcStatus.of(self.read(Register.GSTAT), self.read(Register.DRV_STATUS))

    def check(self) -> TmcStatus:
        """Return the chip's flags if it has kept its settings and the motor on since `configure`.

        Raises
        ------
        ChipReset
            It was reset: where the motor is, is not known.
        ChipFault
            It has switched the motor off: the same.
        """
        status = self.status()
        self._refuse_reset(status)
        if status.faults:
            raise self._error(
                ChipFault,
                f"it has switched the motor off: {', '.join(status.faults)}",
                faults=list(status.faults),
                temperature_over_c=status.temperature_over_c,
            )
        return status

    def stall_value(self) -> int:
        """Return SG_RESULT, 0 to 510: the lower, the more load; see `Stall` for what it is worth."""
        return self.read(Register.SG_RESULT)

    def read(self, register: Register) -> int:
        """Return the 32 bits of a register that can be read."""
        request = read_request(self._address, register)
        attempt = 1
        while True:
            try:
                return reply_value(register, self._exchange(request, REPLY_BYTES))
            except TmcError as error:
                if attempt == ATTEMPTS:
                    raise self._error(
                        type(error),
                        f"{register.name} could not be read in {ATTEMPTS} attempts: {error}",
                        register=register.name,
                        attempts=ATTEMPTS,
                        **error.values,
                    ) from error
                attempt += 1
                self._listen()

    def write(self, register: Register, value: int) -> None:
        """Set a register; done when the chip has counted it.

        Raises
        ------
        WriteLost
            It did not, in `ATTEMPTS` attempts.
        """
        request = write_request(self._address, register, value)
        count = self.read(Register.IFCNT)
        for _ in range(ATTEMPTS):
            try:
                self._exchange(request, 0)
            except TmcError:
                # The chip may have heard it all the same: its counter knows.
                self._listen()
            before, count = count, self.read(Register.IFCNT)
            if count == (before + 1) % 256:
                return
        raise self._error(
            WriteLost,
            f"{register.name} = 0x{value:08x} was written {ATTEMPTS} times and not counted once",
            register=register.name,
            value=value,
            attempts=ATTEMPTS,
        )

    def _exchange(self, request: bytes, answer_bytes: int) -> bytes:
        """Send a datagram and hear its echo and what follows."""
        self._wire.reset_input()
        self._wire.write(request)
        heard = self._wire.read(len(request) + answer_bytes)
        echo, answer = heard[: len(request)], heard[len(request) :]
        if not echo:
            raise NoEcho("nothing came back, not even what was sent")
        if echo != request:
            raise WrongEcho(f"{request.hex(' ')} was sent and {heard.hex(' ')} came back")
        if len(answer) < answer_bytes:
            raise NoAnswer(
                f"{len(answer)} of {answer_bytes} bytes came after the echo", heard_bytes=len(answer)
            )
        return answer

    def _listen(self) -> None:
        """Wait until the line is silent: after an error a chip listens again after 12 bit times of that."""
        self._wire.read(_LISTEN_BYTES)

    def _refuse_reset(self, status: TmcStatus) -> None:
        if status.reset:
            raise self._error(ChipReset, "it was reset and has lost its settings; the position is not known")

    def _error(self, kind: type[TmcError], what: str, **values: object) -> TmcError:
        return kind(
            f"TMC2209 on {self._wire.name}, address {self._address}: {what}; {kind.advice}",
            port=self._wire.name,
            address=self._address,
            **values,
        )
