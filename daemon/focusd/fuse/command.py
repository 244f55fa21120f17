"""``focusd fuse``: image files in, or the frames of a run, one sharp image out."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from tqdm import tqdm

from focusd.errors import FocusdError
from focusd.fuse.faults import request_fault
from focusd.fuse.matching import Matching
from focusd.fuse.options import (
    add_arguments,
    judges,
    mask_path,
    new_fusion,
    new_registration,
    new_slabs,
    new_treatment,
    outputs,
)
from focusd.fuse.passes import AnyFusion, fuse_files, refine_files
from focusd.fusion.refine import Refinement
from focusd.outputs.flat import write_png
from focusd.outputs.named import write_depth, write_picture
from focusd.outputs.prints import write_maps
from focusd.outputs.sharpness import write_selection
from focusd.pictures import metadata
from focusd.pictures.metadata import Metadata, stack_text
from focusd.pictures.planes import Planes
from focusd.register.crop import crop
from focusd.register.registration import Registration
from focusd.roll import Roll, is_run, read_roll
from focusd.sources import Source, find_sources
from focusd.transforms import write_transforms

__all__ = ["add_arguments", "run"]

OK, FAILED, USAGE = 0, 1, 2
SLAB_FILES = "slab-*.tif"
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
        nothing was written; 2 when the request itself makes no sense; 130 after Ctrl-C. A run's frames that
        cannot be used are left out, as the run did, and named on stderr.
    """
    try:
        roll = _roll_of(args)
        if roll is None:
            paths = find_sources([*args.inputs, *args.input], outputs(args))
            step_um = args.step or 1.0
            sources = tuple(Source(path, number * step_um, number) for number, path in enumerate(paths))
        else:
            sources = roll.arrivals if roll.arrivals and judges(args, roll) else roll.sources
            paths = [source.path for source in sources]
            if args.output is None:
                of = f"-{args.light}" if args.light is not None else ""
                args.output = roll.folder / f"fused{of}.tif"
        fault = request_fault(args, paths, roll)
        if fault:
            return _say(fault, USAGE)
        for note in roll.notes if roll is not None else ():
            _say(note, OK)
        began_s = time.perf_counter()
        lines, size = _fuse(args, sources, roll)
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


def _roll_of(args: argparse.Namespace) -> Roll | None:
    """Return the run whose folder is named; None where there are only files."""
    named = [*args.inputs, *args.input]
    runs = [path for path in named if is_run(path)]
    if not runs:
        return None
    if len(runs) > 1:
        raise FocusdError(f"{runs[1]}: is a run beside {runs[0]}; fuse one at a time")
    others = [path for path in named if path is not runs[0]]
    files = find_sources(others, outputs(args))
    if others and not files:
        raise FocusdError(
            f"{', '.join(map(str, others))}: no image in it; name the folder of the camera's files"
        )
    return read_roll(runs[0], args.light, files)


