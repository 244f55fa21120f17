"""Names for the arrays of this package."""

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
