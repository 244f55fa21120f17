"""What a run's record says of each stop and each exposure at it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ShotRecord:
    """One exposure, for the run's record; times in rig seconds since the stack began."""

    opened_s: float
    closed_s: float
    exposure_s: float | None
    at: str
    frame: str | None
    error: str | None
    number: int = 0
    light: str | None = None


@dataclass(slots=True)
class StopRecord:
    """One stop, for the run's record."""

    index: int
    planned_um: float
    position_um: float
    arrived_s: float
    shots: list[ShotRecord] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)
