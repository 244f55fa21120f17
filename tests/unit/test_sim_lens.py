"""The lens of the simulator: what it says about blur."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.errors import PlanError
from focusd_sim.lens import Lens


def test_the_demo_lens_sees_four_um_a_pixel():
    lens = Lens()
    assert lens.object_pixel_um == pytest.approx(4.0)
    assert lens.optics.depth_of_field_um == pytest.approx(0.55 / 0.11**2 + 4.0 / 0.11)


def test_disc_is_the_cone_of_light():
    lens = Lens(magnification=2, na=0.2, pixel_um=5)
    # 100 um out of focus, the cone's half-width is 100 * tan(asin(0.2)) um, seen 2 times enlarged.
    assert lens.disc_radius_px(100) == pytest.approx(100 * math.tan(math.asin(0.2)) * 2 / 5)
    assert lens.disc_radius_px(-100) == lens.disc_radius_px(100)
    assert lens.disc_radius_px(0) == 0


def test_core_is_the_airy_patterns_gaussian():
    lens = Lens()
    assert lens.core_sigma_px == pytest.approx(0.2251 * 0.55 / 0.11 / 4.0, rel=1e-3)
    assert Lens(wavelength_um=1.1).core_sigma_px == pytest.approx(2 * lens.core_sigma_px)


@given(st.floats(-3000, 3000))
def test_blur_adds_core_and_disc_in_quadrature(defocus_um):
    lens = Lens()
    total = lens.blur_radius_px(defocus_um) ** 2
    assert total == pytest.approx(lens.disc_radius_px(defocus_um) ** 2 + 4 * lens.core_sigma_px**2)


@pytest.mark.parametrize("bad", [{"na": 0}, {"na": 1.2}, {"pixel_um": -1}, {"magnification": 0}])
def test_impossible_lenses_are_refused(bad):
    with pytest.raises(PlanError, match=next(iter(bad))):
        Lens(**bad)
