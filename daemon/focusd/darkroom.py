"""Where frames become a picture: the fuse thread, which owns the Fusion.

The job thread hands frames in through a tray of two, which is all the memory that waiting frames may take,
and at the end asks for the prints: the files of the run.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focusd.config import PreviewConfig
from focusd.errors import CameraError, FocusdError, FrameLost, FusionError, Stopped
from focusd.fusion import Fusion
from focusd.images import decode_image, encode_jpeg
from focusd.outputs.prints import depth_picture, write_prints
from focusd.rig import Frame, Image
from focusd.worker import Worker

_TRAY = 2
_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture for the wire: ``kind`` is preview, final or depth; JPEG."""

    kind: str
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class FrameFused:
    """A frame is in the picture; `frames` are by now."""

    stop_index: int
    frames: int


@dataclass(frozen=True, slots=True)
class FrameSpoiled:
    """A frame arrived but could not be fused."""

    stop_index: int
    frame: str
    reason: str


FuseReport = Picture | FrameFused | FrameSpoiled


@dataclass(frozen=True, slots=True)
class Prints:
    """What a stack gave.

    Parameters
    ----------
    result : dict or None
        As in the contract's ``job.result``, without ``missing``; None when no frame could be fused.
    fused : int
        Frames in the picture.
    spoiled : tuple of int
        Stops whose frame could not be fused.
    """

    result: dict[str, Any] | None
    fused: int
    spoiled: tuple[int, ...]


NO_PRINTS: dict[str, Any] = dict.fromkeys(("url", "sha256", "bytes", "width", "height", "depth"))
"""``job.result`` of a stack whose frames stay in the camera."""


@dataclass(frozen=True, slots=True)
class _Negative:
    stop_index: int
    position_um: float
    frame: Frame


@dataclass(frozen=True, slots=True)
class _Develop:
    folder: Path
    reply: queue.SimpleQueue[Prints | FocusdError] = field(default_factory=queue.SimpleQueue)


class _Begin:
    """Forget everything and start a new stack."""


