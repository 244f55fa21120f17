"""Quality and cost of fusion on a synthetic stack, beside decoding, in one run.

    nice python tests/bench/bench_fusion.py [--noise 2] [--method pyramid] [--stack DIR]

The scene: textured ground that slopes from far to near, spheres on it and bristles above it, each bristle
opaque and at its own depth; disc blur, one layer composited over the other. The oracle takes per pixel the
frame nearest the true depth.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion import Fusion
from focusd.pictures.images import read_image

Image = npt.NDArray[Any]


@dataclass(frozen=True)
class Scene:
    """Layers far to near: colour, opacity and height (frame units) of each."""

    layers: list[tuple[Image, Image, Image]]
    frames: int
    blur_px_per_step: float

    def truth(self) -> tuple[Image, Image]:
        """All-in-focus image and height map."""
        image, height = np.zeros_like(self.layers[0][0]), np.zeros_like(self.layers[0][2])
        for colour, alpha, z in self.layers:
            image = image * (1 - alpha[..., None]) + colour * alpha[..., None]
            height = np.where(alpha > 0.5, z, height)
        return image, height

    def frame(self, position: float, noise: float, seed: int) -> Image:
        """Render the frame focused at `position` (frame units)."""
        image = np.zeros_like(self.layers[0][0])
        for colour, alpha, z in self.layers:
            seen, cover = self._blurred(colour * alpha[..., None], alpha, np.abs(z - position))
            image = image * (1 - cover[..., None]) + seen
        image += np.random.default_rng(seed).normal(0, noise, image.shape).astype(np.float32)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _blurred(self, colour: Image, alpha: Image, defocus: Image) -> tuple[Image, Image]:
        """Blur by discs whose size follows `defocus`, interpolated between fixed sizes."""
        stack = np.dstack([colour, alpha])
        radius = defocus * (self.blur_px_per_step / 2)
        steps = [0.0, 0.7, 1.4, 2.2, 3.2, 4.5, 6.5, 9.0, 13.0, 19.0, 28.0]
        out = np.zeros_like(stack)
        for index, r in enumerate(steps):
            below = steps[index - 1] if index else -1.0
            above = steps[index + 1] if index + 1 < len(steps) else 1e9
            share = np.clip(np.minimum((radius - below) / (r - below), (above - radius) / (above - r)), 0, 1)
            if share.any():
                out += (stack if r == 0 else cv2.filter2D(stack, -1, disc(r))) * share[..., None]
        return out[..., :3], out[..., 3]


def disc(radius_px: float) -> Image:
    """Antialiased disc kernel of sum 1."""
    half = int(np.ceil(radius_px))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return kernel / kernel.sum()


def texture(rows: int, cols: int, rng: np.random.Generator) -> Image:
    """Colour texture with detail at every scale down to a pixel."""
    total = np.zeros((rows, cols, 3), np.float32)
    for octave in range(7):
        shape = (max(2, rows >> octave), max(2, cols >> octave), 3)
        rough = cv2.resize(
            rng.normal(0, 1, shape).astype(np.float32), (cols, rows), interpolation=cv2.INTER_CUBIC
        )
        grey = rough.mean(axis=2, keepdims=True) * 1.7
        total += (0.75 * grey + 0.25 * rough) * 0.8**octave * (0.35 if octave == 0 else 1)
    return np.clip(120 + 26 * total, 5, 250)


def make_scene(rows: int, cols: int, frames: int, seed: int) -> Scene:
    """Ground, spheres and bristles."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols].astype(np.float32)
    ground = (frames - 1) * (0.05 + 0.5 * x / cols + 0.1 * np.sin(y / rows * 6))
    for _ in range(6):
        r = rng.uniform(0.06, 0.15) * cols
        squared = r**2 - (x - rng.uniform(0, cols)) ** 2 - (y - rng.uniform(0, rows)) ** 2
        ground = ground + np.sqrt(np.maximum(squared, 0)) / r * frames * 0.25
    layers = [(texture(rows, cols, rng), np.ones((rows, cols), np.float32), np.clip(ground, 0, frames - 1))]
    for _ in range(3):
        alpha = np.zeros((rows, cols), np.float32)
        for _ in range(3):
            start = (int(rng.uniform(0, cols)), int(rng.uniform(0, rows)))
            end = (int(rng.uniform(0, cols)), int(rng.uniform(0, rows)))
            cv2.line(alpha, start, end, 1.0, int(rng.integers(2, 8)), cv2.LINE_AA)
        z = np.full((rows, cols), rng.uniform(0.8, 1.0) * (frames - 1), np.float32)
        layers.append((texture(rows, cols, rng) * rng.uniform(0.4, 1.2), alpha, z))
    return Scene([(c.astype(np.float32), a, h.astype(np.float32)) for c, a, h in layers], frames, 1.6)


