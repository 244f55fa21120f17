"""Hot and dead pixels of a sensor: where they are, and how they are mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from focusd.pictures.defects import Defects
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.drift import Drift

__all__ = ["MOST", "SPOT_PX", "HotPixels", "Places"]

Places = tuple[tuple[int, int], ...]

SPOT_PX = 1.5
"""How far the picture must move across one, in samples of its plane."""
MOST = 20_000
"""No more of them are kept."""


@dataclass(frozen=True, slots=True)
class HotPixels:
    """Where a sensor's samples tell nothing.

    Parameters
    ----------
    pixels : tuple of (int, int)
        (x, y) of whole pixels: of luma, or of all colours.
    colours : tuple of (int, int)
        (x, y) of colour samples of 4:2:0, in their own plane of half the size.
    """

    pixels: Places = ()
    colours: Places = ()

    def as_json(self) -> dict[str, Any]:
        """Return them as JSON's types."""
        return {
            "pixels": [list(each) for each in self.pixels],
            "colours": [list(each) for each in self.colours],
        }

    @classmethod
    def of_json(cls, found: object, shape: tuple[int, int]) -> HotPixels:
        """Read what `as_json` made, for frames of (rows, cols).

        Raises
        ------
        KeyError, TypeError, ValueError
            Anything else, or places that such frames do not have.
        """
        if not isinstance(found, dict):
            raise ValueError(f"hot pixels are {str(found)[:40]!r}")
        half = (shape[0] + 1) // 2, (shape[1] + 1) // 2
        return cls(_places(found["pixels"], shape), _places(found["colours"], half))

    def moved(self, drift: Drift) -> HotPixels:
        """Return those alone that the picture moved across."""
        return HotPixels(
            tuple(at for at in self.pixels if drift.at(*at) > SPOT_PX),
            tuple(at for at in self.colours if drift.at(2 * at[0] + 0.5, 2 * at[1] + 0.5) > 2 * SPOT_PX),
        )

    def outside(self, circles: Sequence[tuple[float, float, float]]) -> HotPixels:
        """Return those alone that lie outside all circles: (x, y, radius) each, px of the full frame."""
        if not circles:
            return self
        around = np.array(circles)

        def is_out(x: float, y: float) -> bool:
            return bool(np.all(np.hypot(around[:, 0] - x, around[:, 1] - y) > around[:, 2]))

        return HotPixels(
            tuple(at for at in self.pixels if is_out(*at)),
            tuple(at for at in self.colours if is_out(2 * at[0] + 0.5, 2 * at[1] + 0.5)),
        )

    def mend(self, frame: Image | Planes) -> None:
        """Put the middle of their neighbours in their place; in place."""
        if isinstance(frame, Planes):
            _defects(self.pixels, frame.luma.shape).mend(frame.luma)
            defects = _defects(self.colours, frame.blue.shape)
            for plane in (frame.blue, frame.red):
                defects.mend(plane)
        else:
            _defects(self.pixels, frame.shape[:2]).mend(frame)


@lru_cache(maxsize=4)
def _defects(places: Places, shape: tuple[int, ...]) -> Defects:
    """Look up the neighbours once for all frames of a stack."""
    bad = np.zeros(shape, bool)
    if places:
        x, y = np.array(places).T
        bad[y, x] = True
    return Defects.of(bad)


def _places(found: object, shape: tuple[int, int]) -> Places:
    if not isinstance(found, list) or len(found) > MOST:
        raise ValueError(f"hot pixels are not a list of at most {MOST}")
    for at in found:
        if not isinstance(at, list) or len(at) != 2 or any(type(each) is not int for each in at):
            raise ValueError(f"a hot pixel is {str(at)[:40]!r}, not 2 whole numbers")
        if not (0 <= at[0] < shape[1] and 0 <= at[1] < shape[0]):
            raise ValueError(f"a hot pixel lies at {str(at)[:40]}")
    return tuple((at[0], at[1]) for at in found)
