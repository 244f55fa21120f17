"""Where frames become a picture: the fuse thread, which owns the Fusion.

The job thread hands frames in through a tray of two, which is all the memory that waiting frames may take,
and at the end asks for the prints: the files of the run.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from focusd.checkpoint import Saver, StateError, read_state
from focusd.config import PreviewConfig
from focusd.easel import Easel, FuseReport, Prints, Taken
from focusd.errors import CameraError, FocusdError, Stopped
from focusd.fusion import Fusion
from focusd.needs import FrameForm
from focusd.orders import Trouble
from focusd.pictures.shading import Shading
from focusd.register.registration import Registration
from focusd.rig import Frame, Shot
from focusd.slabs import Slabs
from focusd.tray import Tray
from focusd.worker import Worker


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

    easel: Easel
    saver: Saver | None


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
        self._post = post
        self._preview = preview
        self.image_limit_bytes = image_limit_bytes
        self._stop = stop
        self._discard = discard
        self._tray: Tray[_Item] = Tray(stop)
        # The present stack's, as the job thread knows it.
        self._new_easel = partial(Easel, post, preview, self._limit_bytes)
        self._easel = self._new_easel()

    # The job thread's side.

    def begin(
        self,
        beat: Callable[[], None],
        saver: Saver | None = None,
        admit: Callable[[FrameForm], None] | None = None,
        slabs: Slabs | None = None,
        fusion: Fusion | None = None,
        shading: Shading | None = None,
        registration: Registration[Taken] | None = None,
    ) -> None:
        """Start a new stack.

        Parameters
        ----------
        beat : callable
            Called while a caller has to wait, as a sign of life.
        saver : Saver, optional
            Saves the stack's state between two frames when it is due. The rig goes on meanwhile until the
            tray is full.
        admit, slabs, fusion, shading, registration : optional
            As for `Easel`.
        """
        self._tray.beat = beat
        self._easel = self._new_easel(
            fusion=fusion, admit=admit, slabs=slabs, shading=shading, registration=registration
        )
        self._tray.put(_Begin(self._easel, saver))

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
        self._easel = self._new_easel()  # or two states would lie in memory
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
        OddFrame
            One was odd, and that ends the stack.
        FocusdError
            The stack does not fit this machine, or not the transforms it shall be laid by.
        """
        easel = self._easel
        if easel.refusal is not None:
            raise easel.refusal
        # Its own earlier tries do not speak against a shot.
        others = len(easel.spoiled_in_a_row - {(shot.stop_index, shot.number)})
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
        FocusdError
            As for `deliver`: no more frames are taken, so that second tries are of no use.
        """
        if settled:
            order = _CatchUp()
            self._tray.put(order)
            self._tray.wait(order.reply, "while the last frames were fused")
        if self._easel.refusal is not None:
            raise self._easel.refusal
        shots = []
        while not self._easel.newly_spoiled.empty():
            shots.append(self._easel.newly_spoiled.get())
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
        easel: Easel = self._new_easel()
        saver: Saver | None = None
        while True:
            worker.beat()
            try:
                item = self._tray.take(1.0)
            except queue.Empty:
                continue
            match item:
                case None:
                    return
                case _Begin(new, its_saver):
                    easel, saver = new, its_saver
                case _Negative(shot, frame):
                    if not self._discard:
                        easel.take(shot, frame)
                        self._save(easel, saver, worker)
                case _CatchUp(done):
                    easel.catch_up()
                    done.put(None)
                case _Restore(path, back):
                    easel, saver = self._new_easel(), None  # or two states would lie in memory
                    try:
                        easel = self._read(path, worker)
                        back.put(None)
                    except StateError as error:
                        back.put(error)
                case _Develop(folder, reply):
                    try:
                        reply.put(easel.print(folder))
                    except FocusdError as error:
                        reply.put(error)

    def _limit_bytes(self) -> int:
        return self.image_limit_bytes

    def _save(self, easel: Easel, saver: Saver | None, worker: Worker) -> None:
        """Save the state if it is time; a stack that cannot be saved goes on all the same."""
        if saver is None or easel.fusion.frames == 0 or not saver.is_due(easel.fusion.nbytes):
            return

        def go_on() -> None:
            worker.beat()
            if self._stop.is_set():
                raise Stopped("the emergency stop was pressed while the state was saved")

        try:
            saver.save(easel.fusion.state(), easel.about(), go_on)
        except Stopped:
            return  # the job thread has heard it too, and waits for the picture
        except FocusdError as error:
            self._post(Trouble(f"a crash or a power cut would now lose the stack: {error}"))

    def _read(self, path: Path, worker: Worker) -> Easel:
        saved = read_state(path, worker.beat)
        try:
            return Easel.of_saved(saved, self._post, self._preview, self._limit_bytes)
        except (FocusdError, LookupError, TypeError, ValueError, MemoryError) as error:
            raise StateError(f"{path}: read, but this focusd cannot go on from it ({error!r})") from error
