"""``focusd fuse``: image files in, one sharp image out."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from focusd.errors import FocusdError, FrameMismatch
from focusd.fusion import Fusion, FusionResult, Method
from focusd.images import SUFFIXES, read_image
from focusd.outputs.flat import write_jpeg, write_png
from focusd.outputs.tiff import write_depth_tiff, write_image_tiff

OK, FAILED, USAGE = 0, 1, 2
_KERNEL_PX = 5
# Frames decoded ahead of the one being fused: one in work, one waiting.
_AHEAD = 2
# Response shown as white in a sharpness map, 8-bit levels: what the default rule takes for the largest.
_BRIGHTEST_RESPONSE = 100.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``focusd fuse``."""
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="image files, or folders of them (JPEG, PNG, 8- or 16-bit TIFF); fused in natural name order, "
        "which is taken for the order in z",
    )
    parser.add_argument(
        "-i", "--input", action="append", default=[], type=Path, metavar="DIR", help="one more file or folder"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the fused image: .png, .tif, .tiff (16 bits kept), .jpg or .jpeg",
    )
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="FILE",
        help="depth map: .tif (32-bit float, um, NaN where unknown) or .png (16 bits, 0 where unknown)",
    )
    parser.add_argument(
        "--method",
        choices=get_args(Method),
        default="pyramid",
        help="pyramid: power-weighted Laplacian pyramid; laplacian: sharpest pixel; average: mean weighted "
        "by sharpness (default: %(default)s)",
    )
    parser.add_argument(
        "-g",
        "--gaussian",
        type=int,
        default=_KERNEL_PX,
        metavar="K",
        help="blur kernel of laplacian and average, odd, px (default: %(default)s)",
    )
    parser.add_argument(
        "-l",
        "--laplacian",
        type=int,
        default=_KERNEL_PX,
        metavar="K",
        help="kernel of the Laplacian of laplacian and average, odd, px (default: %(default)s)",
    )
    parser.add_argument(
        "-d",
        "--debug",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="DIR",
        help="write each frame's sharpness map and the selection map (blue first, red last) to DIR; without "
        "DIR beside the output",
    )
    parser.add_argument(
        "--align", choices=("off",), default="off", help="alignment of the frames (default: %(default)s)"
    )
    parser.add_argument(
        "--step",
        type=float,
        default=1.0,
        metavar="UM",
        help="distance between two frames, um: the unit of depth (default: %(default)s, the frame's number)",
    )


def run(args: argparse.Namespace) -> int:
    """Fuse as asked.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.

    Returns
    -------
    int
        0 when done; 1 when a frame or a file could not be used, named on stderr, and nothing was written;
        2 when the request itself makes no sense.
    """
    outputs = [path for path in (args.output, args.depth) if path is not None]
    try:
        sources = find_sources([*args.inputs, *args.input], outputs)
        fault = _fault(args, sources)
        if fault:
            return _say(fault, USAGE)
        began_s = time.perf_counter()
        debug = args.output.with_name(f"{args.output.stem}-debug") if args.debug == Path() else args.debug
        with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".focusd-fuse-") as staging:
            maps = Path(staging) if debug is not None else None
            fusion = fuse_files(sources, _fusion(args), args.step, maps)
            result = fusion.result()
            if maps is not None:
                _write_selection(maps / "selection.png", result, fusion.frames)
            written = _write_outputs(args, result, fusion.white)
            if debug is not None:
                debug.mkdir(parents=True, exist_ok=True)
                for made in sorted(Path(staging).iterdir()):
                    shutil.move(made, debug / made.name)
                written.append(f"{debug}: {len(sources)} sharpness maps and the selection map")
    except FocusdError as error:
        return _say(str(error), FAILED)
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}; check the folder and the free space", FAILED)
    rows, cols = result.image.shape[:2]
    seconds = time.perf_counter() - began_s
    for line in written:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{cols}x{rows} px from {fusion.frames} frames in {seconds:.1f} s\n")
    return OK


def find_sources(inputs: Sequence[Path], outputs: Sequence[Path] = ()) -> list[Path]:
    """Image files behind `inputs`, each once, in natural order of their names (2 before 10).

    Parameters
    ----------
    inputs : sequence of Path
        Files, taken whatever their name, and folders, of which the image files are taken.
    outputs : sequence of Path
        Files that are never sources, though they may lie in one of the folders.

    Raises
    ------
    FocusdError
        A path that does not exist.
    """
    own = {path.resolve() for path in outputs}
    found: dict[Path, Path] = {}
    for path in inputs:
        if path.is_dir():
            listed = [entry for entry in path.iterdir() if _is_image(entry) and entry.resolve() not in own]
        elif path.exists():
            listed = [path]
        else:
            raise FocusdError(f"{path}: no such file or folder; check the name")
        for entry in listed:
            found.setdefault(entry.resolve(), entry)
    return sorted(found.values(), key=_natural)


