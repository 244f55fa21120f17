"""Frames laid on each other, odd ones left out: the whole way of a frame before it is fused."""

import json
from functools import cache

import cv2
import numpy as np
import pytest

from focusd.register.correction import Correction
from focusd.register.registration import Odd, Ready, Registration
from focusd.register.table import TransformTable
from focusd_sim.suite import stack_named
from focusd_sim.suite_flaws import Flaws

FRAMES = 16


@cache
def stack(**flaws):
    made = stack_named(
        "general", seed=3, noise=2.0, frames=FRAMES, megapixels=0.15, flaws=Flaws(**dict(flaws))
    )
    return made, [made.frame(index) for index in range(FRAMES)]


def run(registration, frames, step_um=20.0):
    ready = []
    for number, frame in enumerate(frames):
        ready += registration.take(
            number, frame.copy(), number * step_um, number=number, name=f"IMG_{number}.JPG"
        )
    return ready + registration.finish()


def fused(ready):
    return [each.tag for each in ready if isinstance(each, Ready)]


def accused(ready):
    return [(each.tag, each.error.values["reason"], each.is_fused) for each in ready if isinstance(each, Odd)]


def knocked(frames, at):
    """The frame at `at`, smeared by a knock."""
    spoiled = list(frames)
    spoiled[at] = cv2.blur(frames[at], (9, 1))
    return spoiled


def test_nothing_to_do_leaves_every_frame_as_it_is():
    _, frames = stack()
    assert not Correction().is_any
    ready = run(Registration(Correction()), frames)
    assert fused(ready) == list(range(FRAMES))
    for each in ready:
        np.testing.assert_array_equal(each.frame, frames[each.tag])


def test_frames_that_drift_are_laid_on_the_first():
    made, frames = stack(drift_px=9.0)
    registration = Registration(Correction(align="auto"))
    ready = run(registration, frames)
    assert fused(ready) == list(range(FRAMES))
    table = registration.table()
    assert table is not None
    found = np.array([row.transform.shift_px(table.shape) for row in table.rows])
    true = np.array([made.shift_px(index)[::-1] for index in range(FRAMES)])
    assert np.sqrt(np.mean((found - true) ** 2)) < 0.3
    rectangle = registration.rectangle()
    assert rectangle is not None
    rows, cols = frames[0].shape[:2]
    assert rectangle.top % 2 == rectangle.left % 2 == 0
    assert (rectangle.rows.stop - rectangle.top) * (rectangle.cols.stop - rectangle.left) < rows * cols
    assert registration.moved
    assert any("shift" in words for words in registration.words)


def test_a_stack_that_lies_still_comes_out_bit_for_bit():
    _, frames = stack()
    registration = Registration(Correction(align="auto", gain=True, odd="skip"))
    ready = run(registration, frames)
    assert fused(ready) == list(range(FRAMES))
    assert not registration.moved
    for each in ready:
        np.testing.assert_array_equal(each.frame, frames[each.tag])


def test_frames_with_nothing_to_align_by_are_laid_where_the_others_lead_and_told():
    _, frames = stack(drift_px=9.0)
    plain = [np.full_like(frames[0], 90)] * 2
    registration = Registration(Correction(align="auto"))
    ready = run(registration, frames[:12] + plain)
    assert fused(ready) == list(range(14))
    assert any(words.startswith("2 frames show too little") for words in registration.words)


def test_a_second_pass_does_to_each_frame_what_the_first_did():
    _, frames = stack(drift_px=9.0, flicker=0.05)
    first = Registration(Correction(align="auto", gain=True, odd="skip"))
    once = run(first, knocked(frames, 7))
    twice = run(first.again(), knocked(frames, 7))
    assert fused(twice) == fused(once)
    pairs = zip((each for each in once if isinstance(each, Ready)), twice, strict=True)
    for before, after in pairs:
        np.testing.assert_array_equal(before.frame, after.frame)


