"""What makes no sense when it is asked of ``focusd fuse``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from focusd.errors import FocusdError
from focusd.fuse.options import HOMOGRAPHY, KERNEL_PX, new_fusion, new_slabs, outputs
from focusd.outputs.named import DEPTH_SUFFIXES, JPEG_SUFFIXES
from focusd.pictures.images import SUFFIXES
from focusd.roll import Roll
from focusd.seeds.log_nms import LogNms
from focusd.slabs import FOLDER as SLABS_FOLDER

# A metre: no rail is longer, and depth in float32 stays exact.
_LARGEST_STEP_UM = 1e6
_PRINTS = frozenset(
    {
        "final",
        "depth",
        "depth16",
        "origin",
        "confidence",
        "reason",
        "run",
        "flat",
        "dark",
        "transforms",
        "covered",
    }
)


def request_fault(args: argparse.Namespace, sources: Sequence[Path], roll: Roll | None = None) -> str:
    """Say what is wrong with a request; empty when nothing is. An option without effect is named on stderr.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.
    sources : sequence of Path
        The frames' files.
    roll : Roll, optional
        The run they are of.
    """
    if not sources:
        asked = ", ".join(str(path) for path in [*args.inputs, *args.input])
        if not asked:
            return "no sources: name image files or a folder of them"
        return f"no sources: {asked} holds no image ({', '.join(sorted(SUFFIXES))})"
    if args.output is None:
        return "no output: say by -o FILE what the picture shall be called"
    if args.output.suffix.lower() not in SUFFIXES:
        return f"{args.output}: the name must end in one of {', '.join(sorted(SUFFIXES))}"
    if args.bits == 16 and args.output.suffix.lower() in JPEG_SUFFIXES:
        return f"{args.output}: a JPEG holds 8 bits; for --bits 16 the name must end in .png, .tif or .tiff"
    if args.depth is not None and args.depth.suffix.lower() not in DEPTH_SUFFIXES:
        return f"{args.depth}: a depth map's name must end in .tif, .tiff or .png"
    wrong = _light_fault(args) if roll is None else _roll_fault(args, roll)
    if wrong:
        return wrong
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
    wrong = _laying_fault(args, roll)
    if wrong:
        return wrong
    given = [name for name in ("gaussian", "laplacian") if getattr(args, name) != KERNEL_PX]
    try:
        new_fusion(args, len(sources), roll)
        new_slabs(args, roll)
    except FocusdError as error:
        return str(error)
    if given and args.method in ("pyramid", LogNms.method):
        named = " and --".join(given)
        sys.stderr.write(
            f"focusd: --{named} means nothing to --method {args.method}; laplacian and average use it\n"
        )
    return ""


def _laying_fault(args: argparse.Namespace, roll: Roll | None) -> str:
    """Say what does not go together of how frames are laid on each other."""
    if args.transforms is not None and args.align is not None:
        return f"--align {args.align}: --transforms says where the frames lie; give one of the two"
    lays_none = args.align in (None, "off") and args.transforms is None
    if args.align is None and roll is not None:
        lays_none &= roll.correction.align == "off" and roll.transforms is None
    if args.dust == "auto" and (lays_none or args.align == HOMOGRAPHY):
        return "--dust auto: only --align auto, translation, similarity or affine tells how the picture moved"
    if args.save_transforms is not None:
        if args.save_transforms.suffix.lower() != ".json":
            return f"--save-transforms {args.save_transforms}: the name must end in .json"
        if lays_none or args.align == HOMOGRAPHY:
            return "--save-transforms: needs --align auto, translation, similarity or affine"
    for name, has_it in (("slabs", args.slabs is not None), ("refine", args.refine)):
        if has_it and args.method == LogNms.method:
            return f"--{name}: not with --method {LogNms.method}; use pyramid"
    return ""


def _light_fault(args: argparse.Namespace) -> str:
    return f"--light {args.light}: only a run's frames have lights" if args.light is not None else ""


def _roll_fault(args: argparse.Namespace, roll: Roll) -> str:
    """Say what cannot be asked of a run; what it left itself is not written over."""
    if args.step is not None:
        return f"--step {args.step:g}: the run knows where its frames were taken; leave it out"
    folder = roll.folder.resolve()
    for path in outputs(args):
        if path.resolve().parent == folder and path.stem in _PRINTS:
            return f"{path}: is the run's own; choose another name"
    for name, made in (("maps", args.maps), ("slabs", args.slabs), ("debug", args.debug)):
        if made not in (None, Path()) and made.resolve() in (folder, folder / SLABS_FOLDER):
            return f"--{name} {made}: the run's own files are there; choose another folder"
    return ""


def _is_ours(path: Path) -> bool:
    """Whether a picture says that focusd made it, as all do that `write_picture` writes."""
    return b"focusd" in path.read_bytes()
