"""Faults: when they strike, how long they last, and who may script them."""

from __future__ import annotations

import threading

import pytest

from focusd.errors import ConfigError
from focusd_sim.clock import VirtualClock
from focusd_sim.faults import EVENTS, KINDS, SHOTS, Faults, Script


def bound() -> tuple[VirtualClock, Faults, list[tuple[float, str, bool]]]:
    """Faults of which every kind is handled, and a record of what was called."""
    clock = VirtualClock()
    faults = Faults(clock)
    calls: list[tuple[float, str, bool]] = []
    for kind in KINDS:
        if kind in SHOTS:
            faults.claim(kind)  # type: ignore[arg-type]
        else:
            faults.on(kind, lambda begins, kind=kind: calls.append((clock.now_s(), kind, begins)))  # type: ignore[arg-type,misc]
    return clock, faults, calls


@pytest.mark.parametrize("kind", sorted(set(KINDS) - SHOTS))
def test_a_fault_strikes_at_its_time(kind: str) -> None:
    clock, faults, calls = bound()
    faults.script([Script(kind, at_s=5.0)])
    clock.sleep(4.9)
    assert not calls
    clock.sleep(1.0)
    assert calls == [(5.0, kind, True)]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - SHOTS - EVENTS))
def test_a_state_lasts_as_long_as_it_is_told(kind: str) -> None:
    clock, faults, calls = bound()
    faults.script([Script(kind, at_s=5.0, for_s=2.0)])
    clock.sleep(6.0)
    assert kind in faults.active
    clock.sleep(6.0)
    assert calls == [(5.0, kind, True), (7.0, kind, False)]
    assert kind not in faults.active


@pytest.mark.parametrize("kind", sorted(SHOTS))
def test_a_shot_fault_spoils_its_exposure_and_no_other(kind: str) -> None:
    _, faults, _ = bound()
    faults.script([Script(kind, at_exposure=3)])
    taken = []
    for index in range(6):
        faults.reach(index)
        taken.append(faults.take(kind))  # type: ignore[arg-type]
    assert taken == [False, False, False, True, False, False]


def test_an_exposure_reached_twice_does_not_strike_twice() -> None:
    _, faults, calls = bound()
    faults.script([Script("kill_process", at_exposure=1)])
    for index in (0, 1, 1, 2):
        faults.reach(index)
    assert len(calls) == 1


def test_chance_is_repeatable_and_about_as_often_as_told() -> None:
    def taken(seed: int) -> list[bool]:
        faults = Faults(VirtualClock(), seed)
        faults.claim("lose_frame")
        faults.script([Script("lose_frame", chance=0.2)])
        result = []
        for index in range(500):
            faults.reach(index)
            result.append(faults.take("lose_frame"))
        return result

    assert taken(1) == taken(1)
    assert taken(1) != taken(2)
    assert 70 < sum(taken(1)) < 130


def test_states_are_switched_live_once_each_way() -> None:
    _, faults, calls = bound()
    for on in (True, True, False, False):
        faults.set("drop_broker", on)
    assert [begins for _, _, begins in calls] == [True, False]


def test_a_shot_fault_can_be_called_off() -> None:
    _, faults, _ = bound()
    faults.set("lose_frame", True)
    faults.set("lose_frame", False)
    assert not faults.take("lose_frame")


def test_switching_from_many_threads_loses_nothing() -> None:
    _, faults, calls = bound()

    def hammer() -> None:
        for _ in range(200):
            faults.set("jump_clock", True)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == len(faults.struck) == 800


def test_nobody_scripts_what_nobody_handles() -> None:
    faults = Faults(VirtualClock())
    faults.claim("lose_frame")
    with pytest.raises(ConfigError, match=r"fill_disk is handled by nobody.*lose_frame"):
        faults.script([Script("fill_disk", at_s=1.0)])
    with pytest.raises(ConfigError, match="handled by nobody"):
        faults.set("fill_disk", True)
    with pytest.raises(ConfigError, match="unknown"):
        faults.set("meteor", True)
    with pytest.raises(ConfigError, match="claim"):
        faults.on("lose_frame", lambda begins: None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "meteor", "at_s": 1.0}, "unknown"),
        ({"kind": "lose_frame"}, "0 moments"),
        ({"kind": "lose_frame", "at_s": 1.0, "at_exposure": 1}, "2 moments"),
        ({"kind": "lose_frame", "at_s": -1.0}, "at least 0"),
        ({"kind": "lose_frame", "at_exposure": -1}, "at least 0"),
        ({"kind": "lose_frame", "chance": 1.5}, "at most 1"),
        ({"kind": "lose_frame", "at_s": 1.0, "for_s": 2.0}, "faults that last"),
        ({"kind": "drop_broker", "at_s": 1.0, "for_s": 0.0}, "above 0"),
    ],
)
def test_a_senseless_script_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Script(**options)  # type: ignore[arg-type]
