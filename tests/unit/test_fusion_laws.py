"""The laws of `Fusion`: what must hold for any stack."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from focusd.errors import FrameMismatch, FusionError
from focusd.fusion import Fusion

METHODS = ("pyramid", "laplacian", "average")


def blurred(image, radius_px):
    """`image` out of focus by a disc-like blur; `radius_px` 0 leaves it sharp."""
    return image if radius_px == 0 else cv2.GaussianBlur(image, (0, 0), radius_px)


def noisy_stack(frames=7, rows=70, cols=90, colour=True, seed=3, noise=2.0, dtype=np.uint8):
    """Two halves, sharp in different frames, with noise."""
    rng = np.random.default_rng(seed)
    shape = (rows, cols, 3) if colour else (rows, cols)
    scene = cv2.GaussianBlur(rng.uniform(0, 255, shape).astype(np.float32), (0, 0), 0.8)
    scene = np.clip((scene - 127) * 2.5 + 127, 10, 245)
    stack = []
    for number in range(frames):
        left, right = blurred(scene, 0.9 * abs(number - 2)), blurred(scene, 0.9 * abs(number - frames + 2))
        frame = left.copy()
        frame[:, cols // 2 :] = right[:, cols // 2 :]
        frame = frame + rng.normal(0, noise, shape)
        unit = 1 if dtype == np.uint8 else 257
        stack.append(np.clip(np.rint(frame * unit), 0, np.iinfo(dtype).max).astype(dtype))
    return stack


def fuse(stack, positions=None, **options):
    fusion = Fusion(**options)
    for position, frame in zip(positions or range(len(stack)), stack, strict=True):
        fusion.add(frame, float(position))
    return fusion


def difference(one, other):
    return np.abs(one.astype(np.int64) - other.astype(np.int64))


shapes = st.tuples(st.integers(1, 70), st.integers(1, 70))
images = st.one_of(shapes, shapes.map(lambda s: (*s, 3))).flatmap(
    lambda shape: hnp.arrays(st.sampled_from([np.uint8, np.uint16]), shape)
)


@settings(max_examples=60, deadline=None)
@given(images, st.sampled_from(METHODS))
def test_one_frame_returns_itself(image, method):
    result = fuse([image], method=method).result()
    assert result.image.dtype == image.dtype
    assert result.image.shape == image.shape
    assert difference(result.image, image).max() <= (0 if image.ndim == 2 else 1)
    for plane in (result.depth_um, result.confidence, result.origin):
        assert plane.shape == image.shape[:2]
    assert np.isnan(result.depth_um).all()
    assert not result.confidence.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (1, 40), (33, 65, 3), (64, 64), (100, 31, 3)])
def test_one_frame_full_of_noise_returns_itself_at_odd_sizes(shape, method):
    image = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    fused = fuse([image], method=method).result().image
    assert difference(fused, image).max() <= (0 if image.ndim == 2 else 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_two_tiny_frames_fuse(method, dtype):
    for shape in [(1, 1), (1, 1, 3), (2, 3), (5, 7, 3), (1, 9)]:
        frames = [np.full(shape, 10, dtype), np.full(shape, 30, dtype)]
        image = fuse(frames, method=method).result().image
        assert image.shape == shape
        assert image.min() >= 10 and image.max() <= 30


@pytest.mark.parametrize("method", METHODS)
def test_a_repeated_frame_changes_nothing(method):
    stack = noisy_stack()
    once, twice = fuse(stack, method=method), fuse(stack, method=method)
    for number in (0, 3, 6):
        twice.add(stack[number].copy(), float(number))
    assert twice.frames == once.frames == len(stack)
    np.testing.assert_array_equal(once.result().image, twice.result().image)
    np.testing.assert_array_equal(once.result().depth_um, twice.result().depth_um)


def test_the_same_content_elsewhere_is_another_frame():
    stack = noisy_stack(frames=3)
    fusion = fuse(stack)
    fusion.add(stack[0], 10.0)
    assert fusion.frames == 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", [[6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 1, 5, 2, 4]])
def test_order_does_not_matter(method, order):
    stack = noisy_stack()
    forward = fuse(stack, method=method, sigma=2.0)
    other = fuse([stack[i] for i in order], positions=order, method=method, sigma=2.0)
    moved = difference(forward.result().image, other.result().image)
    assert moved.max() <= 2
    assert np.mean(moved > 1) < 1e-4
    np.testing.assert_array_equal(forward.result().origin, other.result().origin)


@pytest.mark.parametrize("method", METHODS)
def test_descending_depth_equals_ascending(method):
    stack = noisy_stack()
    z = [0.0, 1.0, 2.5, 3.0, 4.2, 5.0, 6.0]
    up = fuse(stack, positions=z, method=method, sigma=2.0).result()
    down = fuse(stack[::-1], positions=z[::-1], method=method, sigma=2.0).result()
    np.testing.assert_allclose(up.depth_um, down.depth_um, atol=1e-4)
    np.testing.assert_allclose(up.confidence, down.confidence, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("split", [range(3), range(0, 7, 2), range(4, 7)])
def test_merging_parts_equals_fusing_all(method, split):
    stack = noisy_stack()
    whole = fuse(stack, method=method, sigma=2.0)
    first = [i for i in range(7) if i in split]
    rest = [i for i in range(7) if i not in split]
    one = fuse([stack[i] for i in first], positions=first, method=method, sigma=2.0)
    two = fuse([stack[i] for i in rest], positions=rest, method=method, sigma=2.0)
    before = two.result()
    one.merge(two)
    moved = difference(whole.result().image, one.result().image)
    assert moved.max() <= 1 and np.mean(moved > 0) < 1e-3
    np.testing.assert_array_equal(whole.result().origin, one.result().origin)
    assert one.frames == 7
    # The part that was merged is as it was.
    np.testing.assert_array_equal(before.image, two.result().image)
    np.testing.assert_array_equal(before.depth_um, two.result().depth_um)


@pytest.mark.parametrize("method", METHODS)
def test_depth_of_touching_slabs_is_exact(method):
    stack = noisy_stack()
    whole = fuse(stack, method=method, sigma=2.0).result()
    low = fuse(stack[:3], method=method, sigma=2.0)
    high = fuse(stack[3:], positions=range(3, 7), method=method, sigma=2.0)
    high.merge(low)
    np.testing.assert_allclose(whole.depth_um, high.result().depth_um, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_merge_commutes(method):
    stack = noisy_stack()

    def parts():
        one = fuse(stack[:4], method=method)
        two = one.sibling()
        for number in (4, 5, 6):
            two.add(stack[number], float(number))
        return one, two

    one, two = parts()
    one.merge(two)
    a, b = parts()
    b.merge(a)
    assert one.sigma == b.sigma
    for name in ("image", "depth_um", "confidence", "origin"):
        np.testing.assert_array_equal(getattr(one.result(), name), getattr(b.result(), name), err_msg=name)


def test_merge_with_an_empty_part():
    stack = noisy_stack(frames=4)
    full, empty = fuse(stack), Fusion()
    empty.merge(full)
    full.merge(Fusion())
    np.testing.assert_array_equal(full.result().image, empty.result().image)
    empty.add(stack[0][::-1].copy(), 9.0)
    assert (full.frames, empty.frames) == (4, 5)


def test_a_frame_in_both_parts_is_refused():
    stack = noisy_stack(frames=4)
    with pytest.raises(FusionError, match="same frame"):
        fuse(stack[:3]).merge(fuse(stack[2:], positions=[2, 3]))


def test_parts_that_do_not_fit_are_refused():
    stack = noisy_stack(frames=2)
    with pytest.raises(FusionError, match="same settings"):
        fuse(stack).merge(Fusion(method="average"))
    with pytest.raises(FusionError, match="sibling"):
        fuse(stack[:1], sigma=1.0).merge(fuse(stack[1:], positions=[1], sigma=4.0))
    with pytest.raises(FrameMismatch, match="50x60"):
        fuse(stack).merge(fuse([np.zeros((60, 50, 3), np.uint8)]))


@pytest.mark.parametrize("method", METHODS)
def test_inputs_are_not_modified_nor_kept(method):
    stack = noisy_stack()
    copies = [frame.copy() for frame in stack]
    fusion = fuse(stack, method=method)
    before = fusion.result()
    for frame, copy in zip(stack, copies, strict=True):
        np.testing.assert_array_equal(frame, copy)
        frame[...] = 0
    np.testing.assert_array_equal(before.image, fusion.result().image)


@pytest.mark.parametrize("method", METHODS)
def test_result_does_not_change_the_state(method):
    stack = noisy_stack()
    quiet, asked = Fusion(method=method), Fusion(method=method)
    for number, frame in enumerate(stack):
        quiet.add(frame, number)
        asked.add(frame, number)
        shown = asked.result()
        shown.image[...] = 0
        shown.depth_um[...] = 0
        shown.confidence[...] = 0
        asked.preview(40)[...] = 0
        asked.sharpness()[...] = 0
        assert asked.sharpness().any()
        asked.result().origin[...] = 9
    np.testing.assert_array_equal(quiet.result().image, asked.result().image)
    np.testing.assert_array_equal(quiet.result().depth_um, asked.result().depth_um)


def test_a_view_is_as_good_as_an_array():
    stack = noisy_stack(frames=3)
    views = [np.repeat(frame, 2, axis=1)[:, ::2] for frame in stack]
    np.testing.assert_array_equal(fuse(stack).result().image, fuse(views).result().image)


def test_a_frame_of_another_size_or_type_is_refused_and_named():
    fusion = fuse(noisy_stack(frames=2))
    for other in (np.zeros((71, 90, 3), np.uint8), np.zeros((70, 90), np.uint8)):
        with pytest.raises(FrameMismatch, match="90x70 px uint8 colour"):
            fusion.add(other, 5.0)
    with pytest.raises(FrameMismatch, match="90x70 px uint16 colour"):
        fusion.add(np.zeros((70, 90, 3), np.uint16), 5.0)
    assert fusion.frames == 2


@pytest.mark.parametrize(
    ("image", "position", "word"),
    [
        (np.zeros((4, 4), np.float32), 0.0, "float32"),
        (np.zeros((4, 4, 4), np.uint8), 0.0, "shape"),
        (np.zeros((0, 4), np.uint8), 0.0, "shape"),
        (np.zeros(4, np.uint8), 0.0, "shape"),
        ([[1]], 0.0, "list"),
        (np.zeros((4, 4), np.uint8), float("nan"), "finite"),
    ],
)
def test_what_is_no_frame_is_refused(image, position, word):
    fusion = Fusion()
    with pytest.raises(FusionError, match=word):
        fusion.add(image, position)
    assert fusion.frames == 0


@pytest.mark.parametrize(
    "options",
    [{"method": "median"}, {"gaussian_px": 4}, {"laplacian_px": 33}, {"sigma": 0.0}, {"bits": 7}],
)
def test_settings_outside_their_range_are_refused(options):
    with pytest.raises(FusionError, match=next(iter(options))):
        Fusion(**options)


def test_an_empty_fusion_has_no_result():
    with pytest.raises(FusionError, match="no frame"):
        Fusion().result()


def test_the_harshest_frames_stay_finite():
    rng = np.random.default_rng(0)
    fusion = Fusion()
    for number in range(4):
        fusion.add(255 * rng.integers(0, 2, (64, 64, 3)).astype(np.uint8), float(number))
    # A thousand times as many frames: the sums of this part, doubled ten times by merging.
    for doubling in range(10):
        other = fusion.sibling()
        other.merge(fusion)
        other._seen.clear()
        fusion.merge(other)
        assert fusion.frames == 4 * 2 ** (doubling + 1)
    image = fusion.result().image
    assert image.std() > 50


def test_equal_responses_go_to_the_lower_position_in_any_order():
    # The same picture at several heights: every pixel is a tie.
    picture = noisy_stack(frames=1)[0]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        origin = fuse([picture] * 4, positions=order, sigma=2.0).result().origin
        assert (origin == 0).all(), order
    # A late frame too, against a higher one; a flat frame stands below both.
    late = fuse([np.full_like(picture, 99), picture, picture], positions=[0, 3, 1], sigma=2.0).result().origin
    assert np.mean(late == 1) > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_fusion_that_merged_a_part_shares_nothing_with_it(method):
    stack = noisy_stack(frames=4)
    part, whole = fuse(stack[:2], method=method), Fusion(method=method)
    whole.merge(part)
    before = part.result()
    whole.add(stack[2], 2.0)
    for name in ("image", "depth_um", "confidence", "origin"):
        np.testing.assert_array_equal(getattr(before, name), getattr(part.result(), name), err_msg=name)