@pytest.mark.parametrize("policy", ["skip", "stop"])
def test_a_knocked_frame_is_held_back_and_told(policy):
    _, frames = stack()
    registration = Registration(Correction(odd=policy))
    ready = run(registration, knocked(frames, 7))
    assert fused(ready) == [number for number in range(FRAMES) if number != 7]
    assert accused(ready) == [(7, "blurred", False)]
    assert [odd["stop"] for odd in registration.odd] == [7]
    json.dumps(registration.as_json())


def test_a_knocked_frame_may_be_fused_all_the_same():
    _, frames = stack()
    ready = run(Registration(Correction(odd="fuse")), knocked(frames, 7))
    assert fused(ready) == list(range(FRAMES))
    assert accused(ready) == [(7, "blurred", True)]


def test_a_frame_taken_again_is_not_held_against_its_neighbours():
    _, frames = stack()
    registration = Registration(Correction(odd="skip"))
    ready = []
    for number in [*range(12), 4, 12, 13]:
        ready += registration.take(number, frames[number], 20.0 * number, number=number, name=str(number))
    ready += registration.finish()
    assert accused(ready) == []
    assert fused(ready) == [*range(12), 4, 12, 13]


def test_a_stack_is_laid_as_another_lay():
    _, frames = stack(drift_px=9.0)
    first = Registration(Correction(align="auto"))
    once = run(first, frames)
    table = TransformTable.loads(first.table().dumps())
    # Another light: half as bright, and no way to see from it where it lies.
    dim = [(frame // 2) for frame in frames]
    second = Registration(Correction(), table=table)
    ready = run(second, dim)
    assert fused(ready) == fused(once)
    assert second.rectangle() == first.rectangle()
    for row, other in zip(first.table().rows, second.table().rows, strict=True):
        np.testing.assert_array_equal(row.transform.matrix, other.transform.matrix)


def test_a_frame_that_the_other_stack_has_not_is_odd():
    _, frames = stack(drift_px=9.0)
    first = Registration(Correction(align="auto"))
    run(first, frames[:10])
    ready = run(Registration(Correction(odd="skip"), table=first.table()), frames[:12])
    assert fused(ready) == list(range(10))
    assert [(tag, fused) for tag, _, fused in accused(ready)] == [(10, False), (11, False)]


def test_flicker_is_evened_out():
    _, still = stack()
    _, frames = stack(flicker=0.05)
    registration = Registration(Correction(gain=True))
    ready = [each for each in run(registration, frames) if isinstance(each, Ready)]
    level = [each.frame.mean() / still[each.tag].mean() for each in ready]
    raw = [frame.mean() / quiet.mean() for frame, quiet in zip(frames, still, strict=True)]
    assert np.std(level[4:]) < 0.25 * np.std(raw[4:])
    assert any("flicker" in words for words in registration.words)


def test_dust_is_found_where_the_picture_moved_across_it():
    flaws = Flaws(drift_px=14.0, dust_spots=40)
    made = stack_named("scene-b", seed=3, noise=2.0, frames=FRAMES, megapixels=0.2, flaws=flaws)
    frames = [made.frame(index) for index in range(FRAMES)]
    first = Registration(Correction(align="translation", dust=True))
    once = [each for each in run(first, frames) if isinstance(each, Ready)]
    dust = first.found_dust()
    assert dust.spots
    twice = [each for each in run(first.again(dust), frames) if isinstance(each, Ready)]
    clean = made.spoiled(Flaws(drift_px=14.0))
    rectangle = first.rectangle()
    part = (rectangle.rows, rectangle.cols)

    def error(ready):
        off = 0.0
        for each in ready[::4]:
            want = cv2.warpAffine(
                clean.frame(each.tag),
                first.table().rows[each.tag].transform.matrix,
                frames[0].shape[1::-1],
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            )
            off += float(np.mean((each.frame[part].astype(float) - want[part]) ** 2))
        return off

    assert error(twice) < error(once)


def test_frames_of_two_sizes_are_refused():
    from focusd.errors import FrameMismatch

    _, frames = stack()
    registration = Registration(Correction(align="auto"))
    registration.take(0, frames[0], 0.0, number=0, name="0")
    with pytest.raises(FrameMismatch):
        registration.take(1, frames[1][:-2], 20.0, number=1, name="1")
