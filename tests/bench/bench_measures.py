"""The sharpness measures in one table: how well each finds depth on the suite's scenes, and what it costs.

    nice python tests/bench/bench_measures.py [SCENE ...] [--noise N ...] [--seed S] [--megapixels M]
                                              [--window PX] [--block PX]

For each pixel (each block, for the measures by blocks) depth is the parabola through the logarithms of the
largest response over z and its two neighbours. "Error" is its median distance from the truth, in steps;
"wrong" the share further off than one step; both on the half of the places with a truth whose largest
response stands out most over its mean over z. Cost is processor time of one thread. The last lines hold the
exact count on two threads, elapsed, and the approximation by bands against it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from focusd.focus.fourier import frequency_share, frequency_share_by_bands
from focusd.focus.measures import (
    brenner,
    laplacian_energy,
    laplacian_variance,
    log_norm_maxima,
    tenengrad,
)
from focusd_sim.suite import NAMES, SuiteStack, stack_named

Image = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_SMALLEST = np.float32(1e-9)


@dataclass(slots=True)
class Peak:
    """Largest response over z, its neighbours and the sum, at each place."""

    best: Plane
    below: Plane
    above: Plane
    last: Plane
    total: Plane
    origin: npt.NDArray[np.int32]
    count: int = 1

    @classmethod
    def of(cls, response: Plane) -> Peak:
        unknown = np.full_like(response, np.nan)
        return cls(
            response.copy(),
            unknown,
            unknown.copy(),
            response.copy(),
            response.copy(),
            np.zeros(response.shape, np.int32),
        )

    def add(self, response: Plane) -> None:
        won = response > self.best
        was = self.origin == self.count - 1
        np.copyto(self.above, response, where=was & ~won)
        np.copyto(self.above, np.float32(np.nan), where=won)
        np.copyto(self.below, self.last, where=won)
        np.copyto(self.best, response, where=won)
        np.copyto(self.origin, self.count, where=won)
        self.last = response.copy()
        self.total += response
        self.count += 1

    def depth_steps(self) -> Plane:
        """Vertex of the parabola through the logarithms; the frame itself at the stack's ends."""
        low, here, high = (np.log(np.maximum(p, _SMALLEST)) for p in (self.below, self.best, self.above))
        bend = low - 2 * here + high
        with np.errstate(invalid="ignore", divide="ignore"):
            shift = 0.5 * (low - high) / bend
        return np.asarray(self.origin + np.where(bend < 0, np.clip(shift, -0.5, 0.5), 0), np.float32)

    @property
    def peakiness(self) -> Plane:
        return np.asarray(self.best / np.maximum(self.total / self.count, _SMALLEST), np.float32)


@dataclass(slots=True)
class Entry:
    """A measure, what it found and what it took."""

    name: str
    measure: Callable[[Image], Plane]
    stride_px: int = 1
    offset_px: int = 0
    peak: Peak | None = None
    costs_s: list[float] = field(default_factory=list)

    def look(self, frame: Image) -> None:
        start = time.process_time()
        response = self.measure(frame)
        self.costs_s.append(time.process_time() - start)
        if self.peak is None:
            self.peak = Peak.of(response)
        else:
            self.peak.add(response)

    def at(self, truth: Plane) -> Plane:
        """Truth at the places of the map."""
        assert self.peak is not None
        rows, cols = self.peak.best.shape
        places: Plane = truth[self.offset_px :: self.stride_px, self.offset_px :: self.stride_px]
        return places[:rows, :cols]


def entries(window_px: int, block_px: int) -> list[Entry]:
    middle = block_px // 2
    return [
        Entry("variance of Laplacian", partial(laplacian_variance, window_px=window_px)),
        Entry("Laplacian energy", partial(laplacian_energy, window_px=window_px)),
        Entry("LoG norm, maxima", partial(log_norm_maxima, window_px=window_px)),
        Entry("Tenengrad", partial(tenengrad, window_px=window_px)),
        Entry("Brenner", partial(brenner, window_px=window_px)),
        Entry(
            "frequency, exact",
            partial(frequency_share, block_px=block_px, stride_px=block_px // 4),
            block_px // 4,
            middle,
        ),
        Entry(
            "frequency, by bands", partial(frequency_share_by_bands, block_px=block_px), block_px // 4, middle
        ),
    ]


def errors(entry: Entry, stack: SuiteStack) -> tuple[float, float]:
    """Median error in steps, and share off by more than a step, on the confident half."""
    assert entry.peak is not None
    truth = (entry.at(stack.height_um) - stack.positions_um[0]) / stack.step_um
    within: Mask = np.isfinite(truth) & (truth > 0) & (truth < len(stack.positions_um) - 1)
    off = np.abs(entry.peak.depth_steps() - truth)[within]
    peakiness = entry.peak.peakiness[within]
    sure = off[peakiness >= np.median(peakiness)]
    return float(np.median(sure)), float(np.mean(sure > 1))


def rank_correlation(a: Plane, b: Plane) -> float:
    ranks = [np.argsort(np.argsort(plane.ravel(), kind="stable"), kind="stable") for plane in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def two_threads_ms(frame: Image, block_px: int) -> float:
    """Elapsed time of the exact count on two threads, ms per megapixel."""
    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        frequency_share(frame, block_px, block_px // 4, each=pool.map)
        elapsed_s = time.perf_counter() - start
    rows, cols = frame.shape[:2]
    return float(elapsed_s * 1e9 / (rows * cols))


def bench(stack: SuiteStack, window_px: int, block_px: int) -> None:
    table = entries(window_px, block_px)
    correlations, differences, two_ms = [], [], []
    frames = len(stack.positions_um)
    for index in range(frames):
        frame = stack.frame(index)
        for entry in table:
            entry.look(frame)
        if index in (0, frames // 2, frames - 1):
            exact, about = (entry.measure(frame) for entry in table[-2:])
            correlations.append(rank_correlation(exact, about))
            differences.append(float(np.abs(exact - about).mean()))
            two_ms.append(two_threads_ms(frame, block_px))
    megapixels = stack.truth.shape[0] * stack.truth.shape[1] / 1e6
    print(f"\n{stack.name}, noise {stack.noise:g}, {frames} frames of {megapixels:.2f} MP")
    print(f"  {'measure':24}{'error, steps':>14}{'wrong, %':>10}{'ms/MP':>8}")
    for entry in table:
        error, wrong = errors(entry, stack)
        cost_ms = float(np.median(entry.costs_s)) * 1e3 / megapixels
        print(f"  {entry.name:24}{error:14.3f}{wrong * 100:10.1f}{cost_ms:8.1f}")
    print(f"  exact on two threads: {min(two_ms):.0f} ms/MP elapsed")
    print(
        f"  bands against exact, first, middle and last frame: rank correlation "
        f"{' '.join(f'{value:.2f}' for value in correlations)}, mean difference "
        f"{' '.join(f'{value:.2f}' for value in differences)}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--noise", nargs="+", type=float, default=[2.0, 6.0], help="levels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megapixels", type=float, default=0.5)
    parser.add_argument("--window", type=int, default=9, metavar="PX")
    parser.add_argument("--block", type=int, default=32, metavar="PX")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    for scene in args.scenes or ("general", "scene-b"):
        stack = stack_named(scene, seed=args.seed, noise=0.0, megapixels=args.megapixels)
        for noise in args.noise:
            bench(stack.with_noise(noise), args.window, args.block)


if __name__ == "__main__":
    main()
