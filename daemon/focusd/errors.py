"""Every error focusd raises on purpose, under one root.

Each message names the thing, the value, the unit, the limit and what to do next. ``code`` is the
word that goes on the wire in a refusal (``{"status": "error", "code": ...}``).
"""

from __future__ import annotations

from typing import Any, ClassVar


class FocusdError(Exception):
    """Root of focusd's errors.

    Parameters
    ----------
    message : str
        One sentence for a person.
    **values
        The facts behind the message (numbers with their unit in the name), kept in ``values`` and sent
        as ``data`` in a refusal.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **values: Any) -> None:
        super().__init__(message)
        self.values: dict[str, Any] = values


class ConfigError(FocusdError, ValueError):
    """A configuration file that cannot be used."""

    code = "config"


class PlanError(FocusdError, ValueError):
    """A job that cannot be run as asked."""

    code = "bad_plan"


class RequestError(FocusdError, ValueError):
    """A request on the wire that is refused.

    Parameters
    ----------
    message : str
        Why, and what to send instead.
    code : str
        The word on the wire, e.g. ``bad_request``, ``busy``, ``expired``, ``retained``.
    """

    def __init__(self, message: str, code: str = "bad_request", **values: Any) -> None:
        super().__init__(message, **values)
        self.code = code  # type: ignore[misc]  # a refusal carries its own word


class RailError(FocusdError):
    """The rail did not do what it was told; its position is in doubt."""

    code = "rail"


class NotHomed(RailError):
    """A move was asked of a rail whose position is not trusted."""

    code = "not_homed"


class OutOfTravel(RailError):
    """A target outside the soft limits. Raised before the first pulse."""

    code = "out_of_travel"


class EndstopNotFound(RailError):
    """Homing ran its whole distance without meeting the end stop."""

    code = "endstop_not_found"


class EndstopHit(RailError):
    """An end stop tripped during a move that should not have met it."""

    code = "endstop_hit"


class Stopped(FocusdError):
    """The emergency stop was pressed."""

    code = "stopped"


class CameraError(FocusdError):
    """The camera did not deliver."""

    code = "camera"


class ExposureTimeout(CameraError):
    """No frame within the deadline."""

    code = "exposure_timeout"


class FrameLost(CameraError):
    """A frame that arrived but cannot be used."""

    code = "frame_lost"


class FusionError(FocusdError):
    """A frame that cannot be fused."""

    code = "fusion"


class FrameMismatch(FusionError, ValueError):
    """A frame whose size or type differs from the first one's."""

    code = "frame_mismatch"


class CalibrationFailed(FocusdError):
    """What was photographed does not tell what was to be measured."""

    code = "calibration"


class JournalError(FocusdError):
    """A journal that cannot be read or written."""

    code = "journal"


class LinkError(FocusdError):
    """The MQTT link cannot be set up."""

    code = "link"
