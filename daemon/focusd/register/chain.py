"""Frames laid on the first one through keyframes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from focusd.register.fit import Fit, Unlike, fit
from focusd.register.outline import Outline
from focusd.register.search import search
from focusd.register.step import Model, NoFit
from focusd.register.transform import Matrix, Transform, TransformInvalid, corners_of

# Frames on one keyframe: more, and they share less; fewer, and the errors of more links add up.
_MOST_FRAMES = 8
# Less like its keyframe than this, a frame becomes the next one.
_KEYFRAME_LIKENESS = 0.85
# Less like it than this, it is worth while to look further away.
_DOUBTFUL_LIKENESS = 0.5
# Surer by this factor than the keyframe promised to tell, the frame before is asked alone.
_SURER = 0.8
# A corner less sure than this share of the picture's longer side is not known: blurred parts that disagree
# look surer than they are. Measured: pcb, all right, up to 4.4e-4; scorpion, all wrong, from 5e-4.
_MOST_SIGMA_SHARE = 4.7e-4
# Less sure than this, it must move the frame clearly further than its parts disagree, else what was
# expected stands.
_DOUBTFUL_SIGMA_SHARE = 2e-4
_CLEARLY = 1.5
# Between two frames less than so many standard errors is no movement that goes on.
_MOVING_SIGMAS = 3.0
# Steps that a movement is taken to go on for.
_FORETOLD = 3.0
# Share by which its speed may change.
_STEADY = 0.5
# The tiles' own spread leaves out what they have in common: measured, errors are twice as large, and each
# link adds this much, px of the outline.
_SIGMA_FACTOR = 2.0
_LINK_SIGMA_PX = 0.01


class Unsure(NoFit):
    """The two belong together, but how they lie cannot be told; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """Where a frame lies on the first.

    Parameters
    ----------
    transform : Transform
        As measured, or as the frames before let expect where it could not be.
    fit : Fit or None
        On its keyframe.
    sigma_px : float
        Standard error of the corner, whole chain, px.
    is_keyframe : bool
        Whether those to come are laid on it.
    trouble : str
        Why there is no fit.
    stranger : bool
        Whether that is because nothing of it is in the frames before, rather than too blurred to tell.
    """

    transform: Transform
    fit: Fit | None
    sigma_px: float
    is_keyframe: bool
    trouble: str = ""
    stranger: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A frame that was laid; `speed` is what its matrix changed by since the one before, per um."""

    outline: Outline
    transform: Transform
    position_um: float
    variance: float
    measured: bool = True
    speed: Matrix | None = None


class Chain:
    """Where frames lie, each on the keyframe before it, the keyframes on each other.

    Parameters
    ----------
    model : {"translation", "similarity", "affine"}
        What is fitted.
    shape : tuple of int
        (rows, cols) of the frames.
    """

    def __init__(self, model: Model, shape: tuple[int, ...]) -> None:
        self._model = model
        self._shape = shape[:2]
        self._keyframe: _Known | None = None
        self._last: _Known | None = None
        # The two last that were measured.
        self._measured: _Known | None = None
        self._before: _Known | None = None
        self._on_keyframe = 0

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        held = {id(known.outline): known.outline.nbytes for known in (self._keyframe, self._last) if known}
        return sum(held.values())

    def anchor(
        self, outline: Outline, position_um: float, transform: Transform, variance: float = 0.0
    ) -> Laid:
        """Take a frame's place as known and go on from it."""
        self._keyframe = self._last = self._measured = _Known(outline, transform, position_um, variance)
        self._before = None
        self._on_keyframe = 0
        return Laid(transform, None, variance**0.5, True)

    def lay(self, outline: Outline, position_um: float) -> Laid:
        """Take the next frame."""
        if self._keyframe is None or self._last is None:
            return self.anchor(outline, position_um, Transform.identity())
        guess = self._predicted(self._last, position_um)
        on, found, troubles = self._found(self._keyframe, self._last, outline, guess)
        if found is None:
            stranger = not any(isinstance(error, Unsure) for error in troubles)
            if not stranger:
                # Neighbours to come share more with it than with what lies further back.
                self._last = _Known(outline, guess, position_um, on.variance, measured=False)
            return Laid(guess, None, on.variance**0.5, False, str(troubles[-1]), stranger)
        if on is not self._keyframe:
            self._keyframe, self._on_keyframe = on, 0
        link = _SIGMA_FACTOR**2 * found.sigma_px**2 + (_LINK_SIGMA_PX * outline.reduction) ** 2
        transform = found.transform.compose(on.transform)
        known = _Known(
            outline, transform, position_um, on.variance + link, speed=self._speed(transform, position_um)
        )
        self._before, self._measured, self._last = self._measured, known, known
        self._on_keyframe += 1
        renew = self._on_keyframe >= _MOST_FRAMES or found.likeness < _KEYFRAME_LIKENESS
        if renew:
            self._keyframe, self._on_keyframe = known, 0
        return Laid(known.transform, found, known.variance**0.5, renew)

    def _found(
        self, keyframe: _Known, last: _Known, outline: Outline, guess: Transform
    ) -> tuple[_Known, Fit | None, list[NoFit]]:
        """Lay an outline on the keyframe, or on the frame before where that tells more surely."""
        troubles: list[NoFit] = []
        if last is keyframe:
            return keyframe, self._fitted_or(troubles, keyframe, outline, guess), troubles
        nearer: Fit | None = None
        try:
            found = self._fitted_or(troubles, keyframe, outline, guess, _KEYFRAME_LIKENESS)
            if found is not None and found.likeness >= _KEYFRAME_LIKENESS:
                return keyframe, found, troubles
            nearer = self._fitted_or(troubles, last, outline, guess)
        except Unlike as error:
            # Neighbours share most: where that lays it much more surely, the rest is not worth while.
            nearer = self._fitted_or(troubles, last, outline, guess)
            if nearer is not None and last.measured and nearer.sigma_px < _SURER * error.sigma_px:
                return last, nearer, troubles
            found = self._fitted_or(troubles, keyframe, outline, guess)
        if nearer is not None and (found is None or (last.measured and nearer.sigma_px < found.sigma_px)):
            return last, nearer, troubles
        return keyframe, found, troubles

    def _fitted_or(
        self, troubles: list[NoFit], on: _Known, outline: Outline, guess: Transform, least: float = -1.0
    ) -> Fit | None:
        """As `_fitted`; of what cannot be laid, say why among the troubles."""
        try:
            return self._fitted(on, outline, guess, least)
        except NoFit as error:
            troubles.append(error)
            return None

    def _fitted(self, on: _Known, outline: Outline, guess: Transform, least_likeness: float) -> Fit:
        """Lay an outline on a known one, from where it is expected, else from wherever it may be."""
        trouble = NoFit("")
        start = guess.compose(on.transform.inverse())
        best: Fit | None = None
        try:
            best = fit(on.outline, outline, start, self._model, least_likeness)
        except NoFit as error:
            trouble = error
        if best is None or best.likeness < _DOUBTFUL_LIKENESS:
            try:
                other = fit(on.outline, outline, search(on.outline, outline), self._model)
                if best is None or other.likeness > best.likeness:
                    best = other
            except NoFit as error:
                trouble = error
        if best is None:
            raise trouble
        most_px = _MOST_SIGMA_SHARE * max(self._shape)
        if best.sigma_px > most_px:
            raise Unsure(
                f"its corners are known to {best.sigma_px:.2f} px at best: at most {most_px:.2f} px "
                "is believed"
            )
        moved_px = best.transform.away_px(start, self._shape)
        if (
            best.sigma_px > _DOUBTFUL_SIGMA_SHARE * max(self._shape)
            and moved_px < _CLEARLY * best.residual_px
        ):
            raise Unsure(
                f"its parts disagree by {best.residual_px:.1f} px on where it lies, {moved_px:.1f} px from "
                "where it was to be expected"
            )
        return best

    def _speed(self, transform: Transform, position_um: float) -> Matrix | None:
        last = self._measured
        if last is None or last.position_um == position_um:
            return None
        return np.asarray((transform.matrix - last.transform.matrix) / (position_um - last.position_um))

    def _predicted(self, last: _Known, position_um: float) -> Transform:
        """Where the next frame should lie, going on as between the two before."""
        before = self._before
        # Only what was measured tells how things go on.
        last = last if last.measured or self._measured is None else self._measured
        if last.speed is None or before is None or before.speed is None:
            return last.transform
        moved_px = last.transform.away_px(before.transform, self._shape)
        if moved_px < _MOVING_SIGMAS * abs(last.variance - before.variance) ** 0.5:
            return last.transform
        # A movement goes on only if it has already gone on for two links.
        change_px = _corner_px(last.speed - before.speed, self._shape)
        if change_px > _STEADY * _corner_px(last.speed, self._shape):
            return last.transform
        furthest_um = _FORETOLD * abs(last.position_um - before.position_um)
        ahead_um = min(furthest_um, max(-furthest_um, position_um - last.position_um))
        try:
            return Transform(last.transform.matrix + ahead_um * last.speed)
        except TransformInvalid:
            return last.transform


def _corner_px(speed: Matrix, shape: tuple[int, ...]) -> float:
    """Largest speed of a corner, px/um."""
    return float(np.linalg.norm(corners_of(shape) @ speed[:, :2].T + speed[:, 2], axis=1).max())
