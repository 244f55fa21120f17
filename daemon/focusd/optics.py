"""What the lens says: depth of field, blur, and the step between two stops.

Pure functions; lengths in micrometres of object space unless the name says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from focusd.errors import PlanError

_DEFAULT_WAVELENGTH_UM = 0.55


@dataclass(frozen=True, slots=True)
class Optics:
    """A lens and a sensor.

    Parameters
    ----------
    magnification : float
        Image size over object size, above 0.
    na : float
        Object-side numerical aperture, in (0, refractive_index).
    pixel_um : float
        Sensor pixel pitch, um on the sensor.
    wavelength_um : float
        Light, um in vacuum. Default 0.55 (green).
    refractive_index : float
        Of the medium before the lens. Default 1 (air).
    """

    magnification: float
    na: float
    pixel_um: float
    wavelength_um: float = _DEFAULT_WAVELENGTH_UM
    refractive_index: float = 1.0

    def __post_init__(self) -> None:
        for name in ("magnification", "na", "pixel_um", "wavelength_um", "refractive_index"):
            if not getattr(self, name) > 0:
                raise PlanError(f"optics.{name} is {getattr(self, name)}: it must be above 0")
        if self.na >= self.refractive_index:
            raise PlanError(
                f"optics.na is {self.na}: it must be below the refractive index {self.refractive_index}"
            )

    @classmethod
    def from_f_number(
        cls,
        magnification: float,
        f_number: float,
        pixel_um: float,
        wavelength_um: float = _DEFAULT_WAVELENGTH_UM,
        refractive_index: float = 1.0,
    ) -> Optics:
        """Optics of a lens marked with an f-number, focused at `magnification` (pupil ratio 1)."""
        if not (f_number > 0 and magnification > 0):
            raise PlanError(
                f"optics.f_number is {f_number} and magnification {magnification}: both must be above 0"
            )
        na = magnification / (2 * f_number * (1 + magnification))
        return cls(magnification, na, pixel_um, wavelength_um, refractive_index)

    @property
    def depth_of_field_um(self) -> float:
        """Depth over which a point stays sharp, um in object space.

        ``lambda * n / NA**2 + n * e / (M * NA)`` with ``e`` one pixel: the wave term and the geometric term.

        References
        ----------
        .. [1] Inoue S., Spring K.R., Video Microscopy, 2nd ed., 1997, section 2.4 (Shillaber's sum).
        """
        n = self.refractive_index
        return self.wavelength_um * n / self.na**2 + n * self.pixel_um / (self.magnification * self.na)

    def blur_diameter_px(self, defocus_um: float) -> float:
        """Diameter of the geometric blur disc on the sensor, in pixels, at `defocus_um` from focus."""
        tangent = self.na / math.sqrt(self.refractive_index**2 - self.na**2)
        return 2 * abs(defocus_um) * tangent * self.magnification / self.pixel_um

    def step_um(self, overlap: float = 0.5) -> float:
        """Distance between stops so that neighbours share `overlap` of the depth of field.

        Parameters
        ----------
        overlap : float
            Share of the depth of field common to two neighbouring stops, 0 to below 1.
        """
        if not 0 <= overlap < 1:
            raise PlanError(f"overlap is {overlap}: it must be at least 0 and below 1")
        return self.depth_of_field_um * (1 - overlap)
