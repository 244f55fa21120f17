"""The frames of a run, to be fused once more: those it kept, or the files of the camera's card.

Everything else that made its picture is in the run's record: where each frame was taken, in which order they
came, and how they were fused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focusd.card import Shutter, match
from focusd.config import OpticsConfig
from focusd.errors import FocusdError, JournalError
from focusd.frame_index import FOLDER, INDEX_NAME, read_index, read_lines
from focusd.job import FusionMode, Preference
from focusd.journal import JOURNAL_NAME, RECORD_NAME, RUN_ID, read_journal
from focusd.register.correction import Border, Correction
from focusd.sources import Source
from focusd.transforms import TRANSFORMS_NAME

_LARGEST_RECORD_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Roll:
    """The frames of a run.

    Parameters
    ----------
    folder : Path
        The run's.
    sources : tuple of Source
        Its frames, in the order they were taken.
    light : str or None
        The light they were taken by; None where lights did not take turns.
    prefer : {'none', 'front', 'back'}
        How it was fused.
    mode : {'default', 'fast'}
        Likewise.
    correction : Correction
        What its frames were laid on each other by.
    border : {'crop', 'mark'}
        What became of the part that not all frames cover.
    is_fused_light : bool
        Whether `light` is the one whose frames the run fused: its flat field and dark frame are of that one.
    transforms : Path or None
        Where the frames lie, if that is known from another run, or from the light that the run fused.
    optics : OpticsConfig or None
        The rig's; None too where the run ended before its record was written.
    arrivals : tuple of Source
        Its kept frames with those that were of no use and taken again: what it looked at for odd ones.
    ends_um : tuple of (float, float)
        The plan's lowest and highest position.
    notes : tuple of str
        What whoever asked for the picture should know.
    """

    folder: Path
    sources: tuple[Source, ...]
    light: str | None
    prefer: Preference
    mode: FusionMode
    ends_um: tuple[float, float]
    correction: Correction = field(default_factory=Correction)
    border: Border = "crop"
    is_fused_light: bool = True
    transforms: Path | None = None
    optics: OpticsConfig | None = None
    arrivals: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()


def is_run(path: Path) -> bool:
    """Whether a path is a run's folder."""
    return (path / RECORD_NAME).is_file() or (path / JOURNAL_NAME).is_file()


def read_roll(folder: Path, light: str | None = None, files: Sequence[Path] = ()) -> Roll:
    """Find the frames of a run and where each was taken.

    Parameters
    ----------
    folder : Path
        The run's.
    light : str, optional
        The light whose frames are wanted. Default: the one whose frames the run fused.
    files : sequence of Path
        The camera's files, in natural order of their names, in place of what the run kept.

    Raises
    ------
    FocusdError
        No frames, no such light, a record that cannot be read, or files that do not go with the run's shots.
    """
    settings, plan, stops, config = _read_record(folder)
    prefer: Preference
    mode: FusionMode
    try:
        lights = [str(name) for name in settings.get("lights") or ()]
        prefer, mode = _prefer(settings.get("prefer")), _mode(settings.get("fusion_mode"))
        correction, border = _correction(settings), _border(settings.get("border"))
        optics = None if config.get("optics") is None else OpticsConfig(**config["optics"])
        positions_um = [float(position_um) for position_um in plan["positions_um"]]
        ends_um = min(positions_um), max(positions_um)
    except (LookupError, TypeError, ValueError) as error:
        raise JournalError(f"{folder}: its record cannot be followed: {error!r}") from error
    if light is not None and light not in lights:
        names = ", ".join(lights) or "none: they did not take turns"
        raise FocusdError(f"--light {light}: the run has no such light; it has {names}")
    wanted = light or (lights[0] if lights else None)
    sources: tuple[Source, ...]
    arrivals: tuple[Source, ...] = ()
    notes: tuple[str, ...] = ()
    if files:
        sources, notes = match(files, _shutters(folder, stops, lights), wanted)
    elif (folder / FOLDER / INDEX_NAME).is_file():
        arrivals = _arrivals(folder, wanted)
        sources = tuple(source for source in arrivals if not source.is_replaced)
    else:
        raise FocusdError(
            f"{folder}: the run kept no frames (keep_frames was off); name the folder of the camera's files "
            f"too: focusd fuse {folder} CARD_DIR"
        )
    if not sources:
        of = f" by the light {wanted}" if wanted is not None else ""
        raise FocusdError(
            f"{folder}: the run has no frame{of}; look into its {JOURNAL_NAME} for what happened"
        )
    is_own = wanted == (lights[0] if lights else None)
    transforms = _transforms(folder, settings.get("transforms"), is_own=is_own)
    return Roll(
        folder,
        sources,
        wanted,
        prefer,
        mode,
        ends_um,
        correction,
        border,
        is_own,
        transforms,
        optics,
        arrivals,
        notes,
    )


