"""What the main thread asks of the job thread, and what it hears back: frozen values, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from focusd.errors import FocusdError
from focusd.job import Job
from focusd.series import Place


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asked, so that the answer finds its way back."""

    command: str
    transaction: str | None = None
    reply_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """Find the end stop."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Zero:
    """Call the present place 0."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class MarkEnd:
    """Remember the present position as one end."""

    ticket: Ticket
    end: Literal["near", "far"]


@dataclass(frozen=True, slots=True)
class MoveTo:
    """Go to a position."""

    ticket: Ticket
    to_um: float


@dataclass(frozen=True, slots=True)
class Jog:
    """Move by a distance."""

    ticket: Ticket
    by_um: float


@dataclass(frozen=True, slots=True)
class RunJob:
    """Photograph a stack; `place` says which it is of a series."""

    job: Job
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Let rig time pass until `until_s`, and on while ``signals.pause`` is set.

    ``signals.cancel`` and ``signals.stop`` end it at once. The job thread does it because it alone sleeps on
    the rig's clock, and every wait of its own wakes on the emergency stop.
    """

    until_s: float
    ticket: None = None


@dataclass(frozen=True, slots=True)
class AllStop:
    """Acknowledge the emergency stop: motor off, position untrusted, ready for orders again."""

    ticket: Ticket | None


Order = Home | Zero | MarkEnd | MoveTo | Jog | RunJob | Wait | AllStop


@dataclass(frozen=True, slots=True)
class RigState:
    """The rig as it stands; `doubted`: its position was lost and nobody has homed or zeroed since."""

    state: Literal["idle", "homing", "moving", "running", "paused", "error"] = "idle"
    position_um: float = 0.0
    position_valid: bool = False
    fault: str | None = None
    marks_um: Mapping[str, float] = field(default_factory=dict)
    doubted: bool = False
    worst_late_s: float = 0.0


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A job took a step; `job` is how it stands now."""

    job: Job


@dataclass(frozen=True, slots=True)
class Answered:
    """An order was carried out, or was not."""

    ticket: Ticket
    data: dict[str, Any] = field(default_factory=dict)
    error: FocusdError | None = None


@dataclass(frozen=True, slots=True)
class OrderDone:
    """The job thread is free again."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something failed that no answer and no job can tell of."""

    message: str


Report = RigState | JobChanged | Answered | OrderDone | Trouble
