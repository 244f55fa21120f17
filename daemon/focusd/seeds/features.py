"""Features of a frame, where they lie and what they look like, and which are the same in two frames.

References
----------
.. [1] Lowe D.G., Distinctive image features from scale-invariant keypoints, Int. J. Computer Vision 60(2),
   2004, 91-110. doi:10.1023/B:VISI.0000029664.99615.94
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_8_bits

# Features are looked for at this size at most: at two and a half times it fits are 0.07 px off at the end of
# a drawn stack in place of 0.10, and take three times as long and a quarter of a gigabyte.
_MOST_PX = 600_000
_MOST_FEATURES = 3000
# A quarter of what OpenCV asks by default, for frames of which most is blurred; false ones match nothing.
_LEAST_CONTRAST = 0.01
# A match must beat the next best by this much, reference 1, section 7.1.
_RATIO = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of a frame.

    Parameters
    ----------
    points : ndarray
        float64, (n, 2) as (x, y), pixel centres at whole numbers.
    looks : ndarray
        float32, (n, 128).
    pixel_px : float
        Width of the pixels they were found on, px of the frame.
    """

    points: NDArray[np.float64]
    looks: NDArray[np.float32]
    pixel_px: float

    @classmethod
    def of(cls, frame: Image | Planes) -> Features:
        """Find them by SIFT; the frame is not modified."""
        grey, sides_px = _reduced(frame)
        # The type hints of OpenCV 5 lack it.
        sift = cv2.SIFT_create(  # type: ignore[attr-defined,unused-ignore]
            nfeatures=_MOST_FEATURES, contrastThreshold=_LEAST_CONTRAST
        )
        points, looks = sift.detectAndCompute(grey, None)
        if looks is None:
            return cls(np.empty((0, 2)), np.empty((0, 128), np.float32), float(sides_px[0]))
        at = np.array([point.pt for point in points], np.float64)
        return cls((at + 0.5) * sides_px - 0.5, looks, float(sides_px[0]))

    def matches(self, known: Features) -> NDArray[np.intp]:
        """Find which of `known` these are.

        Returns
        -------
        ndarray
            (n, 2): a feature's number here and there; those of `known` at most once.
        """
        if len(self.looks) < 2 or len(known.looks) < 2:
            return np.empty((0, 2), np.intp)
        best: dict[int, tuple[float, int]] = {}
        for first, second in cv2.BFMatcher(cv2.NORM_L2).knnMatch(self.looks, known.looks, k=2):
            if first.distance < _RATIO * second.distance:
                rival = best.get(first.trainIdx)
                if rival is None or first.distance < rival[0]:
                    best[first.trainIdx] = (first.distance, first.queryIdx)
        return np.array([(own, there) for there, (_, own) in best.items()], np.intp).reshape(-1, 2)


def _reduced(frame: Image | Planes) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Brightness at the size features are looked for, uint8, and its pixels' sides (x, y), in the frame's."""
    image: NDArray[Any] = frame.luma if isinstance(frame, Planes) else to_8_bits(frame)
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if grey.size <= _MOST_PX:
        return np.asarray(grey, np.uint8), np.ones(2)
    shrink = (_MOST_PX / grey.size) ** 0.5
    rows, cols = (max(1, int(side * shrink)) for side in grey.shape)
    small = cv2.resize(grey, (cols, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.array([grey.shape[1] / cols, grey.shape[0] / rows])
