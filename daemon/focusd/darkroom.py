"""Where frames become a picture: the fuse thread, which owns the Fusion.

The job thread hands frames in through a tray of two, which is all the memory that waiting frames may take,
and at the end asks for the prints: the files of the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focusd.checkpoint import Saver, StateError, read_state
from focusd.config import PreviewConfig
from focusd.errors import CameraError, FocusdError, FrameLost, FusionError, Stopped
from focusd.fusion import Fusion
from focusd.fusion.relief import Relief
from focusd.needs import FrameForm
from focusd.orders import Trouble
from focusd.outputs.prints import depth_picture, write_prints
from focusd.pictures.images import decode_frame, encode_jpeg
from focusd.pictures.metadata import Metadata, stack_text
from focusd.pictures.metadata import read as read_metadata
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image
from focusd.pictures.shading import Shading
from focusd.rig import Frame, Shot
from focusd.slabs import Slab, Slabs
from focusd.tray import Tray
from focusd.worker import Worker


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


FuseReport = Picture | FrameFused | FrameSpoiled | Trouble


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
    stops : frozenset of int
        Stops that are in the picture.
    slabs : tuple of Slab
        Written beside it.
    """

    result: dict[str, Any] | None
    fused: int
    spoiled: tuple[int, ...]
    stops: frozenset[int]
    slabs: tuple[Slab, ...] = ()


NO_PRINTS: dict[str, Any] = dict.fromkeys(("url", "sha256", "bytes", "width", "height", "depth"))
"""``job.result`` of a stack whose frames stay in the camera."""


@dataclass(frozen=True, slots=True)
class _Negative:
    shot: Shot
    frame: Frame


@dataclass(frozen=True, slots=True)
class _CatchUp:
    """Answer when all that was handed in before has been looked at."""

    reply: queue.SimpleQueue[FocusdError | None] = field(default_factory=queue.SimpleQueue)


@dataclass(frozen=True, slots=True)
class _Develop:
    folder: Path
    reply: queue.SimpleQueue[Prints | FocusdError] = field(default_factory=queue.SimpleQueue)


@dataclass(frozen=True, slots=True)
class _Restore:
    path: Path
    reply: queue.SimpleQueue[FocusdError | None] = field(default_factory=queue.SimpleQueue)


@dataclass(frozen=True, slots=True)
class _Begin:
    """Forget everything and start a new stack."""

    saver: Saver | None
    admit: Callable[[FrameForm], None] | None
    slabs: Slabs | None
    fusion: Fusion
    shading: Shading | None


@dataclass(frozen=True, slots=True)
class _Plate:
    """A finished picture; takes a fifth of the memory of the fusion it came from."""

    image: Image | Planes
    relief: Relief
    frames: int
    white: int
    metadata: Metadata


