"""What the configuration says of lights and frames beforehand: whether they go together, and the waits."""

from __future__ import annotations

from collections.abc import Mapping

from focusd.config import Config, LightConfig
from focusd.errors import PlanError
from focusd.job import JobSettings


def check_turns(settings: JobSettings, config: Config) -> None:
    """Refuse lights that cannot take turns, and frames that nobody would ever see or that never come.

    Parameters
    ----------
    settings : JobSettings
        The job's, complete.
    config : Config
        The rig's.

    Raises
    ------
    PlanError
        With what to ask for instead.
    """
    turns = settings.lights
    faults = config.frame_faults(turns, settings.keep_frames)
    if not faults and len(turns) > 1 and settings.keep_frames == "off" and config.frames_come:
        faults = [
            f"lights: {', '.join(turns)} take turns, and only the frames by {turns[0]} are fused: the others "
            'would be lost; set keep_frames to "source" or "jpeg", or name one light'
        ]
    if faults:
        raise PlanError("; ".join(faults), lights=list(turns))


def lit_stop_s(
    settings: JobSettings, lights: Mapping[str, LightConfig], exposures_s: float, settle_s: float
) -> float:
    """Time that the exposures of one stop take with its lights in turn, s.

    Parameters
    ----------
    settings : JobSettings
        The job's.
    lights : mapping
        The rig's.
    exposures_s : float
        What they take by one light.
    settle_s : float
        Wait after the move, in which the first light warms up.
    """
    turns = settings.lights
    # Without turns all that burn for shots burn together.
    together_s = max((light.warm_up_s for light in lights.values() if light.on == "shot"), default=0.0)
    warm_ups_s = [lights[name].warm_up_s for name in turns] or [together_s]
    first_s = max(0.0, warm_ups_s[0] - settle_s)
    return len(warm_ups_s) * exposures_s + first_s + sum(warm_ups_s[1:])


def steady_s(lights: Mapping[str, LightConfig]) -> float:
    """Wait for the lights that burn for a whole job, once at its beginning, s."""
    return max((light.warm_up_s for light in lights.values() if light.on == "job"), default=0.0)
