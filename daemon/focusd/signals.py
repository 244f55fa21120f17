"""What other threads may tell the job thread while it works."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from focusd.errors import FocusdError
from focusd.halt import Halt


class Cancelled(FocusdError):
    """The job was cancelled; the rig is between two stops and the position is trusted."""

    code = "cancelled"


@dataclass(frozen=True, slots=True)
class Signals:
    """What other threads may tell the job thread while it works.

    Others set `stop`; the job thread alone clears it, when it carries out `AllStop`.

    Parameters
    ----------
    stop : Halt
        Emergency: wakes every wait, ends every move before the next step.
    cancel : Event
        Ends the job at the next stop; wakes the wait before it.
    pause : Event
        Holds the job between two stops while set.
    quit : Event
        The daemon is ending: a job that `stop` ends is interrupted, not cancelled.
    """

    stop: Halt = field(default_factory=Halt)
    cancel: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)
    quit: threading.Event = field(default_factory=threading.Event)
