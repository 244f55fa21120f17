"""What ``focusd fuse`` costs, in time and memory, beside decoding the same files; in one run.

    nice python tests/bench/bench_fuse.py [--quick] [--frames 60] [--repeat 3]

The yardstick: the stack ``pcb`` (FOCUSD_STACKS, default ``../shared/stacks``), each frame laid 2 x 2 to
12.6 MP, as 4:2:0 JPEG of about 0.30 byte a pixel, 60 frames there and back so that neighbours differ, in a
warm cache. Decoding is ``cv2.imdecode`` as called. Nothing is aligned. Repetitions are interleaved; each
figure is the least, then the median. Nothing here fails on time: a busy machine is no fault of the program's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from history import keep

from focusd.fusion import Fusion
from focusd.pictures.images import read_frame
from focusd.pictures.planes import Planes

STACKS = Path(os.environ.get("FOCUSD_STACKS", "../shared/stacks"))
BYTES_PER_PX = 0.30
GOAL_WHOLE, GOAL_COMPILED, GOAL_PLAIN, GOAL_MB = 1.2, 0.6, 1.0, 300
# A child's peak begins at its parent's: one that has imported nothing stands between.
LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
wall = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A program that has ended: wall and CPU time, s, and peak memory, bytes."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run(command: Sequence[str]) -> Run:
    """Run a program to its end."""
    made = subprocess.run([sys.executable, "-c", LAUNCHER, *command], stdout=subprocess.PIPE, check=True)
    code, wall_s, cpu_s, peak_bytes = json.loads(made.stdout)
    if code:
        raise SystemExit(f"{' '.join(command)}: ended with {code}; run it by hand to see why")
    return Run(wall_s, cpu_s, peak_bytes)


def fuse(folder: Path, *options: str) -> Run:
    """Run ``focusd fuse`` on a folder; the outputs lie beside it."""
    return run([sys.executable, "-m", "focusd", "fuse", str(folder), *options])


def tiles(scale: int = 2) -> list[Any]:
    """Frames of the yardstick as BGR, laid `scale` x `scale`."""
    paths = sorted(path for path in (STACKS / "pcb").iterdir() if path.suffix == ".jpg")
    return [np.tile(cv2.imread(str(path)), (scale, scale, 1)) for path in paths]


def jpegs(frames: Sequence[Any], *options: int) -> tuple[list[bytes], int]:
    """Encode at the quality that comes nearest to `BYTES_PER_PX` on the middle frame; with that quality."""

    def encode(frame: Any, quality: int) -> bytes:
        return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])[1].tobytes()

    middle = frames[len(frames) // 2]
    aim = BYTES_PER_PX * middle.shape[0] * middle.shape[1]
    quality = min(range(85, 100), key=lambda quality: abs(len(encode(middle, quality)) - aim))
    return [encode(frame, quality) for frame in frames], quality


def lay_out(folder: Path, files: Sequence[Path], count: int) -> Path:
    """Make a folder of `count` frames, there and back, each a hard link: a symbolic one is the same file."""
    folder.mkdir()
    there_and_back = [*files, *files[-2:0:-1]]
    for number in range(count):
        source = there_and_back[number % len(there_and_back)]
        os.link(source, folder / f"{number:04d}{source.suffix}")
    return folder


def times(*works: Callable[[], float], repeat: int) -> list[tuple[float, float]]:
    """Least and median of what each returns, in turn so that a busy moment strikes all."""
    found: list[list[float]] = [[] for _ in works]
    for _ in range(repeat):
        for work, results in zip(works, found, strict=True):
            results.append(work())
    return [(min(results), statistics.median(results)) for results in found]


def decode_all(data: Sequence[bytes], threads: int) -> float:
    """Seconds to decode all of `data` by OpenCV."""
    arrays = [np.frombuffer(each, np.uint8) for each in data]

    def decode(array: Any) -> None:
        cv2.imdecode(array, cv2.IMREAD_COLOR)

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(decode, arrays))
        return time.perf_counter() - began


def measure_add(folder: Path, repeat: int) -> None:
    """Print the kernel's name, and s a frame of Fusion.add and of decoding, least and median; one thread."""
    cv2.setNumThreads(1)
    paths = sorted(folder.iterdir())
    data = [path.read_bytes() for path in paths]
    frames = [read_frame(path) for path in paths]
    fusion = Fusion()
    # The first frame takes the memory and measures the noise.
    fusion.add(frames[0], 0.0)
    kernel = str(fusion.state().facts["kernel"])
    position_um = 0.0

    def add(frame: Any) -> float:
        nonlocal position_um
        position_um += 1.0
        began = time.perf_counter()
        fusion.add(frame, position_um)
        return time.perf_counter() - began

    def both(number: int) -> tuple[float, float]:
        return add(frames[number]), decode_all([data[number]], 1)

    found = [both(number % len(frames)) for number in range(1, repeat * len(frames))]
    adding, decoding = zip(*found, strict=True)
    made = [kernel, min(adding), statistics.median(adding), min(decoding), statistics.median(decoding)]
    print(json.dumps([*made, isinstance(frames[0], Planes)]))


