"""Where a stack stops: `ZPlan` (what was asked) becomes `StackPlan` (positions in order of visit). Pure.

Field names and meaning are useq-schema's; its arithmetic is not: both ends are always visited, reversed ends
are an error, and the step is made to fit the range instead of the range being cut to the step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import pairwise

from focusd.errors import PlanError

MAX_STOPS = 10_000
"""Most stops in one stack; a bound on memory, not on optics."""
_ASIDE = {"go_up", "step", "grid_um"}


def exact(value: float) -> Fraction:
    """Return the decimal number a person wrote, exactly: 0.1 is one tenth, not its nearest double."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PlanError(f"{value} is not a finite number")
    return Fraction(str(value))


@dataclass(frozen=True, slots=True)
class Stop:
    """One position of a stack.

    Parameters
    ----------
    index : int
        From 0, in order of visit.
    position_um : float
        Rail position, um.
    """

    index: int
    position_um: float


@dataclass(frozen=True, slots=True)
class StackPlan:
    """The stops of one stack, in order of visit.

    Parameters
    ----------
    positions_um : tuple of float
        Rail positions, um; at least one.
    step_um : float or None
        Actual distance between neighbours, um (on a grid the largest); None where positions were listed one
        by one.
    requested_step_um : float or None
        The distance that was asked for, um. `step_um` is never larger, but on a grid that is coarser.
    """

    positions_um: tuple[float, ...]
    step_um: float | None = None
    requested_step_um: float | None = None

    def __len__(self) -> int:
        return len(self.positions_um)

    def __iter__(self) -> Iterator[Stop]:
        for index, position_um in enumerate(self.positions_um):
            yield Stop(index, position_um)

    @property
    def low_um(self) -> float:
        """Lowest position, um."""
        return min(self.positions_um)

    @property
    def high_um(self) -> float:
        """Highest position, um."""
        return max(self.positions_um)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZPlan:
    """What was asked for: exactly one of the six forms, all lengths in um.

    Parameters
    ----------
    top, bottom : float
        Absolute ends; `top` above `bottom`. With `step`.
    marks : bool
        Run between the marks ``near`` and ``far``. With `step`.
    range : float
        Centred on the present position, above 0. With `step`.
    above, below : float
        Distances from the present position, at least 0, not both 0. With `step`.
    relative : tuple of float
        Offsets from the present position.
    absolute : tuple of float
        Positions.
    step : float, optional
        Largest distance between stops; taken from the optics when absent.
    go_up : bool
        Visit from low to high (default) or from high to low.
    grid_um : float, optional
        Put each stop on a multiple of this: ends inside what was asked for, distances not above the step
        but where the grid is coarser; listed positions on the nearest, those that fall together into one.

    Raises
    ------
    PlanError
        No form, two forms, or a value out of its range.
    """

    top: float | None = None
    bottom: float | None = None
    marks: bool | None = None
    range: float | None = None
    above: float | None = None
    below: float | None = None
    relative: tuple[float, ...] | None = None
    absolute: tuple[float, ...] | None = None
    step: float | None = None
    go_up: bool = True
    grid_um: float | None = None

    def __post_init__(self) -> None:
        given = {f.name for f in fields(self) if getattr(self, f.name) is not None} - _ASIDE
        if self.marks is False:
            given.discard("marks")
        forms = ({"top", "bottom"}, {"marks"}, {"range"}, {"above", "below"}, {"relative"}, {"absolute"})
        if given not in forms:
            raise PlanError(
                "z_plan must be exactly one of {top, bottom}, {marks}, {range}, {above, below}, {relative} "
                f"or {{absolute}}; got {{{', '.join(sorted(given))}}}"
            )
        if given <= {"relative", "absolute"} and self.step is not None:
            raise PlanError("z_plan.step has no meaning beside a list of positions; leave it out")
        if self.step is not None and not exact(self.step) > 0:
            raise PlanError(f"z_plan.step is {self.step} um: it must be above 0")

    @property
    def is_relative(self) -> bool:
        """Whether the present position of the rail matters."""
        return self.range is not None or self.above is not None or self.relative is not None

    @property
    def needs_step(self) -> bool:
        """Whether a step must come from somewhere (the request or the optics)."""
        return self.relative is None and self.absolute is None

    def resolve(
        self,
        present_um: float,
        marks_um: Mapping[str, float] | None = None,
        optics_step_um: float | None = None,
    ) -> StackPlan:
        """Turn into stops.

        Parameters
        ----------
        present_um : float
            Where the rail is, um; matters to the relative forms.
        marks_um : mapping, optional
            Positions of ``near`` and ``far``, um.
        optics_step_um : float, optional
            Step to take when the plan has none, um.

        Raises
        ------
        PlanError
            No stops, too many, ends reversed, marks not set, or no step to be had.
        """
        here = exact(present_um)
        if self.relative is not None:
            return self._listed([here + exact(offset) for offset in self.relative], "relative")
        if self.absolute is not None:
            return self._listed([exact(position) for position in self.absolute], "absolute")
        low, high = self._ends(here, marks_um or {})
        step_um = self.step if self.step is not None else optics_step_um
        if step_um is None:
            raise PlanError(
                "z_plan has no step and the rig has no optics to take one from: add z_plan.step (um), or "
                "optics {magnification, na or f_number, pixel_um} and overlap"
            )
        return self._spaced(low, high, exact(step_um))

    def _ends(self, here: Fraction, marks_um: Mapping[str, float]) -> tuple[Fraction, Fraction]:
        if self.top is not None and self.bottom is not None:
            low, high = exact(self.bottom), exact(self.top)
            if low > high:
                raise PlanError(
                    f"z_plan.bottom {self.bottom} um is above z_plan.top {self.top} um: swap them, and use "
                    "go_up to choose the direction"
                )
        elif self.range is not None:
            half = exact(self.range) / 2
            low, high = here - half, here + half
            if half < 0:
                raise PlanError(f"z_plan.range is {self.range} um: it must be above 0")
        elif self.above is not None and self.below is not None:
            if self.above < 0 or self.below < 0:
                raise PlanError(
                    f"z_plan.above is {self.above} um and below {self.below} um: give both as distances, "
                    "at least 0"
                )
            low, high = here - exact(self.below), here + exact(self.above)
        else:
            missing = [name for name in ("near", "far") if name not in marks_um]
            if missing:
                raise PlanError(
                    f"z_plan.marks: the mark {' and '.join(missing)} is not set; drive there and send "
                    '`mark {"end": "near"}` or `"far"`'
                )
            low, high = sorted((exact(marks_um["near"]), exact(marks_um["far"])))
        if low == high:
            raise PlanError(
                f"z_plan covers no distance: both ends are at {float(low):g} um; make it longer than 0 um"
            )
        return low, high

    def _spaced(self, low: Fraction, high: Fraction, step: Fraction) -> StackPlan:
        grid = None if self.grid_um is None else exact(self.grid_um)
        if grid is not None:
            # Inside what was asked for, in whole parts of the grid, none longer than the step.
            first, last, part = (
                math.ceil(low / grid),
                math.floor(high / grid),
                max(1, math.floor(step / grid)),
            )
            if first >= last:
                raise PlanError(
                    f"z_plan covers less than a motor step, {float(grid):g} um: make it longer",
                    motor_step_um=float(grid),
                )
            low, high = first * grid, last * grid
        gaps = math.ceil((high - low) / (step if grid is None else part * grid))
        if gaps + 1 > MAX_STOPS:
            raise PlanError(
                f"z_plan gives {gaps + 1} stops: {MAX_STOPS} at most; use a larger step or a smaller range",
                stops=gaps + 1,
            )
        actual = (high - low) / gaps
        places = [low + i * actual for i in range(gaps + 1)]
        if grid is not None:
            places = [round(place / grid) * grid for place in places]
            actual = max(after - before for before, after in pairwise(places))
        upward = [float(place) for place in places]
        return StackPlan(tuple(upward if self.go_up else reversed(upward)), float(actual), float(step))

    def _listed(self, positions: list[Fraction], name: str) -> StackPlan:
        if not positions:
            raise PlanError(f"z_plan.{name} is empty: give at least one position")
        if len(positions) > MAX_STOPS:
            raise PlanError(f"z_plan.{name} has {len(positions)} positions: {MAX_STOPS} at most")
        if self.grid_um is not None:
            grid = exact(self.grid_um)
            positions = list(dict.fromkeys(round(position / grid) * grid for position in positions))
        if len(set(positions)) < len(positions):
            raise PlanError(f"z_plan.{name} names a position twice: a stop is visited once")
        ordered = sorted(positions, reverse=not self.go_up)
        return StackPlan(tuple(float(position) for position in ordered))
