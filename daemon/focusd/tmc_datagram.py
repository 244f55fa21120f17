"""What goes over the one-wire serial line of a TMC2209: registers in datagrams with a CRC. Pure.

Source: Trinamic TMC2209 data sheet, rev. 1.09, sections 4.1 (datagrams), 4.2 (CRC) and 5 (registers).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import ClassVar

from focusd.errors import RailError

ADDRESSES = 4
"""How many chips one line can have: MS1 is bit 0 of a chip's address, MS2 bit 1."""

REPLY_BYTES = 8

_SYNC = 0x05
_HOST = 0xFF  # the address that answers are sent to
_WRITE = 0x80


class Register(IntEnum):
    """The registers that focusd uses; those marked W cannot be read."""

    GCONF = 0x00
    GSTAT = 0x01  # flags, cleared by writing a 1
    IFCNT = 0x02  # R: writes accepted so far, modulo 256
    SLAVECONF = 0x03  # W
    IOIN = 0x06  # R
    IHOLD_IRUN = 0x10  # W
    TPOWERDOWN = 0x11  # W
    TPWMTHRS = 0x13  # W
    TCOOLTHRS = 0x14  # W
    VACTUAL = 0x22  # W
    SGTHRS = 0x40  # W
    SG_RESULT = 0x41  # R
    COOLCONF = 0x42  # W
    CHOPCONF = 0x6C
    DRV_STATUS = 0x6F  # R
    PWMCONF = 0x70


class TmcError(RailError):
    """A TMC2209 that cannot be relied on; ``advice`` says what to look at."""

    advice: ClassVar[str]


class NoAnswer(TmcError):
    """The line works, since the echo came back, but no whole answer did."""

    advice = (
        "check that the chip has its motor supply (without VM it is mute), that MS1 and MS2 are strapped for "
        "rail.tmc2209.address, and that the module's UART pin is PDN_UART (some need a solder bridge)"
    )


class NoEcho(NoAnswer):
    """Nothing came back, not even the echo of what was sent."""

    advice = (
        "check that the Pi's RX goes to PDN_UART and its TX too, through 1 kohm; that config.txt has "
        "enable_uart=1; and that rail.tmc2209.port is the UART of these pins"
    )


class WrongEcho(TmcError):
    """What came back is not what was sent: somebody else is on the line, or it is disturbed."""

    advice = (
        "turn off the serial console (raspi-config, Interface, Serial: login shell no), end other programs "
        "on the port, check the 1 kohm resistor and the ground, and keep the wire away from the motor's"
    )


class WrongCrc(TmcError):
    """An answer spoilt on its way."""

    advice = "check the ground between Pi and chip, and keep the wire short and away from the motor's"


class WrongAddress(TmcError):
    """A sound answer, but not to what was asked."""

    advice = "check that nothing but TMC2209s is on the line, each strapped for another address"


def crc8(data: bytes) -> int:
    """Return the CRC of a datagram without its last byte.

    The polynomial is x^8 + x^2 + x + 1, from 0, and the bits of each byte enter lowest first, as they go over
    the line; the CRC itself is not mirrored.
    """
    crc = 0
    for byte in data:
        for bit in range(8):
            carry = crc >> 7 ^ byte >> bit & 1
            crc = crc << 1 & 0xFF ^ 0x07 * carry
    return crc


def read_request(address: int, register: Register) -> bytes:
    """Return the 4 bytes that ask a chip, 0 to 3, for a register."""
    return _sealed(bytes((_SYNC, address, register)))


def write_request(address: int, register: Register, value: int) -> bytes:
    """Return the 8 bytes that set a register of a chip, 0 to 3, to 32 bits."""
    return _sealed(struct.pack(">BBBI", _SYNC, address, register | _WRITE, value))


def reply_value(register: Register, reply: bytes) -> int:
    """Return the 32 bits of an answer of 8 bytes.

    Raises
    ------
    WrongCrc
        It was spoilt.
    WrongAddress
        It is not for the host, or not of this register.
    """
    crc = crc8(reply[:-1])
    if crc != reply[-1]:
        raise WrongCrc(
            f"the answer {reply.hex(' ')} has the CRC 0x{reply[-1]:02x}, not 0x{crc:02x}",
            crc=reply[-1],
            crc_expected=crc,
        )
    expected = bytes((_SYNC, _HOST, register))
    if reply[:3] != expected:
        raise WrongAddress(
            f"the answer {reply.hex(' ')} begins {reply[:3].hex(' ')}, not {expected.hex(' ')} (sync, host, "
            "register)"
        )
    return int.from_bytes(reply[3:7], "big")


def _sealed(data: bytes) -> bytes:
    return data + bytes((crc8(data),))
