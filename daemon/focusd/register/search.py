"""Where to start a fit when nothing is known: phase correlation of the smallest outlines.

References
----------
.. [1] Kuglin C.D., Hines D.C., The phase correlation image alignment method, Proc. IEEE Int. Conf. on
   Cybernetics and Society, 1975, 163-165.
"""

from __future__ import annotations

import cv2
import numpy as np

from focusd.register.outline import Outline
from focusd.register.transform import Transform


def search(reference: Outline, frame: Outline) -> Transform:
    """Return the shift that phase correlation finds between two frames; the identity where it finds none.

    Shifts of up to a quarter of the picture are found; whether it is right must be seen from the fit.
    """
    level = len(reference.levels) - 1
    one, other = reference.levels[level], frame.levels[level]
    if min(one.shape) < 2:  # OpenCV has no window for a single line
        return Transform.identity()
    window = np.asarray(cv2.createHanningWindow((one.shape[1], one.shape[0]), cv2.CV_32F), np.float32)
    # Windowed here: given the window, OpenCV 5 writes into its inputs.
    (x, y), _ = cv2.phaseCorrelate(one * window, other * window)
    pixel_px = reference.pixel_px(level)
    if not np.isfinite((x, y)).all():
        return Transform.identity()
    return Transform(np.array([[1, 0, x * pixel_px], [0, 1, y * pixel_px]]))
