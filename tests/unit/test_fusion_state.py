"""A saved fusion goes on as if it had never been saved, or says that it cannot."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focusd.checkpoint import read_state, write_state
from focusd.errors import FusionError
from focusd.fusion import Fusion
from focusd.fusion.state import FusionState
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_planes

KINDS = [("grey", np.uint8), ("4:2:0", np.uint8), ("BGR", np.uint8), ("grey", np.uint16), ("BGR", np.uint16)]
MAPS = ("raw_um", "confidence", "reason", "origin")
# The kernel is chosen once for all examples of a test, as it should be.
EACH_KERNEL = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def noise(count, shape=(37, 52), kind="BGR", dtype=np.uint8, seed=1):
    """Frames of noise, every other one out of focus."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        frame = rng.uniform(0, np.iinfo(dtype).max, shape if kind == "grey" else (*shape, 3))
        frame = (cv2.GaussianBlur(frame, (0, 0), 1.5) if number % 2 else frame).astype(dtype)
        frames.append(to_planes(frame) if kind == "4:2:0" else frame)
    return frames


def add_all(fusion, frames, positions):
    for frame, position in zip(frames, positions, strict=True):
        fusion.add(frame, float(position))
    return fusion


def apart(state):
    """A state that shares nothing with its fusion."""
    planes = {name: plane.copy() for name, plane in state.planes.items()}
    return FusionState(copy.deepcopy(state.facts), planes)


def same(one, other):
    """Whether two fusions know the same, and give the same, to the bit."""
    first, second = one.state(), other.state()
    assert first.facts == second.facts
    assert first.planes.keys() == second.planes.keys()
    for name, plane in first.planes.items():
        np.testing.assert_array_equal(plane, second.planes[name], err_msg=name)
    a, b = one.relief(), other.relief()
    for name in MAPS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    a, b = one.image(), other.image()
    assert type(a) is type(b)
    for name in ("luma", "blue", "red") if isinstance(a, Planes) else ("real",):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (one.frames, one.positions_um, one.sigma, one.white, one.nbytes) == (
        other.frames,
        other.positions_um,
        other.sigma,
        other.white,
        other.nbytes,
    )