def report_adding(folder: Path, megapixels: float, repeat: int) -> None:
    """Print Fusion.add beside decoding, on one thread, for the compiled loops and for the plain path."""
    for kernel, goal in (("compiled", GOAL_COMPILED), ("plain", GOAL_PLAIN)):
        environment = {**os.environ, "FOCUSD_KERNEL": kernel}
        command = [sys.executable, __file__, "--measure-add", str(folder), "--repeat", str(repeat)]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            print(f"add, {kernel}: failed: {made.stderr.strip().splitlines()[-1]}")
            continue
        name, least, median, decode_least, decode_median, is_planes = json.loads(made.stdout)
        if name != kernel:
            print(f"add, {kernel}: not there ({name} ran); no figure")
            continue
        ms = 1e3 / megapixels
        print(
            f"add, {kernel}, {'planes' if is_planes else 'BGR (no libturbojpeg)'}, one thread: "
            f"{least * ms:.2f} / {median * ms:.2f} ms/MP; decode {decode_least * ms:.2f} / "
            f"{decode_median * ms:.2f}; ratio {least / decode_least:.2f} / {median / decode_median:.2f} "
            f"(goal {goal})"
        )
        keep(f"add, {kernel}", {"add_ms_mp": least * ms, "decode_ms_mp": decode_least * ms})


