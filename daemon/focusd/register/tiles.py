"""How well two pictures agree, tile by tile, and how each tile would have to move to agree better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.register.transform import Matrix

Float = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

# Close to the border detail has been made with pixels that are not there.
_MARGIN_PX = 6
_TINY = 1e-12
# Reference's x and x, x and y, y and y; itself and itself.
_OWN_PAIRS = ((0, 0), (0, 1), (1, 1), (2, 2))


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Means over the tiles that lie in both pictures.

    Parameters
    ----------
    at : ndarray
        float64, (n, 2): their middles as (x, y).
    slopes : ndarray
        float64, (n, 2, 2): products of one picture's slopes with the other's, symmetric. Noise, being each
        one's own, adds nothing; nor does what is in focus in one alone add much.
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

    @property
    def likeness(self) -> float:
        """Correlation of the two, -1 to 1; 0 where either is plain."""
        own, other, shared = self.power.sum(axis=0)
        return float(shared / np.sqrt(own * other)) if own > 0 and other > 0 else 0.0


class Ground:
    """A picture cut into tiles, and what others are compared with it by.

    Parameters
    ----------
    reference : ndarray
        float32, (rows, cols); not changed.
    side_px : int
        Of a tile.
    """

    def __init__(self, reference: Float, side_px: int) -> None:
        self._shape, self._side_px = reference.shape, side_px
        self._down, self._across = (max(0, (side - 2 * _MARGIN_PX) // side_px) for side in self._shape)
        top, left = np.mgrid[: self._down, : self._across] * side_px + _MARGIN_PX
        self._at = np.column_stack([left.ravel(), top.ravel()]) + (side_px - 1) / 2
        if not len(self._at):
            return
        # Tile after tile, so that one call makes all their products: of the reference slopes along x and
        # along y, twice what they are, and itself; of the picture the like, but the difference last.
        self._samples = np.empty((self._down, self._across, 6, side_px, side_px), np.float32)
        self._warped = np.empty(self._shape, np.float32)
        self._slope = np.empty((self._down * side_px, self._across * side_px), np.float32)
        self._take(0, reference)
        tiles = self._tiles()
        means = 1 / side_px**2
        own = [np.einsum("ni,ni->n", tiles[:, a], tiles[:, b]).astype(np.float64) for a, b in _OWN_PAIRS]
        self._own_xx, self._own_xy, self._own_yy = (each * (means / 4) for each in own[:3])
        self._own_power = own[3] * means

    def against(self, picture: Float, matrix: Matrix) -> Tiles:
        """Compare.

        Parameters
        ----------
        picture : ndarray
            float32, of the reference's shape; not changed.
        matrix : ndarray
            float64, (2, 3): where the reference's pixels lie in it.
        """
        if not len(self._at):
            no = np.zeros(0)
            return Tiles(self._at, no.reshape(0, 2, 2), no, no.reshape(0, 2), no, no.reshape(0, 3))
        warped = cv2.warpAffine(
            picture,
            matrix,
            self._shape[::-1],
            dst=self._warped,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        self._take(3, np.asarray(warped, np.float32))
        np.subtract(self._samples[:, :, 5], self._samples[:, :, 2], out=self._samples[:, :, 5])
        tiles = self._tiles()
        sums = np.matmul(tiles[:, 3:], tiles.transpose(0, 2, 1)).transpose(1, 2, 0)
        x, y, difference = sums / np.float64(self._side_px**2)
        xx, yy = x[0] / 4, y[1] / 4
        # Of the mean of both slopes.
        xy = (self._own_xy + (x[1] + y[0] + x[4]) / 4) / 4
        both = (self._own_xx + self._own_yy + 2 * (xx + yy) + (x[3] + y[4]) / 4) / 4
        shared = np.clip((xx + yy) / np.maximum(both, _TINY), 0, 1)
        pull = np.column_stack([difference[0] + difference[3], difference[1] + difference[4]]) / 4
        own, error = self._own_power, difference[5]
        slopes = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
        power = np.column_stack([own, own + 2 * difference[2] + error, own + difference[2]])
        inside = _inside(self._at, matrix, self._shape, self._side_px / 2 + _MARGIN_PX)
        return Tiles(
            self._at[inside], slopes[inside], shared[inside], pull[inside], error[inside], power[inside]
        )

    def _tiles(self) -> Float:
        """Return the samples, (tiles, 6, samples)."""
        return self._samples.reshape(len(self._at), 6, -1)

    def _take(self, first: int, picture: Float) -> None:
        """Put a picture's slopes and itself among the samples."""
        self._cut(first, cv2.subtract(self._part(picture, 1, 0), self._part(picture, -1, 0), dst=self._slope))
        self._cut(
            first + 1, cv2.subtract(self._part(picture, 0, 1), self._part(picture, 0, -1), dst=self._slope)
        )
        self._cut(first + 2, self._part(picture, 0, 0))

    def _part(self, picture: Float, right: int, down: int) -> Float:
        """Return what the tiles cover, a pixel off."""
        rows, cols = self._slope.shape
        top, left = _MARGIN_PX + down, _MARGIN_PX + right
        return picture[top : top + rows, left : left + cols]

    def _cut(self, which: int, part: npt.NDArray[Any]) -> None:
        tiled = part.reshape(self._down, self._side_px, self._across, self._side_px)
        np.copyto(self._samples[:, :, which], tiled.transpose(0, 2, 1, 3))


def _inside(at: Numbers, matrix: Matrix, shape: tuple[int, ...], reach_px: float) -> npt.NDArray[np.bool_]:
    """Which tiles lie in the picture whole."""
    there = at @ matrix[:, :2].T + matrix[:, 2]
    last = np.array([shape[1], shape[0]]) - 1
    return np.asarray(((there >= reach_px) & (there <= last - reach_px)).all(axis=1))