def fuse_files(sources: Sequence[Path], fusion: Fusion, step_um: float, maps: Path | None = None) -> Fusion:
    """Fuse files one after the other, the next one being decoded meanwhile.

    Parameters
    ----------
    sources : sequence of Path
        In z order.
    fusion : Fusion
        What to add them to; returned.
    step_um : float
        Distance between two frames.
    maps : Path, optional
        Folder for the sharpness maps.

    Raises
    ------
    FocusdError
        The first file that cannot be read or fused, named.
    """
    for number, (path, image) in enumerate(_decoded(sources)):
        try:
            fusion.add(image, number * step_um)
        except FrameMismatch as error:
            raise FrameMismatch(f"{path}: {error} (the first is {sources[0]})", path=str(path)) from error
        if maps is not None:
            response = fusion.sharpness() * np.float32(1.0 / _BRIGHTEST_RESPONSE)
            # The root shows weak detail, which a linear scale hides.
            shown = np.rint(255 * np.sqrt(np.minimum(response, 1))).astype(np.uint8)
            write_png(maps / f"sharpness-{number:04d}-{path.stem}.png", shown)
    return fusion


def _decoded(sources: Sequence[Path]) -> Iterator[tuple[Path, npt.NDArray[Any]]]:
    waiting: deque[Future[npt.NDArray[Any]]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as decoder:
        ahead = iter(sources)
        try:
            for path in tqdm(sources, desc="fusing", unit="frame", file=sys.stderr):
                while len(waiting) < _AHEAD and (following := next(ahead, None)) is not None:
                    waiting.append(decoder.submit(read_image, following))
                yield path, waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _fusion(args: argparse.Namespace) -> Fusion:
    given = [name for name in ("gaussian", "laplacian") if getattr(args, name) != _KERNEL_PX]
    if given and args.method == "pyramid":
        named = " and --".join(given)
        sys.stderr.write(
            f"focusd: --{named} means nothing to --method pyramid; laplacian and average use it\n"
        )
    return Fusion(method=args.method, gaussian_px=args.gaussian, laplacian_px=args.laplacian)


def _fault(args: argparse.Namespace, sources: Sequence[Path]) -> str:
    """Say what is wrong with the request; empty when nothing is."""
    if not sources:
        asked = ", ".join(str(path) for path in [*args.inputs, *args.input])
        if not asked:
            return "no sources: name image files or a folder of them"
        return f"no sources: {asked} holds no image ({', '.join(sorted(SUFFIXES))})"
    if args.output.suffix.lower() not in SUFFIXES:
        return f"{args.output}: the name must end in one of {', '.join(sorted(SUFFIXES))}"
    if args.depth is not None and args.depth.suffix.lower() not in (".tif", ".tiff", ".png"):
        return f"{args.depth}: a depth map's name must end in .tif, .tiff or .png"
    for path in (args.output, args.depth):
        if path is not None and not path.parent.is_dir():
            return f"{path.parent}: no such folder; make it first"
        if path is not None and path.resolve() in {source.resolve() for source in sources}:
            return f"{path}: is one of the sources; choose another name"
    if not (np.isfinite(args.step) and args.step != 0):
        return f"--step is {args.step} um: it must be finite and not 0"
    try:
        _fusion(args)
    except FocusdError as error:
        return str(error)
    return ""


def _write_outputs(args: argparse.Namespace, result: FusionResult, white: int) -> list[str]:
    """Write image and depth; return a line on each."""
    path, image = args.output, result.image
    lines = [f"{path}: {'grey' if image.ndim == 2 else 'colour'}, {8 * image.itemsize} bits"]
    if path.suffix.lower() == ".png":
        write_png(path, image)
    elif path.suffix.lower() in (".tif", ".tiff"):
        write_image_tiff(path, image, description="focus stack fused by focusd")
    else:
        # A camera's 12 bits in a 16-bit file would come out black if 65535 were white.
        write_jpeg(path, image, white=white)
        lines = [f"{path}: 8 bits" + (f", {white} made white" if image.dtype == np.uint16 else "")]
    if args.depth is None:
        return lines
    if args.depth.suffix.lower() != ".png":
        write_depth_tiff(args.depth, result.depth_um)
        return [*lines, f"{args.depth}: depth in um, float32, NaN where unknown"]
    known = np.isfinite(result.depth_um)
    low, high = (result.depth_um[known].min(), result.depth_um[known].max()) if known.any() else (0.0, 0.0)
    unit_um = max(float(high - low), 1e-9) / 65534
    levels = np.where(known, 1 + (np.where(known, result.depth_um, low) - low) / unit_um, 0)
    write_png(args.depth, np.clip(np.rint(levels), 0, 65535).astype(np.uint16))
    return [*lines, f"{args.depth}: depth = {low:.6g} um + (value - 1) x {unit_um:.6g} um, 0 where unknown"]


def _write_selection(path: Path, result: FusionResult, frames: int) -> None:
    shade = (result.origin.astype(np.float32) * (255.0 / max(1, frames - 1))).round().astype(np.uint8)
    write_png(path, cv2.applyColorMap(shade, cv2.COLORMAP_TURBO))


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key: runs of digits compare as numbers, the rest as text without case."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"focusd: {message}\n")
    return code
