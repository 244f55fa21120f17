"""The plane and the period that travel per step is made of, and the simulator's targets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from focusd.errors import CalibrationFailed, FocusdError
from focusd.focus.ruler import Period, Plane3, period_of, plane_through, um_per_step
from focusd.focus.smear import smear_of
from focusd.focus.tiles import brightness
from focusd_sim.rulers import ANGLE_DEG, PITCH_UM, chart, ruler

SHAPE = (180, 260)


def grid(rng: np.random.Generator, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 200, count), rng.uniform(0, 300, count)


@pytest.mark.parametrize("wild", [0.0, 0.15, 0.3])
def test_a_plane_in_spite_of_outliers(wild: float) -> None:
    rng = np.random.default_rng(1)
    row, col = grid(rng)
    steps = 900 + 0.02 * row - 0.7 * col + rng.normal(0, 0.5, len(row))
    lost = rng.random(len(row)) < wild
    steps[lost] = rng.uniform(700, 900, lost.sum())
    steps[:20] = np.nan
    plane = plane_through(row, col, steps, np.ones_like(row))
    assert plane.along_col == pytest.approx(-0.7, rel=0.01)
    assert plane.along_row == pytest.approx(0.02, abs=0.005)
    assert plane.at == pytest.approx(900, abs=0.5)
    assert plane.steepness == pytest.approx(math.hypot(0.7, 0.02), rel=0.01)
    assert np.hypot(*plane.uphill) == pytest.approx(1)
    assert plane.slope_error < 0.005


def test_the_stated_error_is_the_one_made() -> None:
    made, stated = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        row, col = grid(rng, 80)
        plane = plane_through(row, col, 0.5 * col + rng.normal(0, 5, 80), np.ones(80))
        made.append(plane.along_col / 0.5 - 1)
        stated.append(plane.slope_error)
    assert np.std(made) / 2 < np.mean(stated) < 2.5 * np.std(made)


def test_too_few_tiles_or_no_slope_is_refused() -> None:
    rng = np.random.default_rng(1)
    row, col = grid(rng)
    with pytest.raises(CalibrationFailed, match="7 tiles") as refused:
        plane_through(row[:7], col[:7], col[:7], np.ones(7))
    assert refused.value.values == {"tiles": 7}
    with pytest.raises(CalibrationFailed, match="put the ruler on a slope"):
        plane_through(row, col, 500 + rng.normal(0, 3, len(row)), np.ones_like(row))


def lines(period_px: float, angle_deg: float, share: float = 0.2, seed: int = 1) -> np.ndarray:
    """Draw dark lines on noisy ground, `period_px` apart, along a direction from the columns' axis."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    angle = math.radians(angle_deg)
    phase = ((x * math.cos(angle) + y * math.sin(angle)) / period_px) % 1
    ground = 1 + 0.1 * np.random.default_rng(seed).standard_normal(SHAPE) + 0.3 * x / SHAPE[1]
    return (ground - 0.4 * (phase < share)).astype(np.float32)


@pytest.mark.parametrize("period_px", [6.3, 13.7, 21.0])
@pytest.mark.parametrize("expected", [False, True])
@pytest.mark.parametrize("angle_deg", [0.0, 90.0])
def test_the_period_of_a_ruler(period_px: float, expected: bool, angle_deg: float) -> None:
    uphill = (math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg)))
    found = period_of(lines(period_px, angle_deg), uphill, 1.15 * period_px if expected else None)
    assert found.px == pytest.approx(period_px, rel=0.005)
    assert abs(found.skew_deg) < 1


def test_long_lines_at_every_fifth_do_not_mislead_where_optics_are_known() -> None:
    picture = lines(10.0, 0.0) + lines(50.0, 0.0, 0.1, 2)
    assert period_of(picture, (0.0, 1.0), 11.0).px == pytest.approx(10.0, rel=0.005)


def test_a_ruler_askew_is_measured_along_the_slope() -> None:
    found = period_of(lines(12.0, 4.0), (0.0, 1.0), None)
    assert found.px == pytest.approx(12.0 / math.cos(math.radians(4)), rel=0.005)
    assert found.skew_deg == pytest.approx(4.0, abs=0.6)


def test_a_ruler_far_askew_is_refused() -> None:
    with pytest.raises(CalibrationFailed, match="askew"):
        period_of(lines(12.0, 9.5), (0.0, 1.0), None)


def test_no_ruler_is_refused() -> None:
    for seed in range(8):
        noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        with pytest.raises(CalibrationFailed, match="no period"):
            period_of(noise, (0.0, 1.0), None)
    with pytest.raises(CalibrationFailed, match="cannot be seen"):
        period_of(lines(12.0, 0.0), (0.0, 1.0), 200.0)


@pytest.mark.parametrize("angle_deg", [30.0, 45.0, 60.0])
@pytest.mark.parametrize("skew_deg", [0.0, 5.0])
def test_travel_per_step_is_that_of_the_geometry(angle_deg: float, skew_deg: float) -> None:
    """A ruler turned on its slope, looked at from above: everything from its lines' place in space."""
    pixel_um, step_um, pitch_um = 1.3, 2.5, 50.0
    angle, turn = math.radians(angle_deg), math.radians(skew_deg)
    # Seen from above the slope's uphill axis is shortened: across it nothing is.
    seen = np.array([math.cos(turn) / math.cos(angle), math.sin(turn)]) / pitch_um
    skew = math.degrees(math.atan2(seen[1], seen[0]))
    period = Period(1 / seen[0] / pixel_um, skew, 9.0)
    plane = Plane3(0.0, 0.0, math.tan(angle) * pixel_um / step_um, 0.0, 0.0, 100)
    assert um_per_step(plane, period, pitch_um, angle_deg) == pytest.approx(step_um)


def test_the_simulated_ruler_is_what_it_says() -> None:
    scene = ruler(1)
    height = scene.height_um[80]
    across_um = np.arange(240) * scene.lens.object_pixel_um
    assert np.polyfit(across_um, height, 1)[0] == pytest.approx(math.tan(math.radians(ANGLE_DEG)), rel=0.01)
    found = period_of(brightness(scene.all_in_focus), (0.0, 1.0), None)
    seen_um = PITCH_UM * math.cos(math.radians(ANGLE_DEG))
    assert found.px == pytest.approx(seen_um / scene.lens.object_pixel_um, rel=0.003)


def test_a_target_smears_by_the_length_asked_for() -> None:
    scene, lengths_px = chart(1), np.array([0.4, 1.0, 3.0, 6.0])
    sharp = scene.render(0.0)
    rest = [
        brightness(sharp),
        *(brightness(scene.render(0.0, smear_px=length_px)) for length_px in (1e-6, 2e-6)),
    ]
    ran = [brightness(scene.render(0.0, smear_px=length_px)) for length_px in lengths_px]
    found = smear_of(ran, rest)
    assert found.angle_deg == 0
    assert found.length_px == pytest.approx(lengths_px, rel=0.03)
    assert np.array_equal(scene.render(0.0, smear_px=0.0), sharp)


def test_a_failed_calibration_is_one_of_focusds_errors() -> None:
    assert issubclass(CalibrationFailed, FocusdError)
    assert CalibrationFailed.code == "calibration"
