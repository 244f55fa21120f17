"""The laws of `Selection`: what it keeps does not depend on how the frames came."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from focusd.errors import FusionError
from focusd.fusion import selection
from focusd.fusion.selection import UNITS_PER_LEVEL, UNKNOWN, Selection, fixed

PLANES = ("best", "below", "above", "second", "lowest", "highest")


def stacks(least=1, most=8):
    """Responses of a few levels only, so that ties are common."""
    return st.tuples(st.integers(least, most), st.integers(1, 5), st.integers(1, 6)).flatmap(
        lambda shape: hnp.arrays(np.uint16, shape, elements=st.integers(0, 6).map(lambda n: n * 9000))
    )


def positions(count, data):
    gaps = data.draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=count, max_size=count))
    return [float(z) for z in np.cumsum(gaps) - 4]


def select(stack, z, order=None):
    order = list(range(len(stack))) if order is None else order
    found = Selection.of(stack[order[0]], z[order[0]])
    for number in order[1:]:
        found.add(stack[number], z[number])
    return found


def assert_same(one, other, planes=PLANES):
    for name in planes:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for found in (one, other):
        assert found.best.dtype == np.uint16
    np.testing.assert_array_equal(
        np.array(one.positions_um)[one.origin], np.array(other.positions_um)[other.origin]
    )


def by_hand(stack, z):
    """The same, pixel by pixel, from all frames at once."""
    frames = len(stack)
    found = {name: np.empty(stack.shape[1:], np.uint16) for name in PLANES[:4]}
    where = np.empty(stack.shape[1:])
    for pixel in np.ndindex(stack.shape[1:]):
        line = [int(stack[(n, *pixel)]) for n in range(frames)]
        top = line.index(max(line))
        rest = [line[n] for n in range(frames) if abs(n - top) > 1]
        found["best"][pixel] = line[top]
        found["below"][pixel] = line[top - 1] if top > 0 else UNKNOWN
        found["above"][pixel] = line[top + 1] if top < frames - 1 else UNKNOWN
        found["second"][pixel] = max(rest, default=0)
        where[pixel] = z[top]
    return found, where


@settings(max_examples=80, deadline=None)
@given(stacks(), st.data())
def test_it_keeps_peak_neighbours_and_rival(stack, data):
    z = positions(len(stack), data)
    found, (wanted, where) = select(stack, z), by_hand(stack, z)
    for name, plane in wanted.items():
        np.testing.assert_array_equal(getattr(found, name), plane, err_msg=name)
    np.testing.assert_array_equal(np.array(z)[found.origin], where)
    np.testing.assert_array_equal(found.lowest, stack[0])
    np.testing.assert_array_equal(found.highest, stack[-1])


@settings(max_examples=60, deadline=None)
@given(stacks(), st.data())
def test_up_down_or_from_the_middle_is_the_same(stack, data):
    z = positions(len(stack), data)
    up = select(stack, z)
    assert_same(up, select(stack, z, list(range(len(stack)))[::-1]))
    # Any order that only ever goes beyond what is there already.
    low = high = data.draw(st.integers(0, len(stack) - 1))
    order = [low]
    while len(order) < len(stack):
        if high == len(stack) - 1 or (low > 0 and data.draw(st.booleans())):
            low -= 1
            order.append(low)
        else:
            high += 1
            order.append(high)
    assert_same(up, select(stack, z, order))


@settings(max_examples=80, deadline=None)
@given(stacks(least=2), st.data())
def test_touching_runs_merge_exactly(stack, data):
    z = positions(len(stack), data)
    cut = data.draw(st.integers(1, len(stack) - 1))
    whole = select(stack, z)
    low, high = select(stack[:cut], z[:cut]), select(stack[cut:], z[cut:])
    upward, downward = low.copy(), high.copy()
    won = upward.merge(high)
    downward.merge(low)
    assert_same(whole, upward)
    assert_same(whole, downward)
    np.testing.assert_array_equal(won != 0, np.array(upward.positions_um)[upward.origin] >= z[cut])


@settings(max_examples=40, deadline=None)
@given(stacks(least=2), st.data())
def test_any_merge_commutes_and_finds_the_best(stack, data):
    z = positions(len(stack), data)
    mine = data.draw(st.sets(st.integers(0, len(stack) - 1), min_size=1, max_size=len(stack) - 1))
    theirs = [n for n in range(len(stack)) if n not in mine]
    one, two = select(stack, z, sorted(mine)), select(stack, z, theirs)
    first, second = one.copy(), two.copy()
    first.merge(two)
    second.merge(one)
    assert_same(first, second)
    assert_same(select(stack, z), first, ("best", "lowest", "highest"))


@settings(max_examples=60, deadline=None)
@given(stacks(least=3), st.data())
def test_a_late_frame_wins_without_neighbours(stack, data):
    z = positions(len(stack), data)
    late = data.draw(st.integers(1, len(stack) - 2))
    order = [n for n in range(len(stack)) if n != late]
    before = select(stack, z, order)
    found = before.copy()
    won = found.add(stack[late], z[late])
    whole = select(stack, z)
    np.testing.assert_array_equal(found.best, whole.best)
    np.testing.assert_array_equal(np.array(found.positions_um)[found.origin], np.array(z)[whole.origin])
    assert (found.below[won != 0] == UNKNOWN).all() and (found.above[won != 0] == UNKNOWN).all()
    for name in ("below", "above"):
        kept = won == 0
        np.testing.assert_array_equal(getattr(found, name)[kept], getattr(before, name)[kept])


@settings(max_examples=40, deadline=None)
@given(stacks(least=3), st.data())
def test_a_stop_shot_again_is_no_rival(stack, data):
    z = positions(len(stack), data)
    found = select(stack, z)
    before = found.copy()
    again = data.draw(st.integers(1, len(stack) - 2))
    found.add(stack[again], z[again])
    # The same response at the same place: nothing is won, and it is no second peak where it was the first.
    assert_same(before, found, ("best", "below", "above"))
    own = before.origin == again
    np.testing.assert_array_equal(found.second[own], before.second[own])


def test_strips_give_what_the_whole_gives(monkeypatch):
    rng = np.random.default_rng(1)
    stack, z = rng.integers(0, 60000, (7, 23, 11)).astype(np.uint16), [float(n) for n in range(7)]
    wholes = select(stack, z), select(stack, z, [0, 6, 3, 1, 5])
    monkeypatch.setattr(selection, "_STRIP_PX", 40)
    assert_same(wholes[0], select(stack, z))
    assert_same(wholes[1], select(stack, z, [0, 6, 3, 1, 5]))


def test_levels_become_units():
    levels = np.array([[0.0, 1.0, 0.001, 127.99, 500.0]], np.float32)
    np.testing.assert_array_equal(fixed(levels), [[0, UNITS_PER_LEVEL, 1, 65531, UNKNOWN - 1]])
    one, other = Selection.of(levels, 0.0), Selection.of(fixed(levels), 0.0)
    one.add(levels * 2, 1.0)
    other.add(fixed(levels * 2), 1.0)
    assert_same(one, other)


def test_fourteen_bytes_a_pixel_and_nothing_shared():
    frame = np.zeros((10, 20), np.uint16)
    found = Selection.of(frame, 0.0)
    other = found.copy()
    found.add(frame + 5, 1.0)
    assert found.nbytes == other.nbytes == 14 * frame.size
    assert not frame.any() and not other.best.any() and other.positions_um == [0.0]


def test_too_many_frames_are_refused(monkeypatch):
    monkeypatch.setattr(selection, "MAX_FRAMES", 3)
    found = select(np.zeros((3, 2, 2), np.uint16), [0.0, 1.0, 2.0])
    with pytest.raises(FusionError, match="frame 4"):
        found.add(np.zeros((2, 2), np.uint16), 3.0)
    with pytest.raises(FusionError, match="3 and 1"):
        found.merge(Selection.of(np.zeros((2, 2), np.uint16), 9.0))
