"""How a stack is cut into slabs: runs of neighbouring stops that share some with the next. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from focusd.errors import PlanError

LARGEST_SLAB = 10_000
"""Stops in a slab, at most."""


@dataclass(frozen=True, slots=True)
class SlabPlan:
    """Slabs of a stack, numbered from 0.

    Parameters
    ----------
    slab : int
        Stops in a slab, 2 to 10000.
    overlap : int
        Stops that two neighbouring slabs share, 0 to ``slab - 1``.

    Raises
    ------
    PlanError
        A number outside its range.
    """

    slab: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.slab <= LARGEST_SLAB:
            raise PlanError(
                f"slab is {self.slab} stops: it must be from 2 to {LARGEST_SLAB}, or 0 for no slabs",
                slab=self.slab,
            )
        if not 0 <= self.overlap < self.slab:
            raise PlanError(
                f"slab_overlap is {self.overlap} stops beside a slab of {self.slab}: it must be from 0 to "
                f"{self.slab - 1}",
                slab=self.slab,
                slab_overlap=self.overlap,
            )

    @property
    def pitch(self) -> int:
        """Stops from the beginning of a slab to that of the next."""
        return self.slab - self.overlap

    @property
    def open_at_once(self) -> int:
        """Slabs that a stop belongs to, at most."""
        return -(-self.slab // self.pitch)

    @property
    def fusions_per_frame(self) -> float:
        """How often a frame is fused in the long run, the whole stack's picture included."""
        return 1 + self.slab / self.pitch

    def first_of(self, number: int) -> int:
        """First stop of a slab."""
        return number * self.pitch

    def end_of(self, number: int) -> int:
        """Stop behind a slab's last one."""
        return number * self.pitch + self.slab

    def holding(self, stop: int) -> Iterator[int]:
        """Slabs that hold a stop, ascending."""
        first = max(0, (stop - self.slab) // self.pitch + 1)
        yield from range(first, stop // self.pitch + 1)

    def count(self, stops: int) -> int:
        """Slabs of a whole stack: the last one is the first to reach the stack's end."""
        return 1 + max(0, -(-(stops - self.slab) // self.pitch))
