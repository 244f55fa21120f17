"""Depth and its confidence, from the best response and its two neighbours in z.

Near its peak a response over z is close to a Gaussian, whose logarithm is a parabola; three points at their
true positions give the vertex.

References
----------
.. [1] Nayar S.K., Nakagawa Y., Shape from focus, IEEE Trans. PAMI 16(8), 1994, 824-831, section VI.
   doi:10.1109/34.308479
"""

from __future__ import annotations

import numpy as np

from focusd.fusion.arrays import Float, Index
from focusd.fusion.selection import Selection


def locate(selection: Selection, floor: float) -> tuple[Float, Float]:
    """Depth of each pixel.

    Parameters
    ----------
    selection : Selection
        Responses of the frames.
    floor : float
        Response that noise alone does not pass, in the responses' unit, above 0.

    Returns
    -------
    depth_um : ndarray
        float32, the selection's shape, um on the scale of the positions. Between the two neighbours of the
        best frame where both are known, else that frame's position; NaN where confidence is 0.
    confidence : ndarray
        float32, 0 to 1: how far the peak stands above the noise floor (``1 - floor / peak``) times how far it
        stands above the mean of all frames (``1 - mean / peak``). Halved where a neighbour is missing, as at
        both ends of the stack.
    """
    frames = len(selection.positions_um)
    positions_um = np.array(selection.positions_um)
    here = positions_um.astype(np.float32)[selection.origin]
    # Differences first, float32 after: a position far from zero keeps its sub-step part.
    down = (np.array(selection.below_um) - positions_um).astype(np.float32)[selection.origin]
    up = (np.array(selection.above_um) - positions_um).astype(np.float32)[selection.origin]
    known = (selection.below >= 0) & (selection.above >= 0)
    tiny = np.float32(1e-3 * floor)
    peak = np.log(selection.best + tiny)
    # Slopes towards the two neighbours; both point down from the peak.
    with np.errstate(invalid="ignore"):
        drop_down = (np.log(np.maximum(selection.below, 0) + tiny) - peak) / down
        drop_up = (np.log(np.maximum(selection.above, 0) + tiny) - peak) / up
    curvature = (drop_up - drop_down) / (up - down)
    known &= curvature < 0
    slope = drop_up - curvature * up
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.where(known, -slope / (2 * curvature), 0.0)
    # The best frame is the nearest one, so the vertex lies within half a step of it.
    shift = np.clip(shift, np.where(known, down / 2, 0.0), np.where(known, up / 2, 0.0))
    best = np.maximum(selection.best, tiny)
    confidence = np.clip(1 - floor / best, 0, 1) * np.clip(1 - selection.total / (frames * best), 0, 1)
    confidence = np.where(known, confidence, confidence / 2).astype(np.float32)
    depth_um = np.where(confidence > 0, here + shift, np.nan).astype(np.float32)
    return depth_um, confidence


def rank(selection: Selection) -> Index:
    """Origin by place in z: 0 for pixels of the lowest frame, and so on upward."""
    order = np.argsort(np.array(selection.positions_um), kind="stable")
    place = np.empty(len(order), np.int16)
    place[order] = np.arange(len(order), dtype=np.int16)
    ranked: Index = place[selection.origin]
    return ranked
