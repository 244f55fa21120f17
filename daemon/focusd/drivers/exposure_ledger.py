"""Which exposure a file belongs to, told by the camera's clock or else by counting. No I/O."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

# From press to shutter a camera takes now longer, now shorter: so far may a frame's time be off.
_SPREAD_S = 0.5
# A quartz watch is off by 20 ppm, a cold camera's by more.
_DRIFT = 100e-6
# Openings that a file is compared with: those of some stacks.
_REMEMBERED = 4096
_EPOCH = datetime(2000, 1, 1)  # cameras know of no zone


@dataclass(slots=True)
class _Opening:
    opened_s: float
    state: Literal["awaited", "owed", "settled"] = "awaited"
    given_up_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Offset:
    """Between which two values the camera's clock less rig time lies, s; as learnt at `at_s`."""

    low_s: float
    high_s: float
    at_s: float = 0.0

    def widened(self, now_s: float) -> _Offset:
        """Return it as of now: both clocks may have drifted."""
        by_s = _DRIFT * abs(now_s - self.at_s)
        return _Offset(self.low_s - by_s, self.high_s + by_s, now_s)

    def fits(self, other: _Offset) -> bool:
        return max(self.low_s - other.high_s, other.low_s - self.high_s) <= _SPREAD_S

    def narrowed(self, other: _Offset) -> _Offset:
        """Return what both allow; the other alone where they do not meet."""
        low_s, high_s = max(self.low_s, other.low_s), min(self.high_s, other.high_s)
        return _Offset(low_s, high_s, other.at_s) if low_s <= high_s else other


@dataclass(frozen=True, slots=True)
class _Taken:
    """When a camera says it took a picture, s, and how exactly it says so."""

    camera_s: float
    within_s: float

    @classmethod
    def of(cls, taken: datetime) -> _Taken:
        # Without a fraction the second was cut off. A fraction has two or three digits, on some one.
        return cls((taken - _EPOCH) / timedelta(seconds=1), 0.1 if taken.microsecond else 1.0)

    def offset(self, opening: _Opening) -> _Offset:
        """Return what the camera's clock is off by if the picture is of this opening."""
        low_s = self.camera_s - opening.opened_s
        return _Offset(low_s, low_s + self.within_s, opening.opened_s)


