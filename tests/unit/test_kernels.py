"""The two kernels of the pyramid rule: the plain one against the compiled one, and what each must keep."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from focusd.fusion import strips
from focusd.fusion.compiled import CompiledKernel, library
from focusd.fusion.plain import PlainKernel
from focusd.fusion.rule import Rule
from focusd.fusion.sums import Sums
from focusd.fusion.tone import Tone
from focusd.pictures.planes import Planes

KERNELS = ("plain", "compiled")
MODES = ("default", "fast")
KINDS = ("grey", "4:2:0", "4:4:4", "grey 16", "4:4:4 16")
SIZES = ((2, 2), (3, 5), (9, 7), (33, 64), (70, 95))


def refocused(shape, seed, frames=4, noise=2.0, unit=1.0, dtype=np.uint8):
    """Frames of one random texture, sharp in the second, with noise."""
    rng = np.random.default_rng(seed)
    scene = rng.normal(128, 60, shape).astype(np.float32)
    stack = []
    for number in range(frames):
        frame = cv2.GaussianBlur(scene, (0, 0), 0.3 + abs(number - 1)) + rng.normal(0, noise, shape)
        stack.append((np.clip(frame, 0, 255) * unit).astype(dtype))
    return stack


def stack_of(kind, rows, cols):
    """Frames of a kind."""
    if kind == "4:2:0":
        half = ((rows + 1) // 2, (cols + 1) // 2)
        planes = [refocused(shape, seed) for seed, shape in enumerate(((rows, cols), half, half))]
        return [Planes(*each) for each in zip(*planes, strict=True)]
    shape = (rows, cols, 3) if kind.startswith("4:4:4") else (rows, cols)
    if kind.endswith("16"):
        return refocused(shape, 5, unit=257.0, dtype=np.uint16)
    return refocused(shape, 5)


def fused(kernel, stack, mode="default", gains=()):
    """Sums of a stack by a kernel, and the last frame's response."""
    tone, rule = Tone.of(stack[0]), Rule.of(mode, 2.0)
    sums = Sums.of(tone, *stack[0].shape[:2])
    made = PlainKernel(sums, rule) if kernel == "plain" else CompiledKernel(sums, rule, library())
    for frame, gain in zip(stack, gains or [1.0] * len(stack), strict=True):
        response = made.add(tone.sources(frame), gain)
    return sums, response


def parts(image):
    """Planes of an image, in 8-bit levels."""
    if isinstance(image, Planes):
        return [plane.astype(float) for plane in (image.luma, image.blue, image.red)]
    return [image / (257.0 if image.dtype == np.uint16 else 1.0)]


def assert_alike(response, expected):
    """Sharpness within a hundredth and 1/32 level; in units of 1/512 level."""
    np.testing.assert_allclose(response.astype(int), expected, rtol=0.01, atol=16)


def assert_agree(ours, theirs, rule):
    """Fused images within a level; the energies that weights are powers of within a hundredth."""
    powers = [*rule.half_powers[: len(ours.weights) - 1], 4]
    for mine, other, power in zip(ours.weights, theirs.weights, powers, strict=True):
        np.testing.assert_allclose((mine / other) ** (0.5 / power), 1, rtol=0.01)
    for mine, other in zip(parts(ours.image(rule)), parts(theirs.image(rule)), strict=True):
        assert np.abs(mine - other).max() <= 1
    for mine, other in zip(ours.low + ours.high, theirs.low + theirs.high, strict=True):
        assert np.abs(mine.astype(int) - other).max() <= 1


@pytest.mark.skipif(library() is None, reason="the compiled kernel was not built")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_kernels_agree(kind, size, mode):
    stack = stack_of(kind, *size)
    (ours, response), (theirs, expected) = (fused(kernel, stack, mode) for kernel in KERNELS)
    assert_agree(ours, theirs, Rule.of(mode, 2.0))
    assert_alike(response, expected)


