"""What gain, the gate for odd frames, and the search for dust give on flawed stacks, and what they cost.

    nice python tests/bench/bench_flaws.py [--megapixels 0.4] [--only gain|odd|dust|hot|cost]

Scenes of the fusion suite with noise 2, and the stacks of FOCUSD_STACKS (default ``../shared/stacks``) where
they are there. Nothing here fails: figures alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from focusd.fusion import Fusion
from focusd.pictures.samples import to_bgr, to_planes
from focusd.register.dust import Drift, DustMap, DustSearch
from focusd.register.gain import Gain, GainMeter
from focusd.register.oddity import Gate
from focusd.register.sketch import Sketch
from focusd_sim.score import psnr
from focusd_sim.suite import NAMES, SuiteStack, stack_named
from focusd_sim.suite_flaws import Flaws

STACKS = Path(os.environ.get("FOCUSD_STACKS", "../shared/stacks"))
BORDER_PX = 20


def frames_of(stack: SuiteStack) -> list[Any]:
    """Render all."""
    return [stack.frame(index) for index in range(len(stack.positions_um))]


def matrices_of(stack: SuiteStack) -> list[Any]:
    """True transforms of a stack that drifts."""
    shifts = (stack.shift_px(index) for index in range(len(stack.positions_um)))
    return [np.array([[1, 0, col], [0, 1, row]], np.float64) for row, col in shifts]


def fused(stack: SuiteStack, frames: Iterable[Any], matrices: Sequence[Any] | None = None) -> float:
    """Fuse, frames laid on the first; luma PSNR against the truth, dB."""
    fusion = Fusion()
    for index, (frame, position_um) in enumerate(zip(frames, stack.positions_um, strict=True)):
        if matrices is not None:
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            size = frame.shape[1::-1]
            frame = cv2.warpAffine(frame, matrices[index], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        fusion.add(frame, position_um)
    inner = (slice(BORDER_PX, -BORDER_PX),) * 2
    made = to_bgr(fusion.result().image)
    return psnr(np.ascontiguousarray(made[inner]), np.ascontiguousarray(stack.truth[inner]))


def left_over(frames: Sequence[Any], clean: Sequence[Any]) -> float:
    """Largest departure of a frame's brightness from the stack's, in percent of it."""
    found = []
    for frame, ideal in zip(frames, clean, strict=True):
        one, other = Sketch.of(frame), Sketch.of(ideal)
        good = ~one.clipped & ~other.clipped & (other.levels.min(axis=2) > 10)
        found.append(float(np.median(np.log(one.luma[good] / other.luma[good]))))
    return float(np.abs(np.array(found) - np.median(found)).max() * 100)


def gained(frames: Iterable[Any]) -> tuple[list[Any], list[Gain]]:
    """Correct frames; with what they were multiplied by."""
    meter, made, gains = GainMeter(), [], []
    for frame in frames:
        gains.append(meter.measure(Sketch.of(frame)))
        made.append(gains[-1].apply(frame))
    return made, gains


def bench_gain(megapixels: float) -> None:
    """Flicker of 5 % luma and 3 % a channel, and none; then 200 frames; then real stacks."""
    print(
        "scene     PSNR dB: no flicker, flicker, corrected; left %: flicker, corrected BGR, planes; untouched"
    )
    for name in NAMES:
        steady = stack_named(name, seed=1, noise=2, megapixels=megapixels)
        frames, clean = frames_of(steady), frames_of(steady.with_noise(0))
        flawed = frames_of(steady.spoiled(Flaws(flicker=0.05, colour_flicker=0.03)))
        made, _ = gained(flawed)
        planes = [to_planes(frame) for frame in flawed]
        corrected, _ = gained(planes)
        untouched = all(gain.is_one for gain in gained(frames)[1])
        print(
            f"{name:9s} {fused(steady, frames):6.2f} {fused(steady, flawed):6.2f} {fused(steady, made):6.2f}"
            f"   {left_over(flawed, clean):5.2f} {left_over(made, clean):5.2f}"
            f" {left_over(corrected, [to_planes(each) for each in clean]):5.2f}   {untouched}",
            flush=True,
        )
    for name in ("general", "wide", "bristles"):
        steady = stack_named(name, seed=1, noise=2, frames=200, megapixels=0.1)
        spoiled = steady.spoiled(Flaws(flicker=0.05, colour_flicker=0.03))
        meter, known, away = GainMeter(), GainMeter(), []
        known._flickers = True
        for index in range(200):
            gain = meter.measure(Sketch.of(spoiled.frame(index)))
            content = known.measure(Sketch.of(steady.frame(index)))
            rng = np.random.default_rng((1, index))
            true = (1 + 0.05 * rng.uniform(-1, 1)) * (1 + 0.03 * rng.uniform(-1, 1, 3))
            away.append(np.log(gain.as_json()) - np.log(content.as_json()) + np.log(true))
        off = np.array(away) * 100
        print(
            f"{name:9s} 200 frames: wanders {np.ptp(off[20:].mean(axis=1)):.2f} %,"
            f" last against 20th {np.abs(off[-20:].mean(axis=0) - off[10:30].mean(axis=0)).max():.2f} %",
            flush=True,
        )
    for folder in sorted(STACKS.iterdir()) if STACKS.is_dir() else []:
        if folder.is_dir():
            pictures = (cv2.imread(str(path)) for path in sorted(folder.iterdir()))
            meter = GainMeter()
            found = np.array([meter.measure(Sketch.of(each)).as_json() for each in pictures])
            print(
                f"{folder.name:12s} flickers {meter.flickers}, gains {found.min():.4f} to {found.max():.4f}"
            )


def smeared(frame: Any, length_px: int, angle: float) -> Any:
    """Blur along a line."""
    side = length_px | 1
    kernel = np.zeros((8 * side, 8 * side), np.uint8)
    away = np.array([np.cos(angle), np.sin(angle)]) * length_px * 4
    ends = [tuple(int(each) for each in 4 * side + sign * away) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 255, 8)
    weight = cv2.resize(kernel, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.filter2D(frame, -1, weight / weight.sum())


def accused(sketches: Iterable[Sketch]) -> dict[int, str]:
    """Numbers of the frames that a gate takes for odd, and why."""
    gate: Gate[int] = Gate()
    found = [each for number, sketch in enumerate(sketches) for each in gate.enter(number, sketch)]
    return {each.item: each.oddity.reason for each in found + gate.close() if each.oddity is not None}


def bench_odd(megapixels: float) -> None:
    """Spoil frames one at a time; count those found, and good ones accused."""
    rng = np.random.default_rng(0)
    kinds: dict[str, Callable[[Any, Any], Any]] = {
        "black": lambda frame, _: np.zeros_like(frame),
        "0.7 x": lambda frame, _: cv2.convertScaleAbs(frame, alpha=0.7),
        "1.4 x": lambda frame, _: cv2.convertScaleAbs(frame, alpha=1.4),
        "foreign": lambda frame, other: cv2.resize(other, frame.shape[1::-1]),
        "10 px": lambda frame, _: smeared(frame, 10, rng.uniform(0, np.pi)),
        "14 px": lambda frame, _: smeared(frame, 14, rng.uniform(0, np.pi)),
        "20 px": lambda frame, _: smeared(frame, 20, rng.uniform(0, np.pi)),
    }
    stranger = stack_named("bristles", seed=2, noise=2, megapixels=megapixels).frame(10)
    other = stack_named("general", seed=3, noise=2, megapixels=megapixels).frame(10)
    good = wrong = 0

    def judge(name: str, frames: list[Any], noise: float) -> None:
        nonlocal good, wrong
        sketches = [Sketch.of(frame) for frame in frames]
        for order in (sketches, sketches[::-1]):
            good, wrong = good + len(order), wrong + len(accused(order))
        row = []
        for kind, spoil in kinds.items():
            hits, tried = 0, range(1, len(frames) - 1, max(1, len(frames) // 8))
            for at in tried:
                bad = spoil(frames[at], stranger if name != "bristles" else other)
                if noise and kind.endswith("px"):
                    # What was smeared with the picture is not the sensor's any more.
                    bad = np.clip(np.rint(bad + rng.normal(0, noise, bad.shape)), 0, 255).astype(np.uint8)
                found = accused([*sketches[:at], Sketch.of(bad), *sketches[at + 1 :]])
                hits += at in found
                good, wrong = good + len(frames) - 1, wrong + len(set(found) - {at})
            row.append(f"{kind} {hits}/{len(tried)}")
        print(f"{name:12s}", ", ".join(row), flush=True)

    for name in NAMES:
        stack = stack_named(name, seed=1, noise=2, megapixels=megapixels, flaws=Flaws(flicker=0.05))
        judge(name, frames_of(stack), 2)
    for folder in sorted(STACKS.iterdir()) if STACKS.is_dir() else []:
        if folder.is_dir():
            judge(folder.name, [cv2.imread(str(path)) for path in sorted(folder.iterdir())], 0)
    print(f"{wrong} of {good} good frames accused")


def bench_dust(megapixels: float) -> None:
    """Dust of 150 spots a megapixel at several drifts, and none; luma PSNR."""
    print("scene     drift px, spots: PSNR dusty, cleaned, never dusty; spots found, moved across")
    for name in ("general", "scene-b", "flat", "wide"):
        for drift_px, spots in ((12.0, 150), (4.0, 150), (0.0, 150), (12.0, 0)):
            stack = stack_named(name, seed=1, noise=2, megapixels=megapixels, flaws=Flaws(drift_px=drift_px))
            dusty = stack.spoiled(Flaws(drift_px=drift_px, dust_spots=round(spots * megapixels)))
            frames, matrices = frames_of(dusty), matrices_of(dusty)
            before = fused(dusty, frames, matrices)
            search, drift = DustSearch(), Drift(frames[0].shape)
            for frame, matrix in zip(frames, matrices, strict=True):
                search.look(frame, matrix)
                drift.take(matrix)
            found: DustMap = search.found()
            moved = found.moved(drift)
            for frame in frames:
                moved.clean(frame)
            never = fused(stack, frames_of(stack), matrices)
            print(
                f"{name:9s} {drift_px:4.0f} {spots:3d}: {before:.2f} {fused(dusty, frames, matrices):.2f}"
                f" {never:.2f}; {len(found.spots)}, {len(moved.spots)}",
                flush=True,
            )


def bench_hot(megapixels: float) -> None:
    """Hot pixels, 12 to 200 levels on one colour or on all, at several drifts, and none; luma PSNR."""
    print("scene     drift px, share: PSNR hot, mended, never hot; hot pixels, of these found, others found")
    for name in ("general", "scene-b", "flat", "wide"):
        for drift_px, share in ((12.0, 2e-4), (12.0, 1e-3), (6.0, 1e-3), (0.0, 1e-3), (12.0, 0.0)):
            stack = stack_named(name, seed=1, noise=2, megapixels=megapixels, flaws=Flaws(drift_px=drift_px))
            clean, matrices = frames_of(stack), matrices_of(stack)
            rows, cols = clean[0].shape[:2]
            rng = np.random.default_rng(7)
            at = rng.choice(rows * cols, round(share * rows * cols), replace=False)
            added = rng.integers(12, 201, (len(at), 1)) * np.eye(3, dtype=int)[rng.integers(0, 3, len(at))]
            never, there = fused(stack, clean, matrices), set(at.tolist())
            for kind in ("one colour", "all colours"):
                more = added if kind == "one colour" else added.max(axis=1, keepdims=True)
                frames = [frame.copy() for frame in clean]
                for frame in frames:
                    flat = frame.reshape(-1, 3)
                    flat[at] = np.minimum(flat[at] + more, 255)
                before = fused(stack, frames, matrices)
                search, drift = DustSearch(), Drift(frames[0].shape)
                for frame, matrix in zip(frames, matrices, strict=True):
                    search.look(frame, matrix)
                    drift.take(matrix)
                moved = search.found().moved(drift)
                for frame in frames:
                    moved.clean(frame)
                found = {y * cols + x for x, y in moved.hot.pixels}
                print(
                    f"{name:9s} {drift_px:4.0f} {share:.4f} {kind:11s}: {before:.2f}"
                    f" {fused(stack, frames, matrices):.2f} {never:.2f};"
                    f" {len(there)}, {len(found & there)}, {len(found - there)}",
                    flush=True,
                )


def bench_cost(megapixels: float) -> None:
    """CPU time, ms per MP, one thread, beside decoding a JPEG of the same frame."""
    cv2.setNumThreads(1)
    frame = stack_named("general", seed=1, noise=2, megapixels=megapixels).frame(10)
    jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    planes, gain, matrix = to_planes(frame), Gain(1.03, 0.98, 1.01), np.array([[1, 0, 0.3], [0, 1, 0.2]])
    meter, search, sketch = GainMeter(), DustSearch(), Sketch.of(planes)
    meter._flickers = True
    work: dict[str, Callable[[], object]] = {
        "decode": lambda: cv2.imdecode(jpeg, cv2.IMREAD_COLOR),
        "sketch": lambda: Sketch.of(planes),
        "measure": lambda: meter.measure(sketch, matrix),
        "apply": lambda: gain.apply(planes, out=planes),
        "look for dust": lambda: search.look(planes, matrix),
    }
    actual = planes.luma.size / 1e6
    for name, call in work.items():
        spent = []
        for _ in range(9):
            began = time.thread_time()
            call()
            spent.append(time.thread_time() - began)
        print(f"{name:14s} {min(spent) * 1e3 / actual:6.2f} ms/MP ({len(jpeg) / planes.luma.size:.2f} B/px)")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=0.4)
    parser.add_argument("--only", choices=("gain", "odd", "dust", "hot", "cost"))
    args = parser.parse_args()
    parts = {"gain": bench_gain, "odd": bench_odd, "dust": bench_dust, "hot": bench_hot, "cost": bench_cost}
    for name, part in parts.items():
        if args.only in (None, name):
            part(args.megapixels)


if __name__ == "__main__":
    main()
