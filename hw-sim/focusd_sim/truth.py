"""The truth: where the carriage was at each exposure, whether it moved, and which steps were lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ExposureTruth:
    """One exposure as it truly was.

    Attributes
    ----------
    index : int
        Counted from 0 over the life of the rig.
    t_open_s, t_close_s : float
        Rig time.
    position_um : float
        Mean true position of the carriage, um along the rail.
    shaft_um : float
        True angle of the motor's shaft at the end, as um of the lead: no play, no screw error.
    focus_um : float
        Position in the scene's heights.
    peak_to_peak_um : float
        Axial excursion during the exposure.
    smear_um, smear_px : float
        Sideways excursion during the exposure, in object space and in pixels.
    step_edges : int
        Rising edges on STEP during the exposure; a good stack has none.
    speed_um_s : float
        Fastest axial motion during the exposure.
    magnification : float
        Focus breathing: scale of the picture, 1 at the scene's middle.
    shift_px : tuple of float
        Sideways drift of the picture, (row, column).
    frame_file : str or None
        Name of the file the camera wrote, once it has.
    """

    index: int
    t_open_s: float
    t_close_s: float
    position_um: float
    shaft_um: float
    focus_um: float
    peak_to_peak_um: float
    smear_um: float
    smear_px: float
    step_edges: int
    speed_um_s: float
    magnification: float
    shift_px: tuple[float, float]
    frame_file: str | None = None


class _Rail(Protocol):
    @property
    def lost_steps(self) -> int: ...
    @property
    def ignored_steps(self) -> int: ...
    @property
    def crashes(self) -> int: ...
    @property
    def violations(self) -> Mapping[str, int]: ...


class Truth:
    """Recorder of every exposure and of what the rail lost.

    Parameters
    ----------
    bench : Bench
        Gives the totals.
    """

    def __init__(self, bench: _Rail) -> None:
        self._bench = bench
        self._exposures: list[ExposureTruth] = []

    @property
    def exposures(self) -> tuple[ExposureTruth, ...]:
        """All so far, oldest first."""
        return tuple(self._exposures)

    @property
    def next_index(self) -> int:
        """Index of the exposure to come."""
        return len(self._exposures)

    def record(self, exposure: ExposureTruth) -> None:
        """Add the next exposure.

        Raises
        ------
        ValueError
            If its index is not `next_index`.
        """
        if exposure.index != self.next_index:
            raise ValueError(f"exposure {exposure.index} recorded out of order: {self.next_index} comes next")
        self._exposures.append(exposure)

    def name_file(self, index: int, name: str) -> None:
        """Note the name of the file that exposure `index` became."""
        self._exposures[index] = replace(self._exposures[index], frame_file=name)

    def as_json(self, since: int = 0) -> dict[str, Any]:
        """Exposures from `since` on, and the totals, of JSON's own types."""
        exposures = [asdict(exposure) for exposure in self._exposures[since:]]
        for exposure in exposures:
            exposure["shift_px"] = list(exposure["shift_px"])
        return {
            "exposures": exposures,
            "lost_steps": self._bench.lost_steps,
            "ignored_steps": self._bench.ignored_steps,
            "crashes": self._bench.crashes,
            "violations": dict(self._bench.violations),
        }
