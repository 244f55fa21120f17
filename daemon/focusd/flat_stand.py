"""A camera and its lights, without the rail, taking several frames of the same thing."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from focusd.clock import Clock
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.halt import Halt
from focusd.job import JobSettings
from focusd.pictures.average import Average, Averaging
from focusd.pictures.images import decode_frame
from focusd.pictures.planes import Planes
from focusd.pictures.raw import RawRendering
from focusd.pictures.samples import Image
from focusd.rig import Camera, Lights

log = logging.getLogger(__name__)

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Stand:
    """What takes the frames; the rail is left alone.

    Parameters
    ----------
    camera : Camera
        The configured one.
    lights : Lights or None
        Where there are any.
    """

    camera: Camera
    lights: Lights | None = None

    def close(self) -> None:
        """Give the hardware back."""
        try:
            self.camera.close()
        finally:
            if self.lights is not None:
                self.lights.close()

    def take(
        self, clock: Clock, stop: Halt, frames: int, *, dark: bool, light: str | None
    ) -> tuple[Average, dict[str, Any]]:
        """Photograph, and return the mean and the exposure.

        Parameters
        ----------
        clock : Clock
            The rig's.
        stop : Halt
            Ends every wait.
        frames : int
            How many.
        dark : bool
            With every light off.
        light : str or None
            The light to use otherwise; all of them for None.

        Raises
        ------
        CameraError
            No frame in three tries, or the camera's frames do not come to this machine.
        Stopped
            The emergency stop was pressed.
        """
        averaging, rendering, exposure_s = Averaging(), RawRendering(), None
        try:
            if self.lights is not None and not dark:
                warm_up_s = max(self.lights.begin(), self.lights.turn_on(light))
                if not clock.sleep(warm_up_s, stop):
                    raise Stopped("stopped while the light warmed up: nothing was written")
            self.camera.begin(JobSettings())
            for number in range(frames):
                image, exposure_s = self._photograph(rendering)
                averaging.add(image)
                log.info("frame %d of %d", number + 1, frames)
        finally:
            try:
                self.camera.end()
            finally:
                if self.lights is not None:
                    self.lights.end()
        return averaging.result(), {"exposure_s": exposure_s}

    def _photograph(self, rendering: RawRendering) -> tuple[Image | Planes, float | None]:
        for tries in range(1, _TRIES + 1):
            try:
                exposure = self.camera.expose()
                frame = self.camera.collect(exposure)
                if frame is None:
                    raise CameraError(
                        'camera.frames is "none": a flat is a mean of frames; let them come into an inbox'
                    )
                image = frame.image
                if image is None:
                    image = decode_frame(frame.encoded or b"", frame.name, rendering=rendering)
            except (FrameLost, ExposureTimeout) as error:
                log.warning("%s (try %d of %d)", error, tries, _TRIES)
            else:
                return image, frame.exposure.exposure_s
        raise CameraError(f"{_TRIES} frames in a row are missing: check the camera, then begin again")
