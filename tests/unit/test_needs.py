"""What a fusion takes, held against fusions that really run."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.fusion import Fusion, Method
from focusd.needs import BASE_BYTES, Colour, FrameForm, fusion_needs
from focusd.pictures.planes import Planes

ROWS, COLS = 768, 1024
COLOURS: tuple[Colour, ...] = get_args(Colour)
METHODS: tuple[Method, ...] = get_args(Method)

forms = st.builds(
    FrameForm,
    rows=st.integers(1, 20_000),
    cols=st.integers(1, 20_000),
    colour=st.sampled_from(COLOURS),
    bits=st.sampled_from((8, 16)),
    encoded=st.booleans(),
)


def frame(colour: Colour, bits: Literal[8, 16], seed: int) -> npt.NDArray[Any] | Planes:
    random = np.random.default_rng(seed)

    def noise(*shape: int) -> npt.NDArray[Any]:
        return random.integers(0, 1 << bits, shape, dtype=np.uint8 if bits == 8 else np.uint16)

    if colour == "4:2:0":
        return Planes(noise(ROWS, COLS), noise(ROWS // 2, COLS // 2), noise(ROWS // 2, COLS // 2))
    return noise(ROWS, COLS) if colour == "grey" else noise(ROWS, COLS, 3)


BITS: tuple[Literal[8, 16], ...] = (8, 16)
FORMS = [(colour, bits) for colour in COLOURS for bits in BITS if bits == 8 or colour != "4:2:0"]
KINDS = [
    (method, colour, bits)
    for method in METHODS
    for colour, bits in FORMS
    if method == "pyramid" or colour != "4:2:0"
]
# A table or two that do not grow with the picture.
ASIDE_BYTES = 200_000


@pytest.mark.parametrize(("method", "colour", "bits"), KINDS)
def test_the_state_is_what_is_foreseen_within_a_fifth(
    method: Method, colour: Colour, bits: Literal[8, 16]
) -> None:
    fusion: Any = Fusion(method=method)
    for number in range(3):
        fusion.add(frame(colour, bits, number), float(number))
    foreseen = fusion_needs(FrameForm(ROWS, COLS, colour, bits), method).state_bytes
    assert fusion.nbytes <= foreseen <= 1.2 * fusion.nbytes


@pytest.mark.parametrize(("method", "colour", "bits"), KINDS)
def test_fusing_and_its_result_keep_to_what_is_foreseen(
    method: Method, colour: Colour, bits: Literal[8, 16]
) -> None:
    """Three frames, because the second and third find buffers that the first does not have."""
    frames: list[Any] = [frame(colour, bits, number) for number in range(3)]
    Fusion(method=method).add(frames[0], 0.0)  # what is loaded once is no part of a stack
    tracemalloc.start()
    try:
        fusion = Fusion(method=method)
        for number, image in enumerate(frames):
            fusion.add(image, float(number))
        _, fusing_bytes = tracemalloc.get_traced_memory()
        result = fusion.result()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result is not None
    needs = fusion_needs(FrameForm(ROWS, COLS, colour, bits), method)
    bound_bytes = needs.state_bytes + needs.working_bytes + ASIDE_BYTES
    assert fusing_bytes <= bound_bytes
    assert peak_bytes <= bound_bytes + needs.result_bytes


@given(forms, st.integers(1, 5000), st.sampled_from(METHODS))
def test_more_pixels_never_need_less(form: FrameForm, more: int, method: Method) -> None:
    kind = (form.colour, form.bits, form.encoded)
    small = fusion_needs(form, method)
    for large in (
        FrameForm(form.rows + more, form.cols, *kind),
        FrameForm(form.rows, form.cols + more, *kind),
    ):
        assert fusion_needs(large, method).memory_bytes >= small.memory_bytes
        assert fusion_needs(large, method).checkpoint_bytes >= small.checkpoint_bytes
        assert large.nbytes > form.nbytes or form.colour == "4:2:0"


@given(forms, st.sampled_from(METHODS))
def test_colour_bits_and_waiting_frames_cost(form: FrameForm, method: Method) -> None:
    size = (form.rows, form.cols)
    by_colour = [fusion_needs(FrameForm(*size, colour, form.bits), method).memory_bytes for colour in COLOURS]
    assert by_colour == sorted(by_colour)
    eight, sixteen = (FrameForm(*size, form.colour, bits) for bits in (8, 16))  # type: ignore[arg-type]
    assert sixteen.nbytes in (2 * eight.nbytes, 2 * eight.nbytes - 1)
    assert fusion_needs(sixteen, method).memory_bytes >= fusion_needs(eight, method).memory_bytes
    none, three = (fusion_needs(form, method, waiting) for waiting in (0, 3))
    assert three.frames_bytes - none.frames_bytes == 3 * form.waiting_nbytes
    assert form.waiting_nbytes <= form.nbytes
    assert min(none.memory_bytes, three.memory_bytes) > BASE_BYTES


def test_the_parts_add_up() -> None:
    needs = fusion_needs(FrameForm(3008, 4032, "4:4:4"))
    parts = needs.base_bytes + needs.state_bytes + needs.working_bytes
    assert needs.memory_bytes == parts + needs.frames_bytes, "frames in flight are more than the result"
    assert needs.frames_bytes == 4 * 3 * 3008 * 4032
    alone = fusion_needs(FrameForm(3008, 4032, "4:4:4"), waiting=0)
    assert alone.memory_bytes == parts + alone.result_bytes > parts + alone.frames_bytes


@pytest.mark.parametrize(("colour", "bits"), FORMS)
def test_the_form_of_a_frame_at_hand(colour: Colour, bits: Literal[8, 16]) -> None:
    image = frame(colour, bits, 1)
    assert FrameForm.of(image, encoded=True) == FrameForm(ROWS, COLS, colour, bits, encoded=True)
    assert FrameForm.of(image).nbytes == image.nbytes


@pytest.mark.parametrize("align", ["off", "translation"])
@pytest.mark.parametrize("odd", ["off", "fuse", "skip"])
def test_laying_frames_on_each_other_takes_no_more_than_was_foreseen(align: str, odd: str) -> None:
    words = f"""
import resource
import numpy as np
from focusd.needs import FrameForm, correction_bytes
from focusd.register.correction import Correction
from focusd.register.registration import Registration

correction = Correction(align={align!r}, odd={odd!r}, gain=True)
base = np.repeat(np.repeat(np.random.default_rng(1).integers(0, 255, (300, 410, 3), np.uint8), 8, 0), 8, 1)
frame = base[:, :3200].copy()
registration = Registration(correction)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(5):
    frame[:] = base[:, 3 * number : 3 * number + 3200]
    for each in registration.take(number, frame, 20.0 * number, number=number, name=str(number)):
        del each
grew = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(grew, correction_bytes(FrameForm.of(frame), correction))
"""
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    grew, foreseen = map(int, done.stdout.split())
    assert grew <= foreseen