class ExposureLedger:
    """Exposures, and the files that came of them.

    There is one exposure at a time whose file is awaited. A file is its own unless something speaks against
    it:

    - it is the same, byte for byte, as one before;
    - it says when it was taken (EXIF), and by what the files before have shown of the camera's clock that was
      not at this exposure. If it was at none that is known of, the camera's clock may have been set: the file
      is refused once, and a second one that agrees with it is believed;
    - it does not say, or nothing is known of the clock yet, and the file of an exposure that was given up may
      still come. To that one it is counted.

    What cannot be told: files without a time from a tool that is always one picture behind, or more than two
    timeouts late; a second picture of the last exposure that comes during the next one, if it says no time,
    or whole seconds only and the two were within about two of them; of a shutter that fired twice at one
    press, the first from the second, if half a second or less is between them; what comes of exposures before
    the daemon's start, until one file has been believed.
    """

    def __init__(self) -> None:
        self._openings: deque[_Opening] = deque(maxlen=_REMEMBERED)
        self._offset: _Offset | None = None
        self._other: _Offset | None = None
        self._within_s = 1.0
        self._digests: set[bytes] = set()

    @property
    def awaits(self) -> bool:
        """Whether a file is awaited; always, as long as no opening was entered."""
        return not self._openings or self._openings[-1].state == "awaited"

    @property
    def offset_s(self) -> tuple[float, float] | None:
        """Between which two values the camera's clock (s since 2000) less rig time lies; None: not known."""
        return None if self._offset is None else (self._offset.low_s, self._offset.high_s)

    def begin(self) -> None:
        """Begin a stack: what earlier ones held is no longer compared byte for byte."""
        self._digests.clear()

    def open(self, opened_s: float) -> None:
        """Enter that the shutter was released at this rig time, s."""
        self._owe_last(None)
        self._openings.append(_Opening(opened_s))

    def give_up(self, now_s: float) -> None:
        """Wait for the last exposure's file no longer."""
        self._owe_last(now_s)

    def abandon(self) -> None:
        """Whoever awaited the last exposure's file has turned away; it may come all the same."""
        self._owe_last(None)

    def quiet_for_s(self, now_s: float, late_s: float) -> float:
        """Return how long to wait before the next exposure, so that no late file can pass for its own, s.

        Parameters
        ----------
        now_s : float
            Rig time.
        late_s : float
            How long a file may come after it was given up, s. Where times tell, some seconds between two
            exposures are enough; after a stack's usual way back there is nothing left to wait for.
        """
        owed = self._owed()
        if self._offset is None:
            ends_s = [max(o.opened_s + 2 * late_s, (o.given_up_s or o.opened_s) + late_s) for o in owed]
        else:
            known = self._offset
            apart_s = known.high_s - known.low_s + self._within_s + _SPREAD_S
            ends_s = [o.opened_s + apart_s for o in owed]
        return max(0.0, max(ends_s, default=now_s) - now_s)

    def forgive(self) -> None:
        """Where only counting tells: expect no more of what was given up."""
        if self._offset is None:
            for opening in self._owed():
                opening.state = "settled"

    def settle(self, taken: datetime | None, data: bytes) -> None:
        """Enter that a file came which nobody waits for: it is the owed one that it fits, else the oldest."""
        if self._is_double(data):
            return
        owed = self._owed()
        if taken is not None and self._offset is not None:
            owed = [opening for opening in owed if self._is_of(_Taken.of(taken), opening)]
        if owed:
            owed[0].state = "settled"

    def judge(self, taken: datetime | None, data: bytes) -> str | None:
        """Decide whether a file is of the exposure that is awaited, and learn from it.

        Parameters
        ----------
        taken : datetime or None
            When the camera says it was taken.
        data : bytes
            The file.

        Returns
        -------
        str or None
            None: it is. Else why not, to follow the file's name.
        """
        if self._is_double(data):
            return "is the same as a frame before, byte for byte"
        why = self._objection(None if taken is None else _Taken.of(taken)) if self._openings else None
        if why is None and self._openings:
            self._openings[-1].state = "settled"
        return why

    def _is_double(self, data: bytes) -> bool:
        """Whether the same file came before."""
        digest = hashlib.blake2b(data, digest_size=16).digest()
        known = digest in self._digests
        self._digests.add(digest)
        return known

    def _objection(self, taken: _Taken | None) -> str | None:
        current = self._openings[-1]
        if taken is None or self._offset is None:
            if owed := self._owed():
                owed[0].state = "settled"
                # Some frames without a time among others with one: from now on only counting tells.
                self._offset = None if taken is None else self._offset
                return "may be of an exposure that was given up"
            if taken is not None:
                self._learn(taken, taken.offset(current))
            return None
        late = next((opening for opening in self._owed() if self._is_of(taken, opening)), None)
        if late is not None:
            late.state = "settled"
            return f"is of an exposure {current.opened_s - late.opened_s:.1f} s before, which was given up"
        offset = taken.offset(current)
        if self._is_of(taken, current):
            self._learn(taken, self._offset.widened(current.opened_s).narrowed(offset))
            return None
        for opening in reversed(self._openings):
            if self._is_of(taken, opening):
                return f"is a second file of an exposure {current.opened_s - opening.opened_s:.1f} s before"
        if self._other is not None and self._other.at_s != offset.at_s and self._other.fits(offset):
            self._learn(taken, offset)
            return None
        self._other = offset
        off_s = (offset.low_s + offset.high_s - self._offset.low_s - self._offset.high_s) / 2
        return (
            f"was taken {abs(off_s):.1f} s {'after' if off_s > 0 else 'before'} this exposure by the "
            "camera's clock; if that was set meanwhile, the next frame is believed"
        )

    def _learn(self, taken: _Taken, offset: _Offset) -> None:
        self._offset, self._other, self._within_s = offset, None, taken.within_s

    def _is_of(self, taken: _Taken, opening: _Opening) -> bool:
        known = self._offset
        return known is not None and known.widened(opening.opened_s).fits(taken.offset(opening))

    def _owed(self) -> list[_Opening]:
        return [opening for opening in self._openings if opening.state == "owed"]

    def _owe_last(self, given_up_s: float | None) -> None:
        if self._openings and self._openings[-1].state == "awaited":
            self._openings[-1].state = "owed"
            self._openings[-1].given_up_s = given_up_s
