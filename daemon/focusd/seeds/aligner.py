"""Frames laid on the first by matching their features, as other programs do: SIFT, ratio test, RANSAC.

A homography has eight numbers where a rail has two to four, so it is offered for comparison, and held to what
a rail could do: a fit that is not well determined, or that no camera could have made, is refused.

References
----------
.. [1] Fischler M.A., Bolles R.C., Random sample consensus, Comm. ACM 24(6), 1981, 381-395.
   doi:10.1145/358669.358692
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from focusd.errors import FrameMismatch, FusionError
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.seeds.features import Features
from focusd.seeds.homography import Matrix, corner_error_px, distortion, mapped, narrowed, warp

Chain = Literal["previous", "first"]

# RANSAC's tolerance, px of the reduced frame.
_TOLERANCE_PX = 2.0
_FEWEST_INLIERS = 8
# A blurred frame has a hundred at most; a stack hung up on it would lose all others.
_FEWEST_OF_FIRST = 150
_LEAST_INLIER_SHARE = 0.25
# Standard error of the fit at the corner where it is largest, px of the frame per 1000 px of its longer side.
_LARGEST_ERROR = 1.0
# No rig scales, stretches or tilts a picture further, nor shifts it by more of its longer side.
_LARGEST_STRETCH = 1.15
_LARGEST_TILT = 0.02
_LARGEST_SHIFT_SHARE = 0.2


class FitRefused(FusionError):
    """A frame that its features do not place."""

    code = "fit_refused"


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Where a frame lies on the first.

    Parameters
    ----------
    matrix : ndarray
        float64, (3, 3): takes (x, y, 1) of the frame to the first frame's, pixel centres at whole numbers.
    inliers, matches : int
        Matches that agree with it, and all.
    error_px : float
        Its standard error at the corner where that is largest.
    """

    matrix: Matrix
    inliers: int
    matches: int
    error_px: float


class HomographyAligner:
    """Lays frames on the first one that it is given.

    Parameters
    ----------
    chain : {"previous", "first"}
        What a frame's features are matched with: the frame before, already placed, which shares most detail
        with it; or the first, so that errors do not add up.
    """

    def __init__(self, chain: Chain = "previous") -> None:
        self._chain = chain
        self._known: Features | None = None
        self._shape: tuple[int, int] = (0, 0)
        self._common = (0, 0, 0, 0)

    @property
    def common(self) -> tuple[slice, slice]:
        """Rows and columns of the first frame that all frames so far cover."""
        top, bottom, left, right = self._common
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def place(self, frame: Image | Planes) -> Fit:
        """Find where a frame lies; the first one that is not refused lies on itself.

        Parameters
        ----------
        frame : ndarray or Planes
            uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR, or 4:2:0; not modified.

        Raises
        ------
        FrameMismatch
            Another size than the first frame's.
        FitRefused
            Too few features in common, or a fit that cannot be; later frames are still matched with what was
            placed before.
        """
        rows, cols = frame.shape[:2]
        features = Features.of(frame)
        if self._known is None:
            count = len(features.points)
            if count < _FEWEST_OF_FIRST:
                raise FitRefused(
                    f"the frame has {count} features, too few to lay others on: at least {_FEWEST_OF_FIRST} "
                    "are needed; start with one in which more is sharp, or align another way"
                )
            self._known, self._shape, self._common = features, (rows, cols), (0, rows, 0, cols)
            return Fit(np.eye(3), count, count, 0.0)
        if (rows, cols) != self._shape:
            raise FrameMismatch(
                f"a frame of {cols} x {rows} px after one of {self._shape[1]} x {self._shape[0]}: all must "
                "be of one size"
            )
        fit = self._fit(features, self._known)
        self._common = narrowed(self._common, fit.matrix, self._shape)
        if self._chain == "previous":
            placed = mapped(fit.matrix, features.points)
            self._known = Features(placed, features.looks, features.pixel_px)
        return fit

    def align(self, frame: Image | Planes) -> Image | Planes:
        """Lay a frame on the first, of its own kind; where it has nothing, its border goes on.

        Bilinear, as other programs do. A frame that needs nothing is returned as it is. Raises as `place`.
        """
        return warp(frame, self.place(frame).matrix)

    def _fit(self, features: Features, known: Features) -> Fit:
        pairs = features.matches(known)
        if len(pairs) < _FEWEST_INLIERS:
            raise FitRefused(
                f"{len(pairs)} features of {len(features.points)} are found again in the frame before: at "
                f"least {_FEWEST_INLIERS} are needed; leave the frame out, or align another way"
            )
        own, there = features.points[pairs[:, 0]], known.points[pairs[:, 1]]
        found, mask = cv2.findHomography(own, there, cv2.RANSAC, _TOLERANCE_PX * features.pixel_px)
        inside = np.zeros(len(pairs), bool) if found is None else np.asarray(mask, bool).ravel()
        inliers = int(inside.sum())
        if found is None or inliers < max(_FEWEST_INLIERS, _LEAST_INLIER_SHARE * len(pairs)):
            raise FitRefused(
                f"{inliers} of {len(pairs)} features agree on where the frame lies: at least "
                f"{_FEWEST_INLIERS} and {_LEAST_INLIER_SHARE:.0%} must; leave it out, or align another way"
            )
        matrix = np.asarray(found, np.float64) / float(found[2, 2])
        least, most, tilt, shift_px = distortion(matrix, self._shape)
        if not (
            least >= 1 / _LARGEST_STRETCH
            and most <= _LARGEST_STRETCH
            and tilt <= _LARGEST_TILT
            and shift_px <= _LARGEST_SHIFT_SHARE * max(self._shape)
        ):
            raise FitRefused(
                f"the fit stretches by {least:.3f} to {most:.3f}, tilts by {tilt:.3f} and shifts by "
                f"{shift_px:.0f} px: no rig does; leave the frame out, or align another way"
            )
        error_px = corner_error_px(matrix, own[inside], there[inside], self._shape)
        largest_px = _LARGEST_ERROR * max(self._shape) / 1000
        if not error_px <= largest_px:
            raise FitRefused(
                f"the frame's corners are uncertain by {error_px:.1f} px, its {inliers} features lie badly: "
                f"at most {largest_px:.1f} px is believed; leave it out, or align another way"
            )
        return Fit(matrix, inliers, len(pairs), error_px)
