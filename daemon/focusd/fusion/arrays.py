"""Names for the arrays of this package, and memory that is used again for every frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
"""float32, (rows, cols); image values in 8-bit levels whatever the frame's own type."""
Mask = npt.NDArray[np.uint8]
"""uint8, (rows, cols); not zero where true."""
Index = npt.NDArray[np.int16]
"""int16, (rows, cols); a frame's number."""
Image = npt.NDArray[Any]
"""uint8 or uint16, (rows, cols) grey or (rows, cols, 3) BGR."""


class Scratch:
    """Float planes that live from frame to frame: a fresh one costs more in page faults than the sums."""

    def __init__(self) -> None:
        self._planes: dict[tuple[str, int], Float] = {}

    def plane(self, name: str, level: int, shape: tuple[int, int]) -> Float:
        """Return the plane of this `name` and `level`, of unknown content.

        Parameters
        ----------
        name : str
            What it holds.
        level : int
            Pyramid level, 0 the finest.
        shape : tuple of int
            (rows, cols); always the same for one name and level.
        """
        key = (name, level)
        found = self._planes.get(key)
        if found is None:
            found = self._planes[key] = np.empty(shape, np.float32)
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Scratch:
        return Scratch()
