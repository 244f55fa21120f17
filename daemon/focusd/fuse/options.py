"""What ``focusd fuse`` can be asked."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

from focusd.flats import shading_of
from focusd.fuse.matching import Matching
from focusd.fuse.passes import AnyFusion, Treatment
from focusd.fusion import Fusion, Method
from focusd.fusion.prefer import Prefer
from focusd.fusion.rule import Mode
from focusd.register.aligner import MODES
from focusd.register.correction import ODD_POLICIES, Correction
from focusd.register.registration import Registration
from focusd.roll import Roll
from focusd.seeds.log_nms import LogNms
from focusd.slab_plan import SlabPlan
from focusd.slabs import Slabs
from focusd.sources import Source
from focusd.transforms import read_transforms

METHODS = (*get_args(Method), LogNms.method)
HOMOGRAPHY = "homography"
KERNEL_PX = 5
"""Side of a kernel that nobody set."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``focusd fuse``."""
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="image files, or folders of them (JPEG, PNG, 8- or 16-bit TIFF, y4m; raw files where there is "
        "nothing else); fused in natural name order, which is taken for the order in z. Or a run's folder: "
        "its kept frames are fused once more by the run's settings; if other files are named as well, those "
        "of the camera's card in their place",
    )
    parser.add_argument(
        "-i", "--input", action="append", default=[], type=Path, metavar="DIR", help="one more file or folder"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the fused image: .png, .tif, .tiff (16 bits kept), .jpg or .jpeg (default for a run: fused.tif "
        "in its folder, or fused-LIGHT.tif)",
    )
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="FILE",
        help="depth map: .tif (32-bit float, um, NaN where unknown) or .png (16 bits, 0 where unknown)",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="pyramid",
        help="pyramid: power-weighted Laplacian pyramid; laplacian: sharpest pixel; average: mean weighted "
        "by sharpness; log-nms: the frame of the largest Laplacian of Gaussian over all channels (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "-g",
        "--gaussian",
        type=int,
        default=KERNEL_PX,
        metavar="K",
        help="blur kernel of laplacian and average, odd, px (default: %(default)s)",
    )
    parser.add_argument(
        "-l",
        "--laplacian",
        type=int,
        default=KERNEL_PX,
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
    laid = parser.add_argument_group("frames laid on each other")
    laid.add_argument(
        "--align",
        choices=(*MODES, HOMOGRAPHY),
        help="what of the frames' place may be corrected; auto finds out, and says so; homography does it by "
        "features, as other programs do (default: the run's; off, but log-nms then shifts frames by itself)",
    )
    laid.add_argument(
        "--transforms",
        type=Path,
        metavar="FILE",
        help="lay the frames as another stack's lay, by the file that --save-transforms or a run wrote",
    )
    laid.add_argument(
        "--save-transforms", type=Path, metavar="FILE", help="write to FILE (.json) where each frame lies"
    )
    laid.add_argument(
        "--border",
        choices=("crop", "mark"),
        help="what not all cover: cut off, or shown in a mask by the output (default: the run's, or crop)",
    )
    laid.add_argument("--gain", choices=("off", "auto"), help="even flicker out (default: the run's; off)")
    laid.add_argument(
        "--odd",
        choices=ODD_POLICIES,
        help="look for frames that do not go with the others, and fuse, skip, or stop at them (default: the "
        "run's; off)",
    )
    laid.add_argument(
        "--dust",
        choices=("off", "auto"),
        default="off",
        help="find dust and hot pixels of the sensor and, where the picture moved across them, read the "
        "files once more without; needs --align (default: %(default)s)",
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
        help="fast: a little less of a picture in less time (default: the run's; default for files)",
    )
    parser.add_argument(
        "--prefer",
        choices=("none", "front", "back"),
        help="end that wins where two depths answer about alike; front is the last frame, or the "
        "first with a negative --step, or a run's highest position (default: the run's; none for files)",
    )
    parser.add_argument(
        "--light",
        metavar="NAME",
        help="whose frames of a run, where lights took turns (default: the one the run fused)",
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
        "--flat",
        type=Path,
        metavar="FILE",
        help="picture of an empty field, which each frame is freed of (default: a run's own)",
    )
    parser.add_argument(
        "--dark", type=Path, metavar="FILE", help="picture taken in the dark, likewise (default: a run's own)"
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
    """Files a request names to be written, and the mask that a marked border leaves."""
    mask = None if args.output is None else mask_path(args.output)
    return [path for path in (args.output, args.depth, args.save_transforms, mask) if path is not None]


def mask_path(output: Path) -> Path:
    """Where ``--border mark`` writes what all frames cover."""
    return output.with_name(f"{output.stem}-covered.png")


def new_fusion(args: argparse.Namespace, frames: int, roll: Roll | None = None) -> AnyFusion:
    """Make the empty fusion that a request asks for, for so many frames or for those of a run.

    Raises
    ------
    FusionError
        A kernel outside its range.
    """
    if args.method == LogNms.method:
        return LogNms(bits=args.frame_bits, align=args.align is None and args.transforms is None)
    ends_um = roll.ends_um if roll is not None else (0.0, (frames - 1) * (args.step or 1.0))
    return Fusion(
        method=args.method,
        gaussian_px=args.gaussian,
        laplacian_px=args.laplacian,
        mode=args.mode or (roll.mode if roll is not None else "default"),
        bits=args.frame_bits,
        prefer=Prefer.over(args.prefer or (roll.prefer if roll is not None else "none"), ends_um),
    )


def new_slabs(args: argparse.Namespace, roll: Roll | None = None) -> Slabs | None:
    """Make what fuses slabs by themselves; None when none are asked for.

    Raises
    ------
    PlanError
        Numbers that do not go together.
    """
    if args.slabs is None:
        return None
    is_measured = args.step is not None or roll is not None
    return Slabs(SlabPlan(args.slab, args.slab_overlap), args.slabs, is_measured=is_measured)


def new_treatment(args: argparse.Namespace, roll: Roll | None = None) -> Treatment:
    """Say how files become frames: a run's by its own flat field and dark frame, where others are not named.

    Raises
    ------
    FlatUnusable, FrameMismatch
        Files that nothing can be corrected by, named.
    """
    flat, dark = args.flat, args.dark
    if flat is None and dark is None and roll is not None and roll.is_fused_light:
        flat, dark = (
            path if (path := roll.folder / name).is_file() else None for name in ("flat.tif", "dark.tif")
        )
    shading = None if flat is None and dark is None else shading_of(flat, dark)
    return Treatment(args.jobs, shading=shading, correction=correction_of(args, roll))


def correction_of(args: argparse.Namespace, roll: Roll | None = None) -> Correction:
    """Say what is done to frames before they are fused: what the run did, where nothing is said."""
    was = roll.correction if roll is not None else Correction()
    return Correction(
        align="off" if args.align == HOMOGRAPHY else args.align or was.align,
        gain=was.gain if args.gain is None else args.gain == "auto",
        odd=args.odd or was.odd,
        dust=args.dust == "auto",
    )


def judges(args: argparse.Namespace, roll: Roll | None = None) -> bool:
    """Whether frames may be left out for what they show, by looking at each beside others."""
    correction = correction_of(args, roll)
    by_align = correction.odd == "off" and correction.align != "off"
    return args.align != HOMOGRAPHY and (by_align or correction.odd in ("skip", "stop"))


def new_registration(
    args: argparse.Namespace, correction: Correction, roll: Roll | None = None
) -> Registration[Source] | Matching | None:
    """Make what lays frames on each other; None where nothing is to be done.

    Raises
    ------
    FocusdError
        A file of transforms that cannot be used.
    """
    border = args.border or (roll.border if roll is not None else "crop")
    if args.align == HOMOGRAPHY:
        return Matching(border=border)
    known = args.transforms
    if known is None and args.align is None and roll is not None:
        known = roll.transforms
    if known is not None:
        return Registration(replace(correction, align="off"), table=read_transforms(known), border=border)
    if not correction.is_any:
        return None
    optics = None if roll is None else roll.optics
    return Registration(
        correction,
        optics=None if optics is None else optics.as_optics(),
        pupil_um=None if optics is None else optics.pupil_um,
        border=border,
    )
