"""The map that lays one outline on another: least squares over tiles, from coarse to fine.

At each step every tile says how it would have to move (the optical flow of Lucas and Kanade, its slopes taken
from both pictures so that neither is favoured), and one model is fitted to all of them. A tile counts by how
sharp its detail is over how much the two differ there: what is in focus in both decides. Tiles that pull
elsewhere than the rest (dust on the sensor, things that moved, parallax) lose their say.

References
----------
.. [1] Baker S., Matthews I., Lucas-Kanade 20 years on: a unifying framework, Int. J. Computer Vision 56(3),
   2004, 221-255. doi:10.1023/B:VISI.0000011205.11775.fd
.. [2] Malis E., Improving vision-based control using efficient second-order minimization techniques, IEEE
   ICRA 2004, 1843-1848. doi:10.1109/ROBOT.2004.1308092
"""

from __future__ import annotations

from dataclasses import dataclass

from focusd.register.outline import Outline, enlarged, shrunk
from focusd.register.step import Model, NoFit, Step
from focusd.register.transform import Transform, TransformInvalid

_MOST_STEPS = 12
# Done when no corner moves further, px of the outline.
_STILL_PX = 0.03
_STILL_COARSE_PX = 0.05
# Nor does a step matter that is small against how sure the place is.
_STILL_SIGMAS = 0.3
# Steps shrink about alike: by how much is seen from two, or taken to be this for the first one.
_FIRST_SHRINK = 0.4
_LEAST_SHRINK = 0.2
# A finer level that leads further away than this from a coarser one has gone astray.
_ASTRAY_SIGMAS = 6.0
_ASTRAY_PX = 3.0
# Frames of strangers reach 0.03 to 0.13; neighbours of real stacks have 0.3 to 1.
_LEAST_LIKENESS = 0.2


class Unlike(Exception):
    """The two are less alike than was asked for, so that the rest of the work was left; told before its end.

    Parameters
    ----------
    message : str
        Why.
    sigma_px : float
        About how sure the place would have been, px of the frame.
    """

    def __init__(self, message: str, sigma_px: float) -> None:
        super().__init__(message)
        self.sigma_px = sigma_px


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Where a frame lies on another.

    Parameters
    ----------
    transform : Transform
        Of the frames' own pixels.
    sigma_px : float
        Standard error of the corner that is least sure, px of the frame.
    residual_px : float
        Rms of what tiles still pull, weighted as in the fit, px of the frame.
    likeness : float
        Correlation of the outlines, -1 to 1.
    """

    transform: Transform
    sigma_px: float
    residual_px: float
    likeness: float


def fit(
    reference: Outline, frame: Outline, start: Transform, model: Model, least_likeness: float = -1.0
) -> Fit:
    """Lay `frame` on `reference`.

    Parameters
    ----------
    reference, frame : Outline
        Of frames of one size.
    start : Transform
        Where the frame is expected.
    model : {"translation", "similarity", "affine"}
        What is fitted.
    least_likeness : float
        Below this the fit is given up as soon as it shows.

    Raises
    ------
    NoFit
        Too little in common, no convergence, or detail that does not tell the model's parameters apart.
    Unlike
        Less alike than asked for.
    """
    best: Fit | None = None
    transform, trouble = start, "there is no detail in them"
    for level in range(len(reference.levels) - 1, -1, -1):
        try:
            found = _at_level(reference, frame, level, transform, model, least_likeness)
        except (NoFit, TransformInvalid) as error:
            trouble = str(error)
            continue
        # What is blurred is laid by its coarse detail: the fine has nothing to say, or wanders off.
        if best is None or (
            found.sigma_px <= best.sigma_px
            and found.transform.away_px(transform, reference.shape)
            <= _ASTRAY_SIGMAS * best.sigma_px + _ASTRAY_PX * reference.pixel_px(level)
        ):
            best, transform = found, found.transform
    if best is None:
        raise NoFit(trouble)
    return best


def _at_level(
    reference: Outline, frame: Outline, level: int, start: Transform, model: Model, least_likeness: float
) -> Fit:
    pixel_px = reference.pixel_px(level)
    step = Step(reference.levels[level], frame.levels[level], model)
    matrix = shrunk(start, pixel_px)
    still_px, before_px = _STILL_PX if level == 0 else _STILL_COARSE_PX, 0.0
    for count in range(_MOST_STEPS):
        matrix, moved_px = step.from_(matrix)
        # Steps change likeness little where coarser detail has brought the two together.
        if level == 0 and not count:
            _require_like(step, least_likeness, pixel_px)
        shrink = max(moved_px / before_px, _LEAST_SHRINK) if before_px else _FIRST_SHRINK
        before_px = moved_px
        # What the next step would do.
        if min(shrink, 1.0) * moved_px < max(still_px, _STILL_SIGMAS * step.sigma_px):
            break
    else:
        raise NoFit(f"the fit still moves by {moved_px * pixel_px:.2g} px after {_MOST_STEPS} steps")
    # Finer detail is less alike.
    _require_like(step, least_likeness, pixel_px)
    if step.likeness < _LEAST_LIKENESS:
        raise NoFit(
            f"its detail is like its neighbour's by {step.likeness:.2f} at best: at least "
            f"{_LEAST_LIKENESS} is believed"
        )
    return Fit(
        enlarged(matrix, pixel_px), step.sigma_px * pixel_px, step.residual_px * pixel_px, step.likeness
    )


def _require_like(step: Step, least_likeness: float, pixel_px: int) -> None:
    if step.likeness < least_likeness:
        raise Unlike(
            f"its detail is like its neighbour's by {step.likeness:.2f}: at least {least_likeness} is wanted",
            step.sigma_px * pixel_px,
        )
