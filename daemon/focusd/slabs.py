"""The slabs of a running stack: each fused by a Fusion of its own and written as soon as it is whole.

Retouchers paint from them: where things cross, a picture of a few neighbouring frames shows what is near or
what is far without the other's blur.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from focusd.errors import FocusdError
from focusd.fusion import Fusion
from focusd.outputs.tiff import write_image_tiff
from focusd.pictures.metadata import Metadata, stack_text
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr
from focusd.slab_plan import SlabPlan

FOLDER = "slabs"
"""In a run's folder."""


@dataclass(frozen=True, slots=True)
class Slab:
    """A slab that was written.

    Parameters
    ----------
    file : str
        Its name, in the slabs' folder.
    first_stop, last_stop : int
        Of those whose frame is in it.
    frames : int
        How many were fused.
    low_um, high_um : float
        Range of their positions.
    """

    file: str
    first_stop: int
    last_stop: int
    frames: int
    low_um: float
    high_um: float

    def as_json(self) -> dict[str, Any]:
        """As the journal and the run's record have it."""
        return asdict(self)


class Slabs:
    """Slabs of one stack.

    A frame is fused once more for each slab it belongs to. Memory is that of ``plan.open_at_once`` fusions
    beside the stack's own.

    Parameters
    ----------
    plan : SlabPlan
        How the stack is cut.
    folder : Path
        Where the files go; made with the first.
    written : callable
        Told of each slab when its file is on the disk. A `FocusdError` it raises comes out of `add` or
        `finish`.
    is_measured : bool
        Positions are in um, not just numbers; if not, the files do not speak of them.
    """

    def __init__(
        self,
        plan: SlabPlan,
        folder: Path,
        written: Callable[[Slab], None] = lambda _: None,
        *,
        is_measured: bool = True,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._told = written
        self._is_measured = is_measured
        self._open: dict[int, _Part] = {}
        self._metadata = Metadata()
        self._covered = self._next = 0
        self._finished: list[Slab] = []
        self._closed = False

    @property
    def finished(self) -> tuple[Slab, ...]:
        """Those written so far."""
        return tuple(self._finished)

    @property
    def open_at_once(self) -> int:
        """Fusions at work at a time, at most."""
        return self._plan.open_at_once

    @property
    def nbytes(self) -> int:
        """Memory of the open fusions' state, bytes."""
        return sum(part.fusion.nbytes for part in self._open.values())

    def add(
        self,
        stop: int,
        frame: Image | Planes,
        position_um: float,
        whole: Fusion,
        metadata: Metadata | None = None,
    ) -> None:
        """Take in a frame, after writing the slabs that end before its stop.

        Parameters
        ----------
        stop : int
            Of the stack, from 0. A stop may have several frames, or none; a frame out of turn is not in slabs
            that are written already.
        frame : ndarray or Planes
            As for `Fusion.add`, and in `whole` already.
        position_um : float
            Where it was taken.
        whole : Fusion
            The whole stack's: slabs share its noise, so that they look alike.
        metadata : Metadata, optional
            Colour profile and EXIF of the stack, for the files.

        Raises
        ------
        FocusdError
            A slab could not be written. It is dropped with all others: no more is written of this stack.
        """
        if self._closed:
            return
        if metadata is not None:
            self._metadata = metadata
        self._write(lambda number: self._plan.end_of(number) <= stop)
        for number in self._plan.holding(stop):
            if number < self._next:
                continue  # written already: a frame out of turn
            part = self._open.setdefault(number, _Part(whole.sibling(), stop))
            part.fusion.add(frame, position_um)
            part.last_stop = max(part.last_stop, stop)

    def finish(self) -> tuple[Slab, ...]:
        """Write what is left, as far as it is in no slab before it; the stack is at its end, or cut short.

        Raises
        ------
        FocusdError
            As for `add`.
        """
        self._write(lambda _: True)
        self._closed = True
        return self.finished

    def _write(self, is_due: Callable[[int], bool]) -> None:
        for number in sorted(filter(is_due, self._open)):
            part = self._open.pop(number)
            self._next = number + 1
            if part.last_stop < self._covered:
                continue
            try:
                self._finished.append(self._print(number, part))
                self._told(self._finished[-1])
            except FocusdError as error:
                self._open.clear()
                self._closed = True
                raise FocusdError(f"no more slabs of this stack are written: {error}") from error
            self._covered = part.last_stop + 1

    def _print(self, number: int, part: _Part) -> Slab:
        path = self._folder / f"slab-{number + 1:04d}.tif"
        positions_um, frames = part.fusion.positions_um, part.fusion.frames
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FocusdError(f"{self._folder}: cannot be made ({error.strerror}); check the disk") from error
        image = to_bgr(part.fusion.image())
        part.fusion = part.fusion.sibling()  # makes room for what writing takes
        text = stack_text(positions_um) if self._is_measured else f"focus stack of {frames} frames"
        write_image_tiff(path, image, description=text, metadata=self._metadata.about(text))
        return Slab(path.name, part.first_stop, part.last_stop, frames, positions_um[0], positions_um[-1])


@dataclass(slots=True)
class _Part:
    """A slab that is not whole yet."""

    fusion: Fusion
    first_stop: int
    last_stop: int = 0
