"""How bright a frame is beside the others, by colour, and making it as bright as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from focusd.errors import FusionError
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.brightness import multiply_image, multiply_planes
from focusd.register.change import Blocks, change_between, stands_out
from focusd.register.sketch import Sketch

# A lamp that changes more than this from frame to frame is another lamp.
_LARGEST = 4.0
_LUMA = (0.114, 0.587, 0.299)
# Standard deviations a change must have to be corrected.
_SURE = 4.0
# The stack's brightness is a mean over about so many frames: few, so that focus passes out of it.
_MEMORY_FRAMES = 4


class GainInvalid(FusionError, ValueError):
    """A gain that no frame can have."""

    code = "gain_invalid"


@dataclass(frozen=True, slots=True)
class Gain:
    """What a frame's samples are multiplied by to be as bright as the others.

    It is meant for samples that are a power of the light, as a camera's are but for the darkest.

    Parameters
    ----------
    blue, green, red : float
        1/4 to 4. A grey frame's three are alike.

    Raises
    ------
    GainInvalid
        Not finite, or out of range.
    """

    blue: float = 1.0
    green: float = 1.0
    red: float = 1.0

    def __post_init__(self) -> None:
        for name in ("blue", "green", "red"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 1 / _LARGEST <= value <= _LARGEST):
                raise GainInvalid(
                    f"the gain of {name} is {value}: it must be from {1 / _LARGEST:g} to {_LARGEST:g}; "
                    "measure it again, or leave the frame out"
                )

    @classmethod
    def of_json(cls, found: object) -> Gain:
        """Read what `as_json` made.

        Raises
        ------
        GainInvalid
            Anything but a list of three finite numbers in range.
        """
        if (
            not isinstance(found, list)
            or len(found) != 3
            or any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in found)
            or any(abs(value) > _LARGEST for value in found)
        ):
            raise GainInvalid(f"a gain is {str(found)[:80]!r}: it must be 3 numbers, blue, green and red")
        return cls(*(float(value) for value in found))

    def as_json(self) -> list[float]:
        """Return blue, green and red."""
        return [self.blue, self.green, self.red]

    @property
    def luma(self) -> float:
        """Gain of grey."""
        return sum(weight * gain for weight, gain in zip(_LUMA, self.as_json(), strict=True))

    @property
    def is_one(self) -> bool:
        """Whether nothing changes."""
        return self.blue == self.green == self.red == 1.0

    def apply(
        self, frame: Image | Planes, out: Image | Planes | None = None, white: int | None = None
    ) -> Image | Planes:
        """Multiply a frame.

        What is white stays white: the uppermost thirtieth of the levels or so is drawn towards it where the
        frame is made darker.

        Parameters
        ----------
        frame : ndarray or Planes
            Not changed unless it is `out`. Returned as it is where the gain is one.
        out : ndarray or Planes, optional
            Filled and returned; may be `frame`. Spares fresh memory. Memory that cannot be written to is
            left alone.
        white : int, optional
            Level of a uint16 frame that stands for white; from the frame itself where not given.

        Returns
        -------
        ndarray or Planes
            As `frame`.
        """
        if self.is_one:
            return frame
        if isinstance(frame, Planes):
            return multiply_planes(frame, self.as_json(), out if isinstance(out, Planes) else None)
        gains = self.as_json() if frame.ndim == 3 else [self.luma]
        return multiply_image(frame, gains, out if isinstance(out, np.ndarray) else None, white)


class GainMeter:
    """Finds each frame's gain from block means of the frames before it.

    Focusing changes the brightness of blocks, each its own way; a lamp changes that of all alike. So the
    middle of all blocks' change is a lamp's only if it stands out of their spread. Until it once does,
    nothing is changed at all; from then on all that is measured surely is corrected.
    """

    def __init__(self) -> None:
        self._stack: Blocks | None = None
        self._last: Blocks | None = None
        self._frames = 0
        self._flickers = False

    @property
    def flickers(self) -> bool:
        """Whether the light was seen to change; before that every gain is exactly one."""
        return self._flickers

    def measure(self, sketch: Sketch, matrix: npt.NDArray[np.float64] | None = None) -> Gain:
        """Return the gain of the next frame, and take it into the stack.

        Parameters
        ----------
        sketch : Sketch
            Of the frame as it came.
        matrix : ndarray, optional
            float64, (2, 3): carries the reference's pixel coordinates (x, y) to the frame's. Identity where
            not given.
        """
        blocks = Blocks.of(sketch, matrix)
        if self._stack is None or self._last is None or self._stack.levels.shape != blocks.levels.shape:
            self._stack = self._last = blocks
            self._frames = 1
            return Gain()
        if not self._flickers:
            self._flickers = stands_out(self._last, blocks)
        found = np.zeros(blocks.levels.shape[2])
        if self._flickers:
            change, doubt = change_between(self._stack, blocks)
            if (np.abs(change) > _SURE * doubt).any():
                found = -change
        gain = gain_of(found)
        corrected = blocks.lifted(found)
        self._stack = self._stack.with_share(corrected, 1 / min(self._frames + 1, _MEMORY_FRAMES))
        self._last = corrected
        self._frames += 1
        return gain


def gain_of(logarithms: npt.NDArray[np.float64]) -> Gain:
    """Make a gain of its logarithms, one or three (blue, green, red), held to what is allowed."""
    factors = np.clip(np.exp(logarithms), 1 / _LARGEST, _LARGEST)
    return Gain(*(float(factor) for factor in np.resize(factors, 3)))
