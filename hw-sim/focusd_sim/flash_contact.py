"""The simulated DSLR's flash contact: a switch in the shutter, which bounces."""

from __future__ import annotations

from focusd_sim.clock import VirtualClock
from focusd_sim.config import DslrConfig
from focusd_sim.pins import SimFactory

_CHATTER_S = 0.001


class FlashContact:
    """A contact that drives a line while it is made, and otherwise lets it go to its pull.

    Parameters
    ----------
    line : int or None
        BCM number; None where no cable is plugged in.
    config : DslrConfig
        How long it stays made, its level and its bounces.
    clock : VirtualClock
        Bounces are scheduled on it.
    factory : SimFactory
        Whose line it drives.
    """

    def __init__(
        self, line: int | None, config: DslrConfig, clock: VirtualClock, factory: SimFactory
    ) -> None:
        self._line = line
        self._config = config
        self._clock = clock
        self._factory = factory
        self._made = False

    def follow(self, opens_s: float) -> None:
        """Make when the shutter opens, at `opens_s`; break after the contact's own time, if it has one."""
        if self._line is None:
            return
        config = self._config
        self._clock.call_at(opens_s, self._make)
        if config.sync_s is not None and (config.bulb or config.sync_s < config.exposure_s):
            self._clock.call_at(opens_s + config.sync_s, self.part)

    def part(self) -> None:
        """Break, unless it has: the shutter closes."""
        if self._made:
            self._made = False
            self._switch(None, self._config.sync_active_high)

    def _make(self) -> None:
        self._made = True
        self._switch(self._config.sync_active_high, None)

    def _switch(self, to: bool | None, back: bool | None) -> None:
        line, now_s = self._line, self._clock.now_s()
        assert line is not None  # noqa: S101  # without a line it is never made
        for bounce in range(self._config.sync_bounces):
            self._drive_at(now_s + 2 * bounce * _CHATTER_S, line, to)
            self._drive_at(now_s + (2 * bounce + 1) * _CHATTER_S, line, back)
        self._drive_at(now_s + 2 * self._config.sync_bounces * _CHATTER_S, line, to)

    def _drive_at(self, at_s: float, line: int, level: bool | None) -> None:
        if at_s <= self._clock.now_s():
            self._factory.drive(line, level)
        else:
            self._clock.call_at(at_s, lambda: self._factory.drive(line, level))
