"""Frames of a stack, one after the other, and where each lies on the first."""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees
from typing import Literal, get_args

from focusd.errors import FrameMismatch, FusionError
from focusd.optics import Optics
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image
from focusd.register.chain import Chain, Laid
from focusd.register.decision import Applied, Decision, Judge, perspective_px
from focusd.register.outline import Outline
from focusd.register.step import Model
from focusd.register.transform import Transform

Mode = Literal["off", "auto", "translation", "similarity", "affine"]
MODES: tuple[str, ...] = get_args(Mode)

# What perspective may do to a corner within the depth of field of one frame before scale is corrected, px.
_PERSPECTIVE_PX = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a frame lies.

    Parameters
    ----------
    transform : Transform
        To warp it by.
    measured : Transform
        What was measured, before `auto` left out what is too small to be corrected.
    residual_px : float
        Rms over the picture of what the model does not explain, px of the frame.
    sigma_px : float
        Standard error of the corner's place against the first frame, px.
    likeness : float
        Correlation of its detail with its keyframe's, -1 to 1; strangers have about 0.
    step_px : float
        How far a corner moved against the frame before, px.
    is_keyframe : bool
        Whether the next frames are laid on it.
    refused : str
        Why it could not be aligned; empty if it could. The transform then is what the frames before let
        expect.
    note : str
        What else is to be said, such as that there was nothing to align by.
    """

    transform: Transform
    measured: Transform
    residual_px: float = 0.0
    sigma_px: float = 0.0
    likeness: float = 1.0
    step_px: float = 0.0
    is_keyframe: bool = False
    refused: str = ""
    note: str = ""

    @property
    def aligned(self) -> bool:
        """Whether it may be fused."""
        return not self.refused


class Aligner:
    """Lays the frames of a stack on the first one, as they come.

    Memory does not grow with the number of frames. Frames are best given in z order, either way. Not safe for
    use by two threads at once.

    Parameters
    ----------
    mode : {"off", "auto", "translation", "similarity", "affine"}
        `auto` corrects nothing until a shift, then nothing but shifts until a scale or turn, is certain and
        worth it; the others always correct what they find.
    optics : Optics, optional
        With `pupil_um` tells `auto` whether scale may be corrected at all.
    pupil_um : float, optional
        From the lens's entrance pupil to the plane of focus, um; for a camera that moves as a whole.

    Raises
    ------
    FusionError
        Another mode, or a `pupil_um` that is not above 0.
    """

    def __init__(
        self, mode: Mode = "auto", *, optics: Optics | None = None, pupil_um: float | None = None
    ) -> None:
        if mode not in MODES:
            raise FusionError(f"align is {mode!r}: it must be one of {', '.join(MODES)}")
        if pupil_um is not None and not pupil_um > 0:
            raise FusionError(f"pupil_um is {pupil_um}: it must be above 0")
        self._mode: Mode = mode
        self._optics = optics
        self._pupil_um = pupil_um
        self._shape: tuple[int, ...] = ()
        self._chain: Chain | None = None
        self._judge: Judge | None = None
        self._last = Transform.identity()
        self._frames = 0
        self._decision = Decision(
            "none", "nothing is corrected: alignment is off" if mode == "off" else "no frame yet"
        )

    @property
    def decision(self) -> Decision:
        """What is corrected as of the last frame, and why."""
        return self._decision

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return self._chain.nbytes if self._chain is not None else 0

    def place(self, frame: Image | Planes, position_um: float) -> Placement:
        """Find where the next frame lies.

        Parameters
        ----------
        frame : ndarray or Planes
            uint8 or uint16, (rows, cols) or BGR; not modified and not kept.
        position_um : float
            Its place on the z axis, um.

        Raises
        ------
        FrameMismatch
            Another size than the first frame's.
        """
        if self._mode == "off":
            return Placement(Transform.identity(), Transform.identity())
        chain = self._begun(frame)
        outline = Outline.of(frame)
        laid = chain.lay(outline, position_um)
        step_px = laid.transform.away_px(self._last, self._shape)
        self._last = laid.transform
        return self._placed(laid, outline, step_px)

    def anchor(self, frame: Image | Planes, position_um: float, transform: Transform) -> None:
        """Take it as known where a frame lies, and go on from there: after a crash, say."""
        if self._mode == "off":
            return
        chain = self._begun(frame)
        chain.anchor(Outline.of(frame), position_um, transform)
        self._last = transform
        if self._judge is not None:
            self._judge.judge(transform, 0.0)

    def _begun(self, frame: Image | Planes) -> Chain:
        shape = frame.shape[:2]
        if self._chain is None:
            self._shape = shape
            richest, why = self._richest(shape)
            self._chain = Chain(richest, shape)
            if self._mode == "auto":
                self._judge = Judge(shape, richest, why)
        if shape != self._shape:
            raise FrameMismatch(
                f"a frame is {shape[1]} x {shape[0]} px: the first one was {self._shape[1]} x "
                f"{self._shape[0]}; align each size on its own"
            )
        return self._chain

    def _richest(self, shape: tuple[int, ...]) -> tuple[Model, str]:
        """Most that is to be fitted, and why not more."""
        if self._mode in ("translation", "similarity", "affine"):
            return self._mode, ""
        if self._optics is not None and self._pupil_um is not None:
            corner_px = perspective_px(self._optics, self._pupil_um, shape)
            if corner_px < _PERSPECTIVE_PX:
                return "translation", (
                    f"the optics change the corner by {corner_px:.2f} px within the depth of field, below "
                    f"{_PERSPECTIVE_PX} px, so that scale is left alone"
                )
        return "similarity", ""

    def _placed(self, laid: Laid, outline: Outline, step_px: float) -> Placement:
        refused = note = ""
        if laid.stranger and outline.has_detail:
            refused = f"cannot be aligned: {laid.trouble}; look at it, or leave it out"
        elif laid.trouble:
            why = laid.trouble if outline.has_detail else "it has no detail"
            note = f"laid where the frames before let expect, for {why}"
        transform = laid.transform
        if self._judge is not None:
            if laid.fit is not None or not self._frames:
                transform = self._judge.judge(laid.transform, laid.sigma_px)
            else:
                transform = self._judge.applied(laid.transform)
            self._decision = self._judge.decision
        else:
            self._decision = self._forced(laid)
        self._frames += 1
        return Placement(
            transform,
            laid.transform,
            laid.fit.residual_px if laid.fit else 0.0,
            laid.sigma_px,
            laid.fit.likeness if laid.fit else float(not laid.trouble),
            step_px,
            laid.is_keyframe,
            refused,
            note,
        )

    def _forced(self, laid: Laid) -> Decision:
        model: Applied = self._mode  # type: ignore[assignment]
        shift = laid.transform.shift_px(self._shape)
        shift_px = max(self._decision.shift_px, (shift[0] ** 2 + shift[1] ** 2) ** 0.5)
        turn_deg = degrees(laid.transform.turn_rad)
        words = (
            f"{model} is corrected, as asked: after {self._frames + 1} frames the picture has shifted by "
            f"{shift_px:.2f} px at most, its scale is {laid.transform.scale:.5f} and its "
            f"turn {turn_deg:.3f} degrees"
        )
        return Decision(
            model, words, shift_px, laid.transform.scale, turn_deg, laid.sigma_px, self._frames + 1
        )