def _fuse(args: argparse.Namespace, sources: Sequence[Source], roll: Roll | None) -> tuple[list[str], str]:
    """Fuse and write; return a line on each thing written, and the size of the stack."""
    given = metadata.read(_bytes_of(args.metadata_from)) if args.metadata_from is not None else None
    debug = args.output.with_name(f"{args.output.stem}-debug") if args.debug == Path() else args.debug
    # Sharpness maps are made frame by frame, but shall not be left behind by a stack that fails.
    with _whole(args.slabs), _staging(args.output.parent) if debug is not None else nullcontext() as maps:
        fusion, slabs = new_fusion(args, len(sources), roll), new_slabs(args, roll)
        leave_out, treatment = None if roll is None else _leave_out, new_treatment(args, roll)
        registration = new_registration(args, treatment.correction, roll)
        used = fuse_files(
            sources, fusion, treatment, maps, registration=registration, slabs=slabs, leave_out=leave_out
        )
        dust = registration.found_dust() if registration is not None and used else None
        if registration is not None and dust is not None and not dust.is_empty:
            # What the sensor has is known by now only.
            found = f"{len(dust.spots)} spots of dust, {len(dust.hot.pixels)} hot or dead pixels"
            tqdm.write(f"{found}: once more without them", file=sys.stderr)
            fusion, slabs = new_fusion(args, len(sources), roll), new_slabs(args, roll)
            registration = registration.again(dust)
            for old in maps.iterdir() if maps is not None else ():
                old.unlink()  # maps of frames with dust
            used = fuse_files(used, fusion, treatment, maps, registration=registration, slabs=slabs)
        if not used:
            raise FocusdError(f"none of {len(sources)} frames can be used; nothing was written")
        frames, white, sigma, positions_um = fusion.frames, fusion.white, fusion.sigma, fusion.positions_um
        image = fusion.image()
        relief = fusion.relief() if debug or args.depth or args.maps or args.refine else None
        notes = metadata.read(_bytes_of(used[0].path)) if given is None else given
        about = _about(notes, fusion, has_step=args.step is not None or roll is not None)
        # The sums are most of the memory: what follows goes into their place.
        del fusion
        if args.refine and relief is not None and sigma is not None:
            second = Refinement(relief, image, positions_um, sigma)
            again = registration.again() if registration is not None else None
            as_bgr = not isinstance(image, Planes)
            refine_files(used, second, treatment, registration=again, as_bgr=as_bgr)
            image = second.image()
            del second
        lines = [] if registration is None else _laid(args, registration)
        cut = registration.rectangle() if registration is not None and registration.border == "crop" else None
        if cut is not None and cut.shape != image.shape[:2]:
            where = f"from column {cut.left} and row {cut.top} on"
            lines.append(f"cropped to the {cut.shape[1]}x{cut.shape[0]} px that all frames cover, {where}")
            if slabs is not None or debug is not None:
                lines.append("slabs and sharpness maps are not cropped")
            image = crop(image, cut)
            relief = relief.cropped(cut.rows, cut.cols) if relief is not None else None
        lines.append(write_picture(args.output, image, white=white, bits=args.bits, metadata=about))
        if relief is not None and args.maps is not None:
            args.maps.mkdir(parents=True, exist_ok=True)
            write_maps(args.maps, relief)
            lines.append(f"{args.maps}: depth, confidence, reason and origin of each pixel")
        if slabs is not None:
            lines.append(f"{args.slabs}: {len(slabs.finish())} slabs")
        size = f"{image.shape[1]}x{image.shape[0]} px from {frames} frames"
        left_out = sum(not source.is_replaced for source in sources) - len(used)
        if left_out:
            size += f", {left_out} left out,"
        del image
        if relief is not None and args.depth is not None:
            lines.append(write_depth(args.depth, relief.full_depth_um()))
        if relief is not None and maps is not None:
            write_selection(maps / "selection.png", relief, frames)
            debug.mkdir(parents=True, exist_ok=True)
            for made in sorted(maps.iterdir()):
                shutil.move(made, debug / made.name)
            lines.append(f"{debug}: {len(used)} sharpness maps and the selection map")
    return lines, size


def _laid(args: argparse.Namespace, registration: Registration[Source] | Matching) -> list[str]:
    """Say what laying the frames on each other did, and write what is asked about it."""
    lines = list(registration.words)
    table = registration.table()
    if args.save_transforms is not None and table is not None:
        lines.append(write_transforms(args.save_transforms, table))
    mask = registration.covered() if registration.border == "mark" else None
    if mask is not None:
        path = mask_path(args.output)
        write_png(path, mask)
        lines.append(f"{path}: white where all frames cover the picture")
    return lines


def _leave_out(source: Source, error: FocusdError) -> None:
    tqdm.write(f"focusd: {source.path}: left out: {error}", file=sys.stderr)


@contextmanager
def _whole(folder: Path | None) -> Iterator[None]:
    """Take back the slabs of a stack that fails: they are written while it is fused."""
    before = set(folder.iterdir()) if folder is not None and folder.is_dir() else None
    try:
        yield
    except BaseException:
        if folder is not None and folder.is_dir():
            for made in set(folder.glob(SLAB_FILES)) - (before or set()):
                made.unlink(missing_ok=True)
            if before is None:
                with suppress(OSError):
                    folder.rmdir()
        raise


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=parent, prefix=".focusd-fuse-") as folder:
        yield Path(folder)


def _about(notes: Metadata, fusion: AnyFusion, *, has_step: bool) -> Metadata:
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
