"""``focusd fuse``: image files in, one sharp image out."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tqdm import tqdm

from focusd.errors import FocusdError, FrameMismatch, FusionError
from focusd.fuse_options import add_arguments, new_fusion, new_slabs, outputs, request_fault
from focusd.fusion import Fusion, Method
from focusd.fusion.refine import Refinement
from focusd.needs import FrameForm, fusion_needs
from focusd.outputs.named import TIFF_SUFFIXES, write_depth, write_picture
from focusd.outputs.prints import write_maps
from focusd.outputs.sharpness import write_selection, write_sharpness
from focusd.pictures import metadata
from focusd.pictures.metadata import Metadata, stack_text
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr
from focusd.room import NoRoom, megabytes, read_room
from focusd.slabs import Slabs
from focusd.sources import each_in_turn, find_sources

__all__ = ["add_arguments", "fuse_files", "run"]

OK, FAILED, USAGE = 0, 1, 2
# What a shell says of a program ended by Ctrl-C: 128 and the signal's number.
INTERRUPTED = 130


def run(args: argparse.Namespace) -> int:
    """Fuse as asked.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.

    Returns
    -------
    int
        0 when done; 1 when a frame or a file could not be used, named on stderr, or memory would not do, and
        nothing was written; 2 when the request itself makes no sense; 130 after Ctrl-C.
    """
    try:
        sources = find_sources([*args.inputs, *args.input], outputs(args))
        fault = request_fault(args, sources)
        if fault:
            return _say(fault, USAGE)
        began_s = time.perf_counter()
        lines, size = _fuse(args, sources)
    except FocusdError as error:
        return _say(str(error), FAILED)
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}; check the folder and the free space", FAILED)
    except MemoryError:
        return _say("no memory left; use --jobs 1 or smaller frames, or end other programs", FAILED)
    except KeyboardInterrupt:
        return _say("interrupted before all was written", INTERRUPTED)
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{size} in {time.perf_counter() - began_s:.1f} s\n")
    return OK


def _fuse(args: argparse.Namespace, sources: Sequence[Path]) -> tuple[list[str], str]:
    """Fuse and write; return a line on each thing written, and the size of the stack."""
    notes = metadata.read(_bytes_of(args.metadata_from or sources[0]))
    debug = args.output.with_name(f"{args.output.stem}-debug") if args.debug == Path() else args.debug
    # Sharpness maps are made frame by frame, but shall not be left behind by a stack that fails.
    with _staging(args.output.parent) if debug is not None else nullcontext() as maps:
        fusion, step_um = new_fusion(args, len(sources)), args.step or 1.0
        slabs = new_slabs(args)
        fuse_files(sources, fusion, step_um, maps, jobs=args.jobs, slabs=slabs)
        frames, white, sigma, positions_um = fusion.frames, fusion.white, fusion.sigma, fusion.positions_um
        image = fusion.image()
        relief = fusion.relief() if debug or args.depth or args.maps or args.refine else None
        about = _about(notes, fusion, has_step=args.step is not None)
        # The sums are most of the memory: what follows goes into their place.
        del fusion
        if args.refine and relief is not None and sigma is not None:
            second = Refinement(relief, image, positions_um, sigma)
            refine_files(sources, second, step_um, jobs=args.jobs, as_bgr=not isinstance(image, Planes))
            image = second.image()
            del second
        lines = [write_picture(args.output, image, white=white, bits=args.bits, metadata=about)]
        if relief is not None and args.maps is not None:
            args.maps.mkdir(parents=True, exist_ok=True)
            write_maps(args.maps, relief)
            lines.append(f"{args.maps}: depth, confidence, reason and origin of each pixel")
        if slabs is not None:
            lines.append(f"{args.slabs}: {len(slabs.finish())} slabs")
        size = f"{image.shape[1]}x{image.shape[0]} px from {frames} frames"
        del image
        if relief is not None and args.depth is not None:
            lines.append(write_depth(args.depth, relief.full_depth_um()))
        if relief is not None and maps is not None:
            write_selection(maps / "selection.png", relief, frames)
            debug.mkdir(parents=True, exist_ok=True)
            for made in sorted(maps.iterdir()):
                shutil.move(made, debug / made.name)
            lines.append(f"{debug}: {len(sources)} sharpness maps and the selection map")
    return lines, size


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=parent, prefix=".focusd-fuse-") as folder:
        yield Path(folder)


def fuse_files(
    sources: Sequence[Path],
    fusion: Fusion,
    step_um: float,
    maps: Path | None = None,
    *,
    jobs: int = 1,
    slabs: Slabs | None = None,
) -> None:
    """Fuse files one after the other, others being decoded meanwhile.

    Parameters
    ----------
    sources : sequence of Path
        In z order.
    fusion : Fusion
        What to add them to.
    step_um : float
        Distance between two frames.
    maps : Path, optional
        Folder for the sharpness maps.
    jobs : int
        Frames in work at a time, 1 or more.
    slabs : Slabs, optional
        What to add them to as well.

    Raises
    ------
    NoRoom
        Fusing takes more memory than there is; nothing has been fused.
    FocusdError
        The first file that cannot be read or fused, named.
    """
    with tqdm(total=len(sources), desc="fusing", unit="frame", file=sys.stderr) as progress:

        def use(number: int, path: Path, frame: Image | Planes) -> None:
            if number == 0:
                _require_room(frame, sources, fusion.method, jobs, slabs.open_at_once if slabs else 0)
            try:
                fusion.add(frame, number * step_um)
            except FrameMismatch as error:
                raise FrameMismatch(f"{path}: {error} (the first is {sources[0]})", path=str(path)) from error
            except FusionError as error:
                raise FusionError(f"{path}: {error}", path=str(path)) from error
            if slabs is not None:
                slabs.add(number, frame, number * step_um, fusion)
            if maps is not None:
                name = f"sharpness-{number:04d}-{path.stem}.png"
                rows, cols = frame.shape[:2]
                write_sharpness(maps / name, fusion.sharpness(), (rows, cols))
            progress.update()

        each_in_turn(sources, use, jobs=jobs)


def refine_files(
    sources: Sequence[Path], refinement: Refinement, step_um: float, *, jobs: int = 1, as_bgr: bool = False
) -> None:
    """Go through the files once more, 4:2:0 ones `as_bgr` if the picture is; else as `fuse_files`.

    Raises
    ------
    FocusdError
        The first file that cannot be read, named.
    """
    with tqdm(total=len(sources), desc="refining", unit="frame", file=sys.stderr) as progress:

        def use(number: int, _: Path, frame: Image | Planes) -> None:
            refinement.add(to_bgr(frame) if as_bgr else frame, number * step_um)
            progress.update()

        each_in_turn(sources, use, jobs=jobs)


def _require_room(
    frame: Image | Planes, sources: Sequence[Path], method: Method, jobs: int, slabs: int
) -> None:
    """Refuse a stack that takes more memory than there is."""
    form = FrameForm.of(frame)
    # While a frame is decoded its file is in memory too, and of a TIFF a strip, which may be the whole.
    decoding_bytes = max(path.stat().st_size for path in sources)
    if any(path.suffix.lower() in TIFF_SUFFIXES for path in sources):
        decoding_bytes += form.nbytes

    def needed_bytes(alive: int) -> int:
        return (
            fusion_needs(form, method, waiting=alive - 1, slabs=slabs).memory_bytes + alive * decoding_bytes
        )

    room = read_room(sources[0].parent)
    alive = min(jobs, len(sources))
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


def _about(notes: Metadata, fusion: Fusion, *, has_step: bool) -> Metadata:
    """Add what the stack is; distances only where they are known."""
    text = stack_text(fusion.positions_um) if has_step else f"focus stack of {fusion.frames} frames"
    return notes.about(text)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FocusdError(f"{path}: cannot be read ({error.strerror}); check the file") from error


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"focusd: {message}\n")
    return code
