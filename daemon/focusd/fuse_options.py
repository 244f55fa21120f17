"""What ``focusd fuse`` can be asked, and what makes no sense."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from focusd.errors import FocusdError
from focusd.fusion import Fusion, Method
from focusd.fusion.prefer import Prefer
from focusd.fusion.rule import Mode
from focusd.outputs.named import DEPTH_SUFFIXES, JPEG_SUFFIXES
from focusd.pictures.images import SUFFIXES
from focusd.slab_plan import SlabPlan
from focusd.slabs import Slabs

_KERNEL_PX = 5
# A metre: no rail is longer, and depth in float32 stays exact.
_LARGEST_STEP_UM = 1e6


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
        metavar="UM",
        help="distance between two frames, um: the unit of depth (default: depth is the frame's number)",
    )
    parser.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="write to DIR the maps that a run leaves: depth (depth.tif, depth16.tif, depth.png), its "
        "confidence and reason, and the origin of each pixel",
    )
    parser.add_argument(
        "--mode",
        choices=get_args(Mode),
        default="default",
        help="fast: a little less of a picture in less time (default: %(default)s)",
    )
    parser.add_argument(
        "--prefer",
        choices=("none", "front", "back"),
        default="none",
        help="end that wins where two depths answer about alike; front is the last frame, or the "
        "first with a negative --step (default: %(default)s)",
    )
    parser.add_argument(
        "--refine",
        action="store_true",
        help="go through the frames once more and take the value in focus where depth is sure: finer by a "
        "tenth of a dB or two, for as much time again; frames must lie on each other",
    )
    parser.add_argument(
        "--slabs", type=Path, metavar="DIR", help="also fuse every so many frames by themselves, into DIR"
    )
    parser.add_argument(
        "--slab", type=int, default=8, metavar="N", help="frames in a slab (default: %(default)s)"
    )
    parser.add_argument(
        "--slab-overlap",
        type=int,
        default=2,
        metavar="N",
        help="frames a slab shares with the next (default: %(default)s)",
    )
    parser.add_argument(
        "--frame-bits",
        type=int,
        metavar="N",
        help="bits that the values of 16-bit frames use, 8 to 16 (default: what the first frame shows)",
    )
    parser.add_argument(
        "--bits",
        type=int,
        choices=(8, 16),
        help="bits of a sample in the output, .png or .tif (default: the frames' own)",
    )
    parser.add_argument(
        "--metadata-from",
        type=Path,
        metavar="FILE",
        help="whose colour profile and EXIF the output carries (default: the first frame)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=min(2, len(os.sched_getaffinity(0))),
        metavar="N",
        help="frames decoded side by side, each a frame's memory more; 1 takes the least "
        "(default: %(default)s)",
    )


def outputs(args: argparse.Namespace) -> list[Path]:
    """Files a request names to be written."""
    return [path for path in (args.output, args.depth) if path is not None]


def new_fusion(args: argparse.Namespace, frames: int) -> Fusion:
    """Make the empty fusion that a request asks for, for so many frames.

    Raises
    ------
    FusionError
        A kernel outside its range.
    """
    ends_um = (0.0, (frames - 1) * (args.step or 1.0))
    return Fusion(
        method=args.method,
        gaussian_px=args.gaussian,
        laplacian_px=args.laplacian,
        mode=args.mode,
        bits=args.frame_bits,
        prefer=Prefer.over(args.prefer, ends_um),
    )


def new_slabs(args: argparse.Namespace) -> Slabs | None:
    """Make what fuses slabs by themselves; None when none are asked for.

    Raises
    ------
    PlanError
        Numbers that do not go together.
    """
    if args.slabs is None:
        return None
    return Slabs(SlabPlan(args.slab, args.slab_overlap), args.slabs, is_measured=args.step is not None)


def request_fault(args: argparse.Namespace, sources: Sequence[Path]) -> str:
    """Say what is wrong with a request; empty when nothing is. An option without effect is named on stderr.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.
    sources : sequence of Path
        The frames' files.
    """
    if not sources:
        asked = ", ".join(str(path) for path in [*args.inputs, *args.input])
        if not asked:
            return "no sources: name image files or a folder of them"
        return f"no sources: {asked} holds no image ({', '.join(sorted(SUFFIXES))})"
    if args.output.suffix.lower() not in SUFFIXES:
        return f"{args.output}: the name must end in one of {', '.join(sorted(SUFFIXES))}"
    if args.bits == 16 and args.output.suffix.lower() in JPEG_SUFFIXES:
        return f"{args.output}: a JPEG holds 8 bits; for --bits 16 the name must end in .png, .tif or .tiff"
    if args.depth is not None and args.depth.suffix.lower() not in DEPTH_SUFFIXES:
        return f"{args.depth}: a depth map's name must end in .tif, .tiff or .png"
    own = {source.resolve() for source in sources}
    for path in outputs(args):
        if not path.parent.is_dir():
            return f"{path.parent}: no such folder; make it first"
        if path.resolve() in own:
            return f"{path}: is one of the sources; choose another name"
    folders = {path.resolve() for path in [*args.inputs, *args.input] if path.is_dir()}
    if args.output.resolve().parent in folders and args.output.is_file() and not _is_ours(args.output):
        return f"{args.output}: lies among the sources and was not made by focusd; choose another name"
    if args.depth is not None and args.depth.resolve() == args.output.resolve():
        return f"{args.depth}: is the picture's name too; choose another for the depth map"
    for name, folder in (("maps", args.maps), ("slabs", args.slabs), ("debug", args.debug)):
        if folder is None or (name == "debug" and folder == Path()):
            continue
        if folder.resolve() in {source.parent for source in own}:
            return f"--{name} {folder}: the sources are there, and would be mixed up with what is written"
        if folder.exists() and not folder.is_dir():
            return f"--{name} {folder}: is a file; name a folder"
        if any(path.parent.resolve() == folder.resolve() for path in outputs(args)):
            return f"--{name} {folder}: the picture would lie among them; choose another folder"
    if args.step is not None and not (np.isfinite(args.step) and 0 < abs(args.step) <= _LARGEST_STEP_UM):
        return f"--step is {args.step} um: it must be finite, not 0, and at most {_LARGEST_STEP_UM:g}"
    if args.jobs < 1:
        return f"--jobs is {args.jobs}: it must be 1 or more"
    given = [name for name in ("gaussian", "laplacian") if getattr(args, name) != _KERNEL_PX]
    try:
        new_fusion(args, len(sources))
        new_slabs(args)
    except FocusdError as error:
        return str(error)
    if given and args.method == "pyramid":
        named = " and --".join(given)
        sys.stderr.write(
            f"focusd: --{named} means nothing to --method pyramid; laplacian and average use it\n"
        )
    return ""


def _is_ours(path: Path) -> bool:
    """Whether a picture says that focusd made it, as all do that `write_picture` writes."""
    return b"focusd" in path.read_bytes()
