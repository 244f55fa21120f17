"""Which end of the stack wins where two depths answer about alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from focusd.errors import FusionError

Side = Literal["front", "back"]
# Energies at the preferred end count 1.2 times, at the other the inverse: a response half as strong again
# always wins. More makes thin things in front better still, and the rest worse: tests/bench/bench_prefer.py.
_LARGEST_GAIN = 1.2


@dataclass(frozen=True, slots=True)
class Prefer:
    """A bias towards one end of the stack.

    A wide aperture sees past a thin thing in front: where its own detail is weak, the strong detail behind
    it wins, and the thing becomes transparent. Biased to the front it stays opaque.

    Parameters
    ----------
    side : {"front", "back"}
        The end at high positions, or at low ones.
    low_um, high_um : float
        Positions of the stack's ends; frames beyond count as at the end.

    Raises
    ------
    FusionError
        Ends that are not apart, or another side.
    """

    side: Side
    low_um: float
    high_um: float

    def __post_init__(self) -> None:
        if self.side not in ("front", "back"):
            raise FusionError(f"prefer is {self.side!r}: it must be front or back")
        if not self.low_um < self.high_um:
            raise FusionError(
                f"prefer {self.side} between {self.low_um:g} and {self.high_um:g} um: the ends must be apart"
            )

    @classmethod
    def over(cls, side: Side | Literal["none"], positions_um: Sequence[float]) -> Prefer | None:
        """Preference over a stack's positions; None for none, or a stack of one place."""
        low_um, high_um = min(positions_um), max(positions_um)
        return None if side == "none" or low_um == high_um else cls(side, low_um, high_um)

    def gain(self, position_um: float) -> float:
        """How many times a frame's energies count, 0.83 to 1.2."""
        share = (position_um - self.low_um) / (self.high_um - self.low_um)
        lean = 2.0 * min(1.0, max(0.0, share)) - 1.0
        return float(_LARGEST_GAIN ** (lean if self.side == "front" else -lean))
