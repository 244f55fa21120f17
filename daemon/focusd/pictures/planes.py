"""A colour frame as cameras and JPEG files hold it: brightness at full size, colour at half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from focusd.errors import FocusdError


@dataclass(frozen=True, slots=True)
class Planes:
    """Luma and two colour differences, 4:2:0.

    Full range (0 to 255), Rec. 601 weights, colour samples centred between the luma samples they belong to:
    what JPEG files hold (ITU-T T.871, sections 6 and 7) and what a Pi camera's YUV420 stream holds when its
    colour space is "sYCC".

    Parameters
    ----------
    luma : ndarray
        uint8, (rows, cols).
    blue, red : ndarray
        uint8, ((rows + 1) // 2, (cols + 1) // 2); Cb and Cr, 128 is grey.

    Raises
    ------
    FocusdError
        Planes of another type or shape.
    """

    luma: npt.NDArray[Any]
    blue: npt.NDArray[Any]
    red: npt.NDArray[Any]

    def __post_init__(self) -> None:
        rows, cols = self.luma.shape[:2]
        wanted = {"luma": (rows, cols), "blue": ((rows + 1) // 2, (cols + 1) // 2)}
        wanted["red"] = wanted["blue"]
        for name, shape in wanted.items():
            plane = getattr(self, name)
            if plane.shape != shape or plane.dtype != np.uint8 or 0 in shape:
                raise FocusdError(
                    f"the {name} plane is {plane.dtype} {plane.shape}: beside a luma of {rows} x {cols} it "
                    f"must be uint8 {shape}"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the image."""
        return self.luma.shape[0], self.luma.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory of the samples, bytes."""
        return self.luma.nbytes + self.blue.nbytes + self.red.nbytes

    def copy(self) -> Planes:
        """Return the same samples in memory of their own."""
        return Planes(self.luma.copy(), self.blue.copy(), self.red.copy())
