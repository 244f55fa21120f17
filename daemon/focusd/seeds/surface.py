"""A depth map made presentable: unsure depths dropped, others smoothed, holes filled, ground masked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.fusion.arrays import Index
from focusd.fusion.filling import fill
from focusd.fusion.relief import Reason, Relief

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Gaps in the subject up to this share of the picture's shorter side are closed, and islands whose area is
# smaller than its square are dropped.
_GAP_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Surface:
    """Depth of the subject.

    Parameters
    ----------
    depth : ndarray
        float32, (rows, cols), the unit it was given in; NaN outside `mask`.
    mask : ndarray
        bool, (rows, cols): the subject, its gaps closed.
    sure : ndarray
        bool, (rows, cols): depths that were there before filling.
    """

    depth: Plane
    mask: Mask
    sure: Mask

    @classmethod
    def of(cls, depth: Plane, sure: Mask, luma: NDArray[np.uint8], median_px: int = 5) -> Surface:
        """Clean up a depth map.

        Parameters
        ----------
        depth : ndarray
            float32, (rows, cols), any unit, finite.
        sure : ndarray
            bool, (rows, cols): what to go by.
        luma : ndarray
            uint8, (rows, cols): holes are filled from pixels of like brightness.
        median_px : int
            Side of the median, 3 or 5.
        """
        if not sure.any():
            return cls(np.full_like(depth, np.nan), np.zeros_like(sure), sure)
        # The median must not see unsure depths: the nearest sure one stands in their place.
        smooth = np.asarray(cv2.medianBlur(_nearest(depth, sure), median_px), np.float32)
        mask = subject_mask(sure)
        filled = fill(smooth, sure, sure, luma)
        return cls(np.where(mask, filled, np.float32(np.nan)), mask, sure & mask)

    def relief(self, origin: Index, positions_um: Sequence[float], trust: Plane) -> Relief:
        """Give it the form in which a fusion tells its depth.

        Parameters
        ----------
        origin : ndarray
            int16, (rows, cols): the frame picked, in the order they came.
        positions_um : sequence of float
            Of the frames, in the order they came.
        trust : ndarray
            float32, (rows, cols): what speaks for a depth over what is asked for; its confidence is a half
            at 1.

        Returns
        -------
        Relief
            `Reason.WHOLE_STEP` where a depth is the frame's own, `UNSURE` where it was filled in.
        """
        order = np.argsort(positions_um, kind="stable")
        rank = np.empty(len(order), np.int16)
        rank[order] = np.arange(len(order), dtype=np.int16)
        reason = np.full(self.mask.shape, int(Reason.FLAT), np.uint8)
        reason[self.mask] = Reason.UNSURE
        reason[self.sure] = Reason.WHOLE_STEP
        rows, cols = origin.shape
        steps = np.diff(np.sort(positions_um))
        above = np.maximum(trust, np.float32(0))
        middle = np.float32(np.mean(positions_um))
        return Relief(
            raw_um=np.where(self.mask, self.depth, middle),
            confidence=np.asarray(above / (above + np.float32(1)), np.float32),
            reason=reason,
            origin=rank[origin],
            rows=rows,
            cols=cols,
            step_um=float(np.median(steps)) if steps.size else 0.0,
        )


def subject_mask(sure: Mask) -> Mask:
    """Close the gaps between sure pixels and drop what stands alone.

    Parameters
    ----------
    sure : ndarray
        bool, (rows, cols).

    Returns
    -------
    ndarray
        bool, (rows, cols).
    """
    gap_px = max(1, round(_GAP_SHARE * min(sure.shape)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * gap_px + 1, 2 * gap_px + 1))
    wide = cv2.copyMakeBorder(sure.astype(np.uint8), gap_px, gap_px, gap_px, gap_px, cv2.BORDER_REFLECT)
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, disk)[gap_px:-gap_px, gap_px:-gap_px]
    _, labels, facts, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(closed), connectivity=8)
    kept = facts[:, cv2.CC_STAT_AREA] >= gap_px**2
    kept[0] = False
    if not kept.any():
        return np.asarray(closed > 0)
    outlines, _ = cv2.findContours(kept[labels].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(sure.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return np.asarray(filled > 0)


def _nearest(depth: Plane, sure: Mask) -> Plane:
    """`depth` with the nearest sure value where it is not sure."""
    _, labels = cv2.distanceTransformWithLabels(
        (~sure).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(labels.max()) + 1, np.float32)
    by_label[labels[sure]] = depth[sure]
    return np.asarray(by_label[labels], np.float32)
