"""The relief of a stack: depth, confidence, reason and origin of each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from focusd.errors import FusionError
from focusd.fusion.arrays import Float, Index, Mask
from focusd.fusion.depth import SPREAD_REACH_PX, Tables, confidence, spread, vertex
from focusd.fusion.filling import fill
from focusd.fusion.selection import UNKNOWN, Response, Selection

# Pixels handled at a time: keeps temporaries to about 15 MB.
_BAND_PX = 131072
# Depth counts as good where it is right within a step at this chance, and is given at all at this.
_SURE, _LIKELY = 0.9, 0.4
# A second peak counts from this share of the first, and this much above the valley between.
_NEAR_BEST, _OVER_VALLEY = 0.7, 1.1
# Above this a depth of its own beats any neighbour's: measured on the suite and the wasp.
_FAIR = 0.6
# Over noise alone the best of many frames is 1.4 times its mean.
_FLAT_BELOW = 2.0


class Reason(IntEnum):
    """Why a pixel's depth is what it is: up to `BORDER` there is one, from `TWO_PEAKS` on there is none."""

    OK = 0
    """Sub-step depth."""
    WHOLE_STEP = 1
    """The sharpest frame came late, out of z order: depth is that frame's position."""
    EDGE = 2
    """The first or last frame in z is the sharpest: depth is its position, and may lie beyond the stack."""
    BORDER = 3
    """So near the picture's border that the sharpness window reached over it; else as `OK`."""
    UNSURE = 4
    """A depth, but one that may well be off by more than a step: see the confidence."""
    TWO_PEAKS = 5
    """Sharp at two or more depths, or neighbours that disagree: which one holds cannot be told."""
    FLAT = 6
    """Nothing sharper than noise in any frame."""
    SATURATED = 7
    """White or black in all frames."""


