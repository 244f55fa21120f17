"""The Pi camera's driver on the genuine picamera2 and a virtual libcamera, in the machine's own time.

A virtual camera has no raw stream and so no ``save_dng``, no ScalerCrop, no padded rows, no sensor modes, no
lens, no white balance, no image processor whose colour space could be wrong, and always four buffers: none of
that is shown here. Nor is what blocks inside libcamera: its binding keeps the interpreter's lock.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from focusd.pictures.images import decode_image

Examine = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.timeout(120)
DEADLINE_S = 1.5
STOP_DEADLINE_S = 5.0
# Two busy processors may keep a thread waiting.
LATE_S = 2.0


def test_a_stack_shows_the_scene_from_where_the_carriage_rested(examine: Examine) -> None:
    found = examine("stack")
    frames = found["frames"]
    assert found["shots"] == [None] * 6
    assert [frame["rail_um"] for frame in frames] == [-150, -90, -30, 30, 90, 150]
    for frame in frames:
        assert frame["focus_um"] == pytest.approx(frame["rail_um"], abs=1.0)
        assert frame["step_edges"] == 0
        assert frame["smear_px"] < 0.25
        assert frame["t_open_s"] >= frame["asked_s"]
    assert found["drawn_moving"] > 0, "frames ran all the time, some of them while the carriage moved"
    assert found["drawn"] > 3 * len(frames)
    assert len({frame["index"] for frame in frames}) == 6


def test_planes_are_fused_to_a_sharper_picture_than_any_frame(examine: Examine) -> None:
    found = examine("stack")
    assert found["fused_db"] > max(found["singles_db"]) + 6


def test_the_next_buffer_is_stale_and_the_drivers_never_is(examine: Examine) -> None:
    found = examine("next_buffer")
    assert min(found["naive_s"]) < 0, "the next buffer never was from before the move: nothing was shown"
    assert min(after_s for after_s, _ in found["ours"]) >= 0
    assert [step_edges for _, step_edges in found["ours"]] == [0] * 10


def test_exposure_is_locked_for_the_whole_stack(examine: Examine) -> None:
    found = examine("lock")
    assert [said["error"] for said in found["locked"]] == [None] * 20
    assert found["locked_exposures_s"] == [0.02]


def test_a_frame_of_an_automatic_exposure_is_refused(examine: Examine) -> None:
    found = examine("lock")
    assert len(found["automatic_exposures_s"]) > 3
    lost = [said for said in found["automatic"] if said["error"]]
    # One in seven is by chance exposed as the first was.
    assert len(lost) >= 10
    assert {said["error"] for said in lost} == {"FrameLost"}
    assert all("the exposure lock did not hold" in said["message"] for said in lost)


def test_another_colour_space_is_refused(examine: Examine) -> None:
    found = examine("colour_space")
    assert found["error"] == "CameraError"
    assert "Rec709" in found["message"]
    assert "instead of (640, 480) YUV420 sYCC" in found["message"]


def test_a_hang_is_cut_off_and_the_camera_started_again(examine: Examine) -> None:
    found = examine("hang_and_recover")
    assert found["before"]["error"] is None
    for name in ("during", "restarted"):
        assert found[name]["error"] == "ExposureTimeout"
        assert DEADLINE_S <= found[name]["took_s"] < DEADLINE_S + LATE_S
    assert [found[f"after {index}"]["error"] for index in range(5)] == [None] * 5
    assert found["end"]["error"] is None


def test_a_stop_that_blocks_is_cut_off_as_well(examine: Examine) -> None:
    found = examine("stop_blocks")
    assert found["during"]["error"] == "ExposureTimeout"
    assert found["no stop"]["error"] == "ExposureTimeout"
    assert "does not stop" in found["no stop"]["message"]
    assert found["end"]["error"] is None
    assert found["begin"]["error"] == "ExposureTimeout"
    for name in ("no stop", "end", "begin"):
        assert STOP_DEADLINE_S <= found[name]["took_s"] < STOP_DEADLINE_S + LATE_S
    assert [found[name]["error"] for name in ("begin again", "after", "close")] == [None] * 3


def test_the_process_ends_although_the_camera_does_not_stop(examine: Examine) -> None:
    """`examine` has waited for its end; picamera2 asks for the stop again when Python exits."""
    found = examine("leave")
    assert found["close"]["error"] is None
    assert STOP_DEADLINE_S <= found["close"]["took_s"] < STOP_DEADLINE_S + LATE_S


def test_the_emergency_stop_wakes_the_wait_for_a_frame(examine: Examine) -> None:
    found = examine("emergency")
    assert found["expose"]["error"] == "Stopped"
    assert 0.5 <= found["expose"]["took_s"] < 0.5 + LATE_S
    assert [found[name]["error"] for name in ("end", "begin", "after")] == [None] * 3


def test_picamera2s_own_stop_waits_behind_a_capture_that_was_given_up(examine: Examine) -> None:
    """Why the driver cancels first; the stand-in does the same."""
    found = examine("behind_a_capture")
    assert found["waited"] == "TimeoutError"
    assert found["blocked"]
    assert found["started"], "the stop was cancelled with the capture"
    assert found["again"]["error"] is None


def test_buffers_go_back_at_once_and_frames_are_copies(examine: Examine) -> None:
    found = examine("buffers")
    assert len(found["shown"]) == 30 > 2 * found["buffers"]
    assert all(a < b for a, b in itertools.pairwise(found["shown"]))
    assert found["starved"]["error"] == "ExposureTimeout", "a buffer that is not released is missed"
    assert found["after"]["error"] is None
    assert found["held"] == 0


def test_a_camera_without_a_raw_stream_is_refused(examine: Examine) -> None:
    found = examine("no_raw")
    assert found["begin"]["error"] == "CameraError"
    assert "the camera has no raw stream" in found["begin"]["message"]
    assert found["close"]["error"] is None


def test_a_dng_of_pidngs_is_developed_to_the_light_it_was_made_from(examine: Examine) -> None:
    """PiDNG is what picamera2 writes DNGs by; the one on PyPI, which is older than the one it ships."""
    pytest.importorskip("rawpy")
    found = examine("negative")
    image = decode_image(base64.b64decode(found["dng"]), "frame 0.dng") / 65535
    rows, cols = image.shape[:2]
    for number, light in enumerate(np.array(found["quarters"])):
        top, left = rows // 2 * (number // 2), cols // 2 * (number % 2)
        patch = image[top + 6 : top + rows // 2 - 6, left + 6 : left + cols // 2 - 6, ::-1]
        wanted = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(patch.mean((0, 1)), wanted, atol=0.002)