def report_whole(folder: Path, out: Path, megapixels: float, repeat: int) -> None:
    """Print the whole program beside decoding alone on two cores."""
    paths = sorted(folder.iterdir())
    data = [path.read_bytes() for path in paths]
    total = megapixels * len(data)
    cv2.setNumThreads(1)
    cpu_s: dict[str, list[float]] = {"2": [], "1": []}

    def whole(jobs: str) -> float:
        made = fuse(folder, "-o", str(out / "whole.jpg"), "--jobs", jobs)
        cpu_s[jobs].append(made.cpu_s)
        return made.wall_s

    one, two, both, alone = times(
        lambda: decode_all(data[: max(8, len(data) // 4)], 1) / max(8, len(data) // 4) * len(data),
        lambda: decode_all(data, 2),
        lambda: whole("2"),
        lambda: whole("1"),
        repeat=repeat,
    )
    print(
        f"decode alone, {len(data)} frames: one thread {one[0] * 1e3 / total:.2f} / "
        f"{one[1] * 1e3 / total:.2f} ms/MP; on two {two[0]:.2f} / {two[1]:.2f} s"
    )
    for name, found in (("2", both), ("1", alone)):
        print(
            f"focusd fuse --jobs {name}, JPEG out: {found[0]:.2f} / {found[1]:.2f} s = "
            f"{found[0] / two[0]:.2f} / {found[1] / two[1]:.2f} x decode on two cores"
            f"; CPU {min(cpu_s[name]):.2f} s" + (f" (goal {GOAL_WHOLE})" if name == "2" else "")
        )
    both_ms_mp, alone_ms_mp = (1e3 * found[0] / total for found in (both, alone))
    keep(
        f"focusd fuse, {len(data)} frames",
        {"2_jobs_ms_mp": both_ms_mp, "1_job_ms_mp": alone_ms_mp, "decoding_on_2_ms_mp": 1e3 * two[0] / total},
    )


def report_memory(name: str, folders: Sequence[Path], out: Path, goal: str = "") -> None:
    """Print peak memory of ``focusd fuse`` with depth, for stacks that differ in their length."""
    for jobs in ("1", "2"):
        options = ("-o", str(out / "memory.jpg"), "--depth", str(out / "memory.tif"), "--jobs", jobs)
        peaks = {len(list(folder.iterdir())): fuse(folder, *options).peak_bytes / 1e6 for folder in folders}
        told = ", ".join(f"{count} frames {peak:.0f} MB" for count, peak in peaks.items())
        spread = f", {max(peaks.values()) / min(peaks.values()) - 1:.1%} apart" if len(peaks) > 1 else ""
        print(f"peak memory, {name}, depth, --jobs {jobs}: {told}{spread}{goal}")
        keep(f"peak, {name}, --jobs {jobs}", {f"{count}_frames_mb": peak for count, peak in peaks.items()})


def report_enfuse(root: Path) -> None:
    """Print enfuse and this program beside decoding, on a stack small enough for enfuse."""
    if shutil.which("enfuse") is None:
        print("enfuse: not installed (apt install enfuse); no figure")
        return
    files = _written(root / "small-files", jpegs(tiles(1)[:8])[0], ".jpg")
    folder = lay_out(root / "small", files, 8)
    data = [path.read_bytes() for path in files]
    decode_s = min(decode_all(data, 1) for _ in range(5))
    weights = ["--exposure-weight=0", "--saturation-weight=0", "--contrast-weight=1", "--hard-mask"]
    peer = run(["enfuse", *weights, "-o", str(root / "enfuse.tif"), *map(str, sorted(folder.iterdir()))])
    own = fuse(folder, "-o", str(root / "small.tif"), "--jobs", "1")
    for name, each in (("enfuse --hard-mask", peer), ("focusd fuse", own)):
        print(
            f"{name}, 8 frames of 3.1 MP, TIFF out: {each.cpu_s:.1f} s of CPU = "
            f"{each.cpu_s / decode_s:.1f} x decode, {each.peak_bytes / 1e6:.0f} MB"
        )


def deep_files(folder: Path, frames: Sequence[Any]) -> list[Path]:
    """Write frames as 16-bit TIFF, the lower bits filled, as those of a raw converter are."""
    folder.mkdir()
    lower = np.random.default_rng(1).integers(0, 256, frames[0].shape, np.uint16)
    paths = [folder / f"{number}.tif" for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        tifffile.imwrite(path, (frame[..., ::-1].astype(np.uint16) << 8) | lower, photometric="rgb")
    return paths


def _written(folder: Path, data: Sequence[bytes], suffix: str) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}{suffix}" for number in range(len(data))]
    for path, each in zip(paths, data, strict=True):
        path.write_bytes(each)
    return paths


def report(root: Path, args: argparse.Namespace) -> None:
    """Print everything."""
    frames = tiles()
    rows, cols = frames[0].shape[:2]
    megapixels = rows * cols / 1e6
    data, quality = jpegs(frames)
    density = statistics.mean(map(len, data)) / (rows * cols)
    print(
        f"pcb 2 x 2: {cols} x {rows} px, 4:2:0, quality {quality}, {density:.2f} byte a pixel; least / median"
    )
    files = _written(root / "files", data, ".jpg")
    report_adding(lay_out(root / "ten", files, len(files)), megapixels, 2 if args.quick else 3)
    report_whole(lay_out(root / "yardstick", files, args.frames), root, megapixels, args.repeat)
    long = lay_out(root / "long", files, 40 if args.quick else 200)
    report_memory("4:2:0", [root / "ten", long], root, f" (goal {GOAL_MB} MB, 5 % apart)")
    few = frames[:3]
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):
        full = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        full_files = _written(root / "full-files", jpegs(few, *full)[0], ".jpg")
        report_memory("4:4:4", [lay_out(root / "full", full_files, 10)], root)
    else:
        print("4:4:4: this OpenCV, older than 4.7, writes 4:2:0 only; no figure")
    deep = deep_files(root / "deep-files", few)
    report_memory("16-bit 4:4:4 TIFF", [lay_out(root / "deep", deep, 10)], root)
    report_enfuse(root)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=60, help="of the yardstick (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="times each is done (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="12 frames, twice, and 40 for the long stack")
    parser.add_argument("--measure-add", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure_add is not None:
        measure_add(args.measure_add, args.repeat)
        return
    if not (STACKS / "pcb").is_dir():
        raise SystemExit(f"no real stacks in {STACKS}: set FOCUSD_STACKS")
    if args.quick:
        args.frames, args.repeat = 12, 2
    with tempfile.TemporaryDirectory(prefix="bench-fuse-") as folder:
        report(Path(folder), args)


if __name__ == "__main__":
    main()
