"""Where a stack's frames are received on the job thread: looked at, kept, handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from focusd.camera_config import frames_come as frames_come
from focusd.darkroom import Darkroom
from focusd.errors import FrameLost
from focusd.job import JobSettings
from focusd.negatives import Negatives
from focusd.pictures.average import Form
from focusd.pictures.images import decode_frame
from focusd.pictures.shading import Shading
from focusd.preflight import Finding, PreflightFailed, judge, white_of_file
from focusd.rig import Frame, Shot


class Reception:
    """Takes the frames of one stack; see `focusd.stack.Receiver`.

    Parameters
    ----------
    darkroom : Darkroom
        Fuses them.
    settings : JobSettings
        The job's: whether frames are kept, whose light's are fused, and whether the test frame counts.
    folder : Path
        The run's.
    told : callable
        Takes what the test frame shows, for the record.
    shading : Shading, optional
        What frames will be corrected by: the test frame must fit it.

    Raises
    ------
    JournalError
        Frames are to be kept, and their folder cannot be made.
    """

    def __init__(
        self,
        darkroom: Darkroom,
        settings: JobSettings,
        folder: Path,
        told: Callable[[Sequence[Finding]], None],
        shading: Shading | None = None,
    ) -> None:
        self._darkroom = darkroom
        self._light = settings.lights[0] if settings.lights else None
        self._force = settings.force
        self._told = told
        self._shading = shading
        kind = settings.keep_frames or "off"
        self._negatives = None if kind == "off" else Negatives(folder, kind)

    def deliver(self, shot: Shot, frame: Frame) -> None:
        """Keep a frame, which is on the disk then, and hand it to the fusion."""
        if self._negatives is not None:
            self._negatives.keep(shot, frame)
        if shot.light == self._light:
            self._darkroom.deliver(shot, frame)

    def spoiled(self, *, settled: bool = False) -> Sequence[Shot]:
        """Return the shots whose frames could not be fused."""
        return self._darkroom.spoiled(settled=settled)

    def inspect(self, frame: Frame) -> None:
        """Judge the test frame.

        Raises
        ------
        FrameLost
            It cannot be decoded.
        FrameMismatch
            The preset's flat field or dark frame is of another size or type.
        PreflightFailed
            The stack would be spoiled, and the job does not insist.
        """
        image = frame.image
        if image is None:
            if frame.encoded is None:
                raise FrameLost(f"{frame.name}: neither an image nor a file")
            image = decode_frame(frame.encoded, frame.name)
        if self._shading is not None:
            self._shading.form.require(Form.of(image), "the preset's flat field or dark frame")
        findings = judge(image, white_of_file(frame.encoded, frame.name))
        self._told(findings)
        if findings and not self._force:
            raise PreflightFailed.of(findings)

    def close(self) -> None:
        """No more frames come."""
        if self._negatives is not None:
            self._negatives.close()
