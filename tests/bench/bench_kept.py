"""What kept frames cost and what is lost when a Pi camera's are kept as JPEG.

    nice python tests/bench/bench_kept.py [--noise N] [--megapixels M] [--real DIR]

Planes of the simulator's scenes, and of real stacks (folders in DIR, by default of FOCUSD_STACKS) whose
frames are halved in size so that their own JPEG blocks are gone. Each stack is fused from its planes and from
JPEG of quality 95: PSNR of the one picture against the other, over all channels and over luma, of each by
the truth where there is one, how far depth moved, and the files' sizes. Then the time to keep one frame of
12 MP on this disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion import Fusion, FusionResult
from focusd.job import KeepFrames
from focusd.negatives import JPEG_QUALITY, Negatives
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.images import decode_frame, read_frame
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr, to_planes
from focusd.rig import Exposure, Frame, Shot
from focusd.sources import find_sources
from focusd_sim.suite import stack_named

_STEP_UM = 20.0


def psnr(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    error = np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def compare(
    name: str, frames: list[Planes], positions_um: list[float], truth: npt.NDArray[Any] | None
) -> None:
    files = [encode_jpeg(frame, quality=JPEG_QUALITY) for frame in frames]
    results: list[FusionResult] = []
    for as_jpeg in (False, True):
        fusion = Fusion()
        for frame, file, position_um in zip(frames, files, positions_um, strict=True):
            fusion.add(decode_frame(file, "f") if as_jpeg else frame, position_um)
        results.append(fusion.result())
    source, lossy = (to_bgr(result.image) for result in results)
    luma = [result.image.luma for result in results if isinstance(result.image, Planes)]
    depths = [result.depth_um for result in results]
    known = np.isfinite(depths[0]) & np.isfinite(depths[1])
    moved = float(np.percentile(np.abs(depths[0] - depths[1])[known], 95)) if known.any() else 0.0
    pixels = frames[0].luma.size
    size = sum(map(len, files)) / len(files)
    parts = [
        f"{name}, {len(frames)} frames of {pixels / 1e6:.2f} MP",
        f"{psnr(source, lossy):.1f} dB (luma {psnr(*luma):.1f})",
        f"depth within {moved:.2g} um at 95 %",
        f"{size / pixels:.2f} B/px, 1/{frames[0].nbytes / size:.1f} of the planes",
    ]
    if truth is not None:
        loss_db = psnr(lossy, truth) - psnr(source, truth)
        parts.append(f"against the truth {psnr(source, truth):.2f} dB, {loss_db:+.2f} by JPEG")
    print("; ".join(parts))


def halved(folder: Path) -> Iterator[Planes]:
    for path in find_sources([folder]):
        image = to_bgr(read_frame(path))
        yield to_planes(np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)))


def time_of_keeping() -> None:
    random = np.random.default_rng(1)
    small = random.integers(0, 256, (380, 507, 3), np.uint8)
    frame = to_planes(np.asarray(cv2.resize(small, (4056, 3040), interpolation=cv2.INTER_CUBIC)))
    exposure = Exposure(0, 0.0, 0.1, 0.1, datetime.now(UTC))
    kinds: tuple[KeepFrames, ...] = ("source", "jpeg")
    for kind in kinds:
        with (
            tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
            closing(Negatives(Path(folder), kind)) as kept,
        ):
            times: list[float] = []
            size = 0
            for stop in range(5):
                began_s = time.perf_counter()
                path = kept.keep(Shot(stop, 0, 0.0, 0.0), Frame("f", exposure, image=frame))
                times.append(time.perf_counter() - began_s)
                size = path.stat().st_size if path is not None else 0
        print(f"keep {kind}: 12.3 MP, {size / 1e6:.1f} MB, {np.median(times):.3f} s with every sync, here")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 2.0])
    parser.add_argument("--megapixels", type=float, default=0.4)
    parser.add_argument(
        "--real", type=Path, default=Path(os.environ.get("FOCUSD_STACKS", "../shared/stacks"))
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for name in ("general", "wide"):
        for noise in args.noise:
            stack = stack_named(name, seed=1, noise=noise, megapixels=args.megapixels)
            frames = [to_planes(stack.frame(index)) for index in range(len(stack.positions_um))]
            compare(f"{name}, noise {noise:g}", frames, list(stack.positions_um), stack.truth)
    for folder in sorted(args.real.iterdir()) if args.real.is_dir() else ():
        if folder.is_dir() and (frames := list(halved(folder))):
            compare(folder.name, frames, [_STEP_UM * number for number in range(len(frames))], None)
    time_of_keeping()


if __name__ == "__main__":
    main()
