"""What is to be done to the frames of a stack before they are fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from focusd.register.aligner import MODES, Mode

OddPolicy = Literal["off", "fuse", "skip", "stop"]
Border = Literal["crop", "mark"]
ODD_POLICIES: tuple[str, ...] = get_args(OddPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What is to be done to the frames of a stack.

    Parameters
    ----------
    align : {'off', 'auto', 'translation', 'similarity', 'affine'}
        What of the frames' place may be corrected.
    gain : bool
        Even flicker out, of brightness and of each colour.
    odd : {'off', 'fuse', 'skip', 'stop'}
        Not look for odd frames; fuse them all the same and say so; leave them out; or end the stack.
    dust : bool
        Learn where the sensor has dust and hot pixels.
    """

    align: Mode = "off"
    gain: bool = False
    odd: OddPolicy = "off"
    dust: bool = False

    @property
    def is_any(self) -> bool:
        """Whether there is anything to do."""
        return self != Correction()

    @classmethod
    def of_json(cls, facts: dict[str, Any]) -> Correction:
        """Read what `as_json` made; what is not said is not done.

        Raises
        ------
        TypeError, ValueError
            Words or names that are none.
        """
        made = cls(**facts)
        if made.align not in MODES or made.odd not in ODD_POLICIES:
            raise ValueError(f"align is {made.align!r}, odd {made.odd!r}")
        return made

    def as_json(self) -> dict[str, Any]:
        """As the run's record has it."""
        return {"align": self.align, "gain": self.gain, "odd": self.odd, "dust": self.dust}
