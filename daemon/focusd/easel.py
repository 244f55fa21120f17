"""One stack under work: what the fuse thread does with its frames, and the prints at its end."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from focusd.checkpoint import Checkpoint
from focusd.config import PreviewConfig
from focusd.errors import FocusdError, FrameLost, FusionError
from focusd.fusion import Fusion
from focusd.fusion.relief import Relief
from focusd.needs import FrameForm
from focusd.orders import Trouble
from focusd.outputs.flat import write_png
from focusd.outputs.prints import depth_picture, write_prints
from focusd.pictures.images import decode_frame, encode_jpeg
from focusd.pictures.metadata import Metadata, stack_text
from focusd.pictures.metadata import read as read_metadata
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image
from focusd.pictures.shading import Shading
from focusd.register.crop import crop
from focusd.register.registration import Odd, OddFrame, Ready, Registration, Unfit
from focusd.register.table import TransformTable
from focusd.rig import Frame, Shot
from focusd.slabs import Slab, Slabs
from focusd.transforms import TRANSFORMS_NAME, write_transforms


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


@dataclass(frozen=True, slots=True)
class FrameOdd:
    """A frame does not go with its neighbours: `reason` is a word for it, `why` a sentence."""

    stop_index: int
    frame: str
    reason: str
    why: str
    is_fused: bool


FuseReport = Picture | FrameFused | FrameSpoiled | FrameOdd | Trouble
Taken = tuple[Shot, str]
"""A shot and its frame's name: what goes with a frame through its registration."""
_Out = Ready[Taken] | Odd[Taken] | Unfit[Taken]


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
    laid : dict or None
        What laying the frames on each other did, for the record; None where nothing was to be done.
    """

    result: dict[str, Any] | None
    fused: int
    spoiled: tuple[int, ...]
    stops: frozenset[int]
    slabs: tuple[Slab, ...] = ()
    laid: dict[str, Any] | None = None


NO_PRINTS: dict[str, Any] = dict.fromkeys(("url", "sha256", "bytes", "width", "height", "depth"))
"""``job.result`` of a stack whose frames stay in the camera."""


@dataclass(frozen=True, slots=True)
class _Plate:
    """A finished picture; takes a fifth of the memory of the fusion it came from."""

    image: Image | Planes
    relief: Relief
    frames: int
    white: int
    metadata: Metadata
    table: TransformTable | None = None
    mask: npt.NDArray[np.uint8] | None = None
    # The first frame's rows and columns it was cut to; slabs are whole.
    cut: dict[str, int] | None = None


class Easel:
    """What one stack is made on. Worked by one thread; others only look at what is said to be for them.

    Parameters
    ----------
    post : callable
        Takes `FuseReport`; must only enqueue.
    preview : PreviewConfig
        Size and interval of the live picture.
    limit_bytes : callable
        Returns the largest JPEG for the wire by now.
    fusion : Fusion, optional
        An empty one, with the settings to fuse by.
    admit : callable, optional
        Told the form of the first frame before it is fused; raises `FocusdError` when such a stack would not
        fit, which ends the stack.
    slabs : Slabs, optional
        Takes every frame as well. One that cannot be written is told as `Trouble`, and the stack goes on.
    shading : Shading, optional
        Taken out of each frame before it is fused.
    registration : Registration, optional
        An empty one, which lays each frame on the others before it is fused.
    """

    def __init__(
        self,
        post: Callable[[FuseReport], None],
        preview: PreviewConfig,
        limit_bytes: Callable[[], int],
        *,
        fusion: Fusion | None = None,
        admit: Callable[[FrameForm], None] | None = None,
        slabs: Slabs | None = None,
        shading: Shading | None = None,
        registration: Registration[Taken] | None = None,
    ) -> None:
        self._post = post
        self._preview = preview
        self._limit_bytes = limit_bytes
        self.fusion = fusion or Fusion()
        self._admit = admit
        self._slabs = slabs
        self._shading = shading
        self._registration = registration
        self.refusal: FocusdError | None = None
        """Why no more frames are taken; for any thread."""
        self.spoiled_in_a_row: frozenset[tuple[int, int]] = frozenset()
        """Shots that could not be used since a frame was fused, by stop and number; for any thread. One that
        is taken again counts once."""
        self.newly_spoiled: queue.SimpleQueue[Shot] = queue.SimpleQueue()
        """Shots that could not be used; for any thread to take from."""
        self._rendering = RawRendering()
        self._admitted = False
        self._plate: _Plate | None = None
        self._planes: Planes | None = None
        self._metadata = Metadata()
        self._stops: set[int] = set()
        # By stop and number of the shot.
        self._spoiled: set[tuple[int, int]] = set()
        self._previewed_s = time.monotonic()

    @classmethod
    def of_saved(
        cls,
        saved: Checkpoint,
        post: Callable[[FuseReport], None],
        preview: PreviewConfig,
        limit_bytes: Callable[[], int],
    ) -> Easel:
        """Go back to a stack as it was saved, so that its prints can be made.

        Raises
        ------
        FocusdError, LookupError, TypeError, ValueError
            A state that this focusd cannot go on from.
        """
        made = cls(post, preview, limit_bytes, fusion=Fusion.of_state(saved.state))
        made._stops = {int(stop) for stop in saved.about["stops"]}
        # States of before shots had numbers name stops alone.
        shots = [(shot, 0) if isinstance(shot, int) else shot for shot in saved.about["spoiled"]]
        made._spoiled = {(int(stop), int(number)) for stop, number in shots}
        made._metadata = Metadata.of_json(saved.about.get("metadata", {}))
        laid = saved.about.get("laid")
        made._registration = None if laid is None else Registration.of_state(laid)
        return made

    def about(self) -> dict[str, Any]:
        """Return what is saved beside the fusion's state."""
        about = {
            "stops": sorted(self._stops),
            "spoiled": sorted(self._spoiled),
            "metadata": self._metadata.as_json(),
        }
        return about if self._registration is None else about | {"laid": self._registration.state()}

    def take(self, shot: Shot, frame: Frame) -> None:
        """Fuse a frame, or hold it back until the next shows whether it is odd; what fails is told."""
        if self.refusal is not None:
            # An odd frame ended the stack: what comes after it is not in the picture.
            self._spoiled.add((shot.stop_index, shot.number))
            return
        taken, registration = (shot, frame.name), self._registration
        try:
            image = self._image_of(frame)
            if not self._admitted:
                self._admitted = self._fits(image, frame)
            if not self._admitted:
                return
            if registration is None:
                ready: list[_Out] = [Ready(taken, image)]
            else:
                ready = registration.take(
                    taken,
                    image,
                    shot.position_um,
                    number=shot.stop_index,
                    shot=shot.number,
                    name=frame.name,
                )
        except (FrameLost, FusionError) as error:
            if registration is not None:
                registration.missed(shot.stop_index, shot.number)
            self._spoil(taken, error)
            return
        self._settle(ready)

    def catch_up(self) -> None:
        """Fuse what is held back."""
        if self._registration is not None:
            self._settle(self._registration.finish())

    def print(self, folder: Path) -> Prints:
        """Finish the stack and write its files; it may be asked for again.

        Raises
        ------
        FocusdError
            The stack was refused, or the disk would not take its files.
        """
        if self.refusal is not None and not isinstance(self.refusal, OddFrame):
            raise self.refusal
        self.catch_up()
        spoiled = tuple(sorted({stop for stop, _ in self._spoiled}))
        stops = frozenset(self._stops)
        if self.fusion.frames:
            fusion, self.fusion = self.fusion, Fusion()  # makes room for the maps at full size
            metadata = self._metadata.about(stack_text(fusion.positions_um))
            self._plate = _Plate(fusion.image(), fusion.relief(), fusion.frames, fusion.white, metadata)
            del fusion
            self._plate = self._cropped(self._plate)
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
            if plate.table is not None:
                write_transforms(folder / TRANSFORMS_NAME, plate.table)
            if plate.mask is not None:
                write_png(folder / "covered.png", plate.mask)
        except OSError as error:
            raise FocusdError(f"{folder}: {error.strerror}; is the disk full?") from error
        laid = None if self._registration is None else self._registration.as_json() | {"cropped": plate.cut}
        # After the picture, which comes first where the disk is short.
        return Prints(result, plate.frames, spoiled, stops, self._last_slabs(), laid)

    def _settle(self, ready: list[_Out]) -> None:
        """Fuse what is ready, and tell what is odd."""
        for each in ready:
            match each:
                case Ready(taken, image):
                    try:
                        self.fusion.add(image, taken[0].position_um)
                    except FusionError as error:
                        self._spoil(taken, error)
                    else:
                        self._show(taken[0], image)
                case Odd(taken, odd, is_fused):
                    self._tell_odd(taken, odd, is_fused=is_fused)
                case Unfit(taken, unfit):
                    self._spoil(taken, unfit)

    def _show(self, shot: Shot, image: Image | Planes) -> None:
        """Note that a frame is in the picture, and show it now and then."""
        self.spoiled_in_a_row = frozenset()
        self._stops.add(shot.stop_index)
        self._spoiled.discard((shot.stop_index, shot.number))
        self._post(FrameFused(shot.stop_index, self.fusion.frames))
        self._cut(shot, image)
        now_s = time.monotonic()
        if self.fusion.frames == 1 or now_s - self._previewed_s >= self._preview.interval_s:
            self._previewed_s = now_s
            picture = self.fusion.preview(self._preview.max_side_px)
            self._post(Picture("preview", self._jpeg(picture, 80, self.fusion.white)))

    def _tell_odd(self, taken: Taken, error: OddFrame, *, is_fused: bool) -> None:
        shot, name = taken
        reason = str(error.values["reason"])
        self._post(FrameOdd(shot.stop_index, name, reason, str(error), is_fused))
        if is_fused:
            return
        if self._registration is not None and self._registration.correction.odd == "stop":
            why = f"the frame of stop {shot.stop_index} ({name}) is odd, so the stack ends here: {error}"
            self.refusal = self.refusal or OddFrame(why, reason=reason)
        self._spoil(taken, error)

    def _spoil(self, taken: Taken, error: FocusdError) -> None:
        shot, name = taken
        self._spoiled.add((shot.stop_index, shot.number))
        # Where another stack's frames say nothing of a stop, the camera is not at fault, and a second try
        # gives no more.
        if error.values.get("reason") != "unknown":
            self.spoiled_in_a_row |= {(shot.stop_index, shot.number)}
            self.newly_spoiled.put(shot)
        self._post(FrameSpoiled(shot.stop_index, name, str(error)))

    def _cut(self, shot: Shot, image: Image | Planes) -> None:
        """Fuse a frame into its slabs as well; whatever becomes of them, the stack goes on."""
        if self._slabs is not None:
            try:
                self._slabs.add(shot.stop_index, image, shot.position_um, self.fusion, self._metadata)
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
            if self.fusion.frames == 0:
                self._metadata = read_metadata(frame.encoded)
            self._planes = image if isinstance(image, Planes) else None
        return image if self._shading is None else self._shading.correct(image, image)

    def _fits(self, image: Image | Planes, frame: Frame) -> bool:
        """Ask whether a stack of such frames has room; a refusal is kept for whoever asks next."""
        try:
            if self._registration is not None:
                self._registration.require(image)
            if self._admit is not None:
                self._admit(FrameForm.of(image, encoded=frame.encoded is not None))
        except FocusdError as error:
            self.refusal = error
            return False
        return True

    def _cropped(self, plate: _Plate) -> _Plate:
        """Cut off what not all frames cover, or say where that is."""
        registration = self._registration
        if registration is None or not registration.lays:
            return plate
        plate = replace(plate, table=registration.table())
        if registration.border == "mark":
            return replace(plate, mask=registration.covered())
        try:
            cut = registration.rectangle()
        except FusionError as error:
            self._post(Trouble(f"the picture is not cropped: {error}"))
            return plate
        image = plate.image
        if cut is None or cut.shape == image.shape[:2]:
            return plate
        image = crop(image, cut)
        relief = plate.relief.cropped(cut.rows, cut.cols)
        return replace(plate, image=image, relief=relief, cut=cut.as_json())

    def _jpeg(self, image: Image | Planes, quality: int, white: int | None = None) -> bytes:
        return encode_jpeg(image, quality=quality, limit_bytes=self._limit_bytes(), white=white)
