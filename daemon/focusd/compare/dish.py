"""What came of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from focusd.compare.fidelity import Fidelity
from focusd.compare.metrics import Scores
from focusd.compare.recipe import Picture, Recipe
from focusd.compare.work import Cost


@dataclass(frozen=True, slots=True)
class Dish:
    """A picture made by a recipe, and what is to be said of it.

    Parameters
    ----------
    recipe : Recipe
        How it was made.
    picture : Picture
        What was made.
    frames : int
        How many it was made of.
    cost : Cost
        What fusing took, when it was done.
    aligning : Cost or None
        What aligning took, once for all recipes that share it; None where there was none.
    scores : Scores
        What its frames say of it.
    fidelity : Fidelity or None
        How near it is to the truth, where that is known.
    is_fresh : bool
        Fused now, and not by an earlier run.
    margin_px : int
        Width of its border that was not judged.
    """

    recipe: Recipe
    picture: Picture
    frames: int
    cost: Cost
    aligning: Cost | None
    scores: Scores
    fidelity: Fidelity | None
    is_fresh: bool
    margin_px: int

    @property
    def megapixels(self) -> float:
        """Size of the picture."""
        rows, cols = self.picture.image.shape[:2]
        return int(rows) * int(cols) / 1e6

    @property
    def cpu_ms_mp(self) -> float:
        """CPU time of aligning and fusing, decoding included: ms for each megapixel of each frame."""
        cpu_s = self.cost.cpu_s + (self.aligning.cpu_s if self.aligning is not None else 0.0)
        return 1e3 * cpu_s / self.frames / self.megapixels


@dataclass(frozen=True, slots=True)
class Failure:
    """A recipe that nothing came of, and why."""

    recipe: Recipe
    reason: str
