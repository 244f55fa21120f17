"""How far the picture ran during an exposure, from what the frame lost against one taken at rest.

A picture that runs evenly over a length L while the shutter is open loses, at a spatial frequency u along
the way, all but ``sin(pi u L) / (pi u L)`` of its amplitude. So the ratio of a frame's spectrum to that of
the same scene at rest gives L in px, whatever the scene. Noise does not count: it is independent from frame
to frame, and only products of different frames are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import CalibrationFailed
from focusd.focus.tiles import Numbers, Plane

_BINS = 24
_HIGHEST = 0.45
# Lowest frequency used, in periods a window: below, the window itself shows.
_LOWEST_PERIODS = 4.0
# What is not trusted of a ratio, however little noise there is: encoding, rounding, light.
_MODEL_ERROR = 0.002
_ANGLES = 12
_SHIFT_ROUNDS = 4
_MOST_PX = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class Transfers:
    """What each frame kept of the amplitude at rest, by spatial frequency, along the way the picture ran.

    Parameters
    ----------
    frequency : ndarray of float64, (bins,)
        Mean square root over each bin, periods/px.
    kept : ndarray of float64, (frames, bins)
        1 at rest.
    sigma : ndarray of float64, (bins,)
        Standard error of `kept`.
    """

    frequency: Numbers
    kept: Numbers
    sigma: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Smear:
    """How far the picture ran, frame by frame.

    Parameters
    ----------
    angle_deg : float
        Direction that explains the frames best, from the columns' axis, 0 to below 180.
    square_px2 : ndarray of float64, (frames,)
        Square of the length; below 0 where noise makes a frame sharper than those at rest.
    sigma_px2 : ndarray of float64, (frames,)
        Its standard error.
    transfers : Transfers
        What they were found from.
    """

    angle_deg: float
    square_px2: Numbers
    sigma_px2: Numbers
    transfers: Transfers

    @property
    def length_px(self) -> Numbers:
        """Length, px; 0 where its square is below 0."""
        return np.sqrt(np.maximum(self.square_px2, 0))


def smear_of(frames: Sequence[Plane], at_rest: Sequence[Plane]) -> Smear:
    """Measure frames against others of the same scene at rest.

    Parameters
    ----------
    frames : sequence of ndarray of float32, (rows, cols)
        Brightness; one or more.
    at_rest : sequence of ndarray of float32, (rows, cols)
        Two or more, independent of `frames`.

    Raises
    ------
    CalibrationFailed
        The frames at rest have too little in common that is fine enough to be smeared.
    """
    rest = _Rest.of(at_rest)
    ratios = [rest.products(frame) for frame in frames]
    best: tuple[float, Smear] | None = None
    for angle in np.arange(_ANGLES) * (np.pi / _ANGLES):
        transfers = rest.transfers(ratios, float(angle))
        fits = [_fit(kept, transfers) for kept in transfers.kept]
        total = sum(fit[2] for fit in fits)
        if best is None or total < best[0]:
            squares, sigmas = (np.array([fit[i] for fit in fits]) for i in (0, 1))
            best = total, Smear(float(np.degrees(angle)), squares, sigmas, transfers)
    assert best is not None  # noqa: S101  # there are angles
    return best[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Rest:
    """The mean spectrum of the frames at rest, what of its power is no noise, and the noise of one frame."""

    window: Numbers
    mean: NDArray[np.complex128]
    power: Numbers
    noise: float
    u: Numbers
    v: Numbers

    @classmethod
    def of(cls, at_rest: Sequence[Plane]) -> _Rest:
        rows, cols = at_rest[0].shape
        window = np.outer(np.hanning(rows), np.hanning(cols))
        spectra = np.stack([_spectrum(frame, window) for frame in at_rest])
        count = len(spectra)
        mean = spectra.mean(axis=0)
        spread = np.sum(np.abs(spectra - mean) ** 2, axis=0) / (count - 1)
        u = np.asarray(np.fft.fftfreq(rows)[:, None], np.float64)
        v = np.asarray(np.fft.rfftfreq(cols)[None, :], np.float64)
        far = np.hypot(u, v)
        noise = float(np.mean(spread[far > 0.3]))
        return cls(window, mean, np.abs(mean) ** 2 - spread / count, noise, u, v)

    def products(self, frame: Plane) -> Numbers:
        """Product with the mean at rest, the frame shifted onto it; real part."""
        cross = _spectrum(frame, self.window) * np.conj(self.mean)
        near = (np.hypot(self.u, self.v) < 0.25) & (self.power > 0)
        lever = np.stack([np.broadcast_to(axis, near.shape)[near] for axis in (self.u, self.v)]) * 2 * np.pi
        offset = self._offset(cross)
        for _ in range(_SHIFT_ROUNDS):
            turned = cross[near] * np.exp(1j * (offset @ lever))
            weight = np.maximum(turned.real, 0)
            normal = (lever * weight) @ lever.T
            if np.linalg.det(normal) <= 0:
                break
            offset = offset - np.linalg.solve(normal, lever @ turned.imag)
        turn = np.exp(2j * np.pi * (offset[0] * self.u + offset[1] * self.v))
        return np.asarray((cross * turn).real, np.float64)

    def transfers(self, products: Sequence[Numbers], angle: float) -> Transfers:
        rows, cols = self.window.shape
        along = np.abs(np.cos(angle) * self.v + np.sin(angle) * self.u)
        radius = np.hypot(self.u, self.v)
        used = (radius > _LOWEST_PERIODS / min(rows, cols)) & (radius < _HIGHEST)
        bins = np.minimum((along / _HIGHEST * _BINS).astype(np.intp), _BINS - 1)[used]

        def summed(values: Numbers) -> Numbers:
            return np.asarray(np.bincount(bins, values[used], _BINS), np.float64)

        power = summed(self.power)
        # A bin must hold more signal than chance makes of noise.
        good = power > 10 * self.noise * np.sqrt(np.maximum(summed(np.ones_like(along)), 1))
        if np.count_nonzero(good) < _BINS // 3:
            raise CalibrationFailed(
                "the frames show too little fine detail to measure smear by: focus on something with fine, "
                "strong texture, and light it well"
            )
        frequency = np.sqrt(summed(along**2 * self.power)[good] / power[good])
        kept = np.array([summed(product)[good] / power[good] for product in products])
        sigma = np.sqrt(self.noise / (2 * power[good]))
        return Transfers(frequency, kept, sigma)

    def _offset(self, cross: NDArray[np.complex128]) -> Numbers:
        """Whole pixels by which the frame is shifted, (rows, cols)."""
        rows, cols = self.window.shape
        peak = np.fft.irfft2(cross, s=(rows, cols))
        at = np.array(np.unravel_index(int(peak.argmax()), peak.shape), np.float64)
        return np.where(at > np.array([rows, cols]) / 2, at - np.array([rows, cols]), at)


def _spectrum(frame: Plane, window: Numbers) -> NDArray[Any]:
    light = float(frame.mean())
    return np.asarray(np.fft.rfft2((frame / max(light, 1e-3) - 1) * window), np.complex128)


def _fit(kept: Numbers, transfers: Transfers) -> tuple[float, float, float]:
    """Square of the length, its standard error, and how badly this direction explains the frame."""
    weight = 1 / (transfers.sigma**2 + _MODEL_ERROR**2)
    squares = np.concatenate([-np.linspace(3, 0, 60, endpoint=False), np.linspace(0, _MOST_PX, 480) ** 2])
    shape = _kept_at(squares[:, None] * transfers.frequency**2)
    gain = (shape * weight * kept).sum(axis=1) / (shape**2 * weight).sum(axis=1)
    misfit = (weight * (kept - gain[:, None] * shape) ** 2).sum(axis=1)
    i = int(np.clip(misfit.argmin(), 1, len(squares) - 2))
    # A parabola through the best three gives the place, and its width the error.
    curve = np.polyfit(squares[i - 1 : i + 2] - squares[i], misfit[i - 1 : i + 2] - misfit[i], 2)
    bend = max(float(curve[0]), 1e-9)
    low, high = squares[i - 1] - squares[i], squares[i + 1] - squares[i]
    found = float(squares[i] + np.clip(-curve[1] / (2 * bend), low, high))
    worse = max(1.0, float(misfit[i]) / max(1, len(kept) - 2))
    # What is not trusted of a ratio is much alike in every direction: it does not blur the choice of one.
    off = (kept - gain[i] * shape[i]) ** 2 / (transfers.sigma**2 + (0.1 * _MODEL_ERROR) ** 2)
    return found, float(np.sqrt(worse / bend)), float(off.sum())


def _kept_at(square: Numbers) -> Numbers:
    """``sin(x) / x`` as a function of ``(x / pi)**2``, which may be below 0 (then ``sinh(x) / x``)."""
    root = np.sqrt(np.abs(square))
    x = np.maximum(np.pi * root, 1e-9)
    return np.where(square >= 0, np.sinc(root), np.sinh(np.minimum(x, 50)) / x)


def crop_of(frame: Plane, centre: tuple[float, float], side_px: int) -> tuple[slice, slice]:
    """Window of at most `side_px` a side around `centre` (row, column), within the frame."""
    cut = []
    for size, middle in zip(frame.shape, centre, strict=True):
        side = min(side_px, size)
        first = int(np.clip(round(middle - side / 2), 0, size - side))
        cut.append(slice(first, first + side))
    return cut[0], cut[1]


def sharpest(frame: Plane, side_px: int) -> tuple[slice, slice]:
    """Window of at most `side_px` a side with the most fine detail."""
    fine = cv2.absdiff(frame, cv2.GaussianBlur(frame, (0, 0), 1.5))
    rows, cols = (min(side_px, size) for size in frame.shape)
    mean = cv2.blur(fine, (cols, rows), borderType=cv2.BORDER_CONSTANT)
    _, _, _, (col, row) = cv2.minMaxLoc(mean)
    return crop_of(frame, (row, col), side_px)
