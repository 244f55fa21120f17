"""The simulated sensor: each effect, alone."""

import numpy as np
import pytest

from focusd.errors import ConfigError
from focusd_sim.sensor import Sensor


def grey(level, shape=(200, 300)):
    return np.full((*shape, 3), level, np.uint8)


def spread(picture):
    return picture.astype(float).std()


def test_all_off_changes_nothing():
    ideal = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    taken = Sensor().expose(ideal, frame=3, seed=1)
    assert np.array_equal(taken, ideal)
    assert not np.shares_memory(taken, ideal)


def test_same_frame_same_picture():
    sensor = Sensor(read_noise=2, shot_noise=3, vignetting=0.2, flicker=0.05, colour_flicker=0.02)
    first = sensor.expose(grey(120), frame=5, seed=9)
    assert np.array_equal(first, sensor.expose(grey(120), frame=5, seed=9))
    assert not np.array_equal(first, sensor.expose(grey(120), frame=6, seed=9))
    assert not np.array_equal(first, sensor.expose(grey(120), frame=5, seed=10))


def test_the_ideal_picture_is_left_alone():
    ideal = grey(120)
    Sensor(2, 2, 0.5, 0.1, 0.1).expose(ideal, exposure=0.5, frame=0, seed=0)
    assert np.all(ideal == 120)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 6.0])
def test_read_noise_has_its_sigma_at_any_light(sigma):
    # Whole levels add the 1/12 of rounding.
    expected = np.hypot(sigma, 1 / 12**0.5)
    for level in (60, 180):
        taken = Sensor(read_noise=sigma).expose(grey(level), frame=0, seed=1)
        assert spread(taken) == pytest.approx(expected, rel=0.03)
        assert taken.mean() == pytest.approx(level, abs=0.1)


def test_shot_noise_grows_with_the_root_of_light():
    sensor = Sensor(shot_noise=10.0)
    assert np.all(sensor.expose(grey(0), frame=0, seed=1) == 0)
    for level in (20, 80, 160):
        taken = sensor.expose(grey(level), frame=0, seed=1)
        assert spread(taken) == pytest.approx(10 * (level / 255) ** 0.5, rel=0.03)


def test_noise_is_white_and_new_in_every_frame():
    sensor = Sensor(read_noise=8)
    a, b = (sensor.expose(grey(128), frame=i, seed=1).astype(float) - 128 for i in (0, 1))
    assert abs((a * b).mean()) < 0.02 * 64
    assert abs((a[:, 1:] * a[:, :-1]).mean()) < 0.02 * 64
    assert abs((a[..., 0] * a[..., 1]).mean()) < 0.02 * 64


def test_vignetting_takes_its_share_in_the_corner():
    taken = Sensor(vignetting=0.3).expose(grey(200), frame=0, seed=1)
    assert taken[0, 0, 0] == pytest.approx(140, abs=1)
    assert taken[-1, -1, 2] == pytest.approx(140, abs=1)
    assert taken[100, 150, 0] == pytest.approx(200, abs=1)
    # Half way to the corner a quarter of the loss.
    assert taken[50, 75, 1] == pytest.approx(200 * (1 - 0.3 / 4), abs=1.5)


def test_flicker_changes_the_mean_within_its_bounds():
    means = [Sensor(flicker=0.05).expose(grey(200), frame=i, seed=1).mean() / 200 for i in range(60)]
    assert min(means) >= 0.949 and max(means) <= 1.051
    assert max(means) - min(means) > 0.07


def test_colour_flicker_changes_channels_apart():
    sensor = Sensor(colour_flicker=0.05)
    shares = np.array([sensor.expose(grey(200), frame=i, seed=1).mean(axis=(0, 1)) / 200 for i in range(60)])
    assert np.all(np.abs(shares - 1) <= 0.051)
    assert np.all(np.ptp(shares, axis=0) > 0.07)
    assert abs(np.corrcoef(shares.T)[0, 1]) < 0.4


def test_exposure_and_colour_gains_multiply_and_clip():
    assert np.all(Sensor().expose(grey(100), exposure=0.5, frame=0, seed=1) == 50)
    assert np.all(Sensor().expose(grey(200), exposure=2, frame=0, seed=1) == 255)
    taken = Sensor().expose(grey(100), colour_gains=(1.5, 1.0, 0.5), frame=0, seed=1)
    assert taken[0, 0].tolist() == [150, 100, 50]


@pytest.mark.parametrize("bad", [{"read_noise": -1}, {"vignetting": 1.5}, {"flicker": float("nan")}])
def test_impossible_sensors_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Sensor(**bad)


def test_negative_light_is_refused():
    with pytest.raises(ConfigError, match="exposure"):
        Sensor().expose(grey(1), exposure=-1, frame=0, seed=0)
