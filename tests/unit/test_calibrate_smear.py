"""Smear against pictures that ran by a known length, and envelopes against vibrations that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from focusd.errors import CalibrationFailed
from focusd.focus.decay import Decay, envelope, uncertainty_s
from focusd.focus.smear import sharpest, smear_of

SHAPE = (160, 224)


class Subject:
    """A band-limited random picture on a torus, which can be shifted and smeared exactly."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.u = np.fft.fftfreq(SHAPE[0])[:, None]
        self.v = np.fft.rfftfreq(SHAPE[1])[None, :]
        far = np.hypot(self.u, self.v)
        self.spectrum = np.fft.rfft2(self.rng.standard_normal(SHAPE)) * np.exp(-((far / 0.3) ** 2))

    def frame(
        self,
        length_px: float = 0.0,
        angle_deg: float = 0.0,
        shift: tuple[float, float] = (0, 0),
        noise: float = 1.5,
    ) -> np.ndarray:
        angle = math.radians(angle_deg)
        kept = np.sinc((math.cos(angle) * self.v + math.sin(angle) * self.u) * length_px)
        turn = np.exp(-2j * np.pi * (self.u * shift[0] + self.v * shift[1]))
        picture = np.fft.irfft2(self.spectrum * kept * turn, SHAPE)
        frame = 110 + 60 * picture + noise * self.rng.standard_normal(SHAPE)
        return np.rint(frame).astype(np.float32)


@pytest.mark.parametrize("angle_deg", [0.0, 45.0, 90.0, 120.0])
def test_the_length_is_found_in_every_direction(angle_deg: float) -> None:
    subject = Subject()
    lengths = np.array([0.0, 0.4, 0.7, 1.0, 2.0, 4.0, 7.0])
    rest = [subject.frame() for _ in range(6)]
    smear = smear_of([subject.frame(length, angle_deg) for length in lengths], rest)
    assert abs((smear.angle_deg - angle_deg + 90) % 180 - 90) <= 1
    assert smear.square_px2 == pytest.approx(lengths**2, abs=0.06, rel=0.04)
    # The errors that it states are those that it makes, by and large.
    assert np.abs((smear.square_px2 - lengths**2) / smear.sigma_px2).max() < 6


def test_a_frame_that_only_stands_elsewhere_is_not_smeared() -> None:
    subject = Subject()
    rest = [subject.frame() for _ in range(6)]
    moved = [subject.frame(shift=shift) for shift in ((0.4, 0.3), (2.6, -1.5), (0.0, 5.25))]
    assert np.abs(smear_of(moved, rest).square_px2).max() < 0.15


def test_light_that_flickers_is_not_smear() -> None:
    subject = Subject()
    rest = [subject.frame() for _ in range(6)]
    dimmed = [subject.frame() * np.float32(gain) for gain in (0.9, 0.95, 1.05)]
    assert np.abs(smear_of(dimmed, rest).square_px2).max() < 0.1


def test_noise_alone_shows_no_smear() -> None:
    noise = np.random.default_rng(5)
    frames = [(100 + 2 * noise.standard_normal(SHAPE)).astype(np.float32) for _ in range(8)]
    with pytest.raises(CalibrationFailed, match="too little fine detail"):
        smear_of(frames[:3], frames[3:])


def test_the_sharpest_part_is_looked_at() -> None:
    frame = np.full((200, 300), 90, np.float32)
    frame[120:180, 210:290] += np.random.default_rng(1).normal(0, 20, (60, 80)).astype(np.float32)
    rows, cols = sharpest(frame, 64)
    assert (rows.stop - rows.start, cols.stop - cols.start) == (64, 64)
    assert rows.start <= 150 <= rows.stop
    assert cols.start <= 250 <= cols.stop
    assert sharpest(frame, 1000) == (slice(0, 200), slice(0, 300))


def vibration(
    waits_s: np.ndarray, amplitude_px: float, tau_s: float, hz: float, exposure_s: float
) -> np.ndarray:
    """Way from one extreme to the other during an exposure that begins at each wait, px."""
    within = np.linspace(0, exposure_s, 60)
    at = waits_s[:, None] + within
    return np.ptp(amplitude_px / 2 * np.exp(-at / tau_s) * np.sin(2 * np.pi * hz * at + 0.4), axis=1)


@pytest.mark.parametrize(
    ("amplitude_px", "tau_s", "hz", "exposure_s"),
    [(4.0, 0.3, 25, 0.02), (1.0, 0.3, 31, 0.02), (8.0, 0.1, 40, 0.05), (3.0, 0.6, 12, 0.02)],
)
def test_an_envelope_lies_on_the_upper_edge(
    amplitude_px: float, tau_s: float, hz: float, exposure_s: float
) -> None:
    rng = np.random.default_rng(2)
    waits_s = rng.uniform(0, 1.5 * tau_s * math.log(amplitude_px / 0.25), 40)
    smear = vibration(waits_s, amplitude_px, tau_s, hz, exposure_s)
    fine_s = np.linspace(0, 10 * tau_s, 20_000)
    seen = vibration(fine_s, amplitude_px, tau_s, hz, exposure_s)
    truth_s = fine_s[seen >= 0.25].max()
    sigma = np.full(40, 0.008)
    found = envelope(waits_s, smear**2 + rng.normal(0, 0.008, 40), sigma, 5 * tau_s)
    assert found.below_after_s(0.25) == pytest.approx(truth_s, rel=0.1)
    assert found.tau_s == pytest.approx(tau_s, rel=0.15)
    error_s = uncertainty_s(waits_s, smear**2, sigma, 5 * tau_s, 0.25)
    assert 0 < error_s < 0.15 * truth_s


def test_nothing_but_noise_needs_no_wait() -> None:
    rng = np.random.default_rng(4)
    waits_s = rng.uniform(0, 1, 40)
    found = envelope(waits_s, rng.normal(0, 0.01, 40), np.full(40, 0.01), 1.5)
    assert found.below_after_s(0.25) == 0


def test_all_below_zero_is_no_vibration() -> None:
    found = envelope(np.linspace(0, 1, 10), np.full(10, -0.01), np.full(10, 0.01), 1.5)
    assert found.amplitude_px == 0
    assert found.below_after_s(0.25) == 0


def test_a_decay_falls_below_its_limit_when_it_says() -> None:
    decay = Decay(2.0, 0.3)
    assert decay.at(np.array([decay.below_after_s(0.25)])) == pytest.approx([0.25])
    assert Decay(0.2, 0.3).below_after_s(0.25) == 0
