"""The ways of ``focusd fuse`` through the files of a stack: one to fuse them, one more to refine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from focusd.errors import FocusdError, FrameLost, FrameMismatch, FusionError
from focusd.fusion import Fusion
from focusd.fusion.refine import Refinement
from focusd.needs import FrameForm, correction_bytes, fusion_needs
from focusd.outputs.named import TIFF_SUFFIXES
from focusd.outputs.sharpness import write_sharpness
from focusd.pictures.kinds import RAW_SUFFIXES
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image, to_bgr
from focusd.pictures.shading import Shading
from focusd.register.correction import Correction
from focusd.register.registration import Odd, Ready, Unfit
from focusd.room import NoRoom, megabytes, read_room
from focusd.seeds.log_nms import LogNms
from focusd.slabs import Slabs
from focusd.sources import Source, each_in_turn

# What LibRaw takes beside file and picture: see `focusd.pictures.raw.decode`.
_RAW_BYTES_PER_PIXEL = 16

LeaveOut = Callable[[Source, FocusdError], None]
AnyFusion = Fusion | LogNms
Out = Ready[Source] | Odd[Source] | Unfit[Source]


class Registering(Protocol):
    """What lays frames on each other before they are fused; see `focusd.register.registration`."""

    def take(
        self,
        tag: Source,
        frame: Image | Planes,
        position_um: float,
        *,
        number: int,
        name: str,
        shot: int = 0,
    ) -> list[Out]:
        """Take in a frame; return what is ready."""

    def missed(self, number: int, shot: int = 0) -> None:
        """Hear that a frame cannot be read."""

    def finish(self) -> list[Out]:
        """Return what was held back."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """How files become frames, the same way each time.

    Parameters
    ----------
    jobs : int
        Frames in work at a time, 1 or more.
    rendering : RawRendering
        How raw files are developed; by default as the first asks for.
    shading : Shading, optional
        Flat field and dark frame, taken out of each.
    correction : Correction
        What lays them on each other.
    """

    jobs: int = 1
    rendering: RawRendering = field(default_factory=RawRendering)
    shading: Shading | None = None
    correction: Correction = field(default_factory=Correction)

    def corrected(self, frame: Image | Planes) -> Image | Planes:
        """Take the shading out of a frame, in its own memory."""
        return frame if self.shading is None else self.shading.correct(frame, out=frame)


def fuse_files(
    sources: Sequence[Source],
    fusion: AnyFusion,
    treatment: Treatment,
    maps: Path | None = None,
    *,
    registration: Registering | None = None,
    slabs: Slabs | None = None,
    leave_out: LeaveOut | None = None,
) -> tuple[Source, ...]:
    """Fuse files one after the other, others being decoded meanwhile.

    Parameters
    ----------
    sources : sequence of Source
        In the order they shall be added.
    fusion : Fusion or LogNms
        What to add them to.
    treatment : Treatment
        How they become frames.
    maps : Path, optional
        Folder for the sharpness maps.
    registration : Registering, optional
        Lays each on the others first. Frames that it finds odd are named on stderr.
    slabs : Slabs, optional
        What to add them to as well.
    leave_out : callable, optional
        Told of each frame that cannot be used, and why; the others are fused, as in a run.

    Returns
    -------
    tuple of Source
        Those that were fused.

    Raises
    ------
    NoRoom
        Fusing takes more memory than there is; nothing has been fused.
    OddFrame
        A frame that is odd, by the policy stop.
    FocusdError
        Without `leave_out`: the first file that cannot be read or fused, named.
    """
    with tqdm(total=len(sources), desc="fusing", unit="frame", file=sys.stderr) as progress:
        way = _Pass(sources, fusion, treatment, maps, registration, slabs, leave_out)

        def use(number: int, _: Path, frame: Image | Planes) -> None:
            way.use(number, frame)
            progress.update()

        def spoiled(number: int, _: Path, error: FrameLost) -> None:
            if leave_out is None:
                raise error
            way.miss(number)
            if not sources[number].is_replaced:
                leave_out(sources[number], error)
            progress.update()

        paths = [source.path for source in sources]
        each_in_turn(paths, use, jobs=treatment.jobs, spoiled=spoiled, rendering=treatment.rendering)
        way.finish()
    return tuple(way.used)


@dataclass(slots=True)
class _Pass:
    """One way through a stack's files: what is done with each frame."""

    sources: Sequence[Source]
    fusion: AnyFusion
    treatment: Treatment
    maps: Path | None
    registration: Registering | None
    slabs: Slabs | None
    leave_out: LeaveOut | None
    used: list[Source] = field(default_factory=list)
    _has_room: bool = False
    # A run that ended at an odd frame ends there again.
    _ended: bool = False

    def miss(self, number: int) -> None:
        source = self.sources[number]
        if self.registration is not None:
            self.registration.missed(source.stop, source.shot)

    def use(self, number: int, frame: Image | Planes) -> None:
        if self._ended:
            return
        if not self._has_room:
            _require_room(frame, self)
            self._has_room = True
        source = self.sources[number]
        try:
            ready = _prepared(source, frame, self.treatment, self.registration)
        except FusionError as error:
            self.miss(number)
            self._refuse(source, error)
            return
        self._settle(ready)

    def finish(self) -> None:
        if self.registration is not None:
            self._settle(self.registration.finish())

    def _settle(self, ready: Sequence[Out]) -> None:
        for each in ready:
            match each:
                case Ready(source, frame):
                    if not source.is_replaced:
                        self._fuse(source, frame)
                case Odd(source, error, is_fused):
                    ends = not is_fused and self.treatment.correction.odd == "stop"
                    if ends and self.leave_out is None:
                        raise FusionError(
                            f"{source.path}: {error}; no picture was written: --odd skip leaves it out",
                            path=str(source.path),
                        )
                    self._ended |= ends
                    if source.is_replaced and not ends:
                        continue
                    done = "fused all the same" if is_fused else "left out"
                    done += ", and the run ended here (--odd skip goes on)" if ends else ""
                    tqdm.write(f"focusd: {source.path}: {done}: {error}", file=sys.stderr)
                case Unfit(source, unfit):
                    self._refuse(source, unfit)

    def _fuse(self, source: Source, frame: Image | Planes) -> None:
        try:
            self.fusion.add(frame, source.position_um)
        except FusionError as error:
            self._refuse(source, error)
            return
        self.used.append(source)
        if self.slabs is not None and isinstance(self.fusion, Fusion):
            self.slabs.add(source.stop, frame, source.position_um, self.fusion)
        if self.maps is not None:
            name = f"sharpness-{self.sources.index(source):04d}-{source.path.stem}.png"
            rows, cols = frame.shape[:2]
            write_sharpness(self.maps / name, self.fusion.sharpness(), (rows, cols))

    def _refuse(self, source: Source, error: FusionError) -> None:
        if source.is_replaced:
            return
        if self.leave_out is None:
            raise _named(error, source.path, self.used[0].path if self.used else source.path) from error
        self.leave_out(source, error)


