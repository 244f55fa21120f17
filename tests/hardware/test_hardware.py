"""The daemon under its real unit on a real kernel's GPIO; the verdict comes from the kernel's trace."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import pytest

from .conftest import HOUR, HOUR_STOPS, Act, Run
from .trace import Trace, shortest_gap_ns

# What waits for four boots waits for minutes.
pytestmark = pytest.mark.timeout(900)

EN, STEP, DIR, RELEASE, FOCUS, ENDSTOP = 22, 17, 27, 24, 25, 23
LIBRARIES = ("lgpio", "rpigpio")
MS = 1_000_000
# Allegro A4988, figure 1: STEP high and low 1 us, set-up and hold 200 ns; 'Sleep Mode': 1 ms.
PULSE_NS, SETUP_NS, WAKE_NS = 1000, 200, 1 * MS
CRUISE_HZ = 600.0
ENDINGS = ("TERM", "KILL", "watchdog", "stop")


@pytest.fixture(params=LIBRARIES)
def run(request: pytest.FixtureRequest, runs: dict[str, Future[Run]]) -> Run:
    """Return a whole examination in virtual time, by each of the GPIO libraries."""
    return runs[request.param].result()


@pytest.fixture(params=(*LIBRARIES, "real"))
def any_run(request: pytest.FixtureRequest, runs: dict[str, Future[Run]]) -> Run:
    """Return an examination in virtual time by each library, and one in real time."""
    return runs[request.param].result()


@pytest.fixture
def real(runs: dict[str, Future[Run]]) -> Run:
    """Return the examination in real time."""
    return runs["real"].result()


def steps(trace: Trace) -> list[int]:
    """Return +1 or -1 for each pulse, as DIR stood at its rise."""
    return [1 if trace.level_at(DIR, t_ns) else -1 for t_ns in trace.rises(STEP)]


def legs(trace: Trace) -> list[list[int]]:
    """Return the rises of STEP, divided where DIR changed or nothing moved for 50 ms."""
    turns = [edge.t_ns for edge in trace.of(DIR)]
    found: list[list[int]] = [[]]
    for t_ns in trace.rises(STEP):
        last = found[-1]
        if last and (t_ns - last[-1] > 50 * MS or any(last[-1] < turn < t_ns for turn in turns)):
            found.append([])
        found[-1].append(t_ns)
    return [leg for leg in found if leg]


def whole_stack(run: Run) -> Act:
    """Return the stack of 20 stops."""
    return next(act for act in run.acts if act.name == "stack" and act.arguments[0]["z_plan"]["range"] == 380)


def test_the_unit_runs_it_as_its_own_user_on_a_chip_of_group_gpio(any_run: Run) -> None:
    assert any_run.act("online").said == {"user": "focusd", "device": "root gpio 660"}


def test_ten_thousand_steps_are_ten_thousand_pulses(run: Run) -> None:
    act = run.act("move")
    assert [answer["status"] for answer in act.said] == ["ok"] * 3
    trace = run.during(act)
    assert len(trace.pulses(STEP)) == len(trace.rises(STEP)) == 10_000
    whole = run.trace.between(0, act.ended_ns)
    directions = steps(whole)[-10_000:]
    assert [sum(1 for _ in leg) for leg in legs(trace)] == [4800, 4814, 386]
    assert sum(directions[:4800]) == 4800
    assert sum(directions[4800:9614]) == -4814
    assert sum(directions[9614:]) == 386


def test_every_pulse_and_pause_is_as_long_as_the_chip_asks(any_run: Run) -> None:
    pulses = any_run.trace.pulses(STEP)
    assert len(pulses) > 1000
    assert min(pulse.width_ns for pulse in pulses) >= PULSE_NS
    assert min(after.rise_ns - before.fall_ns for before, after in pairwise(pulses)) >= PULSE_NS


def test_direction_stands_before_and_after_every_step(any_run: Run) -> None:
    turns = [edge.t_ns for edge in any_run.trace.of(DIR)][1:]
    assert len(turns) >= 4
    assert shortest_gap_ns(turns, any_run.trace.rises(STEP)) >= SETUP_NS


def test_the_chip_has_time_to_wake_before_the_first_step(any_run: Run) -> None:
    rises = any_run.trace.rises(STEP)
    woken = [edge.t_ns for edge in any_run.trace.of(EN) if not edge.level]
    firsts = [min((t for t in rises if t > each), default=None) for each in woken]
    gaps = [first - each for first, each in zip(firsts, woken, strict=True) if first is not None]
    assert len(gaps) >= 3
    assert min(gaps) >= WAKE_NS


def test_no_step_comes_while_the_motor_is_off(any_run: Run) -> None:
    off = [t for t in any_run.trace.rises(STEP) if any_run.trace.level_at(EN, t)]
    assert off == []


def test_taking_the_lines_never_switches_the_motor_on(any_run: Run) -> None:
    """EN low without a step after it is a motor that jerks as the daemon starts."""
    edges = any_run.trace.of(EN)
    low = [(down.t_ns, up.t_ns) for down, up in pairwise(edges) if not down.level and up.level]
    assert low
    assert min(up - down for down, up in low) >= WAKE_NS, "EN was low for a moment, with no motion asked for"


def test_steps_never_come_faster_than_the_cruise_rate(any_run: Run) -> None:
    shortest_ns = min(after - before for before, after in pairwise(any_run.trace.rises(STEP)))
    assert shortest_ns >= 0.99e9 / CRUISE_HZ


def test_a_stack_by_mosquitto_pub_becomes_a_picture(any_run: Run) -> None:
    said = whole_stack(any_run).said
    assert said["answer"]["data"]["stops"] == 20
    job = said["job"]
    assert (job["status"], job["progress"]["done"], job["result"]["missing"]) == ("done", 20, [])
    assert said["final_bytes"] == job["result"]["bytes"] > 0


def test_the_carriage_truly_was_where_the_plan_says_and_still(any_run: Run) -> None:
    (truth, *_) = any_run.truth["marks"]
    assert truth["violations"] == {}
    assert (truth["lost_steps"], truth["crashes"], truth["ignored_steps"]) == (0, 0, 0)
    exposures = truth["exposures"][-20:]
    data = whole_stack(any_run).said["answer"]["data"]
    assert sum(exposure["step_edges"] for exposure in exposures) == 0
    positions_um = [exposure["position_um"] for exposure in exposures]
    assert [b - a for a, b in pairwise(positions_um)] == pytest.approx([20.0] * 19, abs=0.5)
    # The end stop is seen a tick of the kernel late: at homing's slow 50 steps a second that is a step.
    assert positions_um[0] == pytest.approx(data["first_um"], abs=10.0)
    assert all(exposure["frame_file"] for exposure in exposures)


def test_the_release_line_waits_for_the_rail_and_the_rail_for_the_shutter(any_run: Run) -> None:
    act = whole_stack(any_run)
    check_shots(any_run, act, stops=20, late_ms=5 if any_run.virtual else 400)


def test_the_hour_is_kept_to_the_millisecond(runs: dict[str, Future[Run]]) -> None:
    run = runs["lgpio"].result()
    act = run.act("stack", HOUR)
    assert act.said["job"]["status"] == "done"
    assert act.said["job"]["progress"]["done"] == HOUR_STOPS
    assert act.ended_ns - act.began_ns > 3600e9
    check_shots(run, act, stops=HOUR_STOPS, late_ms=5)


def test_the_same_hour_twice(runs: dict[str, Future[Run]]) -> None:
    first, second = (_until_the_hour(runs[name].result()) for name in ("lgpio", "again"))
    assert len(first) > 20_000
    assert [(edge.line, edge.level) for edge in first] == [(edge.line, edge.level) for edge in second]
    began_ns = second[0].t_ns - first[0].t_ns
    assert max(abs(b.t_ns - a.t_ns - began_ns) for a, b in zip(first, second, strict=True)) < MS


@pytest.mark.parametrize("how", ENDINGS)
def test_however_it_ends_the_motor_is_off_and_stays_off(run: Run, how: str) -> None:
    act = run.act("end", how)
    said = act.said
    assert said["en_before"] is False
    later = [level for t_ns, level in said["en_after"] if t_ns >= said["ended_ns"] + 1000 * MS]
    assert len(later) > 300
    assert all(later)
    assert run.trace.between(said["ended_ns"], act.ended_ns).rises(STEP) == []
    assert said["result"] == "success"
    assert said["pids"][0] != said["pids"][1] > 0


@pytest.mark.parametrize("how", ["TERM", "stop"])
def test_a_signal_lets_the_motor_go_at_once_and_the_lines_at_the_end(run: Run, how: str) -> None:
    said = run.act("end", how).said
    during = run.trace.between(said["began_ns"], said["ended_ns"])
    off = [edge.t_ns for edge in during.of(EN) if edge.level]
    assert off
    assert off[0] - said["began_ns"] < 300 * MS
    assert [t for t in during.rises(STEP) if t > off[0]] == []
    assert said["claimed"] == []


@pytest.mark.parametrize("how", ["KILL", "watchdog"])
def test_after_a_kill_the_unit_switches_off_and_starts_again(run: Run, how: str) -> None:
    act = run.act("end", how)
    said = act.said
    # The trace of a killed process ends with EN low: that its line is let go leaves no mark.
    off = [edge.t_ns for edge in run.trace.between(said["began_ns"], act.ended_ns).of(EN) if edge.level]
    assert off, "ExecStopPost never wrote EN"
    assert off[0] - said["ended_ns"] < 3000 * MS
    started = {"KILL": "code=killed, status=9/KILL", "watchdog": "Watchdog timeout"}[how]
    assert started in run.journal
    if how == "watchdog":
        assert 15e9 < said["ended_ns"] - said["began_ns"] < 60e9


def test_real_time_makes_the_same_pulses_as_virtual(real: Run, runs: dict[str, Future[Run]]) -> None:
    virtual = runs["lgpio"].result()
    pulses = [len(each.during(whole_stack(each)).pulses(STEP)) for each in (real, virtual)]
    assert pulses[0] == pulses[1] > 100


def check_shots(run: Run, act: Act, *, stops: int, late_ms: float) -> None:
    """Compare every exposure of a stack with the times of its configuration."""
    camera = run.table["camera"]
    settle_s = act.arguments[0].get("settle_s", run.table["stack"]["settle_s"])
    half_s, on_s = camera.get("half_press_s", 0.1), camera["shutter_on_s"]
    busy_s = camera.get("release_lag_s", 0.1) + camera["exposure_s"] + camera["post_shot_s"]
    trace = run.during(act)
    shots, presses, rises = trace.pulses(RELEASE), trace.pulses(FOCUS), trace.rises(STEP)
    falls = [pulse.fall_ns for pulse in trace.pulses(STEP)]
    # The test frame comes before the stack, and is taken as the others are.
    assert len(shots) == len(presses) == stops + 1
    for shot, press in zip(shots, presses, strict=True):
        waits: list[tuple[str, float, int]] = [
            ("settling", settle_s, press.rise_ns - max((t for t in falls if t < shot.rise_ns), default=0)),
            ("half press", half_s, shot.rise_ns - press.rise_ns),
            ("press", on_s, shot.width_ns),
            ("exposure", busy_s, press.fall_ns - shot.rise_ns),
        ]
        for name, wanted_s, took_ns in waits:
            assert took_ns >= wanted_s * 1e9, name
            # The first stop is reached long after the motor came to rest elsewhere.
            assert took_ns <= wanted_s * 1e9 + late_ms * MS or name == "settling", name
        assert not [t for t in rises if press.rise_ns <= t <= press.fall_ns]


def _is_virtual(run: Run, act: Act) -> bool:
    """Whether more time passed inside than outside could have."""
    return (act.ended_ns - act.began_ns) * 1e-9 > 30


def _until_the_hour(run: Run) -> list[Any]:
    act = run.act("stack", HOUR)
    return run.trace.between(run.act("home").began_ns, act.ended_ns).edges


def test_the_contract_of_every_rail_holds_for_this_one(runs: dict[str, Future[Run]]) -> None:
    """`pytest tests/contract --rig FILE`, in the machine: the file's rail, through the kernel's lines."""
    run = runs["contract"].result()
    act = run.act("contract")
    assert act.said["code"] == 0, act.said["said"]
    passed = [line for line in act.said["said"].splitlines() if line.startswith("PASSED")]
    assert len(passed) >= 12, act.said["said"]
    trace = run.during(act)
    assert len(trace.rises(STEP)) > 1000
    assert [t for t in trace.rises(STEP) if trace.level_at(EN, t)] == []
    truth = run.truth["marks"][-1]
    assert truth["violations"] == {}
    assert (truth["lost_steps"], truth["crashes"], truth["ignored_steps"]) == (0, 0, 0)
