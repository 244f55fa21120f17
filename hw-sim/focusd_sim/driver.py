"""The step driver chip: edges on STEP, DIR, EN and MS become steps of the field, or are lost.

It knows lines, levels and times, and nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from focusd.errors import ConfigError

UNITS_PER_STEP = 256  # the finest microstep any of the chips makes; all angles are whole numbers of it

# Rig time is a float sum of many small sleeps: a pulse of exactly the minimum must not fail by rounding.
_ROUNDING_S = 5e-10


@dataclass(frozen=True, slots=True)
class Chip:
    """What a step driver's data sheet demands of its inputs.

    Parameters
    ----------
    step_high_s, step_low_s : float
        Shortest STEP pulse and pause, s.
    setup_s, hold_s : float
        DIR (and MS) must stand still this long before and after the rising edge of STEP, s.
    enable_setup_s : float
        From EN (or the sleep input tied to it) to the first STEP, s.
    counts_when_disabled : bool
        Whether the translator goes on counting STEP while the outputs are off.
    ms : mapping of tuple of bool to int
        Microsteps by the levels of the MS pins.
    microsteps : frozenset of int
        Every resolution that can be chosen, by pins or by wire.
    source : str
        Data sheet and section.
    """

    name: str
    step_high_s: float
    step_low_s: float
    setup_s: float
    hold_s: float
    enable_setup_s: float
    counts_when_disabled: bool
    ms: Mapping[tuple[bool, ...], int]
    microsteps: frozenset[int]
    source: str


def _table(pins: int, resolutions: tuple[int, ...]) -> Mapping[tuple[bool, ...], int]:
    """Resolutions in counting order of the MS pins, the first pin being the lowest bit."""
    return MappingProxyType(
        {tuple(bool(code >> pin & 1) for pin in range(pins)): m for code, m in enumerate(resolutions)}
    )


CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        "A4988": Chip(
            name="A4988",
            step_high_s=1e-6,
            step_low_s=1e-6,
            setup_s=200e-9,
            hold_s=200e-9,
            enable_setup_s=1e-3,
            counts_when_disabled=True,
            # MS1, MS2, MS3; combinations the table leaves out are not used by anyone and count as full step.
            ms=_table(3, (1, 2, 4, 8, 1, 1, 1, 16)),
            microsteps=frozenset({1, 2, 4, 8, 16}),
            source="Allegro 4988-DS rev. 5 (2014): figure 1 (tA to tD, given as typical); table 1; 'Enable "
            "Input' (the translator goes on); 'Sleep Mode' (1 ms; it states none for EN: the same is taken)",
        ),
        "DRV8825": Chip(
            name="DRV8825",
            step_high_s=1.9e-6,
            step_low_s=1.9e-6,
            setup_s=650e-9,
            hold_s=650e-9,
            enable_setup_s=1.7e-3,
            counts_when_disabled=False,
            ms=_table(3, (1, 2, 4, 8, 16, 32, 32, 32)),
            microsteps=frozenset({1, 2, 4, 8, 16, 32}),
            source="TI DRV8825, SLVSA73F (2014): 7.6 (tWH, tWL, tSU, tH; tWAKE of nSLEEP, as tENBL is 650 ns "
            "only); table 1; 8.3.6 (STEP is ignored while nENBL is high)",
        ),
        "TMC2209": Chip(
            name="TMC2209",
            # A clock and 20 ns; the clock made inside is 11.5 MHz at least, at 25 degrees.
            step_high_s=107e-9,
            step_low_s=107e-9,
            setup_s=20e-9,
            hold_s=20e-9,
            enable_setup_s=107e-9,
            counts_when_disabled=True,
            # MS1, MS2 choose 8, 32, 64, 16; the wire (UART) chooses any power of two.
            ms=_table(2, (8, 32, 64, 16)),
            microsteps=frozenset(1 << power for power in range(9)),
            source="Trinamic TMC2209 rev. 1.09 (2023): 13.1 (tSH, tSL, tDSU, tDSH); 20.2 (fCLKOSC); 2.2 (MS1,"
            " MS2); 3.6.1 (steps count while ENN is high). It states no time for ENN: a pulse's is taken",
        ),
    }
)


class Rotor(Protocol):
    """What the chip's outputs turn."""

    def step(self, units: int, t_s: float) -> None:
        """Turn the energised field by `units`."""
        ...

    def turn_field(self, units: int) -> None:
        """Turn the translator while its outputs are off."""
        ...

    def energise(self, t_s: float) -> None:
        """Switch the outputs on."""
        ...

    def release(self, t_s: float) -> None:
        """Switch the outputs off."""
        ...


