"""Where a stack's frames are received on the job thread: looked at, kept, handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from focusd.darkroom import Darkroom
from focusd.rig import Frame, Shot


class Reception:
    """Takes the frames of one stack; see `focusd.stack.Receiver`.

    Parameters
    ----------
    darkroom : Darkroom
        Fuses them.
    light : str or None
        Where lights take turns, the one whose frames are fused; the others' are kept alone.
    keep : callable, optional
        Writes each frame to the disk, before it is fused and before the next is exposed.
    judge : callable, optional
        Looks at the test frame; raises `FocusdError` to refuse the stack.
    """

    def __init__(
        self,
        darkroom: Darkroom,
        light: str | None = None,
        keep: Callable[[Shot, Frame], object] | None = None,
        judge: Callable[[Frame], object] | None = None,
    ) -> None:
        self._darkroom = darkroom
        self._light = light
        self._keep = keep
        self._judge = judge

    def deliver(self, shot: Shot, frame: Frame) -> None:
        """Keep a frame, and hand it to the fusion."""
        if self._keep is not None:
            self._keep(shot, frame)
        if shot.light == self._light:
            self._darkroom.deliver(shot, frame)

    def spoiled(self, *, settled: bool = False) -> Sequence[Shot]:
        """Return the shots whose frames could not be fused."""
        return self._darkroom.spoiled(settled=settled)

    def inspect(self, frame: Frame) -> None:
        """Judge the test frame."""
        if self._judge is not None:
            self._judge(frame)