def psnr(one: Image, other: Image) -> float:
    """Peak signal to noise, dB, on 255."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other) ** 2)))


def grey(image: Image) -> Image:
    """Luma as float."""
    return np.asarray(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_BGR2GRAY))


def fuse_timed(frames: list[Image], method: str) -> tuple[Fusion, float]:
    """Fuse and return seconds spent in `add`, the first frame (allocation, noise) left out."""
    fusion = Fusion(method=method)  # type: ignore[arg-type]
    fusion.add(frames[0], 0.0)
    began = time.perf_counter()
    for number, frame in enumerate(frames[1:], 1):
        fusion.add(frame, float(number))
    return fusion, (time.perf_counter() - began) / (len(frames) - 1)


def report_synthetic(noise: float, method: str, rows: int, cols: int, count: int, seed: int) -> None:
    scene = make_scene(rows, cols, count, seed)
    truth, height = scene.truth()
    frames = [scene.frame(float(i), noise, 1000 + i) for i in range(count)]
    nearest = np.clip(np.rint(height), 0, count - 1).astype(int)
    oracle = np.take_along_axis(np.stack(frames), nearest[None, ..., None], axis=0)[0]
    fusion, seconds = fuse_timed(frames, method)
    began = time.perf_counter()
    result = fusion.result()
    result_s = time.perf_counter() - began
    jpegs = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1] for frame in frames]
    began = time.perf_counter()
    for jpeg in jpegs:
        cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    decode = (time.perf_counter() - began) / count
    mp = rows * cols / 1e6
    error = np.abs(result.depth_um - height)
    confident = result.confidence >= np.median(result.confidence)
    middle = confident & (height > 1) & (height < count - 2)
    got, best = psnr(grey(result.image), grey(truth)), psnr(grey(oracle), grey(truth))
    print(
        f"{method} noise {noise}: luma {got:.2f} dB, oracle {best:.2f} ({got - best:+.2f}); "
        f"colour {psnr(result.image, truth):.2f}, oracle {psnr(oracle, truth):.2f}; "
        f"sigma {fusion.sigma:.2f}"
    )
    print(
        f"  depth, confident half: median {np.nanmedian(error[confident]):.3f} step, away from ends "
        f"{np.nanmedian(error[middle]):.3f}, above 1 step {np.mean(error[confident] > 1):.2%}; "
        f"unknown {np.mean(np.isnan(result.depth_um)):.2%}"
    )
    print(
        f"  add {1e3 * seconds / mp:.1f} ms/MP, result {1e3 * result_s / mp:.1f}, imdecode "
        f"{1e3 * decode / mp:.1f} (JPEG {np.mean([j.size for j in jpegs]) / mp / 1e6:.2f} B/px); state "
        f"{fusion.nbytes / mp / 1e6:.1f} B/px"
    )


def report_stack(folder: Path, method: str) -> None:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".png", ".tif"})
    began = time.perf_counter()
    frames = [read_image(path) for path in paths]
    decode = (time.perf_counter() - began) / len(frames)
    mp = frames[0].shape[0] * frames[0].shape[1] / 1e6
    fusion, seconds = fuse_timed(frames, method)
    fused = grey(fusion.result().image)
    low, high = np.full(fused.shape, 255, np.float32), np.zeros(fused.shape, np.float32)
    window = np.ones((5, 5), np.uint8)
    for frame in frames:
        low, high = (
            np.minimum(low, cv2.erode(grey(frame), window)),
            np.maximum(high, cv2.dilate(grey(frame), window)),
        )
    outside = np.mean((fused < low - 4) | (fused > high + 4))
    backward = Fusion(method=method, sigma=fusion.sigma)  # type: ignore[arg-type]
    for number in reversed(range(len(frames))):
        backward.add(frames[number], float(number))
    moved = np.mean(np.abs(fused - grey(backward.result().image)) > 2)
    print(
        f"{folder.name}: {len(frames)} frames of {mp:.1f} MP, add {1e3 * seconds / mp:.1f} ms/MP, decode "
        f"{1e3 * decode / mp:.1f}; {outside:.2%} of pixels over 4 levels outside all frames' 5x5 range; "
        f"{moved:.4%} differ by more than 2 fed backwards"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, nargs="+", default=[0, 2, 6])
    parser.add_argument("--method", nargs="+", default=["pyramid"])
    parser.add_argument("--stack", type=Path, nargs="*", default=[])
    parser.add_argument("--size", type=int, nargs=2, default=[1000, 1500], metavar=("ROWS", "COLS"))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for method in args.method:
        for noise in args.noise:
            report_synthetic(noise, method, *args.size, args.frames, args.seed)
        for folder in args.stack:
            report_stack(folder, method)
    print(f"peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
