"""A TMC2209 seen from its serial line: bytes in, bytes out, registers in between.

It shares nothing with the daemon's side, neither the CRC nor the meaning of a bit, so that a mistake there is
not made here again. Sources: Trinamic TMC2209 data sheet, rev. 1.09, sections 4 (line), 5 (registers), 8 and
9 (current) and 11 (StallGuard4); its one-time memory was never written.
"""

from __future__ import annotations

import math

# Bits of a register, what it holds after a reset, and whether it can be read and written.
_REGISTERS: dict[int, tuple[int, int, str]] = {
    0x00: (10, 0x101, "rw"),  # GCONF: VREF scales the current, steps are filtered
    0x01: (3, 0b001, "rc"),  # GSTAT
    0x02: (8, 0, "r"),  # IFCNT
    0x03: (12, 0, "w"),  # SLAVECONF
    0x05: (24, 0, "r"),  # OTP_READ
    0x06: (32, 0, "r"),  # IOIN
    0x10: (20, 0x11F10, "w"),  # IHOLD_IRUN
    0x11: (8, 20, "w"),  # TPOWERDOWN
    0x12: (20, 0, "r"),  # TSTEP
    0x13: (20, 0, "w"),  # TPWMTHRS
    0x14: (20, 0, "w"),  # TCOOLTHRS
    0x22: (24, 0, "w"),  # VACTUAL
    0x40: (8, 0, "w"),  # SGTHRS
    0x41: (10, 0, "r"),  # SG_RESULT
    0x42: (16, 0, "w"),  # COOLCONF
    0x6C: (32, 0x10000053, "rw"),  # CHOPCONF
    0x6F: (32, 0, "r"),  # DRV_STATUS
    0x70: (32, 0xC10D0024, "rw"),  # PWMCONF
}
_GCONF, _GSTAT, _IFCNT, _SG_RESULT = 0x00, 0x01, 0x02, 0x41
_IHOLD_IRUN, _TPWMTHRS, _TCOOLTHRS, _SGTHRS, _CHOPCONF = 0x10, 0x13, 0x14, 0x40, 0x6C

_STANDSTILL = 2**20 - 1
# Overheating and the four shorts, in DRV_STATUS: the bridge is off.
_SHUTS_DOWN = 0b111110


def _crc_table() -> bytes:
    """Remainders of every byte, its bits in the order of the line, by x^8 + x^2 + x + 1."""
    table = bytearray()
    for byte in range(256):
        remainder = int(f"{byte:08b}"[::-1], 2) << 8
        for power in range(15, 7, -1):
            if remainder & 1 << power:
                remainder ^= 0b1_0000_0111 << power - 8
        table.append(remainder)
    return bytes(table)


_CRC_TABLE = _crc_table()
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def checksum(data: bytes) -> int:
    """CRC of a datagram."""
    crc = 0
    for byte in data:
        crc = _CRC_TABLE[_MIRRORED[crc] ^ byte]
    return crc


