"""How far out of focus spreads a point: the lens as the renderer needs it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from focusd.optics import Optics

# Standard deviation of the Gaussian that fits the Airy pattern, in units of wavelength / NA.
_CORE_SIGMA = math.sqrt(2) / (2 * math.pi)


@dataclass(frozen=True, slots=True)
class Lens:
    """A lens and the pixels behind it.

    Parameters
    ----------
    magnification : float
        Image size over object size, above 0.
    na : float
        Object-side numerical aperture, in (0, refractive_index).
    pixel_um : float
        Sensor pixel pitch, um on the sensor.
    wavelength_um : float
        Light, um in vacuum.
    refractive_index : float
        Of the medium before the lens; 1 is air.

    Raises
    ------
    PlanError
        When a figure is out of range (from `focusd.optics.Optics`).

    Notes
    -----
    A point spreads as the convolution of two things: the diffraction core, a Gaussian of standard deviation
    ``0.225 * wavelength / NA`` (Zhang, Zerubia & Olivo-Marin 2007, doi:10.1364/AO.46.001819, paraxial wide
    field), and the uniform disc of geometric optics. Variances add under convolution, and a disc of radius
    ``r`` has variance ``r**2 / 4`` along an axis, so radii add in quadrature. A scene's truth is what this
    lens would see in perfect focus: it holds the core already, and the renderer adds the disc alone.
    """

    magnification: float = 3.7
    na: float = 0.11
    pixel_um: float = 14.8
    wavelength_um: float = 0.55
    refractive_index: float = 1.0

    def __post_init__(self) -> None:
        _ = self.optics  # checks the ranges

    @property
    def optics(self) -> Optics:
        """The same lens as focusd itself describes it."""
        return Optics(self.magnification, self.na, self.pixel_um, self.wavelength_um, self.refractive_index)

    @property
    def object_pixel_um(self) -> float:
        """Width of one pixel on the object, um."""
        return self.pixel_um / self.magnification

    @property
    def core_sigma_px(self) -> float:
        """Standard deviation of the diffraction core, px."""
        return _CORE_SIGMA * self.wavelength_um / (self.na * self.object_pixel_um)

    def disc_radius_px(self, defocus_um: float) -> float:
        """Radius of the geometric blur disc, px, at `defocus_um` (either sign) from focus."""
        return self.optics.blur_diameter_px(defocus_um) / 2

    def blur_radius_px(self, defocus_um: float) -> float:
        """Radius of the disc that spreads as much as core and geometric disc together, px.

        ``hypot(disc_radius_px, 2 * core_sigma_px)``: never 0, and the geometric disc far from focus.
        """
        return math.hypot(self.disc_radius_px(defocus_um), 2 * self.core_sigma_px)
