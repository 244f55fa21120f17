"""What a camera on the carriage sees: from the motion during an exposure to a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from focusd_sim.bench import Bench, Scene, Sensor
from focusd_sim.config import OpticsConfig
from focusd_sim.lamps import Lamps
from focusd_sim.truth import ExposureTruth, Truth


class View:
    """The scene through lens and sensor, from wherever the carriage was.

    Parameters
    ----------
    scene : Scene
        What is photographed.
    sensor : Sensor
        What the photographic chain adds.
    optics : OpticsConfig
        Breathing and drift along the rail.
    bench : Bench
        Where the carriage was.
    truth : Truth
        Where every exposure is recorded.
    centre_um : float
        Rail position of the scene's middle plane.
    seed : int
        Of the noise.
    lamps : Lamps, optional
        All the light there is; without them it is day.
    """

    def __init__(
        self,
        scene: Scene,
        sensor: Sensor,
        optics: OpticsConfig,
        bench: Bench,
        truth: Truth,
        *,
        centre_um: float,
        seed: int,
        lamps: Lamps | None = None,
    ) -> None:
        self.truth = truth
        self._scene = scene
        self._sensor = sensor
        self._optics = optics
        self._bench = bench
        self._centre_um = centre_um
        self._seed = seed
        self._lamps = lamps

    @property
    def size(self) -> tuple[int, int]:
        """Size of the sensor, (width, height) in px."""
        rows, cols = self._scene.all_in_focus.shape[:2]
        return int(cols), int(rows)

    def expose(self, t_open_s: float, t_close_s: float, *, lens_um: float = 0.0) -> ExposureTruth:
        """Sum up and record an exposure that lies in the past.

        Parameters
        ----------
        t_open_s, t_close_s : float
            Rig time.
        lens_um : float
            How far the lens's own focus drive has moved the focal plane.

        Returns
        -------
        ExposureTruth
            As recorded.
        """
        motion = self._bench.motion_during(t_open_s, t_close_s)
        focus_um = motion.position_um - self._centre_um + lens_um
        along_mm = focus_um / 1000
        lens = self._scene.lens
        drift_row, drift_col = self._optics.drift_px_per_mm
        exposure = ExposureTruth(
            index=self.truth.next_index,
            t_open_s=t_open_s,
            t_close_s=t_close_s,
            position_um=motion.position_um,
            shaft_um=self._bench.carriage.shaft_um(motion.shaft),
            focus_um=focus_um,
            peak_to_peak_um=motion.peak_to_peak_um,
            smear_um=motion.smear_um,
            smear_px=motion.smear_um * lens.magnification / lens.pixel_um,
            step_edges=motion.step_edges,
            speed_um_s=motion.max_speed_um_s,
            magnification=1 + self._optics.breathing_per_mm * along_mm,
            shift_px=(drift_row * along_mm, drift_col * along_mm),
        )
        self.truth.record(exposure)
        return exposure

    def picture(
        self,
        exposure: ExposureTruth,
        *,
        light: float = 1.0,
        colour_gains: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> NDArray[np.uint8]:
        """Draw the picture of a recorded exposure.

        Parameters
        ----------
        exposure : ExposureTruth
            Which.
        light : float
            Exposure relative to a well exposed picture.
        colour_gains : tuple of float
            For blue, green and red, relative to neutral.

        Returns
        -------
        ndarray of uint8, (rows, cols, 3)
            BGR.
        """
        ideal = self._scene.render(
            exposure.focus_um,
            smear_px=exposure.smear_px,
            magnification=exposure.magnification,
            shift_px=exposure.shift_px,
        )
        if self._lamps is not None:
            ideal, lit = self._lamps.lit(ideal, exposure.t_open_s, exposure.t_close_s)
            light *= lit
        return self._sensor.expose(
            ideal, exposure=light, colour_gains=colour_gains, frame=exposure.index, seed=self._seed
        )
