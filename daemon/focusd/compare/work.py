"""Fusing by a recipe, timed, in a process of its own so that its memory is its own too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIG_DFL, SIGINT, signal
from typing import TypeVar

from focusd.compare.alignments import ALIGNMENTS
from focusd.compare.frames import Frames, Stack
from focusd.compare.methods import METHODS
from focusd.compare.recipe import Laid, Picture, Recipe
from focusd.errors import FocusdError

T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_PEAK = "VmHWM:"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work took.

    Parameters
    ----------
    wall_s, cpu_s : float
        Time, decoding included; of all threads together.
    peak_bytes : int or None
        Most memory the process held, the program itself included; None where it cannot be told.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int | None


Find = Callable[[Stack, str], tuple[Laid, Cost]]
Fuse = Callable[[Stack, Recipe, Laid], tuple[Picture, Cost]]


def find(stack: Stack, align: str) -> tuple[Laid, Cost]:
    """Find where a stack's frames lie, in this process."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    laid = ALIGNMENTS[align].find(stack)
    return laid, _cost(began_s, cpu_s)


def fuse(stack: Stack, recipe: Recipe, laid: Laid) -> tuple[Picture, Cost]:
    """Fuse a stack by a recipe, in this process.

    Raises
    ------
    FocusdError
        Frames that cannot be read or fused, or a picture of another size or type than theirs.
    """
    began_s, cpu_s = time.perf_counter(), time.process_time()
    frames = frames_of(stack, recipe.align, laid)
    picture = METHODS[recipe.method].fuse(frames, dict(recipe.settings))
    frames.require_form(picture.image)
    return picture, _cost(began_s, cpu_s)


def find_apart(stack: Stack, align: str) -> tuple[Laid, Cost]:
    """As `find`, in a process of its own."""
    return _apart(partial(find, stack, align), f"aligning {stack.name} by {align}")


def fuse_apart(stack: Stack, recipe: Recipe, laid: Laid) -> tuple[Picture, Cost]:
    """As `fuse`, in a process of its own."""
    return _apart(partial(fuse, stack, recipe, laid), f"fusing {stack.name} by {recipe.label}")


def frames_of(stack: Stack, align: str, laid: Laid) -> Frames:
    """Return a stack's frames as an alignment lays them."""
    if align == "off":
        return Frames(stack)
    lay, facts = ALIGNMENTS[align].lay, laid.facts
    return Frames(stack, lambda number, frame: None if facts[number] is None else lay(frame, facts[number]))


def _apart(work: Callable[[], T], what: str) -> T:
    # Begun anew, not forked: a fork holds its parent's memory from the start.
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    try:
        result, failure = ours.recv()
    except EOFError as error:
        process.join()
        raise FocusdError(
            f"{what}: its process ended with {process.exitcode} before its work; -9 is for want of memory, "
            "most likely: use smaller frames or --jobs 1"
        ) from error
    except BaseException:
        process.kill()
        raise
    finally:
        ours.close()
        process.join()
    if failure is not None:
        raise FocusdError(failure)
    done: T = result
    return done


def _answer(out: Connection, work: Callable[[], object]) -> None:
    """Do the work, and send what comes of it or why nothing does; the main function of a process."""
    # Ctrl-C is the other process's to tell.
    signal(SIGINT, SIG_DFL)
    try:
        out.send((work(), None))
    except FocusdError as error:
        out.send((None, str(error)))
    except MemoryError:
        out.send((None, "no memory left; use smaller frames or --jobs 1"))


def _cost(began_s: float, cpu_s: float) -> Cost:
    return Cost(time.perf_counter() - began_s, time.process_time() - cpu_s, _peak_bytes())


def _peak_bytes() -> int | None:
    """Return the most memory this process held: proc(5), in units of 1024 bytes; None without such a file."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(_PEAK)), None)
