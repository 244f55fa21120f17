"""How well two pictures agree, tile by tile, and how each tile would have to move to agree better."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from focusd.register.transform import Matrix

Float = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

# Close to the border detail has been made with pixels that are not there.
_MARGIN_PX = 6
# A slope is taken from both neighbours of a pixel.
_SLOPE = np.array([-0.5, 0.0, 0.5], np.float32)
_SAME = np.ones(1, np.float32)
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Means over the tiles that lie in both pictures.

    Parameters
    ----------
    at : ndarray
        float64, (n, 2): their middles as (x, y).
    slopes : ndarray
        float64, (n, 2, 2): products of one picture's slopes with the other's. Noise, being each one's own,
        adds nothing; nor does what is in focus in one alone add much.
    shared : ndarray
        float64, (n,): share of the slopes that is in both, 0 to 1.
    pull : ndarray
        float64, (n, 2): product of the mean picture's slopes with the difference of the pictures.
    error : ndarray
        float64, (n,): the difference's square.
    power : ndarray
        float64, (n, 3): reference's square, picture's square, their product.
    """

    at: Numbers
    slopes: Numbers
    shared: Numbers
    pull: Numbers
    error: Numbers
    power: Numbers

    @classmethod
    def of(cls, reference: Float, picture: Float, matrix: Matrix, side_px: int) -> Tiles:
        """Compare.

        Parameters
        ----------
        reference, picture : ndarray
            float32, (rows, cols), of one shape.
        matrix : ndarray
            float64, (2, 3): where the reference's pixels lie in the picture.
        side_px : int
            Of a tile.
        """
        rows, cols = reference.shape
        warped = np.asarray(
            cv2.warpAffine(
                picture,
                matrix,
                (cols, rows),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )
        difference = np.asarray(cv2.subtract(warped, reference), np.float32)
        (x, y), (own_x, own_y) = _slopes(reference), _slopes(warped)
        both_x = np.asarray(cv2.addWeighted(x, 0.5, own_x, 0.5, 0), np.float32)
        both_y = np.asarray(cv2.addWeighted(y, 0.5, own_y, 0.5, 0), np.float32)
        down, across = (max(0, (side - 2 * _MARGIN_PX) // side_px) for side in (rows, cols))
        pairs = (
            (x, own_x), (both_x, both_y), (y, own_y), (both_x, both_x), (both_y, both_y),
            (both_x, difference), (both_y, difference), (difference, difference),
            (reference, reference), (warped, warped),
        )  # fmt: skip
        means = [_means(a, b, down, across, side_px) for a, b in pairs]
        top, left = np.mgrid[:down, :across] * side_px + _MARGIN_PX
        at = np.column_stack([left.ravel(), top.ravel()]) + (side_px - 1) / 2
        inside = _inside(at, matrix, reference.shape, side_px / 2 + _MARGIN_PX)
        found = (mean.ravel()[inside].astype(np.float64) for mean in means)
        xx, xy, yy, all_xx, all_yy, xe, ye, ee, tt, ww = found
        slopes = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
        shared = np.clip((xx + yy) / np.maximum(all_xx + all_yy, _TINY), 0, 1)
        power = np.column_stack([tt, ww, (tt + ww - ee) / 2])
        return cls(at[inside], slopes, shared, np.column_stack([xe, ye]), ee, power)

    @property
    def likeness(self) -> float:
        """Correlation of the two, -1 to 1; 0 where either is plain."""
        own, other, shared = self.power.sum(axis=0)
        return float(shared / np.sqrt(own * other)) if own > 0 and other > 0 else 0.0


def _slopes(picture: Float) -> tuple[Float, Float]:
    return (
        np.asarray(cv2.sepFilter2D(picture, cv2.CV_32F, _SLOPE, _SAME), np.float32),
        np.asarray(cv2.sepFilter2D(picture, cv2.CV_32F, _SAME, _SLOPE), np.float32),
    )


def _means(a: Float, b: Float, down: int, across: int, side_px: int) -> Float:
    if down < 1 or across < 1:
        return np.zeros((0, 0), np.float32)
    cut = (
        slice(_MARGIN_PX, _MARGIN_PX + down * side_px),
        slice(_MARGIN_PX, _MARGIN_PX + across * side_px),
    )
    product = cv2.multiply(a[cut], b[cut])
    return np.asarray(cv2.resize(product, (across, down), interpolation=cv2.INTER_AREA), np.float32)


def _inside(at: Numbers, matrix: Matrix, shape: tuple[int, ...], reach_px: float) -> npt.NDArray[np.bool_]:
    """Which tiles lie in the picture whole."""
    there = at @ matrix[:, :2].T + matrix[:, 2]
    last = np.array([shape[1], shape[0]]) - 1
    return np.asarray(((there >= reach_px) & (there <= last - reach_px)).all(axis=1))