_Item = _Negative | _CatchUp | _Develop | _Restore | _Begin


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
        # By stop and number, since a frame was fused; a shot that is taken again counts once.
        self._spoiled_in_a_row: frozenset[tuple[int, int]] = frozenset()
        self._post = post
        self._preview = preview
        self.image_limit_bytes = image_limit_bytes
        self._stop = stop
        self._discard = discard
        self._tray: Tray[_Item] = Tray(stop)
        self._fusion = Fusion()
        self._saver: Saver | None = None
        self._admit: Callable[[FrameForm], None] | None = None
        self._slabs: Slabs | None = None
        self._shading: Shading | None = None
        self._rendering = RawRendering()
        self._refusal: FocusdError | None = None
        self._plate: _Plate | None = None
        self._planes: Planes | None = None
        self._metadata = Metadata()
        self._stops: set[int] = set()
        # By stop and number of the shot.
        self._spoiled: set[tuple[int, int]] = set()
        self._newly_spoiled: queue.SimpleQueue[Shot] = queue.SimpleQueue()
        self._previewed_s = 0.0

    # The job thread's side.

    def begin(
        self,
        beat: Callable[[], None],
        saver: Saver | None = None,
        admit: Callable[[FrameForm], None] | None = None,
        slabs: Slabs | None = None,
        fusion: Fusion | None = None,
        shading: Shading | None = None,
    ) -> None:
        """Start a new stack.

        Parameters
        ----------
        beat : callable
            Called while a caller has to wait, as a sign of life.
        saver : Saver, optional
            Saves the stack's state between two frames when it is due. The rig goes on meanwhile until the
            tray is full.
        admit : callable, optional
            Told the form of the first frame before it is fused; raises `FocusdError` when such a stack would
            not fit, which ends the stack.
        slabs : Slabs, optional
            Takes every frame as well. One that cannot be written is told as `Trouble`, and the stack goes on.
        fusion : Fusion, optional
            An empty one, with the settings to fuse by.
        shading : Shading, optional
            Taken out of each frame before it is fused.
        """
        self._tray.beat = beat
        self._spoiled_in_a_row, self._refusal = (
            frozenset(),
            None,
        )  # the fuse thread is idle between two stacks
        self.spoiled()
        self._tray.put(_Begin(saver, admit, slabs, Fusion() if fusion is None else fusion, shading))

    def restore(self, path: Path, beat: Callable[[], None], alarm: Callable[[], None]) -> None:
        """Go back to a stack as its saver left it, so that `develop` can be asked for; blocks meanwhile.

        Parameters
        ----------
        path : Path
            What the saver wrote.
        beat : callable
            As for `begin`.
        alarm : callable
            As for `develop`.

        Raises
        ------
        StateError
            The file cannot be used.
        FocusdError
            The fuse thread is gone.
        """
        self._tray.beat = beat
        order = _Restore(path)
        self._tray.put(order, alarm)
        self._tray.wait(order.reply, "while a saved stack was read", alarm)

    def deliver(self, shot: Shot, frame: Frame) -> None:
        """Hand in a frame; blocks while the tray is full.

        Raises
        ------
        Stopped
            The emergency stop was pressed meanwhile.
        CameraError
            Too many frames in a row could not be fused.
        FocusdError
            The stack does not fit this machine.
        """
        if self._refusal is not None:
            raise self._refusal
        # Its own earlier tries do not speak against a shot.
        others = len(self._spoiled_in_a_row - {(shot.stop_index, shot.number)})
        if others >= self._give_up_after:
            raise CameraError(
                f"{others} frames in a row cannot be used; the events say why of each: check the camera and "
                "the way its files take, then start again",
                spoiled_in_a_row=others,
            )
        self._tray.put(_Negative(shot, frame))

    def spoiled(self, *, settled: bool = False) -> list[Shot]:
        """Return the shots whose frames could not be used, each once; a later frame may make up for one.

        Parameters
        ----------
        settled : bool
            Wait first until every frame that was delivered has been looked at.

        Raises
        ------
        Stopped
            The emergency stop was pressed meanwhile.
        """
        if settled:
            order = _CatchUp()
            self._tray.put(order)
            self._tray.wait(order.reply, "while the last frames were fused")
        shots = []
        while not self._newly_spoiled.empty():
            shots.append(self._newly_spoiled.get())
        return shots

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
        self._tray.put(order, alarm)
        return self._tray.wait(order.reply, "while the picture was finished", alarm)

    def close(self) -> None:
        """Ask the thread to end once the tray is empty."""
        self._tray.close()

    # The fuse thread's side.

    def work(self, worker: Worker) -> None:
        """Take from the tray until `close`; the body of the fuse thread."""
        try:
            self._work(worker)
        finally:
            self._tray.abandon()

    def _work(self, worker: Worker) -> None:
        while True:
            worker.beat()
            try:
                item = self._tray.take(1.0)
            except queue.Empty:
                continue
            match item:
                case None:
                    return
                case _Begin(saver, admit, slabs, fusion, shading):
                    self._forget(saver)
                    self._admit, self._slabs = admit, slabs
                    self._fusion, self._shading = fusion, shading
                    # Frames of the stack before may have been fused since `begin`.
                    self._spoiled_in_a_row, self._refusal = frozenset(), None
                case _Negative():
                    self._fuse(item)
                    self._save(worker)
                case _CatchUp(done):
                    done.put(None)
                case _Restore(path, back):
                    back.put(self._read(path, worker))
                case _Develop(folder, reply):
                    reply.put(self._print(folder))

    def _forget(self, saver: Saver | None = None) -> None:
        self._fusion, self._plate = Fusion(), None
        self._saver, self._admit, self._slabs = saver, None, None
        self._shading, self._rendering = None, RawRendering()
        self._metadata = Metadata()
        self._stops = set()
        self._spoiled = set()
        self._previewed_s = time.monotonic()

    def _fuse(self, negative: _Negative) -> None:
        if self._discard or self._refusal is not None:
            return
        shot, frame = negative.shot, negative.frame
        try:
            image = self._image_of(frame)
            if self._fusion.frames == 0 and not self._fits(image, frame):
                return
            self._fusion.add(image, shot.position_um)
        except (FrameLost, FusionError) as error:
            self._spoiled.add((shot.stop_index, shot.number))
            self._spoiled_in_a_row |= {(shot.stop_index, shot.number)}
            self._newly_spoiled.put(shot)
            self._post(FrameSpoiled(shot.stop_index, frame.name, str(error)))
            return
        self._spoiled_in_a_row = frozenset()
        self._stops.add(shot.stop_index)
        self._spoiled.discard((shot.stop_index, shot.number))
        self._post(FrameFused(shot.stop_index, self._fusion.frames))
        self._cut(shot, image)
        now_s = time.monotonic()
        if self._fusion.frames == 1 or now_s - self._previewed_s >= self._preview.interval_s:
            self._previewed_s = now_s
            picture = self._fusion.preview(self._preview.max_side_px)
            self._post(Picture("preview", self._jpeg(picture, 80, self._fusion.white)))

    def _cut(self, shot: Shot, image: Image | Planes) -> None:
        """Fuse a frame into its slabs as well; whatever becomes of them, the stack goes on."""
        if self._slabs is not None:
            try:
                self._slabs.add(shot.stop_index, image, shot.position_um, self._fusion, self._metadata)
            except FocusdError as error:
                self._post(Trouble(str(error)))

    def _last_slabs(self) -> tuple[Slab, ...]:
        """Write the slabs that are left; all there are."""
        if self._slabs is None:
            return ()
        try:
            return self._slabs.finish()
        except FocusdError as error:
            self._post(Trouble(str(error)))
            return self._slabs.finished

    def _image_of(self, frame: Frame) -> Image | Planes:
        image = frame.image
        if image is None:
            if frame.encoded is None:
                raise FrameLost(f"{frame.name}: neither an image nor a file")
            # Every file of a stack is decoded into the same memory.
            image = decode_frame(frame.encoded, frame.name, self._planes, self._rendering)
            if self._fusion.frames == 0:
                self._metadata = read_metadata(frame.encoded)
            self._planes = image if isinstance(image, Planes) else None
        return image if self._shading is None else self._shading.correct(image, image)

    def _fits(self, image: Image | Planes, frame: Frame) -> bool:
        """Ask whether a stack of such frames has room; a refusal is kept for whoever asks next."""
        if self._admit is not None:
            try:
                self._admit(FrameForm.of(image, encoded=frame.encoded is not None))
            except FocusdError as error:
                self._refusal = error
                return False
        return True

    def _save(self, worker: Worker) -> None:
        """Save the state if it is time; a stack that cannot be saved goes on all the same."""
        if self._saver is None or self._fusion.frames == 0 or not self._saver.is_due(self._fusion.nbytes):
            return

        def go_on() -> None:
            worker.beat()
            if self._stop.is_set():
                raise Stopped("the emergency stop was pressed while the state was saved")

        about = {
            "stops": sorted(self._stops),
            "spoiled": sorted(self._spoiled),
            "metadata": self._metadata.as_json(),
        }
        try:
            self._saver.save(self._fusion.state(), about, go_on)
        except Stopped:
            return  # the job thread has heard it too, and waits for the picture
        except FocusdError as error:
            self._post(Trouble(f"a crash or a power cut would now lose the stack: {error}"))

    def _read(self, path: Path, worker: Worker) -> FocusdError | None:
        self._forget()  # or two states would lie in memory
        try:
            saved = read_state(path, worker.beat)
            self._fusion = Fusion.of_state(saved.state)
            self._stops = {int(stop) for stop in saved.about["stops"]}
            # States of before shots had numbers name stops alone.
            shots = [(shot, 0) if isinstance(shot, int) else shot for shot in saved.about["spoiled"]]
            self._spoiled = {(int(stop), int(number)) for stop, number in shots}
            self._metadata = Metadata.of_json(saved.about.get("metadata", {}))
        except StateError as error:
            return error
        except (FocusdError, LookupError, TypeError, ValueError, MemoryError) as error:
            self._forget()
            return StateError(f"{path}: read, but this focusd cannot go on from it ({error!r})")
        return None

    def _print(self, folder: Path) -> Prints | FocusdError:
        spoiled = tuple(sorted({stop for stop, _ in self._spoiled}))
        stops = frozenset(self._stops)
        if self._refusal is not None:
            return self._refusal
        if self._fusion.frames:
            fusion = self._fusion
            self._fusion = Fusion()  # makes room for the maps at full size
            metadata = self._metadata.about(stack_text(fusion.positions_um))
            self._plate = _Plate(fusion.image(), fusion.relief(), fusion.frames, fusion.white, metadata)
            del fusion
        plate = self._plate
        if plate is None:
            return Prints(None, 0, spoiled, stops)
        # For the wire first: should the disk be full, the picture is seen at least.
        self._post(Picture("final", self._jpeg(plate.image, 90, plate.white)))
        self._post(Picture("depth", self._jpeg(depth_picture(plate.relief.depth_um), 90)))
        try:
            result = write_prints(
                folder, plate.image, plate.relief, white=plate.white, metadata=plate.metadata
            )
        except FocusdError as error:
            return error
        except OSError as error:
            return FocusdError(f"{folder}: {error.strerror}; is the disk full?")
        # After the picture, which comes first where the disk is short.
        return Prints(result, plate.frames, spoiled, stops, self._last_slabs())

    def _jpeg(self, image: Image | Planes, quality: int, white: int | None = None) -> bytes:
        return encode_jpeg(image, quality=quality, limit_bytes=self.image_limit_bytes, white=white)