@dataclass(slots=True)
class Pulses:
    """Count of what became of every STEP pulse."""

    total: int = 0
    ignored: int = 0
    violations: dict[str, int] = field(default_factory=dict)


class StepDriver:
    """A step driver chip, its inputs fed by edges.

    A step is committed once its pulse has lasted long enough, with the time of its rising edge: a pulse that
    ends too soon never turns the field.

    Parameters
    ----------
    chip : Chip
        Whose data sheet counts.
    rotor : Rotor
        What the field turns.
    microsteps : int
        A step is 1/microsteps of a full step, while no MS pins are wired.
    enable_active_low : bool
        True as on the chip (EN low: motor on); False where the board inverts the line.
    timing : bool
        Whether pulses and set-up times are judged.

    Raises
    ------
    ConfigError
        For microsteps the chip does not have.
    """

    def __init__(
        self,
        chip: Chip,
        rotor: Rotor,
        *,
        microsteps: int,
        enable_active_low: bool = True,
        timing: bool = True,
    ) -> None:
        if microsteps not in chip.microsteps:
            offered = ", ".join(str(m) for m in sorted(chip.microsteps))
            raise ConfigError(
                f"motor.microsteps is {microsteps}: {chip.name} makes {offered}; take one of them"
            )
        self.pulses = Pulses()
        self._chip = chip
        self._rotor = rotor
        self._active_low = enable_active_low
        scale = 1.0 if timing else 0.0
        self._high_s = chip.step_high_s * scale - _ROUNDING_S
        self._low_s = chip.step_low_s * scale - _ROUNDING_S
        self._setup_s = chip.setup_s * scale - _ROUNDING_S
        self._hold_s = chip.hold_s * scale - _ROUNDING_S
        self._enable_setup_s = chip.enable_setup_s * scale - _ROUNDING_S
        self._units = UNITS_PER_STEP // microsteps
        self._sign = -1
        self._enabled = False
        self._pending = 0
        self._rise_s = self._fall_s = self._turn_s = self._enable_s = float("-inf")

    @property
    def enabled(self) -> bool:
        """Whether the outputs are on."""
        return self._enabled

    def step(self, level: bool, t_s: float) -> None:
        """Take an edge on STEP."""
        if level:
            self._rise(t_s)
            return
        if self._pending and t_s - self._rise_s < self._high_s:
            self._lose("step_high")
        self.flush(t_s)
        self._fall_s = t_s

    def direction(self, level: bool, t_s: float) -> None:
        """Take an edge on DIR: high is forward."""
        self.flush(t_s)
        if self._pending and t_s - self._rise_s < self._hold_s:
            self._lose("dir_hold")
        self._sign = 1 if level else -1
        self._turn_s = t_s

    def enable(self, level: bool, t_s: float) -> None:
        """Take an edge on EN."""
        self.flush(t_s)
        enabled = level != self._active_low
        if enabled == self._enabled:
            return
        self._enabled = enabled
        if enabled:
            self._enable_s = t_s
            self._rotor.energise(t_s)
            return
        if self._pending:
            self._pending = 0
            self.pulses.ignored += 1
        self._rotor.release(t_s)

    def resolution(self, levels: tuple[bool, ...], t_s: float) -> None:
        """Take the levels of all the MS pins, in the order MS1, MS2 (, MS3)."""
        self.flush(t_s)
        if levels not in self._chip.ms:
            raise ConfigError(
                f"{self._chip.name} has another number of MS pins than {len(levels)}: check the lines"
            )
        self._units = UNITS_PER_STEP // self._chip.ms[levels]
        self._turn_s = t_s

    def flush(self, t_s: float) -> None:
        """Commit the step whose pulse has lasted long enough by `t_s`."""
        if self._pending and t_s - self._rise_s >= self._high_s:
            units, self._pending = self._pending, 0
            self._rotor.step(units, self._rise_s)

    def _rise(self, t_s: float) -> None:
        self.flush(t_s)
        self.pulses.total += 1
        units = self._sign * self._units
        if not self._enabled:
            self.pulses.ignored += 1
            if self._chip.counts_when_disabled:
                self._rotor.turn_field(units)
        elif t_s - self._fall_s < self._low_s:
            self._lose("step_low")
        elif t_s - self._turn_s < self._setup_s:
            self._lose("dir_setup")
        elif t_s - self._enable_s < self._enable_setup_s:
            self._lose("enable_setup")
        else:
            self._pending = units
        self._rise_s = t_s

    def _lose(self, kind: str) -> None:
        self._pending = 0
        self.pulses.violations[kind] = self.pulses.violations.get(kind, 0) + 1
