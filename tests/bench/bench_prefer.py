"""What `prefer="front"` gives to things in front, and takes from the rest.

    nice python tests/bench/bench_prefer.py [--noise N] [--seed S ...] [--megapixels M]

Colour PSNR over what lies in the upper two fifths of the stack (thin things over ground, mostly), and over
the rest; less that without a preference.
"""

from __future__ import annotations

import argparse
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion import Fusion
from focusd.fusion.prefer import Prefer, Side
from focusd_sim.suite import SuiteStack, stack_named

_FRONT_SHARE = 0.6


def psnr_over(image: npt.NDArray[Any], truth: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> float:
    error = (image.astype(np.float32) - truth.astype(np.float32))[where]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def fused(stack: SuiteStack, side: Side | None) -> npt.NDArray[Any]:
    low_um, high_um = min(stack.positions_um), max(stack.positions_um)
    fusion = Fusion(prefer=None if side is None else Prefer(side, low_um, high_um))
    for index, position_um in enumerate(stack.positions_um):
        fusion.add(stack.frame(index), position_um)
    return np.asarray(fusion.image())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--noise", type=float, default=2.0)
    parser.add_argument("--seed", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--megapixels", type=float, default=0.4)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for name in ("general", "wide", "bristles"):
        for seed in args.seed:
            stack = stack_named(name, seed=seed, noise=args.noise, megapixels=args.megapixels)
            low_um, high_um = min(stack.positions_um), max(stack.positions_um)
            height_um = np.nan_to_num(stack.height_um, nan=-np.inf)
            front = height_um > low_um + _FRONT_SHARE * (high_um - low_um)
            plain = fused(stack, None)
            for side in ("front", "back"):
                image = fused(stack, side)  # type: ignore[arg-type]
                gains = [
                    psnr_over(image, stack.truth, where) - psnr_over(plain, stack.truth, where)
                    for where in (front, ~front)
                ]
                print(f"{name} seed {seed}, prefer {side}: front {gains[0]:+.2f} dB, rest {gains[1]:+.2f} dB")


if __name__ == "__main__":
    main()
