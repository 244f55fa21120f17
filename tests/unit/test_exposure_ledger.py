"""Which exposure a file belongs to: never a wrong one, whatever is lost, late or doubled."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.drivers.exposure_ledger import ExposureLedger

TIMEOUT_S = 5.0
NOON = datetime(2026, 6, 1, 12)  # a camera knows of no zone


@dataclass(frozen=True)
class Body:
    """A camera's clock, and what its files say of it."""

    time: str = "fraction"
    ahead_s: float = 1234.5
    fast_ppm: float = 30.0

    def taken(self, rig_s: float) -> datetime | None:
        if self.time == "none":
            return None
        taken = NOON + timedelta(seconds=self.ahead_s + rig_s * (1 + self.fast_ppm / 1e6))
        if self.time == "seconds":
            return taken.replace(microsecond=0)
        return taken.replace(microsecond=taken.microsecond // 10000 * 10000)


def believed(ledger: ExposureLedger, body: Body, *opened_s: float) -> None:
    for at_s in opened_s:
        ledger.open(at_s)
        assert ledger.judge(body.taken(at_s), b"%f" % at_s) is None


def test_without_any_exposure_every_file_is_taken_once() -> None:
    ledger = ExposureLedger()
    assert ledger.awaits
    assert ledger.judge(None, b"a") is None
    assert ledger.judge(NOON, b"b") is None
    assert "byte for byte" in (ledger.judge(None, b"a") or "")


def test_the_camera_s_clock_is_learnt_more_and_more_exactly() -> None:
    ledger, body = ExposureLedger(), Body("seconds", fast_ppm=0)
    believed(ledger, body, 10.0)
    low_s, high_s = ledger.offset_s or (0, 0)
    assert high_s - low_s == pytest.approx(1.0)
    believed(ledger, body, 13.3, 16.6, 19.8)
    low_s, high_s = ledger.offset_s or (0, 0)
    true_s = (NOON - datetime(2000, 1, 1)).total_seconds() + body.ahead_s
    assert low_s <= true_s <= high_s
    assert high_s - low_s < 0.5


def test_a_given_up_exposure_s_file_is_refused_and_named() -> None:
    ledger, body = ExposureLedger(), Body()
    believed(ledger, body, 10.0, 12.0)
    ledger.open(14.0)
    ledger.give_up(19.0)
    ledger.open(20.0)
    why = ledger.judge(body.taken(14.0), b"late")
    assert why == "is of an exposure 6.0 s before, which was given up"
    assert ledger.awaits
    assert ledger.judge(body.taken(20.0), b"own") is None


def test_an_earlier_stack_s_file_is_refused() -> None:
    ledger, body = ExposureLedger(), Body()
    believed(ledger, body, 10.0, 12.0)
    ledger.open(14.0)  # cancelled: nobody waited for it
    ledger.begin()
    ledger.open(100.0)
    assert "86.0 s before" in (ledger.judge(body.taken(14.0), b"late") or "")
    assert "88.0 s before" in (ledger.judge(body.taken(12.0), b"twice") or "")
    assert ledger.judge(body.taken(100.0), b"own") is None


def test_a_clock_that_was_set_is_believed_when_two_files_agree() -> None:
    ledger, body, changed = ExposureLedger(), Body(), Body(ahead_s=1234.5 + 3600)
    believed(ledger, body, 10.0, 12.0)
    ledger.open(14.0)
    assert "3600.0 s after" in (ledger.judge(changed.taken(14.0), b"a") or "")
    ledger.give_up(20.0)
    believed(ledger, changed, 22.0, 24.0)
    ledger.open(26.0)
    assert ledger.judge(body.taken(26.0), b"b") is not None, "the old time is the odd one now"


def test_one_odd_file_changes_nothing() -> None:
    """A picture of another camera, copied into the folder."""
    ledger, body = ExposureLedger(), Body()
    believed(ledger, body, 10.0)
    for opened_s, odd_s in ((12.0, -500.0), (14.0, 900.0), (16.0, -7.0)):
        ledger.open(opened_s)
        assert ledger.judge(body.taken(odd_s), b"odd%f" % odd_s) is not None
        assert ledger.judge(body.taken(opened_s), b"own%f" % opened_s) is None


def test_a_clock_may_run_wrong_for_a_week() -> None:
    ledger, body = ExposureLedger(), Body(fast_ppm=80.0)
    believed(ledger, body, 10.0, 20.0, 7 * 86400.0, 7 * 86400.0 + 10)
    low_s, high_s = ledger.offset_s or (0, 0)
    assert high_s - low_s < 0.2, "and it is known exactly again"


@pytest.mark.parametrize(("time", "wait_s"), [("none", 2 * TIMEOUT_S), ("seconds", 2.6), ("fraction", 0.8)])
def test_how_long_nothing_may_be_exposed(time: str, wait_s: float) -> None:
    ledger, body = ExposureLedger(), Body(time)
    believed(ledger, body, 10.0)
    assert ledger.quiet_for_s(10.5, TIMEOUT_S) == 0.0
    ledger.open(20.0)
    assert ledger.quiet_for_s(20.0, TIMEOUT_S) == 0.0, "its file may come yet"
    ledger.give_up(20.0)
    assert 0.7 * wait_s <= ledger.quiet_for_s(20.0, TIMEOUT_S) <= wait_s
    ledger.settle(body.taken(20.0), b"late")
    assert ledger.quiet_for_s(20.0, TIMEOUT_S) == 0.0


def test_a_file_that_comes_after_its_exposure_was_abandoned_is_awaited_no_more() -> None:
    ledger = ExposureLedger()
    ledger.open(10.0)
    ledger.abandon()
    assert not ledger.awaits
    assert ledger.quiet_for_s(11.0, TIMEOUT_S) == pytest.approx(2 * TIMEOUT_S - 1.0)
    ledger.settle(None, b"stray")
    assert ledger.quiet_for_s(11.0, TIMEOUT_S) == 0.0
    ledger.open(12.0)
    assert ledger.judge(None, b"own") is None


def test_frames_that_lose_their_time_are_counted_from_then_on() -> None:
    ledger, body = ExposureLedger(), Body()
    believed(ledger, body, 10.0)
    ledger.open(12.0)
    ledger.give_up(17.0)
    ledger.open(18.0)
    assert ledger.judge(None, b"a") is not None
    ledger.give_up(23.0)
    assert ledger.quiet_for_s(23.0, TIMEOUT_S) == TIMEOUT_S
    ledger.forgive()
    ledger.open(28.0)
    assert ledger.judge(None, b"b") is None


@st.composite
def fates(draw: st.DrawFn) -> tuple[Body, list[tuple[str, float, float, float]]]:
    """A camera, and what becomes of each exposure: word, delay, lag of the shutter, pause after it; s."""
    time = draw(st.sampled_from(["none", "seconds", "fraction"]))
    body = Body(time, draw(st.floats(-1e6, 1e6)), draw(st.floats(-50, 50)))
    words = ["well", "well", "well", "lost", "late", "doubled"]
    # What whole seconds, or no time, cannot tell: see the ledger.
    words += ["twice"] if time == "fraction" else []
    latest_s = 60.0 if time != "none" else 2 * TIMEOUT_S - 0.3
    count = draw(st.integers(1, 25))
    each = st.tuples(
        st.sampled_from(words), st.floats(0.3, latest_s - 0.1), st.floats(0.0, 0.3), st.floats(0.8, 4.0)
    )
    return body, [draw(each) for _ in range(count)]


@given(fates())
def test_no_file_is_ever_taken_for_another_exposure_s(
    case: tuple[Body, list[tuple[str, float, float, float]]],
) -> None:
    body, exposures = case
    ledger = ExposureLedger()
    coming: list[tuple[float, int, int, datetime | None, bytes]] = []
    order = itertools.count()
    now_s, taken_well = 0.0, 0

    def come(at_s: float, owner: int, opened_s: float, data: bytes) -> None:
        heapq.heappush(coming, (at_s, next(order), owner, body.taken(opened_s), data))

    for number, (word, delay_s, lag_s, pause_s) in enumerate(exposures):
        while True:
            while coming and coming[0][0] <= now_s:
                ledger.settle(*heapq.heappop(coming)[3:])
            left_s = ledger.quiet_for_s(now_s, TIMEOUT_S)
            if left_s <= 0:
                break
            now_s += min(left_s, 0.05)
        ledger.forgive()
        opened_s = now_s
        ledger.open(opened_s)
        if word == "late" and ledger.offset_s is None:
            # Until a first file has shown the camera's clock only counting tells.
            delay_s = min(delay_s, 2 * TIMEOUT_S - 0.4)
        data = b"%d" % number
        if word != "lost":
            come(opened_s + lag_s + (delay_s if word == "late" else 0.4), number, opened_s + lag_s, data)
        if word == "doubled":
            come(opened_s + lag_s + delay_s, number, opened_s + lag_s, data)
        if word == "twice":
            come(opened_s + lag_s + delay_s, -1, opened_s + lag_s + 0.1, data + b" again")
        deadline_s = opened_s + TIMEOUT_S
        while ledger.awaits:
            if not coming or coming[0][0] > deadline_s:
                now_s = deadline_s
                ledger.give_up(now_s)
                break
            now_s, _, owner, taken, content = heapq.heappop(coming)
            if ledger.judge(taken, content) is None:
                # Of a shutter that fires twice the second picture may come first: near enough.
                assert owner == number or (owner == -1 and word == "twice")
                taken_well += 1
        now_s += pause_s
    usual = sum(word in ("well", "doubled", "twice") for word, *_ in exposures)
    if body.time != "none" and all(word != "late" for word, *_ in exposures):
        assert taken_well >= usual, "nothing that came in time is refused"
