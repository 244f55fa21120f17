"""The frames of a stack made to lie on each other: all that is done to one before it is fused.

A frame goes through the gate, which looks at it beside its neighbours; is freed of dust where the sensor has
it; evened out in brightness; and warped onto the first. What is odd is named, and left out or not as asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from focusd.errors import FrameMismatch, FusionError
from focusd.optics import Optics
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.aligner import Aligner, Placement
from focusd.register.correction import Border, Correction
from focusd.register.course import Course
from focusd.register.crop import Rectangle
from focusd.register.dust import DustMap, DustSearch
from focusd.register.gain import Gain, GainMeter
from focusd.register.lay import Lay
from focusd.register.oddity import Gate, Judged
from focusd.register.sketch import Sketch
from focusd.register.table import TransformRow, TransformTable, TransformTableInvalid
from focusd.register.transform import Transform
from focusd.register.warp import warp

Tag = TypeVar("Tag")


class OddFrame(FusionError):
    """A frame that does not go with its neighbours; `reason` is a word for it."""

    code = "odd_frame"


@dataclass(frozen=True, slots=True)
class Ready(Generic[Tag]):
    """A frame that is ready to be fused."""

    tag: Tag
    frame: Image | Planes


@dataclass(frozen=True, slots=True)
class Odd(Generic[Tag]):
    """A frame that is odd, and whether it is fused all the same."""

    tag: Tag
    error: OddFrame
    is_fused: bool


@dataclass(frozen=True, slots=True)
class Unfit(Generic[Tag]):
    """A frame that cannot be used."""

    tag: Tag
    error: FusionError


@dataclass(frozen=True, slots=True)
class _Arrival(Generic[Tag]):
    tag: Tag
    number: int
    name: str
    position_um: float
    # None where it has been fused at once, and only a word on it is waited for.
    frame: Image | Planes | None


@dataclass(frozen=True, slots=True)
class _Lie:
    """Where a frame lies, and what is odd about that."""

    transform: Transform
    residual_px: float = 0.0
    reason: str = ""
    why: str = ""


class Registration(Generic[Tag]):
    """Registers the frames of one stack.

    With the policies skip and stop a frame is held back until the next has come, since a blurred frame is
    known by both its neighbours; what comes out of `take` is then the frame before. Frames are given in the
    order of their stops; one out of turn (taken again) is not held against its neighbours.

    Parameters
    ----------
    correction : Correction
        What to do.
    optics : Optics, optional
        Of the rig: says whether the scale may change at all.
    pupil_um : float, optional
        From the entrance pupil to the plane in focus, um; likewise.
    table : TransformTable, optional
        Where the frames lie, known already from another stack: nothing is estimated, and a frame whose
        number it does not name is odd.
    dust : DustMap, optional
        Spots of the sensor, taken out of each frame.
    border : {'crop', 'mark'}
        What is to become of the part that not all frames cover; for whoever writes the picture.
    """

    def __init__(
        self,
        correction: Correction,
        *,
        optics: Optics | None = None,
        pupil_um: float | None = None,
        table: TransformTable | None = None,
        dust: DustMap | None = None,
        border: Border = "crop",
    ) -> None:
        self.correction = correction
        self.border: Border = border
        self._table = table
        self._dust = dust
        self._aligner = Aligner("off" if table else correction.align, optics=optics, pupil_um=pupil_um)
        self._gate: Gate[_Arrival[Tag]] = Gate()
        self._course = Course()
        self._meter = GainMeter()
        self._search = DustSearch()
        self._lay = Lay()
        self._odd: list[dict[str, Any]] = []
        self._last: tuple[int, int] | None = None
        self._size: tuple[int, ...] | None = None
        self._again: dict[tuple[int, str], TransformRow] | None = None
        # What another one found out, if this goes on from it.
        self._said: tuple[str, ...] | None = None
        self._model: str | None = None if table is None else table.model
        self._lays = correction.align != "off" or table is not None
        self._cleaned = self._foretold = 0

    # What comes in.

    def take(
        self, tag: Tag, frame: Image | Planes, position_um: float, *, number: int, name: str, shot: int = 0
    ) -> list[Ready[Tag] | Odd[Tag] | Unfit[Tag]]:
        """Take in a frame; return what is ready, odd or unfit, in the order they came.

        Parameters
        ----------
        tag : object
            Comes back with the frame.
        frame : ndarray or Planes
            May be changed in place. It is not kept.
        position_um : float
            Where it was taken.
        number : int
            Its stop.
        name : str
            For messages, and with the number the frame's own.
        shot : int
            Of those at its stop, from 0.

        Raises
        ------
        FrameMismatch
            Its size is not the first one's; the stack goes on as if it had not come.
        """
        is_again = self._is_out_of_turn(number, shot)
        self._require_size(frame)
        policy, arrival = self.correction.odd, _Arrival(tag, number, name, position_um, frame)
        if policy == "off" or self._again is not None:
            return list(self._use(arrival))
        sketch, gate = Sketch.of(frame), self._gate
        ready = self.finish() if is_again else []
        if policy == "fuse":
            ready += self._use(arrival, sketch)
            arrival = replace(arrival, frame=None)
        elif not is_again:
            arrival = replace(arrival, frame=frame.copy())
        if is_again:
            # On its own: black is all that can be told.
            gate = Gate()
        judged = gate.enter(arrival, sketch)
        for each in gate.close() if is_again else judged:
            ready += self._judged(each)
        return ready

    def require(self, frame: Image | Planes) -> None:
        """Refuse a stack whose frames cannot be laid as another's, by one of them.

        Raises
        ------
        TransformTableInvalid
            Of another size than those of the other stack.
        """
        if self._table is not None:
            self._table.require_size(frame.shape)

    def missed(self, number: int, shot: int = 0) -> None:
        """Say that a frame came that cannot be read: should it come later, it is out of turn."""
        self._is_out_of_turn(number, shot)

    def finish(self) -> list[Ready[Tag] | Odd[Tag] | Unfit[Tag]]:
        """Return what is held back, at the end of the stack or of what there is for now."""
        ready: list[Ready[Tag] | Odd[Tag] | Unfit[Tag]] = []
        for judged in self._gate.close():
            ready += self._judged(judged)
        return ready

    def again(self, dust: DustMap | None = None) -> Registration[Tag]:
        """Return one that does to each frame what was done to it here, at no cost of finding out.

        Parameters
        ----------
        dust : DustMap, optional
            What is known of the sensor by now.
        """
        second: Registration[Tag] = Registration(
            self.correction, dust=dust if dust is not None else self._dust
        )
        second.border, second._lays = self.border, self.lays
        second._said, second._model = self.words, self._found_model
        second._again = {(row.number, row.name): row for row in self._lay.rows}
        return second

    # What is known by now.

    @property
    def words(self) -> tuple[str, ...]:
        """What was corrected, a sentence each, for people."""
        if self._said is not None:
            return self._said
        said = []
        if self._table is not None:
            said.append("frames are laid by the transforms of another stack")
        elif self.correction.align != "off":
            said.append(self._aligner.decision.words)
        if self._foretold:
            said.append(f"{self._foretold} frames show too little to go by: laid where the others lead")
        if self.correction.gain:
            gains = [abs(value - 1) for row in self._lay.rows for value in row.gain or ()]
            flicker = f"flicker of up to {100 * max(gains):.1f} % evened out" if gains else "no flicker found"
            said.append(flicker)
        return tuple(said)

    @property
    def odd(self) -> tuple[dict[str, Any], ...]:
        """The odd frames: name, stop, reason, words, and whether each was fused."""
        return tuple(self._odd)

    @property
    def lays(self) -> bool:
        """Whether frames are laid at all: by what is found, or by a table."""
        return self._lays

    @property
    def moved(self) -> bool:
        """Whether any frame was warped."""
        return self._lay.moved

    def rectangle(self) -> Rectangle | None:
        """As `Lay.rectangle`."""
        return self._lay.rectangle()

    def covered(self) -> npt.NDArray[np.uint8] | None:
        """As `Lay.covered`."""
        return self._lay.covered()

    def table(self) -> TransformTable | None:
        """Return where the frames lie, with their gains, one of each stop; None before the first."""
        return self._lay.table(self._found_model)

    def found_dust(self) -> DustMap | None:
        """Return what of the sensor's dust the picture moved across; None if not looked for."""
        if not self.correction.dust or self._lay.drift is None:
            return None
        return self._search.found().moved(self._lay.drift)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, so that the picture can be finished after a crash."""
        return {
            "correction": self.correction.as_json(),
            "border": self.border,
            "odd": list(self._odd),
            "lays": self.lays,
            "said": list(self.words),
            **self._lay.state(self._found_model),
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Registration[Tag]:
        """Make one from `state` that knows where the frames lay; it takes no more of them.

        Raises
        ------
        FusionError, LookupError, TypeError, ValueError
            Not such a state.
        """
        border = state["border"]
        if border not in get_args(Border):
            raise ValueError(f"border is {border!r}")
        made: Registration[Tag] = cls(Correction.of_json(state["correction"]), border=border)
        made._odd = [dict(odd) for odd in state["odd"]]
        made._lay, made._model = Lay.of_state(state)
        made._lays, made._said = bool(state["lays"]), tuple(str(words) for words in state["said"])
        return made

    def as_json(self) -> dict[str, Any]:
        """Return what the run's record says."""
        return {
            **self.correction.as_json(),
            "said": list(self.words),
            "odd": list(self._odd),
            "flickers": self._meter.flickers,
            "cleaned": self._cleaned,
        }

    # One frame's way.

    @property
    def _found_model(self) -> str:
        return self._aligner.decision.model if self._model is None else self._model

    def _is_out_of_turn(self, number: int, shot: int) -> bool:
        turn = (number, shot)
        if self._last is not None and turn <= self._last:
            return True
        self._last = turn
        return False

    def _require_size(self, frame: Image | Planes) -> None:
        size = frame.shape[:2]
        if self._size is None:
            self._size = size
        if size != self._size:
            raise FrameMismatch(
                f"the frame is {size[1]} x {size[0]} px, the first was {self._size[1]} x {self._size[0]}; "
                "all frames of a stack must be of one size"
            )

    def _judged(self, judged: Judged[_Arrival[Tag]]) -> Iterator[Ready[Tag] | Odd[Tag] | Unfit[Tag]]:
        arrival, oddity = judged.item, judged.oddity
        if oddity is not None:
            yield self._told(arrival, oddity.reason, str(oddity), is_fused=arrival.frame is None)
        elif arrival.frame is not None:
            yield from self._use(arrival, judged.sketch)

    def _use(
        self, arrival: _Arrival[Tag], sketch: Sketch | None = None
    ) -> Iterator[Ready[Tag] | Odd[Tag] | Unfit[Tag]]:
        try:
            yield from self._registered(arrival, sketch)
        except FusionError as error:
            yield Unfit(arrival.tag, error)

    def _registered(self, arrival: _Arrival[Tag], sketch: Sketch | None) -> Iterator[Ready[Tag] | Odd[Tag]]:
        frame = arrival.frame
        assert frame is not None  # noqa: S101  # the callers see to it
        if self._again is not None:
            row = self._again.get((arrival.number, arrival.name))
            if row is not None:
                yield self._laid(arrival, frame, row.transform, row.gain, row.residual_px)
            return
        lie = self._place(arrival, frame)
        if lie.reason and self.correction.odd != "fuse":
            yield self._told(arrival, lie.reason, lie.why, is_fused=False)
            return
        gain = None
        if self.correction.dust:
            self._search.look(frame, lie.transform.matrix)
        if self.correction.gain:
            measured = self._meter.measure(sketch or Sketch.of(frame), lie.transform.matrix)
            gain = None if measured.is_one else tuple(measured.as_json())
        yield self._laid(arrival, frame, lie.transform, gain, lie.residual_px)
        if lie.reason:
            yield self._told(arrival, lie.reason, lie.why, is_fused=True)

    def _place(self, arrival: _Arrival[Tag], frame: Image | Planes) -> _Lie:
        shape = frame.shape[:2]
        if self._table is not None:
            try:
                row = self._table.of(arrival.number, shape)
            except TransformTableInvalid as error:
                return _Lie(Transform.identity(), reason="unknown", why=str(error))
            return _Lie(row.transform, row.residual_px)
        if self.correction.align == "off":
            return _Lie(Transform.identity())
        placement: Placement = self._aligner.place(frame, arrival.position_um)
        if placement.refused:
            return _Lie(placement.transform, reason="unaligned", why=placement.refused)
        self._foretold += bool(placement.note)
        lie = _Lie(placement.transform, placement.residual_px)
        if self.correction.odd != "off":
            oddity = self._course.judge(placement.measured.shift_px(shape), placement.residual_px)
            if oddity is not None:
                return _Lie(placement.transform, placement.residual_px, oddity.reason, str(oddity))
        return lie

    def _laid(
        self,
        arrival: _Arrival[Tag],
        frame: Image | Planes,
        transform: Transform,
        gain: tuple[float, ...] | None,
        residual_px: float,
    ) -> Ready[Tag]:
        row = TransformRow(arrival.number, arrival.name, arrival.position_um, transform, residual_px, gain)
        self._lay.add(row, frame.shape)
        if self._dust is not None and not self._dust.is_empty:
            self._dust.clean(frame)
            self._cleaned += 1
        if gain is not None:
            frame = Gain(*gain).apply(frame, out=frame)
        return Ready(arrival.tag, warp(frame, transform))

    def _told(self, arrival: _Arrival[Tag], reason: str, why: str, *, is_fused: bool) -> Odd[Tag]:
        self._odd.append(
            {
                "frame": arrival.name,
                "stop": arrival.number,
                "reason": reason,
                "why": why,
                "fused": is_fused,
            }
        )
        return Odd(arrival.tag, OddFrame(why, reason=reason), is_fused)