class SimTmc2209:
    """One chip.

    Parameters
    ----------
    address : int
        0 to 3, as MS1 and MS2 are strapped.
    version : int
        What it says it is.
    clock_hz : float
        Of its oscillator; 12 MHz, give or take some per cent.

    Attributes
    ----------
    powered : bool
        Without motor supply it hears and says nothing.
    speed_hz : float
        Full steps a second that it is being stepped at.
    stall_value : int
        SG_RESULT: how far from a stall the motor is, 0 to 510.
    undervoltage : bool
        Whether the charge pump lacks voltage now.
    """

    def __init__(self, address: int = 0, version: int = 0x21, clock_hz: float = 12e6) -> None:
        self.address = address
        self.version = version
        self.clock_hz = clock_hz
        self.powered = True
        self.speed_hz = 0.0
        self.stall_value = 510
        self.undervoltage = False
        self._conditions = 0
        self._held: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """Lose everything, as when the supply has dipped."""
        self._held = {number: value for number, (_, value, _) in _REGISTERS.items()}

    def hear(self, burst: bytes) -> bytes:
        """Take what came over the line between two silences, and return what the chip says to it.

        A spoilt datagram makes it deaf until the next silence, and a part of one is forgotten by then.
        """
        said = b""
        while self.powered and burst and burst[0] & 0x0F == 0b0101:
            length = 8 if len(burst) > 2 and burst[2] & 0x80 else 4
            datagram, burst = burst[:length], burst[length:]
            if len(datagram) < length or checksum(datagram[:-1]) != datagram[-1]:
                break
            if datagram[1] == self.address:
                said += self._obey(datagram)
        return said

    def count(self, writes: int) -> None:
        """Have counted so many writes since the reset."""
        self._held[_IFCNT] = writes % 256

    def register(self, number: int) -> int:
        """Return what a register holds, also one that cannot be read over the line."""
        match number:
            case 0x01:
                return self._held[_GSTAT] | self.undervoltage << 2
            case 0x06:
                straps = (self.address & 1) << 2 | (self.address >> 1) << 3
                return self.version << 24 | self.diag << 4 | straps | 1 << 6
            case 0x12:
                return self._step_time
            case 0x41:
                return self.stall_value & 0x1FE
            case 0x6F:
                stands = self.speed_hz == 0
                scale = self._held[_IHOLD_IRUN] >> (0 if stands else 8) & 0x1F
                return stands << 31 | self.stealthchop << 30 | scale << 16 | self._conditions
            case _:
                return self._held[number]

    @property
    def conditions(self) -> int:
        """The flags of DRV_STATUS, bits 0 to 11, that hold now."""
        return self._conditions

    @conditions.setter
    def conditions(self, flags: int) -> None:
        self._conditions = flags
        if flags & _SHUTS_DOWN:
            self._held[_GSTAT] |= 0b010

    @property
    def microsteps(self) -> int:
        """Microsteps a full step, by register or, as after a reset, by MS1 and MS2."""
        if self._held[_GCONF] & 0x80:
            return 256 >> (self._held[_CHOPCONF] >> 24 & 0xF)
        return (8, 32, 64, 16)[self.address]

    @property
    def interpolates(self) -> bool:
        """Whether microsteps are smoothed to 256ths."""
        return bool(self._held[_CHOPCONF] & 0x1000_0000)

    @property
    def stealthchop(self) -> bool:
        """Whether it regulates by voltage at the present speed."""
        return not self._held[_GCONF] & 0b100 and self._step_time > self._held[_TPWMTHRS]

    def current_ma(self, sense_ohm: float, standing: bool, vref_v: float = 2.5) -> float:
        """RMS current of a coil, mA, with these sense resistors; VREF counts only if it is asked to."""
        control = self._held[_IHOLD_IRUN]
        scale = control & 0x1F if standing else control >> 8 & 0x1F
        full_mv = 180.0 if self._held[_CHOPCONF] & 0x2_0000 else 325
        analog = min(vref_v, 2.5) / 2.5 if self._held[_GCONF] & 1 else 1.0
        return analog * (scale + 1) / 32 * full_mv / (sense_ohm + 0.020) / math.sqrt(2)

    @property
    def diag(self) -> bool:
        """Level of DIAG: the motor stalls or is switched off.

        The stall part for a motor that comes from rest: the threshold has a hysteresis of 1/16 then (5.2).
        """
        on = self._step_time <= self._held[_TCOOLTHRS] * 15 // 16 - 1
        stalls = on and self.stealthchop and self.register(_SG_RESULT) <= 2 * self._held[_SGTHRS]
        return stalls or bool(self._conditions & _SHUTS_DOWN) or self.undervoltage

    @property
    def _step_time(self) -> int:
        if self.speed_hz == 0:
            return _STANDSTILL
        return min(_STANDSTILL, round(self.clock_hz / (256 * self.speed_hz)))

    def _obey(self, datagram: bytes) -> bytes:
        number = datagram[2] & 0x7F
        bits, _, access = _REGISTERS.get(number, (0, 0, ""))
        if not datagram[2] & 0x80:
            value = self.register(number) if "r" in access else 0
            reply = bytes((0x05, 0xFF, number)) + value.to_bytes(4, "big")
            return reply + bytes((checksum(reply),))
        self._held[_IFCNT] = (self._held[_IFCNT] + 1) % 256
        value = int.from_bytes(datagram[3:7], "big") & (1 << bits) - 1
        if "w" in access:
            self._held[number] = value
        elif "c" in access:
            self._held[number] &= ~value
            self.conditions = self._conditions  # what still holds is flagged again
        return b""