@pytest.mark.skipif(library() is None, reason="the compiled kernel was not built")
@pytest.mark.parametrize("mode", MODES)
def test_the_kernels_agree_on_what_frames_are_worth(mode):
    stack, gains = stack_of("4:2:0", 70, 95), (0.6, 1.7, 1.0, 1.2)
    (ours, response), (theirs, expected) = (fused(kernel, stack, mode, gains) for kernel in KERNELS)
    assert_agree(ours, theirs, Rule.of(mode, 2.0))
    assert_alike(response, expected)
    alike, _ = fused("plain", stack, mode)
    assert alike.weights[0].max() < 0.1 * ours.weights[0].max()


@pytest.mark.skipif(library() is None, reason="the compiled kernel was not built")
@pytest.mark.parametrize("mode", MODES)
def test_the_kernels_agree_on_energies_beyond_the_cap(mode):
    board = np.kron(np.indices((20, 24)).sum(axis=0) % 2, np.ones((3, 3)))
    stack = [(board * 255).astype(np.uint8), cv2.GaussianBlur((board * 255).astype(np.uint8), (0, 0), 1)]
    rule = Rule.of(mode, 2.0)
    (ours, _), (theirs, _) = (fused(kernel, stack, mode, (2.0, 2.0)) for kernel in KERNELS)
    assert theirs.weights[1].max() > 0.9 * (rule.cap**2 / rule.square_unit) ** rule.half_powers[1]
    assert_agree(ours, theirs, rule)


@pytest.mark.parametrize("kind", ["grey", "4:2:0", "grey 16"])
@pytest.mark.parametrize("size", SIZES)
def test_one_frame_is_itself(kind, size):
    frame = stack_of(kind, *size)[0]
    sums, _ = fused("plain", [frame])
    for mine, given in zip(parts(sums.image(Rule(2.0))), parts(frame), strict=True):
        np.testing.assert_array_equal(mine, given)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_strips_leave_no_trace(kind, mode, monkeypatch):
    stack = stack_of(kind, 70, 95)
    whole, response = fused("plain", stack, mode)
    response = response.copy()
    monkeypatch.setattr(strips, "STRIP_BYTES", 1)
    cut, again = fused("plain", stack, mode)
    np.testing.assert_array_equal(response, again)
    for name, plane in whole.planes().items():
        # OpenCV may round the last samples of a row another way than the rest.
        np.testing.assert_allclose(plane, cut.planes()[name], rtol=1e-4, atol=1e-30, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_only_read(kind):
    stack = stack_of(kind, 70, 95)
    kept = [[plane.copy() for plane in parts(frame)] for frame in stack]
    fused("plain", stack)
    for frame, before in zip(stack, kept, strict=True):
        for mine, given in zip(parts(frame), before, strict=True):
            np.testing.assert_array_equal(mine, given)


def test_an_image_one_pixel_wide_is_a_mean():
    frames = [np.full((1, 6), value, np.uint8) for value in (10, 30)]
    sums, _ = fused("plain", frames)
    np.testing.assert_array_equal(sums.image(Rule(2.0)), np.full((1, 6), 20))


def test_memory_is_taken_once_and_given_back():
    stack = stack_of("4:2:0", 1024, 1536)
    tone = Tone.of(stack[0])
    sums = Sums.of(tone, 1024, 1536)
    kernel = PlainKernel(sums, Rule(2.0))
    kernel.add(tone.sources(stack[0]))
    taken = kernel.nbytes
    tracemalloc.start()
    kernel.add(tone.sources(stack[1]))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kernel.nbytes == taken
    # A sixteenth of a byte a pixel: nothing the size of a strip is made anew.
    assert peak_bytes < 1024 * 1536 / 16
    kernel.release()
    assert kernel.nbytes == 0
    before = sums.weights[0].copy()
    kernel.add(tone.sources(stack[1]))
    # The sharpest frame once more; the other hardly counts.
    np.testing.assert_allclose(sums.weights[0], 2 * before, rtol=0.01)
