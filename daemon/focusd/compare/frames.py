"""The frames of a stack, gone through again and again: decoded, corrected, laid on each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focusd.errors import FocusdError, RequestError
from focusd.flats import shading_of
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image
from focusd.roll import is_run, read_roll
from focusd.sources import Source, each_in_turn, find_sources

Use = Callable[[int, Image | Planes, float], None]
"""Takes a frame's number from 0, its samples, which it must not keep, and its position, um."""

Lay = Callable[[int, Image | Planes], Image | Planes | None]
"""Takes a frame's number and samples; gives them as they lie on the others, or None to leave it out."""

# A run keeps these beside its pictures when it corrected its frames.
_FLAT, _DARK = "flat.tif", "dark.tif"

_Form = tuple[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Stack:
    """The files of a stack.

    Parameters
    ----------
    name : str
        For people: its folder's name.
    sources : tuple of Source
        Its files, in order.
    flat, dark : Path, optional
        What its frames are corrected by.
    jobs : int
        Frames decoded side by side.
    """

    name: str
    sources: tuple[Source, ...]
    flat: Path | None = None
    dark: Path | None = None
    jobs: int = 1

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything its frames are made of."""
        also = tuple(path for path in (self.flat, self.dark) if path is not None)
        return (*(source.path for source in self.sources), *also)


class Frames:
    """The frames of a stack.

    Parameters
    ----------
    stack : Stack
        Where they are.
    lay : callable, optional
        How they are laid on each other; as they are by default.

    Raises
    ------
    FocusdError
        A flat field or dark frame that cannot be used, named.
    """

    def __init__(self, stack: Stack, lay: Lay | None = None) -> None:
        self._stack, self._lay = stack, lay
        # Learnt from the first raw file, once: raw files must come out alike each time.
        self._rendering = RawRendering()
        has_shading = stack.flat is not None or stack.dark is not None
        self._shading = shading_of(stack.flat, stack.dark) if has_shading else None
        self._form: _Form | None = None

    @property
    def positions_um(self) -> tuple[float, ...]:
        """Where each was taken, um."""
        return tuple(source.position_um for source in self._stack.sources)

    def each(self, use: Use) -> None:
        """Hand every frame to `use`, one at a time and in order; a second time gives the same frames.

        Raises
        ------
        FocusdError
            The first file that cannot be read, or a frame that cannot be used, named.
        """
        sources = self._stack.sources

        def take(number: int, path: Path, frame: Image | Planes) -> None:
            try:
                if self._shading is not None:
                    frame = self._shading.correct(frame, out=frame)
                laid = frame if self._lay is None else self._lay(number, frame)
                if laid is None:
                    return
                self._form = self._form or _form_of(laid)
                use(number, laid, sources[number].position_um)
            except FocusdError as error:
                raise FocusdError(f"{path}: {error}", path=str(path)) from error

        paths = [source.path for source in sources]
        each_in_turn(paths, take, jobs=self._stack.jobs, rendering=self._rendering)

    def require_form(self, picture: Image | Planes) -> None:
        """Refuse a picture of another size or type than the frames that were gone through.

        Raises
        ------
        FocusdError
            Said with both.
        """
        made, wanted = _form_of(picture), self._form
        if made != wanted:
            raise FocusdError(
                f"the picture is {made[0]} {made[1]}, "
                + ("but no frame was used" if wanted is None else f"its frames are {wanted[0]} {wanted[1]}")
                + ": a method must keep size and type, and use a frame"
            )


def find_stack(folder: Path, jobs: int) -> Stack:
    """Find the stack in a folder of images, or the frames that a run kept.

    Raises
    ------
    FocusdError
        No such folder, or no frames in it.
    """
    name = folder.resolve().name
    if is_run(folder):
        roll = read_roll(folder)
        flat, dark = (path if (path := folder / each).is_file() else None for each in (_FLAT, _DARK))
        return Stack(name, roll.sources, flat, dark, jobs)
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder; name the folder of a stack's frames, or of a run")
    paths = find_sources([folder])
    if len(paths) < 2:
        raise RequestError(f"{folder}: {len(paths)} images; a stack has 2 or more")
    return Stack(name, tuple(Source(path, float(at), at) for at, path in enumerate(paths)), jobs=jobs)


def _form_of(picture: Image | Planes) -> _Form:
    samples = picture.luma if isinstance(picture, Planes) else picture
    return picture.shape[:2], samples.dtype
