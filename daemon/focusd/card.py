"""The files of a camera's card, matched to the shots of a run by number and by time.

A camera's clock is set by hand: only the times between its pictures count. EXIF gives whole seconds where a
camera says no more, and the clocks drift apart by some seconds a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from focusd.errors import FocusdError
from focusd.pictures.containers import PNG
from focusd.pictures.exif import taken_at
from focusd.pictures.jpeg import START
from focusd.sources import Source

_TOLERANCE_S = 2.0
# When files are missing, a shot is told from the next by time alone.
_WHOLE_SECONDS_S, _FRACTIONS_S = 1.25, 0.5
_MOST_NAMED = 8
# Where cameras have their notes; a raw has twenty times as much.
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Shutter:
    """An exposure of a run.

    Parameters
    ----------
    stop : int
        Of the plan, from 0.
    position_um : float
        Where the rail was.
    opened_s : float
        When, s, from any zero.
    light : str or None
        By which light, where they took turns.
    is_sure : bool
        Nothing went wrong; else there may be a file or none.
    """

    stop: int
    position_um: float
    opened_s: float
    light: str | None = None
    number: int | None = None
    is_sure: bool = True


def match(
    files: Sequence[Path], shutters: Sequence[Shutter], light: str | None = None
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """Say where each file was taken.

    The files are taken in the order of their EXIF times if all have one, else of their names. As many files
    as shots belong to them one by one, if the times between them agree within 2 s. If there are more or
    fewer, times must tell, and in one way only, which are left over.

    Parameters
    ----------
    files : sequence of Path
        In natural order of their names.
    shutters : sequence of Shutter
        In the order of time.
    light : str, optional
        The light whose files are wanted.

    Returns
    -------
    sources : tuple of Source
        The files of that light, in the order of time.
    notes : tuple of str
        What does not go together: shots without a file, files without a shot.

    Raises
    ------
    FocusdError
        The files do not go with the shots, or it cannot be told how.
    """
    times = [_taken_at(path) for path in files]
    dated = [time for time in times if time is not None]
    has_times = len(dated) == len(files)
    if has_times:
        # Of one second, by name.
        order = sorted(range(len(files)), key=lambda number: (dated[number], number))
        files, dated = [files[number] for number in order], [dated[number] for number in order]
    seconds = [(time - dated[0]).total_seconds() for time in dated] if has_times else None
    sure = [shutter for shutter in shutters if shutter.is_sure]
    notes: tuple[str, ...] = ()
    counted = next((shots for shots in (sure, shutters) if len(shots) == len(files)), None)
    if counted is not None:
        if seconds is not None:
            _check_intervals(files, counted, seconds)
        pairs = list(zip(files, counted, strict=True))
    else:
        grain_s = _FRACTIONS_S if any(time.microsecond for time in dated) else _WHOLE_SECONDS_S
        pairs, notes = _by_time(files, sure, seconds, grain_s)
    chosen: dict[object, Source] = {}
    for place, (path, shutter) in enumerate(pairs):
        if shutter.light == light:
            key = place if shutter.number is None else (shutter.stop, shutter.number)
            chosen.pop(key, None)
            chosen[key] = Source(path, shutter.position_um, shutter.stop, shutter.number or 0)
    return tuple(chosen.values()), notes


def _check_intervals(files: Sequence[Path], shutters: Sequence[Shutter], seconds: Sequence[float]) -> None:
    """Refuse files whose times between them are not those between the shots."""
    for (before, after), (shot, following), (path, successor) in zip(
        pairwise(seconds), pairwise(shutters), pairwise(files), strict=True
    ):
        taken_s, planned_s = after - before, following.opened_s - shot.opened_s
        if abs(taken_s - planned_s) > _TOLERANCE_S:
            raise FocusdError(
                f"{successor} was taken {taken_s:.1f} s after {path.name} by the camera's clock, but the "
                f"shots at stops {shot.stop} and {following.stop} were {planned_s:.1f} s apart: these are "
                "not the run's files, or one is missing and another too many; name the right files"
            )


def _by_time(
    files: Sequence[Path], shutters: Sequence[Shutter], seconds: Sequence[float] | None, grain_s: float
) -> tuple[list[tuple[Path, Shutter]], tuple[str, ...]]:
    """Match unequal numbers; see `match`."""
    counts = f"{len(files)} files for {len(shutters)} shots"
    remedy = "name just the run's files, one for each shot (of RAW and JPEG pairs only the one kind)"
    if seconds is None:
        raise FocusdError(f"{counts}, and not every file says when it was taken: {remedy}")
    gap_s = min((b.opened_s - a.opened_s for a, b in pairwise(shutters)), default=0.0)
    if gap_s < 2 * grain_s:
        raise FocusdError(
            f"{counts}, and the shots are only {gap_s:.1f} s apart: the files' times, good to {grain_s:g} s, "
            f"cannot tell which belong together; {remedy}"
        )
    opened_s = [shutter.opened_s for shutter in shutters]
    spare = abs(len(files) - len(shutters))
    found: set[tuple[tuple[int, int], ...]] = set()
    for number in range(spare + 1):
        # The first of the fewer belongs to one of the first of the more.
        file, shot = (0, number) if len(files) < len(shutters) else (number, 0)
        pairs = _aligned(seconds, opened_s, seconds[file] - opened_s[shot], grain_s)
        if len(pairs) == min(len(files), len(shutters)):
            found.add(tuple(pairs))
    if len(found) != 1:
        how = f"their times fit in {len(found)} ways" if found else "their times do not fit"
        raise FocusdError(f"{counts}, and {how}: {remedy}")
    (pairs_found,) = found
    used = {file for file, _ in pairs_found}
    kept = {shot for _, shot in pairs_found}
    missing = [f"stop {shutters[shot].stop}" for shot in range(len(shutters)) if shot not in kept]
    extra = [files[file].name for file in range(len(files)) if file not in used]
    notes = [f"{counts}, matched by their times"]
    if missing:
        notes.append(f"no file of {_some(missing)}")
    if extra:
        notes.append(f"left out, belonging to no shot: {_some(extra)}")
    return [(files[file], shutters[shot]) for file, shot in pairs_found], tuple(notes)


def _aligned(
    seconds: Sequence[float], opened_s: Sequence[float], offset_s: float, grain_s: float
) -> list[tuple[int, int]]:
    """Pair files and shots whose times agree once the clocks are `offset_s` apart."""
    pairs: list[tuple[int, int]] = []
    file = shot = 0
    while file < len(seconds) and shot < len(opened_s):
        late_s = seconds[file] - offset_s - opened_s[shot]
        if abs(late_s) < grain_s:
            pairs.append((file, shot))
            file, shot = file + 1, shot + 1
            # Clocks that drift are followed, a little at a time; whole seconds jump.
            offset_s += 0.1 * late_s
        elif late_s < 0:
            file += 1
        else:
            shot += 1
    return pairs


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _taken_at(path: Path) -> datetime | None:
    """Read a file's time from its beginning, and only where need be from the whole."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            found = taken_at(head)
            if found is None and not head.startswith((START, PNG)):
                found = taken_at(head + file.read())
            return found
    except OSError as error:
        raise FocusdError(f"{path}: cannot be read ({error.strerror}); check the file") from error
