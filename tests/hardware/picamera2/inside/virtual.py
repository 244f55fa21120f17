"""The genuine picamera2 on a libcamera that has one virtual camera: what a machine without a Pi lacks."""

from __future__ import annotations

import mmap
import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import libcamera
import numpy as np
from numpy.typing import NDArray


class _AnyName(type):
    def __getattr__(cls, name: str) -> str:
        return name


# picamera2 imports pykms, which comes with the Pi's system and drives a screen that nobody has here.
sys.modules["kms"] = sys.modules["pykms"] = types.ModuleType("kms")
sys.modules["kms"].PixelFormat = sys.modules["kms"].PixelFormats = _AnyName("PixelFormat", (), {})  # type: ignore[attr-defined]

import picamera2.picamera2 as module  # noqa: E402
from picamera2 import MappedArray, Picamera2  # noqa: E402

Draw = Callable[[dict[str, Any], dict[str, Any]], NDArray[np.uint8]]


class _Sync:
    """Ordinary memory has no caches to flush."""

    def __init__(self, allocator: Allocator, buffer: Any, write: bool) -> None:
        self._memory = allocator.mapped_buffers[buffer]

    def __enter__(self) -> mmap.mmap:
        return self._memory

    def __exit__(self, *exc_info: object) -> None:
        """Nothing was locked."""


class Allocator:
    """Buffers of ordinary memory in place of a DMA heap's."""

    def __init__(self) -> None:
        self.mapped_buffers: dict[Any, mmap.mmap] = {}
        self._buffers: dict[Any, list[Any]] = {}
        self._files: list[int] = []
        self.held = 0
        self.sync = _Sync

    def allocate(self, config: Any, use_case: str | None) -> None:
        self.close()
        for stream_config in config:
            made = [self._buffer(stream_config) for _ in range(stream_config.buffer_count)]
            self._buffers[stream_config.stream] = made

    def _buffer(self, config: Any) -> Any:
        file = os.memfd_create("frame")
        self._files.append(file)
        os.ftruncate(file, config.frame_size)
        luma = config.stride * config.size.height
        planes = []
        for offset, length in ((0, luma), (luma, luma // 4), (luma + luma // 4, luma // 4)):
            plane = libcamera.FrameBuffer.Plane()
            plane.fd, plane.offset, plane.length = file, offset, length
            planes.append(plane)
        buffer = libcamera.FrameBuffer(planes)
        self.mapped_buffers[buffer] = mmap.mmap(file, config.frame_size)
        return buffer

    def buffers(self, stream: Any) -> list[Any]:
        return self._buffers[stream]

    def acquire(self, buffers: Any) -> None:
        self.held += 1

    def release(self, buffers: Any) -> None:
        self.held -= 1

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self.mapped_buffers, self._buffers, self._files = {}, {}, []


# By name, because `close` makes a new one.
module.DmaAllocator = Allocator

GATE = threading.Event()
"""While clear, finished frames do not reach picamera2, and a stop, which flushes them, does not end."""
GATE.set()
_handle_request = module.CameraManager.handle_request


def _guarded(manager: Any, flushid: int | None = None) -> None:
    GATE.wait()
    _handle_request(manager, flushid)


module.CameraManager.handle_request = _guarded


class VirtualPicamera2(Picamera2):
    """Picamera2 whose buffers are drawn as they complete.

    Parameters
    ----------
    draw : callable
        Takes a frame's metadata and the stream's configuration, returns the buffer's rows.
    automatic : bool
        Its automatic exposure cannot be switched off.
    as_made : bool
        The colour space is left as the virtual pipeline gives it, which is Rec. 709 whatever is asked for;
        else it is said to be the one that is drawn.
    """

    def __init__(self, draw: Draw, *, automatic: bool = False, as_made: bool = False) -> None:
        self._draw, self._automatic, self._as_made = draw, automatic, as_made
        super().__init__(0)
        self.pre_callback = self._expose

    def set_controls(self, controls: dict[str, Any]) -> None:
        if self._automatic:
            controls = {name: value for name, value in controls.items() if name != "AeEnable"}
        super().set_controls(controls)

    def _update_camera_config(self, camera_config: dict[str, Any], libcamera_config: Any) -> None:
        super()._update_camera_config(camera_config, libcamera_config)
        if not self._as_made:
            camera_config["colour_space"] = libcamera.ColorSpace.Sycc()

    def _expose(self, request: Any) -> None:
        with MappedArray(request, "main") as mapped:
            mapped.array[:] = self._draw(request.get_metadata(), request.config["main"])
