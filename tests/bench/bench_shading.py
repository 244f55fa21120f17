"""What taking out the shading of a frame costs beside decoding it, and what is left of the shading.

    nice python tests/bench/bench_shading.py [--repeat 5] [--quick]

Cost: the yardstick of ``bench_fuse`` (12.6 MP, 4:2:0 JPEG of about 0.30 byte a pixel), one thread, beside
``cv2.imdecode`` of a file that such a frame comes from. What is left: an even ground of three brightnesses,
its corners at 60 %, in samples in proportion to the light and in sRGB's; the flat is a mean of 16 frames of
the ground at full brightness. Unevenness is the largest less the smallest of any colour, blurred by 16 px,
over its mean.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from bench_fuse import jpegs, tiles, times

from focusd.pictures.average import Averaging, average_of
from focusd.pictures.images import decode_frame
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr, to_planes
from focusd.pictures.shading import Shading

GOAL = 0.3
SHAPE = (600, 800)
NOISE = 1.8
LOST = (0.4, 0.4, 0.4)
Floats = npt.NDArray[np.float64]


def falloff(shape: tuple[int, int], lost: float) -> Floats:
    """Light left at each pixel, 1 in the middle."""
    rows, cols = shape
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : cols * 1j]
    return np.asarray(1 - lost * (y**2 + (x * cols / rows) ** 2) / (1 + (cols / rows) ** 2))


def encoded(light: Floats) -> Floats:
    """SRGB's curve (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def light_of(value: Floats) -> Floats:
    """And back."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def photographed(
    scene: Floats, lost: tuple[float, float, float], srgb: bool, rng: np.random.Generator | None
) -> Image:
    """Take a picture of `scene`, levels of 255, through a lens that loses light to the corners."""
    left = np.dstack([falloff(scene.shape[:2], each) for each in lost])
    seen = 255 * encoded(light_of(scene / 255) * left) if srgb else scene * left
    if rng is not None:
        seen = seen + rng.normal(0, NOISE, seen.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def unevenness(image: Image) -> float:
    """Return that of the worst colour."""
    even = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 16)
    return float((np.ptp(even, axis=(0, 1)) / even.mean(axis=(0, 1))).max())


def measure_left() -> None:
    """Print what of the shading is left."""
    ground = np.full((*SHAPE, 3), (150.0, 170.0, 160.0))
    rng = np.random.default_rng(1)
    forms: tuple[tuple[str, Callable[[Image], Image | Planes]], ...] = (
        ("BGR", lambda image: image),
        ("4:2:0", to_planes),
    )
    for name, form in forms:
        for srgb in (False, True):
            averaging = Averaging()
            for _ in range(16):
                averaging.add(form(photographed(ground, LOST, srgb, rng)))
            shading = Shading.of(averaging.result())
            for share in (1.0, 0.5, 0.25):
                frame = form(photographed(ground * share, LOST, srgb, rng))
                before, after = (unevenness(to_bgr(each)) for each in (frame, shading.correct(frame)))
                print(
                    f"{name}, {'sRGB' if srgb else 'linear'}, ground at {share:.0%} of the flat's level: "
                    f"uneven by {before:.1%}, corrected {after:.1%}"
                )


def measure_colour() -> None:
    """Print how far colour is from the truth when the light's colour is uneven as well."""
    ground = np.full((*SHAPE, 3), (150.0, 170.0, 160.0))
    rng = np.random.default_rng(2)
    band = ground.copy()
    band[:, 300:500] *= (1.3, 0.7, 0.4)
    for lost in (LOST, (0.45, 0.4, 0.35), (0.5, 0.4, 0.3)):
        averaging = Averaging()
        for _ in range(16):
            averaging.add(to_planes(photographed(ground, lost, False, rng)))
        shading = Shading.of(averaging.result())
        level = np.array([photographed(ground, lost, False, None)[..., each].mean() for each in range(3)])
        truth = to_planes(np.clip(np.rint(band * (level / ground.mean((0, 1)))), 0, 255).astype(np.uint8))
        frame = to_planes(photographed(band, lost, False, rng))
        gain_only = Shading(replace(shading.field, casts=()))
        for name, made in (
            ("as taken", frame),
            ("gain of the luma alone", gain_only.correct(frame)),
            ("and the flat's own cast taken off", shading.correct(frame)),
        ):
            assert isinstance(made, Planes)
            error = np.dstack([made.blue.astype(float) - truth.blue, made.red.astype(float) - truth.red])
            error = np.abs(cv2.GaussianBlur(error, (0, 0), 2))
            print(
                f"blue, green, red lose {lost}: {name}: colour is off by up to {error[:, :140].max():.1f} "
                f"levels on the ground, {error[:, 160:240].max():.1f} on the band"
            )