class Darkroom:
    """Takes frames from the job thread and fuses them on its own.

    Parameters
    ----------
    post : callable
        Takes `FuseReport`; must only enqueue.
    preview : PreviewConfig
        Size and interval of the live picture.
    image_limit_bytes : int
        Largest JPEG for the wire; may be changed when the broker has said what it takes.
    stop : threading.Event
        The emergency stop; wakes whoever waits for the fusion.
    give_up_after : int
        Frames in a row that could not be fused, after which the next is refused.
    discard : bool
        Throw frames away instead of fusing them; for measuring what fusing costs a run.
    """

    def __init__(
        self,
        post: Callable[[FuseReport], None],
        preview: PreviewConfig,
        image_limit_bytes: int,
        stop: threading.Event,
        *,
        give_up_after: int = 3,
        discard: bool = False,
    ) -> None:
        self._give_up_after = give_up_after
        self._spoiled_in_a_row = 0
        self._post = post
        self._preview = preview
        self.image_limit_bytes = image_limit_bytes
        self._stop = stop
        self._discard = discard
        self._tray: queue.Queue[_Negative | _Develop | _Begin | None] = queue.Queue(_TRAY)
        self._fusion = Fusion()
        self._spoiled: list[int] = []
        self._previewed_s = 0.0
        self._closed = threading.Event()
        self._beat: Callable[[], None] = lambda: None

    # The job thread's side.

    def begin(self, beat: Callable[[], None]) -> None:
        """Start a new stack; `beat` is called while a caller has to wait, as a sign of life."""
        self._beat = beat
        self._spoiled_in_a_row = 0  # the fuse thread is idle between two stacks
        self._put(_Begin())

    def deliver(self, stop_index: int, position_um: float, frame: Frame) -> None:
        """Hand in a frame; blocks while the tray is full.

        Raises
        ------
        Stopped
            The emergency stop was pressed meanwhile.
        CameraError
            Too many frames in a row could not be fused.
        """
        if self._spoiled_in_a_row >= self._give_up_after:
            raise CameraError(
                f"{self._spoiled_in_a_row} frames in a row cannot be used; the events say why of each: check "
                "the camera and the way its files take, then start again",
                spoiled_in_a_row=self._spoiled_in_a_row,
            )
        self._put(_Negative(stop_index, position_um, frame))

    def develop(self, folder: Path, alarm: Callable[[], None]) -> Prints:
        """Finish the stack and write its files into `folder`; blocks until they are on disk.

        It may be asked for again: the stack is forgotten only by the next `begin`.

        Parameters
        ----------
        folder : Path
            The run's.
        alarm : callable
            Called when the emergency stop is pressed meanwhile. The wait goes on: nothing else is left of the
            specimen.

        Raises
        ------
        FocusdError
            The disk would not take them, or the fuse thread is gone.
        """
        order = _Develop(folder)
        self._put(order, alarm)
        while True:
            self._beat()
            try:
                answer = order.reply.get(timeout=_WAIT_S)
            except queue.Empty:
                self._check("while the picture was finished", alarm)
                continue
            if isinstance(answer, FocusdError):
                raise answer
            return answer

    def close(self) -> None:
        """Ask the thread to end once the tray is empty."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._tray.put(None, timeout=_WAIT_S)
                return

    def _put(self, item: _Negative | _Develop | _Begin, alarm: Callable[[], None] | None = None) -> None:
        while True:
            self._beat()
            try:
                return self._tray.put(item, timeout=_WAIT_S)
            except queue.Full:
                self._check("while the fusion was behind", alarm)

    def _check(self, when: str, alarm: Callable[[], None] | None) -> None:
        """Whoever waits for the fuse thread must not wait for ever, nor miss the emergency stop."""
        if self._closed.is_set():
            raise FocusdError(f"the fuse thread ended {when}; the daemon is about to end as well")
        if self._stop.is_set():
            if alarm is None:
                raise Stopped(f"the emergency stop was pressed {when}")
            alarm()

    # The fuse thread's side.

    def work(self, worker: Worker) -> None:
        """Take from the tray until `close`; the body of the fuse thread."""
        try:
            self._work(worker)
        finally:
            self._closed.set()

    def _work(self, worker: Worker) -> None:
        while True:
            worker.beat()
            try:
                item = self._tray.get(timeout=1.0)
            except queue.Empty:
                continue
            match item:
                case None:
                    return
                case _Begin():
                    self._fusion = Fusion()
                    self._spoiled = []
                    self._previewed_s = time.monotonic()
                case _Negative():
                    self._fuse(item)
                case _Develop(folder, reply):
                    reply.put(self._print(folder))

    def _fuse(self, negative: _Negative) -> None:
        if self._discard:
            return
        frame = negative.frame
        try:
            image = _image_of(frame)
            self._fusion.add(image, negative.position_um)
        except (FrameLost, FusionError) as error:
            self._spoiled.append(negative.stop_index)
            self._spoiled_in_a_row += 1
            self._post(FrameSpoiled(negative.stop_index, frame.name, str(error)))
            return
        self._spoiled_in_a_row = 0
        self._post(FrameFused(negative.stop_index, self._fusion.frames))
        now_s = time.monotonic()
        if self._fusion.frames == 1 or now_s - self._previewed_s >= self._preview.interval_s:
            self._previewed_s = now_s
            picture = self._fusion.preview(self._preview.max_side_px)
            self._post(Picture("preview", self._jpeg(picture, 80)))

    def _print(self, folder: Path) -> Prints | FocusdError:
        spoiled = tuple(self._spoiled)
        if self._fusion.frames == 0:
            return Prints(None, 0, spoiled)
        fused = self._fusion.frames
        result = self._fusion.result()
        # For the wire first: should the disk be full, the picture is seen at least.
        self._post(Picture("final", self._jpeg(result.image, 90)))
        self._post(Picture("depth", self._jpeg(depth_picture(result.depth_um), 90)))
        try:
            return Prints(write_prints(folder, result), fused, spoiled)
        except FocusdError as error:
            return error
        except OSError as error:
            return FocusdError(f"{folder}: {error.strerror}; is the disk full?")

    def _jpeg(self, image: Image, quality: int) -> bytes:
        return encode_jpeg(image, quality=quality, limit_bytes=self.image_limit_bytes)


def _image_of(frame: Frame) -> Image:
    if frame.image is not None:
        return frame.image
    if frame.encoded is None:
        raise FrameLost(f"{frame.name}: neither an image nor a file")
    return decode_image(frame.encoded, frame.name)
