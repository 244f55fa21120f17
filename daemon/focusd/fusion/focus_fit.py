"""The value a pixel has in exact focus, from the frames near its depth, as a weighted sum of them.

Near focus a value changes with the square of its distance to focus, ``u``: blur of small extent adds
``c u**2`` times a local constant, as diffusion does (the S-transform of [1]_). A weighted least-squares fit
of ``S + c u**2`` gives ``S``, between two stops as well; a mean of the same frames keeps half a step's blur.
For a given depth the fit is a fixed sum of frames, so it can be tabled.

References
----------
.. [1] Subbarao M., Surya G., Depth from defocus: a spatial domain approach, Int. J. Computer Vision 13(3),
   1994, 271-294, section 3. doi:10.1007/BF02028349
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from focusd.fusion.arrays import Float

# Depths the weights are tabled for, in a step.
_DEPTHS_PER_STEP = 32
_MOST_DEPTHS = 65535
# Depths fitted at a time: in double precision the whole would be large for a thousand frames.
_DEPTHS_AT_ONCE = 1024
# Keeps the fit from following noise where few frames are near, steps to the fourth.
_STIFFNESS = 1e-3
# Beyond this a frame's weight is below a thousandth of the nearest one's.
_REACH_WINDOWS = 4.0


@dataclass(frozen=True, slots=True)
class FocusFit:
    """Weights of the frames of a stack for a row of depths.

    Parameters
    ----------
    lowest_um, pitch_um : float
        The first depth, and the distance to the next.
    weights : ndarray
        float32, (frames in ascending z, depths); those of one depth add up to 1, and some are negative.
    """

    lowest_um: float
    pitch_um: float
    weights: Float

    @classmethod
    def of(cls, positions_um: npt.NDArray[np.float64], step_um: float, window_steps: float) -> FocusFit:
        """Fit once for each depth.

        Parameters
        ----------
        positions_um : ndarray
            float64, of the frames, ascending; one or more.
        step_um : float
            The usual distance of two; 0 for a single frame.
        window_steps : float
            Standard deviation of the Gaussian that weights frames by distance, above 0; in steps, or in
            the distance of the stops around where that is larger.
        """
        low_um, high_um = float(positions_um[0]), float(positions_um[-1])
        stops_um = np.unique(positions_um)
        if not step_um > 0 or len(stops_um) < 2:
            return cls(low_um, 1.0, np.full((len(positions_um), 1), 1 / len(positions_um), np.float32))
        count = min(_MOST_DEPTHS, 1 + int(np.ceil((high_um - low_um) / step_um * _DEPTHS_PER_STEP)))
        depths_um = np.linspace(low_um, high_um, count)
        gaps_um = np.diff(stops_um)
        around_um = np.maximum(np.append(gaps_um, gaps_um[-1]), np.insert(gaps_um, 0, gaps_um[0]))
        unit_um = np.maximum(step_um, np.interp(depths_um, stops_um, around_um))
        weights = np.empty((len(positions_um), count), np.float32)
        for first in range(0, count, _DEPTHS_AT_ONCE):
            part = slice(first, first + _DEPTHS_AT_ONCE)
            square = ((positions_um[:, None] - depths_um[part]) / unit_um[part]) ** 2
            near = np.exp(-square / (2 * window_steps**2))
            near[square > (_REACH_WINDOWS * window_steps) ** 2] = 0
            m0, m2, m4 = (np.sum(near * square**power, axis=0) for power in (0, 1, 2))
            m4 += _STIFFNESS
            weights[:, part] = near * (m4 - m2 * square) / (m0 * m4 - m2 * m2)
        return cls(low_um, float(depths_um[1] - depths_um[0]), weights)

    def columns_of(self, depth_um: Float) -> npt.NDArray[np.uint16]:
        """Column of `weights` for each depth: the nearest tabled one."""
        place = np.rint((depth_um - np.float32(self.lowest_um)) * np.float32(1 / self.pitch_um))
        return np.asarray(np.clip(place, 0, self.weights.shape[1] - 1), np.uint16)
