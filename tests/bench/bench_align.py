"""Alignment on the suite's scenes, whose places are known, and on real stacks.

    nice python tests/bench/bench_align.py [SCENE | FOLDER ...] [--megapixels M] [--frames N] [--threads T]

A name is a scene of the suite, anything else a folder of pictures in z order; without any, all scenes. For a
scene four stacks: still, drifting by 20 px, breathing by 3 %, and both with a turn of half a degree; for each
the model decided on, the corner's error (rms over the frames, last frame) and the luma PSNR of the picture
fused by the places found, by the true ones, and as the frames came. Of a folder: the model, the largest
movement of a corner, how well the last frame is known, and each frame that could not be aligned. Times are
those of one core, medians, ms/MP: placing, warping; of a folder also decoding, sketching each frame, judging
it beside its neighbours and measuring its gain, and what all but decoding costs in multiples of decoding.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from focusd.fusion import Fusion
from focusd.pictures.samples import to_planes
from focusd.register.aligner import Aligner
from focusd.register.crop import Coverage, NothingCovered, crop
from focusd.register.gain import GainMeter
from focusd.register.oddity import Gate
from focusd.register.selftest import ecc_scale_bias, scale_bias
from focusd.register.sketch import Sketch
from focusd.register.transform import Transform
from focusd.register.warp import warp
from focusd_sim.score import psnr
from focusd_sim.sensor import Sensor
from focusd_sim.suite import NAMES, stack_named
from focusd_sim.suite_flaws import Flaws

# Drift px, breathing, turn in degrees.
_MOVEMENTS = {
    "still": (0.0, 0.0, 0.0),
    "drift": (20.0, 0.0, 0.0),
    "breath": (0.0, 0.03, 0.0),
    "all": (20.0, 0.03, 0.5),
}
_T = TypeVar("_T")
_NOISE = 2.0
_STEP_UM = 10.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stacks", nargs="*", default=list(NAMES))
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(chosen.threads)
    print(
        f"OpenCV {cv2.__version__}: scale bias {scale_bias():.1e}, of findTransformECC {ecc_scale_bias():.1e}"
    )
    for name in chosen.stacks:
        if name in NAMES:
            for movement in _MOVEMENTS:
                _scene(name, movement, chosen.frames, chosen.megapixels)
        else:
            _folder(Path(name))


def _scene(name: str, movement: str, frames: int, megapixels: float) -> None:
    drift_px, breathing, turn_deg = _MOVEMENTS[movement]
    stack = stack_named(name, seed=1, noise=0.0, frames=frames, megapixels=megapixels)
    shape = stack.truth.shape[:2]
    drift, sensor = Flaws(drift_px=drift_px), Sensor(read_noise=_NOISE)
    aligner, coverage = Aligner(), Coverage(shape)
    fusions = {"found": Fusion(), "true": Fusion(), "off": Fusion()}
    errors, place_s, warp_s, refused = [], [], [], 0
    for n in range(frames):
        share = n / (frames - 1)
        down, across = drift.shift_px(share, 1)
        true = Transform.similarity(
            shape,
            scale=1 + breathing * share,
            turn_rad=math.radians(turn_deg) * share,
            shift_px=(across, down),
        )
        frame = sensor.expose(_moved(stack.scene.render(stack.positions_um[n]), true), frame=n, seed=1)
        began = time.process_time()
        placement = aligner.place(frame, _STEP_UM * n)
        placed = time.process_time()
        warped = warp(frame, placement.transform)
        place_s.append(placed - began)
        warp_s.append(time.process_time() - placed)
        refused += not placement.aligned
        errors.append(placement.transform.away_px(true, shape))
        coverage.add(true)
        for how, laid in (("found", warped), ("true", warp(frame, true)), ("off", frame)):
            fusions[how].add(laid, _STEP_UM * n)
    rectangle = coverage.rectangle()
    truth = crop(stack.truth, rectangle)
    scores = [psnr(crop(np.asarray(f.result().image), rectangle), truth) for f in fusions.values()]
    rms_px = math.sqrt(np.square(errors).mean())
    unit = 1e9 / (shape[0] * shape[1])
    print(
        f"{name:9s} {movement:7s} {aligner.decision.model:11s} off by {rms_px:.3f} px rms, "
        f"{errors[-1]:.3f} at the end; PSNR {scores[0]:.2f} found, {scores[1]:.2f} true, "
        f"{scores[2]:.2f} off; refused {refused}; "
        f"{np.median(place_s) * unit:.1f} + {np.median(warp_s) * unit:.1f} ms/MP",
        flush=True,
    )


class _Watch:
    """Times of the processor, ms/MP, by what was done."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = defaultdict(list)

    def time(self, what: str, do: Callable[[], _T], pixels: int) -> _T:
        began = time.process_time()
        made = do()
        self._found[what].append((time.process_time() - began) * 1e9 / pixels)
        return made

    def __str__(self) -> str:
        middles = {what: float(np.median(times)) for what, times in self._found.items()}
        beyond = (sum(middles.values()) - middles["decode"]) / middles["decode"]
        parts = ", ".join(f"{what} {middle:.1f}" for what, middle in middles.items())
        return f"{parts} ms/MP: {beyond:.1f} x decode"


def _folder(folder: Path) -> None:
    aligner, gate, meter, watch = Aligner(), Gate[int](), GainMeter(), _Watch()
    furthest_px, residuals, notes = 0.0, [], []
    coverage: Coverage | None = None
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png", ".tif"))
    pixels = int(np.asarray(cv2.imread(str(paths[0]), cv2.IMREAD_COLOR))[..., 0].size)
    for n, path in enumerate(paths):
        coded = np.frombuffer(path.read_bytes(), np.uint8)
        decoded = watch.time("decode", partial(cv2.imdecode, coded, cv2.IMREAD_COLOR), pixels)
        frame = to_planes(np.asarray(decoded, np.uint8))
        coverage = coverage or Coverage(frame.shape)
        placement = watch.time("place", partial(aligner.place, frame, _STEP_UM * n), pixels)
        watch.time("warp", partial(warp, frame, placement.transform), pixels)
        sketch = watch.time("sketch", partial(Sketch.of, frame), pixels)
        watch.time("judge", partial(gate.enter, n, sketch), pixels)
        watch.time("gain", partial(meter.measure, sketch, placement.transform.matrix), pixels)
        furthest_px = max(furthest_px, placement.transform.corner_shift_px(frame.shape))
        residuals.append(placement.residual_px)
        coverage.add(placement.transform)
        if placement.refused or placement.note:
            notes.append(f"  {path.name}: {placement.refused or placement.note}")
    try:
        common: object = coverage.rectangle().shape if coverage else None
    except NothingCovered as error:
        common = str(error)
    print(
        f"{folder.name}: {aligner.decision.model}, corner {furthest_px:.2f} px at most, residual "
        f"{np.median(residuals):.2f} px, known to {aligner.decision.sigma_px:.2f} px, common {common}\n"
        f"  {watch}\n  {aligner.decision.words}"
    )
    print("\n".join(notes))


def _moved(picture: npt.NDArray[Any], transform: Transform) -> npt.NDArray[np.uint8]:
    if transform.is_identity:
        return np.asarray(picture, np.uint8)
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(
        cv2.warpAffine(
            picture, transform.matrix, size, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT
        ),
        np.uint8,
    )


if __name__ == "__main__":
    main()