@dataclass(frozen=True, slots=True)
class Relief:
    """Depth of a stack, on the selection's grid.

    Parameters
    ----------
    raw_um : ndarray
        float32, finite everywhere, on the scale of the positions: also where it is not to be believed.
    confidence : ndarray
        float32, 0 to 1: chance that `raw_um` is right within a step; see `focusd.fusion.depth.confidence`.
    reason : ndarray
        uint8; a `Reason`.
    origin : ndarray
        int16; the sharpest frame, counted from 0 in ascending z.
    rows, cols : int
        Of the image.
    step_um : float
        Median distance between neighbouring frames; 0 for one frame.
    """

    raw_um: Float
    confidence: Float
    reason: Mask
    origin: Index
    rows: int
    cols: int
    step_um: float

    @classmethod
    def of(
        cls,
        selection: Selection,
        noise: float,
        *,
        shape: tuple[int, int] | None = None,
        clipped: npt.NDArray[np.bool_] | None = None,
        border_px: int = 4,
    ) -> Relief:
        """Measure.

        Parameters
        ----------
        selection : Selection
            Responses of the frames.
        noise : float
            Mean response of a frame of noise alone, 8-bit levels, above 0.
        shape : tuple of int, optional
            (rows, cols) of the image, at most twice the selection's; the selection's by default.
        clipped : ndarray, optional
            bool, the selection's shape: saturated in all frames.
        border_px : int
            How far the sharpness window reaches, grid pixels, 0 or more.

        Raises
        ------
        FusionError
            A noise that is not above 0, or shapes that do not fit.
        """
        rows, cols = selection.best.shape
        shape = (rows, cols) if shape is None else shape
        if not noise > 0:
            raise FusionError(f"noise is {noise} levels: it must be above 0")
        if shape[0] > 2 * rows or shape[1] > 2 * cols:
            raise FusionError(
                f"an image of {shape[1]}x{shape[0]} px on a grid of {cols}x{rows}: twice that at most"
            )
        if clipped is not None and clipped.shape != (rows, cols):
            raise FusionError(
                f"clipped has shape {clipped.shape}: it must be the selection's, {(rows, cols)}"
            )
        tables = Tables.of(selection, noise)
        if shape != (rows, cols):
            # The grid is padded; only what the image covers counts.
            rows, cols = (shape[0] + 1) // 2, (shape[1] + 1) // 2
        relief = cls(
            np.empty((rows, cols), np.float32),
            np.empty((rows, cols), np.float32),
            np.empty((rows, cols), np.uint8),
            np.empty((rows, cols), np.int16),
            *shape,
            step_um=float(np.median(np.diff(np.sort(tables.here_um)))) if len(tables.here_um) > 1 else 0.0,
        )
        for band, halo in _bands(rows, cols):
            relief._measure(selection, tables, band, halo, None if clipped is None else clipped[band, :cols])
        outer = np.ones((rows, cols), bool)
        outer[border_px : max(0, rows - border_px), border_px : max(0, cols - border_px)] = False
        relief.reason[outer & (relief.reason == Reason.OK)] = Reason.BORDER
        return relief

    @property
    def depth_um(self) -> Float:
        """Depth on the grid, a fresh float32 array; NaN where `reason` is above `Reason.UNSURE`."""
        return np.where(self.reason <= Reason.UNSURE, self.raw_um, np.float32(np.nan))

    @property
    def known_percent(self) -> float:
        """Share of pixels that have a depth, 0 to 100."""
        return 100.0 * float(np.count_nonzero(self.reason <= Reason.UNSURE)) / self.reason.size

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return sum(plane.nbytes for plane in (self.raw_um, self.confidence, self.reason, self.origin))

    def cropped(self, rows: slice, cols: slice) -> Relief:
        """Return the relief of a part of the picture, as views.

        Parameters
        ----------
        rows, cols : slice
            Of the image, with whole numbers from 0 and no step; the first of each even, since the grid may
            have one pixel for two of the image's.

        Raises
        ------
        FusionError
            A part that begins at an odd row or column, or does not lie in the picture.
        """
        scale = 1 if self.raw_um.shape == (self.rows, self.cols) else 2
        for name, cut, full in (("rows", rows, self.rows), ("columns", cols, self.cols)):
            if not 0 <= cut.start < cut.stop <= full or cut.start % scale:
                raise FusionError(
                    f"{name} {cut.start} to {cut.stop} of {full}: they must lie in it and begin at a "
                    f"multiple of {scale}"
                )
        part = (_grid(rows, scale), _grid(cols, scale))
        return replace(
            self,
            raw_um=self.raw_um[part],
            confidence=self.confidence[part],
            reason=self.reason[part],
            origin=self.origin[part],
            rows=rows.stop - rows.start,
            cols=cols.stop - cols.start,
        )

    def full_size(self, plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Bring a plane of the grid to the image's size, each pixel's value as it is; a fresh array."""
        if plane.shape == (self.rows, self.cols):
            return plane.copy()
        size = (2 * plane.shape[1], 2 * plane.shape[0])
        grown = cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST)
        return np.ascontiguousarray(grown[: self.rows, : self.cols])

    def full_depth_um(self, grid_um: Float | None = None) -> Float:
        """Depth at the image's size.

        Interpolated where the grid pixels around agree within a step, which takes a tenth to a third off the
        error; else the nearest grid pixel's, so that edges stay where they are.

        Parameters
        ----------
        grid_um : ndarray, optional
            float32, what to enlarge: `depth_um` by default, or what `filled` gave.

        Returns
        -------
        ndarray
            float32, (rows, cols), um; NaN where `grid_um` is.
        """
        grid_um = self.depth_um if grid_um is None else grid_um
        full: Float = self.full_size(grid_um)
        if grid_um.shape == full.shape:
            return full
        rows, cols = grid_um.shape
        step = max(1, _BAND_PX // (4 * cols))
        for start in range(0, rows, step):
            top = max(0, start - 1)
            part = grid_um[top : start + step + 1]
            smooth = cv2.resize(part, (2 * cols, 2 * part.shape[0]), interpolation=cv2.INTER_LINEAR)
            nearest = full[2 * start : 2 * (start + step)]
            smooth = smooth[2 * (start - top) :][: nearest.shape[0], : self.cols]
            # A comparison with NaN is false, so that an unknown neighbour leaves the pixel as it is.
            np.copyto(nearest, smooth, where=np.abs(smooth - nearest) < np.float32(self.step_um))
        return full

    def filled(self, luma: npt.NDArray[np.uint8]) -> Float:
        """Depth without holes, for the eye and for 3D views; see `focusd.fusion.filling.fill`.

        Parameters
        ----------
        luma : ndarray
            uint8, (rows, cols) of the image; the fused picture's brightness.

        Returns
        -------
        ndarray
            float32, on the grid, um: `raw_um` where its chance is fair, else a near pixel's of like luma.
        """
        rows, cols = self.raw_um.shape
        guide = np.asarray(cv2.resize(luma, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8)
        fair = (self.confidence >= _FAIR) & (self.reason < Reason.FLAT)
        return fill(self.raw_um, fair, self.reason <= Reason.BORDER, guide)

    def _measure(
        self,
        selection: Selection,
        tables: Tables,
        band: slice,
        halo: slice,
        clipped: npt.NDArray[np.bool_] | None,
    ) -> None:
        """Fill the rows of `band`; those of `halo` are looked at."""
        core = slice(band.start - halo.start, band.stop - halo.start)
        region = (halo, slice(self.raw_um.shape[1]))
        best, below, above = selection.best[region], selection.below[region], selection.above[region]
        second, origin = selection.second[region], selection.origin[region]
        peak = vertex(best, below, above, origin, tables)
        ranked = tables.rank[origin]
        around = spread(ranked + peak.shift_steps)[core]
        best, below, above, origin = best[core], below[core], above[core], origin[core]
        frames = len(tables.here_um)
        second = second[core]
        sure = confidence(best, _rival(below, above, second, frames), around, tables.noise)
        if frames == 1:
            sure[...] = 0
        # Either of two peaks may be the true one.
        sure[_has_two_peaks(best, below, above, second)] *= 0.5
        at_end = (origin == selection.lowest_frame) | (origin == selection.highest_frame)
        whole = ~at_end & ((below == UNKNOWN) | (above == UNKNOWN))
        reason = self.reason[band]
        reason[...] = Reason.OK
        reason[whole] = Reason.WHOLE_STEP
        reason[at_end] = Reason.EDGE
        reason[sure < _SURE] = Reason.UNSURE
        reason[sure < _LIKELY] = Reason.TWO_PEAKS
        reason[(best < _FLAT_BELOW * tables.noise) | (sure == 0)] = Reason.FLAT
        if clipped is not None:
            reason[clipped] = Reason.SATURATED
        np.add(tables.here_um[origin], peak.shift_um[core], out=self.raw_um[band], casting="same_kind")
        self.confidence[band] = sure
        self.origin[band] = ranked[core]


def _grid(cut: slice, scale: int) -> slice:
    return slice(cut.start // scale, -(-cut.stop // scale))


def _rival(below: Response, above: Response, second: Response, frames: int) -> Response:
    """Best response elsewhere in z.

    In a stack of two or three frames all others may be neighbours; then the better neighbour is the rival.
    """
    has_below, has_above = below != UNKNOWN, above != UNKNOWN
    others = frames - 1 - has_below.astype(np.int32) - has_above
    nearer = np.maximum(np.where(has_below, below, 0), np.where(has_above, above, 0)).astype(np.uint16)
    return np.where(others > 0, second, nearer)


def _has_two_peaks(
    best: Response, below: Response, above: Response, second: Response
) -> npt.NDArray[np.bool_]:
    """Where a response two frames or more away is close to the best, and well above both frames between.

    A single peak falls on both sides, so that none further away can pass the neighbours but by noise.
    """
    slope = np.maximum(np.where(below == UNKNOWN, 0, below), np.where(above == UNKNOWN, 0, above))
    return (second > _NEAR_BEST * best) & (second > _OVER_VALLEY * slope) & (slope > 0)


def _bands(rows: int, cols: int) -> Iterator[tuple[slice, slice]]:
    """Cut rows into bands, each with the rows it must look at."""
    step = max(1, _BAND_PX // cols)
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield (
            slice(start, stop),
            slice(max(0, start - SPREAD_REACH_PX), min(rows, stop + SPREAD_REACH_PX)),
        )
