"""What a TMC2209 says of itself and of the motor. Pure.

Source: Trinamic TMC2209 data sheet, rev. 1.09, sections 5.1 (GSTAT) and 5.5.3 (DRV_STATUS).
"""

from __future__ import annotations

from dataclasses import dataclass

_COMPARATORS_C = (120, 143, 150, 157)  # bits 8 to 11 of DRV_STATUS


@dataclass(frozen=True, slots=True)
class TmcStatus:
    """The flags of GSTAT and DRV_STATUS.

    Parameters
    ----------
    reset : bool
        The chip was reset since it was set up: its settings are gone, and the motor lost its field.
    driver_error : bool
        The chip has switched the motor off, for heat or a short; stays until set up again.
    undervoltage : bool
        The charge pump lacks voltage now; the motor is off meanwhile.
    over_temperature_warning, over_temperature : bool
        120 degrees C are exceeded, still running; or the limit, and the motor is off.
    temperature_over_c : int
        The highest comparator that has tripped: 120, 143, 150 or 157 degrees C; 0 for none.
    short_to_ground, short_to_supply : bool
        In either coil; the motor is off.
    open_load : bool
        A coil seems not to be connected. Also said of a motor that stands or runs fast: to be believed in
        slow motion only.
    current_scale : int
        The current step in use, 0 to 31.
    stealthchop, standstill : bool
        The chopper in use; whether the last step is some 0.09 s ago or more.
    """

    reset: bool
    driver_error: bool
    undervoltage: bool
    over_temperature_warning: bool
    over_temperature: bool
    temperature_over_c: int
    short_to_ground: bool
    short_to_supply: bool
    open_load: bool
    current_scale: int
    stealthchop: bool
    standstill: bool

    @classmethod
    def of(cls, gstat: int, drv_status: int) -> TmcStatus:
        """Decode the two registers."""
        tripped = (c for bit, c in enumerate(_COMPARATORS_C, start=8) if drv_status >> bit & 1)
        return cls(
            reset=bool(gstat & 1),
            driver_error=bool(gstat & 1 << 1),
            undervoltage=bool(gstat & 1 << 2),
            over_temperature_warning=bool(drv_status & 1),
            over_temperature=bool(drv_status & 1 << 1),
            temperature_over_c=max(tripped, default=0),
            short_to_ground=bool(drv_status & 0b11 << 2),
            short_to_supply=bool(drv_status & 0b11 << 4),
            open_load=bool(drv_status & 0b11 << 6),
            current_scale=drv_status >> 16 & 0x1F,
            stealthchop=bool(drv_status & 1 << 30),
            standstill=bool(drv_status & 1 << 31),
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the chip has, or had, switched the motor off; empty when it has not."""
        named = {
            "too hot": self.over_temperature,
            "a coil is shorted to ground": self.short_to_ground,
            "a coil is shorted to the supply": self.short_to_supply,
            "its charge pump lacks voltage": self.undervoltage,
        }
        found = tuple(name for name, is_so in named.items() if is_so)
        if self.driver_error and not found:
            return ("it was too hot or a coil was shorted",)
        return found
