"""All that a fusion knows, in a form that can be written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FusionState:
    """A fusion's sums and facts.

    Parameters
    ----------
    facts : dict
        What JSON can hold: method, kernels, sigma, bits, frames, positions.
    planes : dict
        Named arrays of any size, the fusion's own: not to be changed.
    """

    facts: dict[str, Any]
    planes: dict[str, npt.NDArray[Any]]

    @property
    def nbytes(self) -> int:
        """Memory of the planes, bytes."""
        return sum(plane.nbytes for plane in self.planes.values())
