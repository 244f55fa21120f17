"""The ways of laying frames on each other that ``focusd compare`` knows: to add one, add it to the table.

As with the methods, the table must be filled when this module is imported.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any, get_args

import numpy as np

from focusd.compare.frames import Frames, Stack
from focusd.compare.recipe import Alignment, Laid
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.aligner import Aligner, Mode
from focusd.register.transform import Transform, corners_of
from focusd.register.warp import warp
from focusd.seeds.aligner import FitRefused, HomographyAligner
from focusd.seeds.homography import warp as warp_homography

_CODE = ("register", "optics.py", "compare/alignments.py")


def _find(mode: Mode, stack: Stack) -> Laid:
    aligner, found, margin_px = Aligner(mode), _nothing(stack), 0

    def use(number: int, frame: Image | Planes, position_um: float) -> None:
        nonlocal margin_px
        placement = aligner.place(frame, position_um)
        if not placement.refused:
            found[number] = placement.transform.as_json()
            margin_px = max(margin_px, _bare_px(placement.transform, frame.shape))

    Frames(stack).each(use)
    return Laid(tuple(found), margin_px)


def _bare_px(transform: Transform, shape: tuple[int, ...]) -> int:
    """Width of the border of the first frame within which another one covers all of it."""
    corners = transform.inverse().at(corners_of(shape))
    ends: list[float] = [*corners[[0, 3], 0], *corners[[0, 1], 1]]
    ends += [*(shape[1] - 1 - corners[[1, 2], 0]), *(shape[0] - 1 - corners[[2, 3], 1])]
    # Less than a hundredth of a pixel is rounding.
    return max(0, ceil(max(ends) - 0.01))


def _lay(frame: Image | Planes, facts: Any) -> Image | Planes:
    return warp(frame, Transform.of_json(facts))


def _find_homography(stack: Stack) -> Laid:
    aligner, found, shape = HomographyAligner(), _nothing(stack), (0, 0)

    def use(number: int, frame: Image | Planes, _: float) -> None:
        nonlocal shape
        shape = frame.shape[:2]
        try:
            found[number] = aligner.place(frame).matrix.tolist()
        except FitRefused:
            # Left out, as other programs should: a frame laid down wrongly spoils the picture.
            return

    Frames(stack).each(use)
    rows, cols = aligner.common
    ends: list[int] = [rows.start, shape[0] - rows.stop, cols.start, shape[1] - cols.stop]
    return Laid(tuple(found), max(0, *ends))


def _lay_homography(frame: Image | Planes, facts: Any) -> Image | Planes:
    return warp_homography(frame, np.array(facts))


def _nothing(stack: Stack) -> list[Any]:
    """Return the facts of frames that are all left out."""
    return [None] * len(stack.sources)


OFF = Alignment("off", lambda stack: Laid((None,) * len(stack.sources)), lambda frame, _: frame)

ALIGNMENTS: dict[str, Alignment] = {
    each.name: each
    for each in (
        OFF,
        *(Alignment(mode, partial(_find, mode), _lay, _CODE) for mode in get_args(Mode) if mode != OFF.name),
        Alignment("homography", _find_homography, _lay_homography, (*_CODE, "seeds", "focus")),
    )
}
"""Ways of laying frames on each other, by name. Frames are taken as they are where it is ``off``."""
