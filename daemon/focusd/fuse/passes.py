"""The ways of ``focusd fuse`` through the files of a stack: one to fuse them, one more to refine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from focusd.errors import FocusdError, FrameLost, FrameMismatch, FusionError
from focusd.fusion import Fusion, Method
from focusd.fusion.refine import Refinement
from focusd.needs import FrameForm, fusion_needs
from focusd.outputs.named import TIFF_SUFFIXES
from focusd.outputs.sharpness import write_sharpness
from focusd.pictures.kinds import RAW_SUFFIXES
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image, to_bgr
from focusd.pictures.shading import Shading
from focusd.room import NoRoom, megabytes, read_room
from focusd.slabs import Slabs
from focusd.sources import Source, each_in_turn

# What LibRaw takes beside file and picture: see `focusd.pictures.raw.decode`.
_RAW_BYTES_PER_PIXEL = 16

LeaveOut = Callable[[Source, FocusdError], None]


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
    """

    jobs: int = 1
    rendering: RawRendering = field(default_factory=RawRendering)
    shading: Shading | None = None

    def corrected(self, frame: Image | Planes) -> Image | Planes:
        """Take the shading out of a frame, in its own memory."""
        return frame if self.shading is None else self.shading.correct(frame, out=frame)


def fuse_files(
    sources: Sequence[Source],
    fusion: Fusion,
    treatment: Treatment,
    maps: Path | None = None,
    *,
    slabs: Slabs | None = None,
    leave_out: LeaveOut | None = None,
) -> tuple[Source, ...]:
    """Fuse files one after the other, others being decoded meanwhile.

    Parameters
    ----------
    sources : sequence of Source
        In the order they shall be added.
    fusion : Fusion
        What to add them to.
    treatment : Treatment
        How they become frames.
    maps : Path, optional
        Folder for the sharpness maps.
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
    FocusdError
        Without `leave_out`: the first file that cannot be read or fused, named.
    """
    used: list[Source] = []
    paths = [source.path for source in sources]
    with tqdm(total=len(sources), desc="fusing", unit="frame", file=sys.stderr) as progress:

        def use(number: int, path: Path, frame: Image | Planes) -> None:
            if not used:
                _require_room(frame, paths, fusion.method, treatment, slabs.open_at_once if slabs else 0)
            source = sources[number]
            try:
                frame = treatment.corrected(frame)
                fusion.add(frame, source.position_um)
            except FusionError as error:
                if leave_out is None:
                    raise _named(error, path, used[0].path if used else path) from error
                leave_out(source, error)
                progress.update()
                return
            used.append(source)
            if slabs is not None:
                slabs.add(source.stop, frame, source.position_um, fusion)
            if maps is not None:
                name = f"sharpness-{number:04d}-{path.stem}.png"
                rows, cols = frame.shape[:2]
                write_sharpness(maps / name, fusion.sharpness(), (rows, cols))
            progress.update()

        def spoiled(number: int, _: Path, error: FrameLost) -> None:
            if leave_out is None:
                raise error
            leave_out(sources[number], error)
            progress.update()

        each_in_turn(paths, use, jobs=treatment.jobs, spoiled=spoiled, rendering=treatment.rendering)
    return tuple(used)


def refine_files(
    sources: Sequence[Source], refinement: Refinement, treatment: Treatment, *, as_bgr: bool = False
) -> None:
    """Go through files once more that were fused, 4:2:0 ones `as_bgr` if the picture is.

    Raises
    ------
    FocusdError
        The first file that cannot be read, named.
    """
    with tqdm(total=len(sources), desc="refining", unit="frame", file=sys.stderr) as progress:

        def use(number: int, _: Path, frame: Image | Planes) -> None:
            frame = treatment.corrected(frame)
            refinement.add(to_bgr(frame) if as_bgr else frame, sources[number].position_um)
            progress.update()

        paths = [source.path for source in sources]
        each_in_turn(paths, use, jobs=treatment.jobs, rendering=treatment.rendering)


def _named(error: FusionError, path: Path, first: Path) -> FusionError:
    if isinstance(error, FrameMismatch):
        return FrameMismatch(f"{path}: {error} (the first is {first})", path=str(path))
    return FusionError(f"{path}: {error}", path=str(path))


def _require_room(
    frame: Image | Planes, paths: Sequence[Path], method: Method, treatment: Treatment, slabs: int
) -> None:
    """Refuse a stack that takes more memory than there is."""
    form, jobs, shading = FrameForm.of(frame), treatment.jobs, treatment.shading
    # While a frame is decoded its file is in memory too, and of a TIFF a strip, which may be the whole.
    decoding_bytes = max(path.stat().st_size for path in paths)
    suffixes = {path.suffix.lower() for path in paths}
    if suffixes & RAW_SUFFIXES:
        decoding_bytes += _RAW_BYTES_PER_PIXEL * form.pixels
    elif suffixes & TIFF_SUFFIXES:
        decoding_bytes += form.nbytes
    constant_bytes = 0 if shading is None else shading.nbytes

    def needed_bytes(alive: int) -> int:
        needs = fusion_needs(form, method, waiting=alive - 1, slabs=slabs)
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
