"""The default rule: power-weighted sums of Laplacian bands, clamped to what the frames showed."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from focusd.errors import FusionError
from focusd.fusion.arrays import Image
from focusd.fusion.compiled import CompiledKernel, library
from focusd.fusion.noise import estimate_sigma
from focusd.fusion.plain import PlainKernel
from focusd.fusion.rule import KAPPA, SHARP_LEVELS, Mode, Rule
from focusd.fusion.selection import UNKNOWN, Response, Selection
from focusd.fusion.state import FusionState
from focusd.fusion.sums import Sums
from focusd.fusion.tone import Source, Tone
from focusd.pictures.planes import Planes


class Kernel(Protocol):
    """Adds frames to sums."""

    name: str

    def add(self, sources: list[Source], gain: float) -> Response:
        """Add one frame, its energies `gain` times; returns its sharpness, valid until the next call."""

    def release(self) -> None:
        """Give the working memory back; the next `add` takes it again."""


class PyramidBlend:
    """A stack being fused by the pyramid rule.

    Parameters
    ----------
    sums : Sums
        Of the frames so far.
    rule : Rule
        How they are weighted.
    selection : Selection or None
        Of the frames so far; None before the first.
    """

    def __init__(self, sums: Sums, rule: Rule, selection: Selection | None = None) -> None:
        loops = library()
        self.sigma = rule.sigma
        self._rule = rule
        self._sums = sums
        self._kernel: Kernel = (
            PlainKernel(self._sums, self._rule)
            if loops is None
            else CompiledKernel(self._sums, self._rule, loops)
        )
        self._selection = selection
        self._response: Response | None = None

    @classmethod
    def of(
        cls,
        frame: Image | Planes,
        position_um: float,
        tone: Tone,
        mode: Mode,
        sigma: float | None,
        gain: float,
    ) -> PyramidBlend:
        """Start from a first frame; `sigma` is measured on it when None."""
        if sigma is None:
            sigma = estimate_sigma(tone.sources(frame)[0])
        blend = cls(Sums.of(tone, *frame.shape[:2]), Rule.of(mode, sigma))
        blend.add(frame, position_um, gain)
        return blend

    @property
    def selection(self) -> Selection:
        """Best response per pixel, at half resolution."""
        if self._selection is None:
            raise RuntimeError("no frame has been added")
        return self._selection

    @property
    def noise(self) -> float:
        """Mean response of a frame of noise alone, 8-bit levels."""
        return sum(KAPPA[:SHARP_LEVELS]) * self.sigma

    @property
    def response(self) -> Response:
        """Response of the last frame, at half resolution, 1/512 level."""
        if self._response is None:
            raise FusionError("no frame has been added since the image was taken: add one first")
        return self._response

    @property
    def nbytes(self) -> int:
        """Memory held by the state, bytes."""
        return self._sums.nbytes + self.selection.nbytes

    def add(self, frame: Image | Planes, position_um: float, gain: float) -> None:
        """Add one frame to the sums; its energies count `gain` times."""
        response = self._kernel.add(self._sums.tone.sources(frame), gain)
        self._response = np.minimum(response, UNKNOWN - 1, out=response)
        if self._selection is None:
            self._selection = Selection.of(self._response, position_um)
        else:
            self._selection.add(self._response, position_um)

    def merge(self, other: PyramidBlend) -> None:
        """Add the sums of another blend of the same sizes."""
        self._sums.merge(other._sums)
        self.selection.merge(other.selection)
        self.sigma = min(self.sigma, other.sigma)

    def copy(self) -> PyramidBlend:
        """Return a copy that shares nothing."""
        planes = {name: plane.copy() for name, plane in self._sums.planes().items()}
        return PyramidBlend(self._sums.with_planes(planes), self._rule, self.selection.copy())

    def image(self) -> Image | Planes:
        """Fused image so far."""
        # It takes about as much memory as the next frame would.
        self._response = None
        self._kernel.release()
        return self._sums.image(self._rule)

    def preview(self, max_side_px: int) -> Image:
        """Fused image from the coarser levels alone, its longer side at most `max_side_px` if they allow."""
        grid = self._sums.grids[0]
        level = 0
        while level < grid.levels and max(grid.cropped_shape(level)) > max_side_px:
            level += 1
        return self._sums.small_image(self._rule, level)

    def clipped(self) -> npt.NDArray[np.bool_]:
        """Where luma is black or white in all frames, at half resolution."""
        return self._sums.clipped()

    def facts(self) -> dict[str, Any]:
        """Return what the state holds beside its planes, as JSON has it."""
        return {"kernel": self._kernel.name, **self.selection.facts()}

    @classmethod
    def of_state(cls, state: FusionState, tone: Tone, shape: tuple[int, int]) -> PyramidBlend:
        """Go on from saved planes.

        Raises
        ------
        KeyError, ValueError
            Planes that are missing or do not fit.
        """
        sums = Sums.of(tone, *shape).with_planes(state.planes)
        selection = Selection.of_state(state.facts, state.planes)
        if selection.best.shape != sums.grids[0].shape(min(1, sums.grids[0].levels)):
            raise ValueError(f"best is {selection.best.shape} beside an image of {shape}")
        return cls(sums, Rule.of(state.facts["mode"], float(state.facts["sigma"])), selection)

    def planes(self) -> dict[str, npt.NDArray[Any]]:
        """Every array of the state by a name."""
        return self._sums.planes() | self.selection.planes()
