"""What the lens says, against figures worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.errors import PlanError
from focusd.optics import Optics

ARTICLE = Optics(magnification=3.7, na=0.11, pixel_um=4.9)


def test_the_article_s_depth_of_field() -> None:
    assert ARTICLE.depth_of_field_um == pytest.approx(57.49, abs=0.01)


@pytest.mark.parametrize(
    ("optics", "depth_um"),
    [
        # Wave term alone would be 0.55 / 0.25^2 = 8.8; geometric 3.45 / (10 * 0.25) = 1.38.
        (Optics(10, 0.25, 3.45), 10.18),
        # Oil: 0.55 * 1.515 / 1.4^2 + 1.515 * 3.45 / (100 * 1.4).
        (Optics(100, 1.4, 3.45, refractive_index=1.515), 0.4625),
        # Blue light is shallower by the wave term alone: 0.45 / 0.0121 + 12.04.
        (Optics(3.7, 0.11, 4.9, wavelength_um=0.45), 49.23),
    ],
)
def test_depth_of_field(optics: Optics, depth_um: float) -> None:
    assert optics.depth_of_field_um == pytest.approx(depth_um, rel=1e-3)


@pytest.mark.parametrize(("overlap", "share"), [(0.0, 1.0), (0.5, 0.5), (0.75, 0.25)])
def test_a_step_leaves_the_overlap(overlap: float, share: float) -> None:
    assert ARTICLE.step_um(overlap) == pytest.approx(share * ARTICLE.depth_of_field_um)


def test_an_f_number_is_the_aperture_at_that_magnification() -> None:
    # At 1:1, f/2.8 works at f/5.6: NA = 1 / (2 * 5.6).
    assert Optics.from_f_number(1.0, 2.8, 5.0).na == pytest.approx(1 / 11.2)


def test_blur_is_the_cone_on_the_sensor() -> None:
    tangent = math.tan(math.asin(0.11))
    assert ARTICLE.blur_diameter_px(20) == pytest.approx(2 * 20 * tangent * 3.7 / 4.9)
    immersed = Optics(100, 1.4, 3.45, refractive_index=1.515)
    assert immersed.blur_diameter_px(1) == pytest.approx(2 * math.tan(math.asin(1.4 / 1.515)) * 100 / 3.45)


@settings(deadline=None)
@given(defocus_um=st.floats(0, 1e4), factor=st.floats(1, 10))
def test_blur_is_symmetrical_and_grows_in_proportion(defocus_um: float, factor: float) -> None:
    assert ARTICLE.blur_diameter_px(-defocus_um) == ARTICLE.blur_diameter_px(defocus_um)
    assert ARTICLE.blur_diameter_px(defocus_um * factor) == pytest.approx(
        factor * ARTICLE.blur_diameter_px(defocus_um)
    )


GOOD: dict[str, float] = {"magnification": 3.7, "na": 0.11, "pixel_um": 4.9}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        *(({name: value}, name) for name in GOOD for value in (0, -1, math.nan)),
        ({"wavelength_um": 0}, "wavelength_um"),
        ({"refractive_index": 0}, "refractive_index"),
        ({"na": 1.0}, "refractive index"),
        ({"na": 1.33, "refractive_index": 1.33}, "refractive index"),
    ],
)
def test_what_is_no_lens(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        Optics(**{**GOOD, **wrong})


@pytest.mark.parametrize(("f_number", "magnification"), [(0, 1), (-2, 1), (2.8, 0), (math.nan, 1)])
def test_what_is_no_f_number(f_number: float, magnification: float) -> None:
    with pytest.raises(PlanError, match="f_number"):
        Optics.from_f_number(magnification, f_number, 5.0)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 2.0, math.nan])
def test_what_is_no_overlap(overlap: float) -> None:
    with pytest.raises(PlanError, match="overlap"):
        ARTICLE.step_um(overlap)
