"""A whole stack of the Pi camera's raw frames, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile

from focusd.camera_config import Picamera2Config
from focusd.camera_spec import frame_form
from focusd.job import JobStatus
from focusd.needs import FrameForm
from focusd.pictures.images import decode_image
from focusd.pictures.samples import to_8_bits
from focusd_sim.score import psnr

pytest.importorskip("rawpy")

CAMERA = {
    "kind": "picamera2",
    "frame_size": {"width": 160, "height": 120},
    "exposure_s": 0.01,
    "colour_gains": [1.8, 1.6],
}


def test_a_stack_of_raw_frames_is_fused_in_16_bits(studio: Callable[..., Any]) -> None:
    pictures = []
    for files in ("yuv420", "dng"):
        rig = studio(camera={**CAMERA, "files": files})
        job = rig.run_job(range=380, step=20)
        assert job.status is JobStatus.DONE, job.error
        assert (job.done, job.missing) == (20, ())
        taken = rig.sim.truth.exposures[-20:]
        assert [exposure.step_edges for exposure in taken] == [0] * 20
        pictures.append(tifffile.imread(rig.folder(job) / "final.tif"))
    plain, raw = pictures
    assert plain.shape == raw.shape == (120, 160, 3)
    assert (plain.dtype, raw.dtype) == (np.uint8, np.uint16)
    # The same picture but for the colours between the filters, of which each pixel has one in three.
    small = to_8_bits(raw, 65535)
    assert psnr(small, plain) > 24
    np.testing.assert_allclose(small.mean((0, 1)), plain.mean((0, 1)), atol=2)


def test_what_raw_frames_take_is_foreseen(studio: Callable[..., Any]) -> None:
    config = Picamera2Config.model_validate({**CAMERA, "files": "dng"})
    assert frame_form(config) == FrameForm(120, 160, "4:4:4", 16, encoded=True)
    rig = studio(camera={**CAMERA, "files": "dng"})
    camera = rig.sim.rig.camera
    camera.begin(rig.run_job(range=20, step=20).settings)
    frame = camera.collect(camera.expose())
    assert len(frame.encoded) <= frame_form(config).waiting_nbytes
    assert FrameForm.of(decode_image(frame.encoded, frame.name), encoded=True) == frame_form(config)