def shadings(frame: Planes, data: bytes) -> dict[str, tuple[Shading, Image | Planes, bytes]]:
    """Shadings of the yardstick's size, each with a frame for it and its file."""
    shape, rng = frame.shape, np.random.default_rng(3)
    even = np.full((*shape, 3), 160.0)

    def made(first: Image | Planes, dark: Image | Planes | None = None) -> Shading:
        return Shading.of(average_of(first), None if dark is None else average_of(dark))

    image = to_bgr(frame)
    wide = image.astype(np.uint16) * 257
    sampled_444 = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    jpeg_444 = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95, *sampled_444])[1].tobytes()
    png = cv2.imencode(".png", wide)[1].tobytes()
    plain, tinted = (photographed(even, lost, False, rng) for lost in (LOST, (0.5, 0.4, 0.3)))
    dark = np.clip(rng.normal(6, 1, (*shape, 3)), 0, 255).astype(np.uint8)
    return {
        "4:2:0": (made(to_planes(plain)), frame, data),
        "4:2:0, dark": (made(to_planes(plain), to_planes(dark)), frame, data),
        "4:2:0, uneven colour": (made(to_planes(tinted)), frame, data),
        "BGR (4:4:4 JPEG)": (made(plain), image, jpeg_444),
        "BGR, 16 bits (PNG)": (made(plain.astype(np.uint16) * 257), wide, png),
    }


def measure_cost(repeat: int, scale: int) -> None:
    """Print ms a megapixel, and the ratio to decoding."""
    cv2.setNumThreads(1)
    (data, *_), quality = jpegs(tiles(scale)[:1])
    frame = decode_frame(data, "yardstick")
    assert isinstance(frame, Planes)
    megapixels = frame.shape[0] * frame.shape[1] / 1e6
    print(f"{megapixels:.1f} MP, quality {quality}, {len(data) / megapixels / 1e6:.2f} byte a pixel")

    def seconds(work: Callable[[], Any]) -> float:
        began_s = time.perf_counter()
        work()
        return time.perf_counter() - began_s

    for name, (shading, each, file) in shadings(frame, data).items():
        out = (
            Planes(each.luma.copy(), each.blue.copy(), each.red.copy())
            if isinstance(each, Planes)
            else each.copy()
        )

        def correct(shading: Shading = shading, each: Any = each, out: Any = out) -> float:
            return seconds(lambda: shading.correct(each, out))

        def decode(file: bytes = file) -> float:
            return seconds(lambda: cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED))

        decoding, correcting = times(decode, correct, repeat=repeat)
        print(
            f"{name}: {1e3 * correcting[0] / megapixels:.2f} ms/MP (median "
            f"{1e3 * correcting[1] / megapixels:.2f}), decoding {1e3 * decoding[0] / megapixels:.2f}: "
            f"ratio {correcting[0] / decoding[0]:.2f} (goal: at most {GOAL}); "
            f"{shading.nbytes / megapixels / 1e6:.1f} bytes a pixel"
        )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="frames of a quarter of the size")
    args = parser.parse_args()
    measure_cost(args.repeat, 1 if args.quick else 2)
    measure_left()
    measure_colour()


if __name__ == "__main__":
    main()
