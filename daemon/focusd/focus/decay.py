"""How a vibration dies away: the envelope of smears measured at various waits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from focusd.focus.tiles import Numbers

# Share of the measurements that the envelope leaves below it. An exposure shorter than a period of the
# vibration smears more or less, as it happens to fall; the wait has to do for those that fall worst.
_BELOW = 0.9
# By how much, relative to its square, a smear differs with where in the vibration the exposure falls.
_PHASE = 0.35
_TAUS, _FINE_TAUS = 40, 13
_ROUNDS = 4
_RESAMPLES = 60
# Less than this many times their noise, all measurements taken together, is nothing.
_LEAST_SIGNAL = 5.0


@dataclass(frozen=True, slots=True)
class Decay:
    """An exponential envelope.

    Parameters
    ----------
    amplitude_px : float
        At a wait of 0.
    tau_s : float
        Time in which it falls to 1/e, above 0.
    """

    amplitude_px: float
    tau_s: float

    def at(self, wait_s: Numbers) -> Numbers:
        """Smear at waits, px."""
        return np.asarray(self.amplitude_px * np.exp(-wait_s / self.tau_s), np.float64)

    def below_after_s(self, limit_px: float) -> float:
        """Wait after which the envelope is below `limit_px`, s; 0 where it is from the start."""
        if self.amplitude_px <= limit_px:
            return 0.0
        return self.tau_s * float(np.log(self.amplitude_px / limit_px))


def envelope(wait_s: Numbers, square_px2: Numbers, sigma_px2: Numbers, longest_tau_s: float) -> Decay:
    """Fit an envelope through the upper edge of measurements.

    The squares are fitted, with those that are lost in noise or below 0: to leave them out would raise the
    rest. Each counts by its noise and by the scatter that the vibration's phase gives it.

    Parameters
    ----------
    wait_s : ndarray of float64, (n,)
        0 or more, not all the same.
    square_px2, sigma_px2 : ndarray of float64, (n,)
        Squares of the smears, and their standard errors, above 0.
    longest_tau_s : float
        Longest decay time looked for, s, above 0.

    Returns
    -------
    Decay
        Of amplitude 0 when nothing stands out.
    """
    coarse = np.geomspace(longest_tau_s / 200, longest_tau_s, _TAUS)
    best = int(np.argmin(_fits(wait_s, square_px2, sigma_px2, coarse)[1]))
    around = coarse[max(best - 1, 0)], coarse[min(best + 1, _TAUS - 1)]
    fine = np.geomspace(*around, _FINE_TAUS)
    powers, misfits = _fits(wait_s, square_px2, sigma_px2, fine)
    best = int(np.argmin(misfits))
    tau_s, power = float(fine[best]), float(powers[best])
    expected = power * np.exp(-2 * wait_s / tau_s)
    if np.sum((expected / sigma_px2) ** 2) < _LEAST_SIGNAL**2:
        return Decay(0.0, tau_s)
    clear = expected > 5 * sigma_px2
    if not clear.any():
        clear = expected >= expected.max()
    ratio = np.sqrt(np.maximum(square_px2[clear], 0) / np.maximum(expected[clear], 1e-12))
    upper = max(1.0, float(np.quantile(ratio, _BELOW)))
    return Decay(upper * float(np.sqrt(power)), tau_s)


def _fits(
    wait_s: Numbers, square_px2: Numbers, sigma_px2: Numbers, taus_s: Numbers
) -> tuple[Numbers, Numbers]:
    """Best square of the amplitude for each decay time, and minus twice the logarithm of its likelihood."""
    shape = np.exp(-2 * wait_s / taus_s[:, None])
    power = np.full(len(taus_s), max(float(square_px2.max()), 0.0))
    variance = np.ones_like(shape)
    for _ in range(_ROUNDS):
        variance = sigma_px2**2 + (_PHASE * power[:, None] * shape) ** 2
        weight = shape / variance
        total = np.maximum((weight * shape).sum(axis=1), 1e-12)
        power = np.maximum((weight * square_px2).sum(axis=1) / total, 0)
    misfit = (square_px2 - power[:, None] * shape) ** 2 / variance + np.log(variance)
    return power, np.asarray(misfit.sum(axis=1), np.float64)


def uncertainty_s(
    wait_s: Numbers, square_px2: Numbers, sigma_px2: Numbers, longest_tau_s: float, limit_px: float
) -> float:
    """Estimate the standard error of the wait that `envelope` gives, s, by fitting resampled measurements."""
    rng = np.random.default_rng(0)
    waits = []
    for _ in range(_RESAMPLES):
        pick = rng.integers(0, len(wait_s), len(wait_s))
        decay = envelope(wait_s[pick], square_px2[pick], sigma_px2[pick], longest_tau_s)
        waits.append(decay.below_after_s(limit_px))
    return float(np.std(waits))