def _arrivals(folder: Path, light: str | None) -> tuple[Source, ...]:
    """Return the kept frames of a light in the order of arrival, with those that others replaced."""
    last = {kept.file for kept in read_index(folder)}
    found = (
        (folder / FOLDER / kept.file, kept.shot, kept.file not in last)
        for kept in read_lines(folder / FOLDER / INDEX_NAME)
        if kept.shot.light == light
    )
    return tuple(
        Source(path, shot.position_um, shot.stop_index, shot.number, is_replaced=is_replaced)
        for path, shot, is_replaced in found
        if not is_replaced or path.is_file()
    )


def _transforms(folder: Path, other: object, *, is_own: bool) -> Path | None:
    """Return the file that says where the frames lie: that of the run it was laid as, or its own."""
    own = folder / TRANSFORMS_NAME
    if other is None:
        return own if not is_own and own.is_file() else None
    if not isinstance(other, str) or not RUN_ID.fullmatch(other):
        raise JournalError(f"{folder}: its record cannot be followed: transforms is {other!r:.60}")
    theirs = folder.parent / other / TRANSFORMS_NAME
    return own if own.is_file() and not theirs.is_file() else theirs


def _prefer(word: object) -> Preference:
    match word:
        case "front" | "back":
            return word
        case "none" | None:
            return "none"
    raise ValueError(f"prefer is {word!r}")


def _correction(settings: dict[str, Any]) -> Correction:
    return Correction.of_json(
        {
            "align": settings.get("align") or "off",
            "gain": settings.get("gain") or False,
            "odd": settings.get("odd_frames") or "off",
        }
    )


def _border(word: object) -> Border:
    match word:
        case "mark":
            return word
        case "crop" | None:
            return "crop"
    raise ValueError(f"border is {word!r}")


def _mode(word: object) -> FusionMode:
    match word:
        case "fast":
            return "fast"
        case "default" | None:
            return "default"
    raise ValueError(f"fusion_mode is {word!r}")


def _read_record(folder: Path) -> tuple[dict[str, Any], dict[str, Any], list[Any], dict[str, Any]]:
    """Return settings and plan of a run; and its stops and its rig's configuration, if they are recorded."""
    record, journal = folder / RECORD_NAME, folder / JOURNAL_NAME
    try:
        if record.is_file():
            if record.stat().st_size > _LARGEST_RECORD_BYTES:
                raise JournalError(
                    f"{record}: {record.stat().st_size} bytes are more than any run's record has"
                )
            facts = json.loads(record.read_bytes())
            stops, config = list(facts.get("stops") or ()), dict(facts.get("config") or {})
            return dict(facts["settings"]), dict(facts["plan"]), stops, config
        # The power went before the record was written.
        settings: dict[str, Any] = {}
        plan: dict[str, Any] = {}
        for line in read_journal(journal):
            if line["kind"] == "accepted":
                settings, plan = dict(line["settings"]), dict(line["plan"])
            elif line["kind"] == "started":
                plan = dict(line["plan"])
    except OSError as error:
        raise JournalError(f"{record}: {error.strerror}; check the folder") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise JournalError(f"{record}: it is no run's record: {error!r}") from error
    return settings, plan, [], {}


def _shutters(folder: Path, stops: Sequence[Any], lights: Sequence[str]) -> list[Shutter]:
    """Return the exposures of a run, in the order of time."""
    try:
        shutters = [
            Shutter(
                int(stop["index"]),
                float(stop["position_um"]),
                float(shot["opened_s"]),
                shot.get("light"),
                shot.get("number"),
                is_sure=shot["error"] is None,
            )
            for stop in stops
            for shot in stop["shots"]
        ]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise JournalError(f"{folder / RECORD_NAME}: its stops cannot be followed: {error!r}") from error
    if not shutters:
        raise FocusdError(f"{folder / RECORD_NAME}: it names no shots that files could be matched to")
    if lights and any(shutter.light is None for shutter in shutters):
        raise FocusdError(f"{folder / RECORD_NAME}: it does not say by which light each shot was taken")
    return sorted(shutters, key=lambda shutter: shutter.opened_s)
