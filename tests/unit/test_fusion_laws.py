"""The laws of `Fusion` for frames one after the other: what must hold for any stack."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from focusd.errors import FrameMismatch, FusionError
from focusd.fusion import Fusion
from focusd.fusion.relief import Reason
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr, to_planes

METHODS = ("pyramid", "laplacian", "average")
MAPS = ("depth_um", "confidence", "reason", "origin")
# The kernel is chosen once for all examples of a test, as it should be.
EACH_KERNEL = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def noisy_stack(frames=7, rows=70, cols=90, colour=True, seed=3, noise=2.0, dtype=np.uint8):
    """Two halves, sharp in different frames, with noise."""
    rng = np.random.default_rng(seed)
    shape = (rows, cols, 3) if colour else (rows, cols)
    scene = cv2.GaussianBlur(rng.uniform(0, 255, shape).astype(np.float32), (0, 0), 0.8)
    scene = np.clip((scene - 127) * 2.5 + 127, 10, 245)
    soft = [scene, *(cv2.GaussianBlur(scene, (0, 0), 0.9 * radius) for radius in range(1, frames + 2))]
    stack = []
    for number in range(frames):
        frame = soft[abs(number - 2)].copy()
        frame[:, cols // 2 :] = soft[abs(number - frames + 2)][:, cols // 2 :]
        frame = frame + rng.normal(0, noise, shape)
        unit = 1 if dtype == np.uint8 else 257
        stack.append(np.clip(np.rint(frame * unit), 0, np.iinfo(dtype).max).astype(dtype))
    return stack


def fuse(stack, positions=None, **options):
    fusion = Fusion(**options)
    for position, frame in zip(positions or range(len(stack)), stack, strict=True):
        fusion.add(frame, float(position))
    return fusion


def samples(image):
    return (image.luma, image.blue, image.red) if isinstance(image, Planes) else (image,)


def copied(frame):
    return Planes(*(plane.copy() for plane in samples(frame))) if isinstance(frame, Planes) else frame.copy()


def largest_difference(one, other):
    pairs = zip(samples(one), samples(other), strict=True)
    return max(int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max()) for a, b in pairs)


def state_of(fusion):
    """Everything a fusion knows, as bytes."""
    state = fusion.state()
    return state.facts, {name: plane.tobytes() for name, plane in state.planes.items()}


sides = st.integers(1, 70)
pixels = st.tuples(sides, sides)
arrays = st.one_of(pixels, pixels.map(lambda s: (*s, 3))).flatmap(
    lambda shape: hnp.arrays(st.sampled_from([np.uint8, np.uint16]), shape)
)
planes = st.tuples(st.integers(2, 70), st.integers(2, 70)).flatmap(
    lambda s: st.builds(
        Planes,
        hnp.arrays(np.uint8, s),
        *[hnp.arrays(np.uint8, ((s[0] + 1) // 2, (s[1] + 1) // 2)) for _ in range(2)],
    )
)


@st.composite
def stacks(draw, least=2, most=5):
    """Frames of one kind and an odd size: noise, each blurred by so much."""
    kind = draw(st.sampled_from(["grey", "BGR", "4:2:0"]))
    dtype = np.uint8 if kind == "4:2:0" else draw(st.sampled_from([np.uint8, np.uint16]))
    shape = draw(st.tuples(st.integers(2, 60), st.integers(2, 60)))
    blurs = draw(st.lists(st.sampled_from([0.0, 0.6, 1.5, 4.0]), min_size=least, max_size=most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames = []
    for sigma in blurs:
        frame = rng.uniform(0, np.iinfo(dtype).max, shape if kind == "grey" else (*shape, 3))
        frame = (frame if sigma == 0 else cv2.GaussianBlur(frame, (0, 0), sigma)).astype(dtype)
        frames.append(to_planes(frame) if kind == "4:2:0" else frame)
    return frames


@settings(max_examples=40, **EACH_KERNEL)
@given(image=st.one_of(arrays, planes))
def test_one_frame_returns_itself(kernel, image):
    result = fuse([image]).result()
    assert type(result.image) is type(image)
    assert result.image.shape == image.shape
    assert [plane.dtype for plane in samples(result.image)] == [plane.dtype for plane in samples(image)]
    exact = isinstance(image, Planes) or image.ndim == 2
    assert largest_difference(result.image, image) <= (0 if exact else 1)
    for name in MAPS:
        assert getattr(result, name).shape == image.shape[:2], name
    assert np.isnan(result.depth_um).all()
    assert (result.reason > Reason.UNSURE).all()
    assert not result.confidence.any()
    assert not result.origin.any()


@settings(max_examples=25, deadline=None)
@given(image=arrays, method=st.sampled_from(["laplacian", "average"]))
def test_one_frame_returns_itself_by_the_classical_methods(image, method):
    result = fuse([image], method=method).result()
    assert result.image.dtype == image.dtype
    assert largest_difference(result.image, image) <= (0 if image.ndim == 2 else 1)
    assert np.isnan(result.depth_um).all()
    assert not result.confidence.any()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (1, 40), (33, 65, 3), (64, 64), (100, 31, 3), (257, 129)])
def test_one_frame_full_of_noise_returns_itself_at_odd_sizes(kernel, shape):
    image = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    for method in METHODS:
        fused = fuse([image], method=method).result().image
        assert largest_difference(fused, image) <= (0 if image.ndim == 2 else 1), method


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_two_tiny_frames_fuse(kernel, dtype):
    for method in METHODS:
        for shape in [(1, 1), (1, 1, 3), (2, 3), (5, 7, 3), (1, 9)]:
            frames = [np.full(shape, 10, dtype), np.full(shape, 30, dtype)]
            image = fuse(frames, method=method).result().image
            assert image.shape == shape
            assert image.min() >= 10 and image.max() <= 30


@settings(max_examples=25, **EACH_KERNEL)
@given(stack=stacks(), data=st.data())
def test_a_repeated_frame_changes_not_a_bit(kernel, stack, data):
    fusion = fuse(stack)
    before = state_of(fusion)
    for number in data.draw(st.lists(st.integers(0, len(stack) - 1), min_size=1, max_size=4)):
        fusion.add(copied(stack[number]), float(number))
    assert state_of(fusion) == before
    assert fusion.frames == len(stack)


@pytest.mark.parametrize("method", ["laplacian", "average"])
def test_a_repeated_frame_changes_nothing_by_the_classical_methods(method):
    stack = noisy_stack()
    once, twice = fuse(stack, method=method), fuse(stack, method=method)
    for number in (0, 3, 6):
        twice.add(stack[number].copy(), float(number))
    assert twice.frames == once.frames == len(stack)
    for name in ("image", *MAPS):
        np.testing.assert_array_equal(getattr(once.result(), name), getattr(twice.result(), name))


def test_the_same_content_elsewhere_is_another_frame():
    stack = noisy_stack(frames=3)
    fusion = fuse(stack)
    fusion.add(stack[0], 10.0)
    assert fusion.frames == 4


@settings(max_examples=25, **EACH_KERNEL)
@given(stack=stacks())
def test_inputs_are_not_modified_nor_kept_and_results_are_as_they_came(kernel, stack):
    copies = [copied(frame) for frame in stack]
    fusion = fuse(stack)
    before = fusion.image()
    for frame, copy in zip(stack, copies, strict=True):
        assert largest_difference(frame, copy) == 0
        for plane in samples(frame):
            plane[...] = 0
    after = fusion.image()
    assert largest_difference(before, after) == 0
    assert type(after) is type(stack[0]) and after.shape == stack[0].shape
    assert samples(after)[0].dtype == samples(stack[0])[0].dtype


@pytest.mark.parametrize("method", ["laplacian", "average"])
def test_inputs_are_not_modified_nor_kept_by_the_classical_methods(method):
    stack = noisy_stack()
    copies = [frame.copy() for frame in stack]
    fusion = fuse(stack, method=method)
    before = fusion.result()
    for frame, copy in zip(stack, copies, strict=True):
        np.testing.assert_array_equal(frame, copy)
        frame[...] = 0
    np.testing.assert_array_equal(before.image, fusion.result().image)


@settings(max_examples=15, **EACH_KERNEL)
@given(stack=stacks())
def test_to_ask_does_not_change_the_state(kernel, stack):
    quiet, asked = Fusion(), Fusion()
    for number, frame in enumerate(stack):
        quiet.add(frame, number)
        asked.add(frame, number)
        # Valid until the image is asked for.
        sharpness = asked.sharpness()
        np.testing.assert_array_equal(sharpness, quiet.sharpness())
        sharpness[...] = 0
        asked.preview(40)[...] = 0
        np.testing.assert_array_equal(asked.sharpness(), quiet.sharpness())
        shown = asked.result()
        for plane in (*samples(shown.image), *(getattr(shown, name) for name in MAPS)):
            plane[...] = 0
        relief = asked.relief()
        for plane in (relief.raw_um, relief.confidence, relief.reason, relief.origin):
            plane[...] = 1
        with pytest.raises(FusionError, match="since the image was taken"):
            asked.sharpness()
        assert state_of(asked) == state_of(quiet)


@pytest.mark.parametrize("method", ["laplacian", "average"])
def test_to_ask_does_not_change_the_state_of_the_classical_methods(method):
    stack = noisy_stack()
    quiet, asked = Fusion(method=method), Fusion(method=method)
    for number, frame in enumerate(stack):
        quiet.add(frame, number)
        asked.add(frame, number)
        shown = asked.result()
        for plane in (shown.image, *(getattr(shown, name) for name in MAPS)):
            plane[...] = 0
        asked.preview(40)[...] = 0
        asked.sharpness()[...] = 0
        assert asked.sharpness().any()
    for name in ("image", *MAPS):
        np.testing.assert_array_equal(getattr(quiet.result(), name), getattr(asked.result(), name))


def test_a_view_is_as_good_as_an_array(kernel):
    stack = noisy_stack(frames=3)
    views = [np.repeat(frame, 2, axis=1)[:, ::2] for frame in stack]
    assert state_of(fuse(stack)) == state_of(fuse(views))
    split = [to_planes(frame) for frame in stack]
    wide = [Planes(*(np.repeat(plane, 2, axis=1)[:, ::2] for plane in samples(frame))) for frame in split]
    assert state_of(fuse(split)) == state_of(fuse(wide))


def test_the_harshest_frames_stay_finite(kernel):
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
    planes = fusion.state().planes
    assert all(np.isfinite(plane).all() for name, plane in planes.items() if name.startswith("band"))
    assert all((planes[name] > 0).all() for name in planes if name.startswith("weight"))
    image = fusion.result().image
    assert image.std() > 50


def test_equal_responses_go_to_the_lower_position_in_any_order(kernel):
    # The same picture at several heights: every pixel is a tie.
    picture = noisy_stack(frames=1)[0]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        origin = fuse([picture] * 4, positions=order, sigma=2.0).result().origin
        assert (origin == 0).all(), order
    # A late frame too, against a higher one; a flat frame stands below both.
    late = fuse([np.full_like(picture, 99), picture, picture], positions=[0, 3, 1], sigma=2.0).result().origin
    assert np.mean(late == 1) > 0.99


# What is refused, and changes nothing.


def test_a_frame_of_another_size_or_type_is_refused_and_named():
    fusion = fuse(noisy_stack(frames=2))
    before = state_of(fusion)
    for other in (np.zeros((71, 90, 3), np.uint8), np.zeros((70, 90), np.uint8)):
        with pytest.raises(FrameMismatch, match="90x70 px uint8 4:4:4"):
            fusion.add(other, 5.0)
    with pytest.raises(FrameMismatch, match="90x70 px uint16 4:4:4"):
        fusion.add(np.zeros((70, 90, 3), np.uint16), 5.0)
    with pytest.raises(FrameMismatch, match="90x70 px uint8 4:2:0"):
        fusion.add(to_planes(np.zeros((70, 90, 3), np.uint8)), 5.0)
    assert state_of(fusion) == before


@pytest.mark.parametrize(
    ("image", "position", "word"),
    [
        (np.zeros((4, 4), np.float32), 0.0, "float32"),
        (np.zeros((4, 4, 4), np.uint8), 0.0, "shape"),
        (np.zeros((0, 4), np.uint8), 0.0, "shape"),
        (np.zeros(4, np.uint8), 0.0, "shape"),
        (Planes(*[np.zeros((1, 1), np.uint8)] * 3), 0.0, "2 px a side"),
        ([[1]], 0.0, "list"),
        (np.zeros((4, 4), np.uint8), float("nan"), "finite"),
    ],
)
def test_what_is_no_frame_is_refused(image, position, word):
    fusion = Fusion()
    with pytest.raises(FusionError, match=word):
        fusion.add(image, position)
    assert fusion.frames == 0


@pytest.mark.parametrize("colour", [False, True])
def test_a_frame_far_brighter_than_the_first_is_refused_and_changes_nothing(kernel, colour):
    stack = [frame // 257 for frame in noisy_stack(frames=3, colour=colour, dtype=np.uint16)]
    fusion = fuse(stack)
    before = state_of(fusion)
    # 8 bits begun, and three more for frames to come.
    brighter = np.full_like(stack[0], 1024)
    with pytest.raises(FrameMismatch, match=r"1024 .* begun at 8 bits: at most 1023 .* bits"):
        fusion.add(brighter, 5.0)
    assert state_of(fusion) == before
    brighter[...] = 1023
    fusion.add(brighter, 5.0)
    assert fusion.frames == 4
    told = Fusion(bits=11)
    for number, frame in enumerate([*stack, np.full_like(stack[0], 1024)]):
        told.add(frame, float(number))
    assert told.frames == 4


def test_a_first_frame_brighter_than_its_bits_is_refused(kernel):
    bright = np.full((20, 30), 1024, np.uint16)
    dark = Fusion(bits=8)
    for fusion in (dark, dark.sibling()):
        with pytest.raises(FrameMismatch, match=r"1024 .* 8 bits: at most 1023"):
            fusion.add(bright, 0.0)
        assert fusion.frames == 0


@pytest.mark.parametrize("method", ["laplacian", "average"])
def test_the_classical_methods_turn_planes_into_bgr(method):
    stack = [to_planes(frame) for frame in noisy_stack()]
    turned = fuse([to_bgr(frame) for frame in stack], method=method)
    np.testing.assert_array_equal(fuse(stack, method=method).image(), turned.image())


@pytest.mark.parametrize(
    "options",
    [{"method": "median"}, {"gaussian_px": 4}, {"laplacian_px": 33}, {"sigma": 0.0}, {"bits": 7}],
)
def test_settings_outside_their_range_are_refused(options):
    with pytest.raises(FusionError, match=next(iter(options))):
        Fusion(**options)


def test_an_empty_fusion_has_no_result():
    for ask in (Fusion.result, Fusion.image, Fusion.relief, Fusion.sharpness, Fusion.state):
        with pytest.raises(FusionError, match="no frame"):
            ask(Fusion())