@settings(max_examples=40, **EACH_KERNEL)
@given(data=st.data())
def test_a_saved_fusion_goes_on_as_the_original(kernel, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fusion.state"
    kind, dtype = data.draw(st.sampled_from(KINDS))
    shape = data.draw(st.tuples(st.integers(2, 50), st.integers(2, 50)))
    count = data.draw(st.integers(1, 6))
    saved = data.draw(st.integers(1, count))
    frames = noise(count, shape, kind, dtype, data.draw(st.integers(0, 2**32)))
    # In z order or not; what came before the saving must not come again.
    z = data.draw(st.permutations([number * 7.25 - 20 for number in range(count)]))
    original = add_all(Fusion(), frames[:saved], z[:saved])
    write_state(path, original.state())
    loaded = Fusion.of_state(read_state(path).state)
    kept = Fusion.of_state(apart(original.state()))
    for fusion in (original, loaded, kept):
        add_all(fusion, frames[:saved], z[:saved])
        assert fusion.frames == saved
        add_all(fusion, frames[saved:], z[saved:])
        assert fusion.frames == count
    same(original, loaded)
    same(original, kept)


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_a_loaded_part_merges_as_the_original(kernel, kind, dtype, tmp_path):
    frames = noise(6, kind=kind, dtype=dtype)
    low, high = (
        add_all(Fusion(sigma=2.0), frames[part], range(6)[part]) for part in (slice(0, 4), slice(4, 6))
    )
    for name, part in (("low", low), ("high", high)):
        write_state(tmp_path / name, part.state())
    low.merge(high)
    merged = Fusion.of_state(read_state(tmp_path / "low").state)
    merged.merge(Fusion.of_state(read_state(tmp_path / "high").state))
    same(low, merged)
    assert merged.sibling().sigma == 2.0


def test_more_frames_do_not_make_a_state_larger(tmp_path):
    fusion = Fusion()
    sizes = []
    for number, frame in enumerate(noise(12)):
        fusion.add(frame, float(number))
        write_state(tmp_path / "s", fusion.state())
        sizes.append((fusion.state().nbytes, (tmp_path / "s").stat().st_size))
    assert len({nbytes for nbytes, _ in sizes}) == 1
    assert sizes[0][0] == fusion.nbytes
    # A line in a table for each frame.
    assert 0 < (sizes[-1][1] - sizes[0][1]) / 11 < 200


def test_only_the_pyramid_can_be_saved():
    for method in ("laplacian", "average"):
        with pytest.raises(FusionError, match="pyramid"):
            add_all(Fusion(method=method), noise(1), [0]).state()


@pytest.fixture(scope="module")
def whole():
    """A sound state of three frames; damaged copies of it are tried."""
    return add_all(Fusion(), noise(3), range(3)).state()


def fact(name, value):
    return lambda state: state.facts.update({name: value})


def plane(name, change):
    return lambda state: state.planes.update({name: change(state.planes[name].copy())})


def pixel(value):
    def change(array):
        array[3, 4] = value
        return array

    return change


@pytest.mark.parametrize(
    "name", ["band-0-0", "band-2-5", "weight-1", "low-0", "high-3", "best", "second", "origin", "highest"]
)
@pytest.mark.parametrize(
    "damage",
    [None, lambda array: array[1:], lambda array: array[:, :-1], lambda array: array.astype(np.float64)],
    ids=["missing", "row", "column", "type"],
)
def test_a_plane_that_is_missing_or_does_not_fit_is_refused(whole, name, damage):
    state = apart(whole)
    if damage is None:
        del state.planes[name]
    else:
        state.planes[name] = damage(state.planes[name])
    with pytest.raises(FusionError, match="fit together"):
        Fusion.of_state(state)


@pytest.mark.parametrize(
    "damage",
    [
        plane("origin", pixel(3)),
        plane("origin", pixel(-1)),
        fact("lowest_frame", 3),
        fact("highest_frame", -1),
        fact("positions_um", [0.0, 1.0]),
        fact("positions_um", []),
        fact("below_um", [None]),
        fact("shape", [70, 52]),
        fact("shape", [-37, 52]),
        fact("shape", [37, 52, 3]),
        fact("dtype", "uint16"),
        fact("dtype", "float32"),
        fact("dtype", "blue"),
        fact("sigma", None),
        fact("sigma", 0),
        fact("sigma", "2"),
        fact("method", "median"),
        fact("seen", [1]),
        fact("version", 2),
        fact("kind", "blue"),
        fact("kind", "grey8"),
        fact("method", "average"),
        fact("bits", 7),
        fact("bits", 17),
        fact("bits", float("inf")),
        fact("frames", 2),
        fact("frames", -3),
        fact("positions_um", [0.0, float("nan"), 2.0]),
        fact("shape", [37.0, 52.0]),
        fact("shape", ["a", "b"]),
        fact("shape", [10**6, 10**6]),
        plane("band-0-0", np.asfortranarray),
        plane("weight-1", lambda array: np.broadcast_to(array[:1], array.shape)),
    ],
)
def test_a_state_whose_parts_do_not_fit_together_is_refused(whole, damage):
    state = apart(whole)
    Fusion.of_state(apart(state))
    damage(state)
    with pytest.raises(FusionError):
        Fusion.of_state(state)


@pytest.mark.parametrize(
    "name", ["version", "method", "sigma", "bits", "dtype", "kind", "shape", "frames", "brightest", "seen",
             "positions_um", "below_um", "above_um", "lowest_frame", "highest_frame"],
)  # fmt: skip
def test_a_fact_that_is_missing_is_told(whole, name):
    state = apart(whole)
    del state.facts[name]
    with pytest.raises(FusionError):
        Fusion.of_state(state)
