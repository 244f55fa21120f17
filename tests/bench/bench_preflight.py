"""What the test before a stack makes of real stacks, and of what must be refused; its time beside decoding.

    nice python tests/bench/bench_preflight.py [STACK ...] [--every N] [--megapixels M]

Stacks are folders under FOCUSD_STACKS (default ../shared/stacks), frames in the order of their names. For
each: every frame as it is (* in the middle third), then the middle one blurred by Gaussians of 3 to 30 px
with fresh noise, blown to 60, 80 and 100 % and darkened to nothing. Then black frames of several kinds of
noise, and the time for a frame of 12 megapixels, its file being made of the stacks' own.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.pictures.images import SUFFIXES, decode_frame, encode_jpeg, read_frame, read_image
from focusd.pictures.planes import Planes
from focusd.pictures.samples import to_bgr
from focusd.preflight import BLACK_LEVEL, BLOWN_SHARE, BLUR_PX, Look, look_at

Plane = npt.NDArray[np.float32]
Image = npt.NDArray[Any]

_BLURS_PX = (3, 6, 12, 20, 30)
_NOISES = (0.0, 0.5, 1.5, 4.0)


def stacks_folder() -> Path:
    return Path(os.environ.get("FOCUSD_STACKS", "../shared/stacks"))


def luma_of(frame: Image | Planes) -> Image:
    if isinstance(frame, Planes):
        return frame.luma
    return frame if frame.ndim == 2 else np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


def noisy(plane: Plane, sigma: float, seed: int = 1) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, plane.shape) if sigma else 0.0
    return np.clip(np.rint(plane + noise), 0, 255).astype(np.uint8)


def line(name: str, look: Look) -> str:
    detail = "-" if look.detail is None else f"{look.detail:6.2f}"
    blur = "-" if look.blur_px is None else f"{look.blur_px:5.1f}"
    found = ", ".join(finding.code for finding in look.findings) or "passes"
    return (
        f"  {name:24} brightest {look.brightest:5.1f}  blown {look.blown_share:6.2%}  detail {detail:>6}  "
        f"blur {blur:>5} px  {found}"
    )


def wrong(name: str, look: Look, wanted: Sequence[str]) -> list[str]:
    """Complain unless one of the findings `wanted` came; none wanted: unless all was well."""
    codes = [finding.code for finding in look.findings]
    print(line(name, look), flush=True)
    good = not codes if not wanted else bool(set(codes) & set(wanted))
    return [] if good else [f"{name}: {codes or 'passes'}"]


def judged(folder: Path, every: int) -> list[str]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    third = range(len(paths) // 3, len(paths) - len(paths) // 3)
    faults: list[str] = []
    print(f"\n{folder.name}, {len(paths)} frames")
    for index, path in enumerate(paths):
        inner = index in third
        if inner or index % every == 0:
            look = look_at(read_frame(path))
            if inner:
                faults += wrong(f"* {path.stem}", look, ())
            else:
                print(line(f"  {path.stem}", look))
    luma = luma_of(read_frame(paths[len(paths) // 2])).astype(np.float32)
    for blur_px in _BLURS_PX:
        soft = cv2.GaussianBlur(luma, (0, 0), blur_px)
        for sigma in _NOISES:
            name, look = f"blur {blur_px} px, noise {sigma:g}", look_at(noisy(soft, sigma))
            if blur_px >= 20:
                faults += wrong(name, look, ("unsharp", "featureless"))
            else:
                print(line(name, look))
    for share in (0.6, 0.8, 1.0):
        factor = 260 / max(1.0, float(np.quantile(luma, 1 - share)))
        faults += wrong(f"blown, {share:.0%}", look_at(noisy(luma * factor, 1.5)), ("blown",))
    for light in (0.0, 0.02):
        faults += wrong(f"{light:.0%} of the light", look_at(noisy(luma * light, 1.5)), ("black",))
    return [f"{folder.name}: {fault}" for fault in faults]


def black() -> list[str]:
    print("\nblack frames: standard deviation, kind of noise, pedestal")
    white = np.random.default_rng(1).standard_normal((1000, 1500)).astype(np.float32)
    bands = np.random.default_rng(2).standard_normal((1000, 1)).astype(np.float32)
    kinds = {
        "white": white,
        "soft 1 px": cv2.GaussianBlur(white, (0, 0), 1),
        "soft 2 px": cv2.GaussianBlur(white, (0, 0), 2),
        "banded": white + 0.5 * bands,
    }
    faults: list[str] = []
    for pedestal in (0, 40):
        for kind, noise in kinds.items():
            for sigma in (0.5, 1.5, 3.0, 6.0):
                name = f"{sigma:g} {kind} +{pedestal}"
                plane = noise / noise.std() * sigma + pedestal
                faults += wrong(name, look_at(noisy(plane, 0)), ("black", "featureless"))
    return [f"black: {fault}" for fault in faults]


def timed(folders: Sequence[Path], megapixels: float) -> None:
    parts = [to_bgr(read_image(sorted(folder.iterdir())[0])) for folder in folders[:4]]
    side = (round((megapixels * 1e6 * 4 / 3) ** 0.5) // 2, round((megapixels * 1e6 * 3 / 4) ** 0.5) // 2)
    cut = [cv2.resize(part, side, interpolation=cv2.INTER_CUBIC) for part in parts]
    cut = (cut * 4)[:4]
    picture = np.vstack([np.hstack(cut[:2]), np.hstack(cut[2:])])
    print(f"\ntime for {picture.shape[1]} x {picture.shape[0]} px, best of 10, one thread")
    for sigma in (0.0, 3.0):
        data = encode_jpeg(noisy(picture.astype(np.float32), sigma), quality=93)
        frame = decode_frame(data, "frame")
        decoding = best(lambda data=data: decode_frame(data, "frame"))  # type: ignore[misc]
        looking = best(lambda frame=frame: look_at(frame))  # type: ignore[misc]
        print(
            f"  JPEG of {len(data) / 1e6:.1f} MB: decoding {1000 * decoding:.0f} ms, "
            f"test {1000 * looking:.0f} ms, {looking / decoding:.2f} of it"
        )


def best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stacks", nargs="*", metavar="STACK")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="outside the middle third")
    parser.add_argument("--megapixels", type=float, default=12.0)
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    folders = sorted(folder for folder in stacks_folder().iterdir() if folder.is_dir())
    chosen = [folder for folder in folders if not args.stacks or folder.name in args.stacks]
    print(f"limits: black {BLACK_LEVEL:g}, blown {BLOWN_SHARE:.0%}, detail 1, blur {BLUR_PX:g} px")
    faults = [fault for folder in chosen for fault in judged(folder, args.every)] + black()
    timed(chosen, args.megapixels)
    print(f"\nnot as wanted: {len(faults)}")
    for fault in faults:
        print(f"  {fault}")


if __name__ == "__main__":
    main()
