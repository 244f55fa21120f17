"""The picture of a stack that was cut short, from its saved state: at the daemon's start, and by hand."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from focusd.checkpoint import STATE_NAME, StateError, read_state
from focusd.clock import Clock
from focusd.config import PreviewConfig
from focusd.darkroom import Darkroom
from focusd.easel import Easel, Prints
from focusd.errors import FocusdError, JournalError
from focusd.frame_index import FOLDER as FRAMES
from focusd.frame_index import INDEX_NAME, read_index
from focusd.job import Ended, JobStatus, advance
from focusd.journal import (
    JOURNAL_NAME,
    RECORD_NAME,
    Journal,
    Runs,
    read_journal,
    record_of,
    replayed,
    write_json,
)
from focusd.orders import JobChanged, Report, Trouble

OK, FAILED = 0, 1
# A state whose picture brought the daemon down must not do so at every start.
_ATTEMPTS = 2
# Of the pictures for the wire, which nobody sees here.
_UNSEEN_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``focusd develop``."""
    parser.add_argument(
        "source", type=Path, metavar="RUN_FOLDER|STATE_FILE", help=f"a run's folder, or its {STATE_NAME}"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder for the picture (default: beside the state)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the picture of a saved state; the state is left where it is.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.

    Returns
    -------
    int
        0 when done; 1 when the state cannot be used or the picture not written, said on stderr.
    """
    source: Path = args.source / STATE_NAME if args.source.is_dir() else args.source
    folder: Path = args.output or source.parent
    try:
        if not folder.is_dir():
            raise FocusdError(f"{folder}: no such folder; make it first")
        if (folder / "final.tif").exists():
            raise FocusdError(
                f"{folder / 'final.tif'} is there already, perhaps from more frames: choose another "
                "folder with --output"
            )
        easel = Easel.of_saved(read_state(source), lambda _: None, PreviewConfig(), lambda: _UNSEEN_BYTES)
        prints = easel.print(folder)
        facts = prints.result
        if facts is None:
            raise FocusdError(f"{source}: no frame is in it; there is nothing to write")
    except (FocusdError, OSError, LookupError, TypeError, ValueError) as error:
        sys.stderr.write(f"focusd: {error}\n")
        return FAILED
    except MemoryError:
        sys.stderr.write(f"focusd: {source}: no memory left for it; develop it on a larger machine\n")
        return FAILED
    size = f"{facts['width']}x{facts['height']} px"
    sys.stdout.write(f"{folder}: the picture and its depth, {size} from {prints.fused} frames\n")
    return OK


def recover(
    runs: Runs,
    darkroom: Darkroom,
    clock: Clock,
    post: Callable[[Report], None],
    *,
    beat: Callable[[], None] = lambda: None,
    alarm: Callable[[], None] = lambda: None,
    is_quitting: Callable[[], bool] = lambda: False,
) -> None:
    """End every job that a crash or a power cut left open, as interrupted, with what there is of its picture.

    Nothing it meets keeps the daemon from starting: it is told as `Trouble`.

    Parameters
    ----------
    runs : Runs
        Whose folders are looked through.
    darkroom : Darkroom
        Makes the pictures; its thread must run.
    clock : Clock
        For the journal's time of day.
    post : callable
        Takes `Report`; must only enqueue.
    beat, alarm : callable
        As for `Darkroom.restore`.
    is_quitting : callable
        Whether the daemon is asked to end: then the rest waits for its next start.
    """
    try:
        folders = runs.left_behind(STATE_NAME)
    except OSError as error:
        post(Trouble(f"{runs.folder}: {error.strerror}; jobs that were left open are not looked for"))
        return
    for folder in folders:
        if is_quitting():
            return
        try:
            _recover_one(folder, darkroom, clock, post, beat, alarm)
        except FocusdError as error:
            post(Trouble(f"{folder}: left as it is: {error}; mend it, or move the folder away"))
        except OSError as error:
            post(Trouble(f"{folder}: left as it is: {error}; check the disk"))


def _recover_one(
    folder: Path,
    darkroom: Darkroom,
    clock: Clock,
    post: Callable[[Report], None],
    beat: Callable[[], None],
    alarm: Callable[[], None],
) -> None:
    for litter in folder.glob(f".{STATE_NAME}.*.part"):
        litter.unlink()
    state = folder / STATE_NAME
    lines = [*read_journal(folder / JOURNAL_NAME)]
    job = replayed(folder.name, lines)
    fused = 0
    if not job.status.is_over:
        with closing(Journal(folder / JOURNAL_NAME)) as journal:
            prints, why = None, "the daemon or its power went away in the middle of the job"
            if (folder / "final.tif").exists():
                # The power may have gone while the whole picture was being written: what is saved is less.
                why += "; the picture in its folder was left as it is, and what had been saved beside it"
            elif state.exists() and [line["kind"] for line in lines].count("recovering") >= _ATTEMPTS:
                why += f"; its picture could not be had; `focusd develop {folder}` tries once more"
            elif state.exists():
                journal.append("recovering", clock.wall(), sync=True)
                try:
                    darkroom.restore(state, beat, alarm)
                    prints = darkroom.develop(folder, alarm)
                    why += f"; {prints.fused} of its frames had been saved"
                except StateError as error:
                    aside = state.replace(folder / f"{STATE_NAME}.damaged")
                    post(Trouble(f"{error}; kept as {aside.name}"))
                    why += f"; what had been saved cannot be used: {error}"
                except FocusdError as error:
                    post(Trouble(str(error)))
                    why += f"; its picture could not be written ({error}): `focusd develop {folder}` does"
            why += _kept(folder)
            result, fused = (None, 0) if prints is None else (_result(lines, prints), prints.fused)
            ended = Ended(JobStatus.INTERRUPTED, why, "interrupted", result)
            job = advance(job, ended)
            journal.enter(ended, clock.wall(), sync=True)
    if not (folder / RECORD_NAME).exists():
        # Positions and times of the shots are lost.
        write_json(folder / RECORD_NAME, record_of(job, fused) | {"recovered": True})
        post(JobChanged(job))
    if job.result is not None:
        state.unlink(missing_ok=True)


def _kept(folder: Path) -> str:
    """Say what there is beyond the saved state."""
    if not (folder / FRAMES / INDEX_NAME).is_file():
        return ""
    with suppress(JournalError):
        if kept := len(read_index(folder)):
            return f"; {kept} frames were kept: `focusd fuse {folder}` fuses them"
    return ""


def _result(lines: list[dict[str, Any]], prints: Prints) -> dict[str, Any] | None:
    """Return ``job.result``; missing is every stop that was taken and is not in the picture."""
    if prints.result is None:
        return None
    taken = {line["index"] for line in lines if line["kind"] == "stopdone"}
    return {**prints.result, "missing": sorted({*(taken - prints.stops), *prints.spoiled})}