def refine_files(
    sources: Sequence[Source],
    refinement: Refinement,
    treatment: Treatment,
    *,
    registration: Registering | None = None,
    as_bgr: bool = False,
) -> None:
    """Go through files once more that were fused, 4:2:0 ones `as_bgr` if the picture is.

    Raises
    ------
    FocusdError
        The first file that cannot be read, named.
    """
    with tqdm(total=len(sources), desc="refining", unit="frame", file=sys.stderr) as progress:

        def use(number: int, _: Path, frame: Image | Planes) -> None:
            source = sources[number]
            for each in _prepared(source, frame, treatment, registration):
                if isinstance(each, Ready):
                    refinement.add(to_bgr(each.frame) if as_bgr else each.frame, source.position_um)
            progress.update()

        paths = [source.path for source in sources]
        each_in_turn(paths, use, jobs=treatment.jobs, rendering=treatment.rendering)


def _prepared(
    source: Source, frame: Image | Planes, treatment: Treatment, registration: Registering | None
) -> Sequence[Out]:
    """Do to a frame, as it was decoded, all that comes before fusing; return what is ready by now."""
    frame = treatment.corrected(frame)
    if registration is None:
        return [Ready(source, frame)]
    return registration.take(
        source,
        frame,
        source.position_um,
        number=source.stop,
        shot=source.shot,
        name=source.path.name,
    )


def _named(error: FusionError, path: Path, first: Path) -> FusionError:
    if isinstance(error, FrameMismatch):
        return FrameMismatch(f"{path}: {error} (the first is {first})", path=str(path))
    return FusionError(f"{path}: {error}", path=str(path))


def _require_room(frame: Image | Planes, way: _Pass) -> None:
    """Refuse a stack that takes more memory than there is."""
    treatment, paths = way.treatment, [source.path for source in way.sources]
    slabs = way.slabs.open_at_once if way.slabs else 0
    form, jobs, shading = FrameForm.of(frame), treatment.jobs, treatment.shading
    # While a frame is decoded its file is in memory too, and of a TIFF a strip, which may be the whole.
    decoding_bytes = max(path.stat().st_size for path in paths)
    suffixes = {path.suffix.lower() for path in paths}
    if suffixes & RAW_SUFFIXES:
        decoding_bytes += _RAW_BYTES_PER_PIXEL * form.pixels
    elif suffixes & TIFF_SUFFIXES:
        decoding_bytes += form.nbytes
    constant_bytes = 0 if shading is None else shading.nbytes
    if way.registration is not None:
        # A table, or features, may lay frames although nothing is asked of their correction.
        constant_bytes += correction_bytes(form, treatment.correction, is_laid=True)

    def needed_bytes(alive: int) -> int:
        needs = fusion_needs(form, way.fusion.method, waiting=alive - 1, slabs=slabs)
        return needs.memory_bytes + constant_bytes + alive * decoding_bytes

    room = read_room(paths[0].parent)
    alive = min(jobs, len(paths))
    for shortage in room.shortages(needed_bytes(alive)):
        remedy = "use smaller frames or end other programs"
        if not room.shortages(needed_bytes(1)):
            remedy = f"--jobs 1 needs {megabytes(needed_bytes(1))}"
        raise NoRoom(
            f"{frame.shape[1]}x{frame.shape[0]} px with --jobs {jobs} {shortage}: {remedy}",
            memory_bytes=shortage.needed_bytes,
            memory_free_bytes=shortage.free_bytes,
        )
    rows, cols = frame.shape[:2]
    tqdm.write(f"{cols}x{rows} px: at most {megabytes(needed_bytes(alive))} of memory", file=sys.stderr)
