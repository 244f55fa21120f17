"""Frames laid on the first by their features, as other programs do: ``--align homography``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from focusd.errors import FusionError
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.correction import Border
from focusd.register.crop import Rectangle
from focusd.register.dust import DustMap
from focusd.register.registration import Odd, OddFrame, Ready, Unfit
from focusd.register.table import TransformTable
from focusd.seeds.aligner import FitRefused, HomographyAligner
from focusd.seeds.homography import Matrix, warp
from focusd.sources import Source


class Matching:
    """Stands where a `Registration` stands; a frame that its features do not place is left out.

    Parameters
    ----------
    known : dict, optional
        Where each frame lies, by its file, from a pass before.
    border : {'crop', 'mark'}
        As for `Registration`.
    """

    def __init__(self, known: dict[Source, Matrix] | None = None, *, border: Border = "crop") -> None:
        self.border: Border = border
        self._aligner = HomographyAligner()
        self._known = known
        self._fits: dict[Source, Matrix] = {}
        self._shape = (0, 0)
        self._refused = 0

    def take(
        self,
        tag: Source,
        frame: Image | Planes,
        position_um: float,  # noqa: ARG002
        *,
        number: int,  # noqa: ARG002
        name: str,  # noqa: ARG002
        shot: int = 0,  # noqa: ARG002
    ) -> list[Ready[Source] | Odd[Source] | Unfit[Source]]:
        """As `Registration.take`."""
        if self._known is not None:
            matrix = self._known.get(tag)
            return [] if matrix is None else [Ready(tag, warp(frame, matrix))]
        try:
            matrix = self._aligner.place(frame).matrix
        except FitRefused as error:
            self._refused += 1
            return [Odd(tag, OddFrame(str(error), reason="unaligned"), is_fused=False)]
        self._fits[tag], self._shape = matrix, (frame.shape[0], frame.shape[1])
        return [Ready(tag, warp(frame, matrix))]

    def missed(self, number: int, shot: int = 0) -> None:
        """Nothing goes by the order here."""

    def finish(self) -> list[Ready[Source] | Odd[Source] | Unfit[Source]]:
        """Nothing is held back."""
        return []

    def again(self, dust: DustMap | None = None) -> Matching:  # noqa: ARG002
        """As `Registration.again`; there is no dust to know of."""
        return Matching(self._fits, border=self.border)

    @property
    def words(self) -> tuple[str, ...]:
        """What was corrected, for people."""
        return (f"{len(self._fits)} frames laid on the first by their features, {self._refused} refused",)

    def rectangle(self) -> Rectangle | None:
        """As `Registration.rectangle`."""
        if not self._fits:
            return None
        rows, cols = self._aligner.common
        top, left = rows.start + rows.start % 2, cols.start + cols.start % 2
        if top >= rows.stop or left >= cols.stop:
            raise FusionError("the frames have no part in common; leave out those that lie far off")
        return Rectangle(top, rows.stop, left, cols.stop)

    def covered(self) -> npt.NDArray[Any] | None:
        """As `Registration.covered`, by a rectangle."""
        if not self._fits:
            return None
        mask = np.zeros(self._shape, np.uint8)
        mask[self._aligner.common] = 255
        return mask

    def table(self) -> TransformTable | None:
        """Return None: a homography is no rail's transform."""
        return None

    def found_dust(self) -> DustMap | None:
        """Return None: it is not looked for."""
        return None
