"""Faults: scripted at an exposure, at a time or at random from a seed, and switchable live.

Three manners. A *shot* fault spoils one exposure: the camera asks `Faults.take` for it. A *state* lasts until
it is cleared, and an *event* happens once: both call the action that was bound with `Faults.on`. Nobody can
script a fault that nobody handles.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from focusd.errors import ConfigError
from focusd_sim.clock import VirtualClock

Kind = Literal[
    "lose_frame",
    "double_frame",
    "corrupt_file",
    "late_frame",
    "hang_camera",
    "stick_endstop",
    "stall_motor",
    "press_button",
    "fill_disk",
    "drop_broker",
    "jump_clock",
    "kill_process",
]
KINDS: tuple[str, ...] = get_args(Kind)
SHOTS = frozenset({"lose_frame", "double_frame", "corrupt_file", "late_frame"})
EVENTS = frozenset({"jump_clock", "kill_process"})


@dataclass(frozen=True, slots=True)
class Script:
    """One fault and when it strikes.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    at_exposure : int, optional
        As this exposure begins, counted from 0.
    at_s : float, optional
        At this rig time, s.
    chance : float, optional
        At each exposure with this probability, (0, 1].
    for_s : float, optional
        How long a state lasts, rig seconds; until cleared, if not given.

    Raises
    ------
    ConfigError
        Unless exactly one of the three moments is given, in its range.
    """

    kind: str
    at_exposure: int | None = None
    at_s: float | None = None
    chance: float | None = None
    for_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"fault {self.kind!r} is unknown: take one of {', '.join(KINDS)}")
        moments = [moment for moment in (self.at_exposure, self.at_s, self.chance) if moment is not None]
        if len(moments) != 1:
            raise ConfigError(
                f"fault {self.kind} has {len(moments)} moments: give exactly one of at_exposure, at_s, chance"
            )
        if moments[0] < 0 or (self.chance is not None and not 0 < self.chance <= 1):
            raise ConfigError(
                f"fault {self.kind} has the moment {moments[0]}: at_exposure and at_s are at least 0, "
                "chance is above 0 and at most 1"
            )
        if self.for_s is not None and (self.for_s <= 0 or self.kind in SHOTS | EVENTS):
            raise ConfigError(
                f"fault {self.kind} has for_s {self.for_s}: it is above 0, and only for faults that last"
            )


class Faults:
    """The faults of one rig. Safe to call from any thread; actions run in the thread that calls.

    Parameters
    ----------
    clock : VirtualClock
        For faults at a time, and the end of faults that last.
    seed : int
        For faults at random.
    """

    def __init__(self, clock: VirtualClock, seed: int = 1) -> None:
        self._clock = clock
        self._random = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._actions: dict[str, list[Callable[[bool], None]]] = {}
        self._claimed: set[str] = set()
        self._armed: dict[str, int] = {}
        self._active: set[str] = set()
        self._scripts: list[Script] = []
        self.struck: list[tuple[float, str]] = []

    def on(self, kind: Kind, action: Callable[[bool], None]) -> None:
        """Bind ``action(begins)`` to a state (called again with False when it ends) or an event."""
        if kind in SHOTS:
            raise ConfigError(
                f"fault {kind} spoils one exposure: claim it with Faults.claim and ask Faults.take"
            )
        with self._lock:
            self._actions.setdefault(_known(kind), []).append(action)

    def claim(self, *kinds: Kind) -> None:
        """Promise to ask `take` for these shot faults at every exposure."""
        with self._lock:
            self._claimed.update(_known(kind) for kind in kinds)

    @property
    def handled(self) -> frozenset[str]:
        """Kinds that somebody handles."""
        with self._lock:
            return frozenset(self._actions) | self._claimed

    @property
    def active(self) -> frozenset[str]:
        """States that last now, and shot faults that wait for an exposure."""
        with self._lock:
            return frozenset(self._active) | {kind for kind, count in self._armed.items() if count}

    def script(self, scripts: Iterable[Script]) -> None:
        """Add faults to come.

        Raises
        ------
        ConfigError
            For a kind nobody handles.
        """
        for script in scripts:
            self._check_handled(script.kind)
            if script.at_s is None:
                with self._lock:
                    self._scripts.append(script)
            else:
                self._clock.call_at(script.at_s, lambda script=script: self._strike(script))  # type: ignore[misc]

    def set(self, kind: str, on: bool) -> None:
        """Switch a fault live: begin or clear a state, fire an event, spoil (or spare) the next exposure.

        Raises
        ------
        ConfigError
            For a kind that does not exist or that nobody handles.
        """
        self._check_handled(_known(kind))
        with self._lock:
            if kind in SHOTS:
                self._armed[kind] = int(on)
            elif kind in EVENTS:
                if on:
                    self._run(kind, True)
            elif on != (kind in self._active):
                (self._active.add if on else self._active.discard)(kind)
                self._run(kind, on)
            if on:
                self.struck.append((self._clock.now_s(), kind))

    def reach(self, exposure: int) -> None:
        """Let what is scripted at `exposure`, and what chance decides, strike: it is about to begin."""
        with self._lock:
            due = [script for script in self._scripts if script.at_exposure == exposure]
            due += [
                script for script in self._scripts if script.chance and self._random.random() < script.chance
            ]
            self._scripts = [script for script in self._scripts if script.at_exposure != exposure]
        for script in due:
            self._strike(script)

    def take(self, kind: Kind) -> bool:
        """Whether `kind` spoils this exposure; each is given out once."""
        with self._lock:
            armed = self._armed.get(kind, 0)
            self._armed[kind] = max(0, armed - 1)
            return armed > 0

    def _strike(self, script: Script) -> None:
        self.set(script.kind, True)
        if script.for_s is not None:
            self._clock.call_at(self._clock.now_s() + script.for_s, lambda: self.set(script.kind, False))

    def _run(self, kind: str, begins: bool) -> None:
        for action in self._actions.get(kind, []):
            action(begins)

    def _check_handled(self, kind: str) -> None:
        if kind not in self.handled:
            raise ConfigError(
                f"fault {kind} is handled by nobody in this rig: "
                f"take one of {', '.join(sorted(self.handled)) or 'none'}, or bind it with Faults.on"
            )


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ConfigError(f"fault {kind!r} is unknown: take one of {', '.join(KINDS)}")
    return kind
