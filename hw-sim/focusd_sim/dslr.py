"""A DSLR on its focus and release lines: mirror, shutter, buffer, card, and what can go wrong with each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from focusd.errors import ConfigError
from focusd_sim.bench import Bench
from focusd_sim.card import Card
from focusd_sim.clock import VirtualClock
from focusd_sim.config import DslrConfig
from focusd_sim.faults import Faults
from focusd_sim.flash_contact import FlashContact
from focusd_sim.pins import SimFactory
from focusd_sim.truth import ExposureTruth
from focusd_sim.view import View

_MIRROR_DROPS_AFTER_S = 30.0
# A shutter that fires twice does so this long after it has closed.
_BOUNCE_S = 0.1
# A release let go before the shutter has opened makes a bulb exposure as short as this.
_SHORTEST_S = 0.001


@dataclass(frozen=True, slots=True)
class DslrLines:
    """BCM lines of the camera's optocouplers.

    Parameters
    ----------
    release : int
        Whole press.
    focus : int, optional
        Half press.
    sync : int, optional
        Flash contact, which tells that the shutter is open.
    """

    release: int
    focus: int | None = None
    sync: int | None = None


@dataclass(slots=True)
class Presses:
    """What became of every press of the release, by reason."""

    exposed: int = 0
    mirror: int = 0
    ignored: dict[str, int] = field(default_factory=dict)

    def ignore(self, reason: str) -> None:
        """Count one that did nothing."""
        self.ignored[reason] = self.ignored.get(reason, 0) + 1


class Dslr:
    """The camera body. It exposes at its own time after a press and writes files into a folder later.

    Parameters
    ----------
    config : DslrConfig
        Its habits.
    clock : VirtualClock
        What it does meanwhile is scheduled on it.
    factory : SimFactory
        Whose lines it watches.
    lines : DslrLines
        Which they are.
    bench : Bench
        Its mirror shakes it.
    view : View
        What it sees.
    inbox : Path
        Where its files go; made if absent.
    faults : Faults
        May lose, double or corrupt a frame, or hang the camera.

    Raises
    ------
    ConfigError
        When a half press is demanded and no focus line is wired.
    """

    def __init__(
        self,
        config: DslrConfig,
        clock: VirtualClock,
        factory: SimFactory,
        lines: DslrLines,
        bench: Bench,
        view: View,
        inbox: Path,
        faults: Faults,
    ) -> None:
        if config.half_press_s and lines.focus is None:
            raise ConfigError(
                f"sim.dslr.half_press_s is {config.half_press_s} s and no focus line is wired: "
                "wire it, or set 0"
            )
        self.presses = Presses()
        self._config = config
        self._clock = clock
        self._lines = lines
        self._bench = bench
        self._view = view
        self._card = Card(inbox, config)
        self._faults = faults
        self._contact = FlashContact(lines.sync, config, clock, factory)
        self._down = False
        self._bulb_s: float | None = None
        self._hung = False
        self._focus_since_s: float | None = None
        self._pressed_s: float | None = None
        self._mirror_up_s: float | None = None
        self._busy_until_s = float("-inf")
        self._awake_s = clock.now_s()
        self._last_used_s = clock.now_s()
        self._card_free_s = float("-inf")
        self._buffered = 0
        for line in (lines.release, lines.focus):
            if line is not None:
                factory.watch(line, self.edge)
                self.edge(line, factory.level(line), clock.now_s())
        faults.claim("lose_frame", "double_frame", "corrupt_file", "late_frame")
        faults.on("hang_camera", self._hang)

    def edge(self, line: int, level: bool, t_s: float) -> None:
        """Take a change of `line` to `level` at `t_s`."""
        pressed = level == self._config.active_high
        if line == self._lines.focus:
            self._focus_since_s = t_s if pressed else None
            if pressed:
                self._stir(t_s)
        elif line == self._lines.release:
            self._down = pressed
            if pressed:
                self._press(t_s)
            else:
                self._let_go(t_s)

    def _hang(self, begins: bool) -> None:
        self._hung = begins

    def _stir(self, t_s: float) -> bool:
        """Wake if asleep; return whether the camera was awake."""
        config = self._config
        if config.sleep_after_s and t_s - self._last_used_s > config.sleep_after_s and t_s >= self._awake_s:
            self._awake_s = t_s + config.wake_s
        self._last_used_s = t_s
        return t_s >= self._awake_s

    def _press(self, t_s: float) -> None:
        if not self._stir(t_s):
            self.presses.ignore("asleep")
            return
        self._pressed_s = t_s
        self._clock.call_at(t_s + self._config.min_press_s, lambda: self._held(t_s))

    def _let_go(self, t_s: float) -> None:
        # At the very instant of the minimum the press still counts, and `_held` may come just after.
        if self._pressed_s is not None and t_s - self._pressed_s < self._config.min_press_s - 1e-9:
            self.presses.ignore("short")
            self._pressed_s = None
        self._end_bulb(t_s)

    def _held(self, pressed_s: float) -> None:
        """Act on a press that has lasted long enough."""
        if self._pressed_s != pressed_s:
            return
        self._pressed_s = None
        self._faults.reach(self._view.truth.next_index)
        reason = self._refusal(pressed_s)
        if reason:
            self.presses.ignore(reason)
            return
        if self._config.mirror_lockup and not self._mirror_is_up(pressed_s):
            self.presses.mirror += 1
            self._mirror_up_s = pressed_s
            self._bench.bump(self._config.mirror_slap_um)
            return
        self.presses.exposed += 1
        self._open(max(pressed_s + self._config.release_lag_s, self._clock.now_s()))

    def _refusal(self, pressed_s: float) -> str:
        config, focus_since_s = self._config, self._focus_since_s
        if self._hung:
            return "hung"
        if pressed_s < self._busy_until_s:
            return "busy"
        if self._buffered >= config.buffer_frames:
            return "buffer full"
        if config.half_press_s and (
            focus_since_s is None or pressed_s - focus_since_s < config.half_press_s - 1e-9
        ):
            return "not focused"
        return ""

    def _mirror_is_up(self, t_s: float) -> bool:
        up_s = self._mirror_up_s
        self._mirror_up_s = None
        return up_s is not None and t_s - up_s <= _MIRROR_DROPS_AFTER_S

    def _open(self, opens_s: float) -> None:
        """Schedule mirror, shutter and the rest."""
        config, clock = self._config, self._clock
        closes_s = opens_s + config.exposure_s
        self._busy_until_s = float("inf") if config.bulb else closes_s
        self._buffered += 1
        if not config.mirror_lockup:
            slap_s = max(opens_s - config.mirror_lead_s, clock.now_s())
            clock.call_at(slap_s, lambda: self._bench.bump(config.mirror_slap_um))
        self._contact.follow(opens_s)
        if not config.bulb:
            clock.call_at(closes_s, lambda: self._close(opens_s, closes_s))
            return
        self._bulb_s = opens_s
        if not self._down:
            self._end_bulb(opens_s)

    def _end_bulb(self, let_go_s: float) -> None:
        """Schedule the end of an exposure that lasts while the release is pressed, if there is one."""
        if self._bulb_s is None:
            return
        opens_s, self._bulb_s = self._bulb_s, None
        closes_s = self._busy_until_s = max(let_go_s, opens_s + _SHORTEST_S)
        self._clock.call_at(closes_s, lambda: self._close(opens_s, closes_s))

    def _close(self, opens_s: float, closes_s: float) -> None:
        self._contact.part()
        exposure = self._view.expose(opens_s, closes_s)
        self._last_used_s = closes_s
        if self._faults.take("double_frame"):
            self._open(closes_s + _BOUNCE_S)
        if self._faults.take("lose_frame"):
            self._buffered -= 1
            return
        corrupt = self._faults.take("corrupt_file")
        written_s = max(closes_s, self._card_free_s) + self._config.write_s
        self._card_free_s = written_s
        if self._faults.take("late_frame"):  # on its way: the card is free meanwhile
            written_s += self._config.late_s
        names = self._card.next_names()
        self._clock.call_at(
            written_s - self._config.partial_s, lambda: self._write(names, exposure, written_s, corrupt)
        )

    def _write(
        self, names: tuple[str, ...], exposure: ExposureTruth, written_s: float, corrupt: bool
    ) -> None:
        """Draw the picture and put it on the card: half of it first where the writer is not atomic."""
        open_s = self._config.exposure_s
        if self._config.bulb:
            open_s = exposure.t_close_s - exposure.t_open_s
        picture = self._view.picture(exposure, light=open_s / self._config.light_s)
        files = {name: self._card.encoded(name, picture, exposure.t_open_s) for name in names}
        halves = {name: data[: len(data) // 2] for name, data in files.items()}
        if self._config.partial_s:
            for name, half in halves.items():
                self._put(name, half)
        self._clock.call_at(written_s, lambda: self._finish(halves if corrupt else files, exposure.index))

    def _finish(self, files: dict[str, bytes], index: int) -> None:
        self._buffered -= 1
        written = [name for name, data in files.items() if self._put(name, data)]
        if written:
            self._view.truth.name_file(index, written[0])

    def _put(self, name: str, data: bytes) -> bool:
        """Write to the card; a full one is the camera's trouble, and the picture is gone."""
        if self._card.put(name, data):
            return True
        self.presses.ignore("card full")
        return False
