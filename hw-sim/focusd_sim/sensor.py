"""What the photographic chain adds to an ideal picture; each effect is off at 0."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import ConfigError

# Noise is kept as 16-bit integers: standard deviation 1 is this many.
_NOISE_UNIT = 256
# Standard deviations are looked up in this many steps a level.
_SIGMA_UNIT = 64
# How far a frame's window into the noise may lie from another's, px each way.
_SPARE_PX = 192


@dataclass(frozen=True, slots=True)
class Sensor:
    """Sensor, lamp and lens barrel.

    Parameters
    ----------
    read_noise : float
        Standard deviation of the noise in the dark, levels of 255, 0 to 60.
    shot_noise : float
        Standard deviation of the light's own noise at white, levels of 255, 0 to 60; its variance falls in
        proportion to the light. Both are added in quadrature.
    vignetting : float
        Share of the light lost in the corners, 0 to 1; grows with the square of the distance from the centre.
    flicker : float
        Largest change of the lamp's light from frame to frame, a fraction, 0 to 1 (uniform in +-).
    colour_flicker : float
        The same for each colour channel on its own.
    dust : int
        Grains on the sensor, 0 to 1000: dark spots of 2 to 6 px radius that take 10 to 40 % of the light.
    hot_pixels : int
        Pixels that add 12 to 200 levels to one colour whatever the light, 0 to 100000.

    Raises
    ------
    ConfigError
        When a figure is out of range.

    Notes
    -----
    Gains act on the encoded values, as scene blur does. Noise of successive frames is cut at random places,
    flips and signs from one tile made from the seed, so that it costs little. Where dust and hot pixels lie
    goes by the seed and the size alone.
    """

    read_noise: float = 0.0
    shot_noise: float = 0.0
    vignetting: float = 0.0
    flicker: float = 0.0
    colour_flicker: float = 0.0
    dust: int = 0
    hot_pixels: int = 0

    def __post_init__(self) -> None:
        limits = {"read_noise": 60, "shot_noise": 60, "vignetting": 1, "flicker": 1, "colour_flicker": 1}
        limits |= {"dust": 1000, "hot_pixels": 100_000}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ConfigError(
                    f"sensor.{name} is {getattr(self, name)}: it must be from 0 (off) to {most}"
                )

    def expose(
        self,
        ideal: NDArray[np.uint8],
        *,
        exposure: float = 1.0,
        colour_gains: tuple[float, float, float] = (1.0, 1.0, 1.0),
        frame: int,
        seed: int,
    ) -> NDArray[np.uint8]:
        """Take a picture of `ideal`.

        Parameters
        ----------
        ideal : ndarray of uint8, (rows, cols, 3)
            BGR, not changed.
        exposure : float
            Light relative to a right exposure, 0 or more; values clip at 255.
        colour_gains : tuple of float
            For blue, green and red, 0 or more.
        frame : int
            Number of the frame, 0 or more; the same `frame` and `seed` give the same picture.
        seed : int
            0 or more.

        Returns
        -------
        ndarray of uint8, (rows, cols, 3)
            A fresh array.

        Raises
        ------
        ConfigError
            When exposure or a gain is below 0.
        """
        if not (exposure >= 0 and min(colour_gains) >= 0):
            raise ConfigError(f"exposure {exposure} and colour gains {colour_gains}: none may be below 0")
        rng = np.random.default_rng((seed, frame))
        gains = exposure * np.asarray(colour_gains, np.float64)
        gains *= 1 + self.flicker * rng.uniform(-1, 1)
        gains *= 1 + self.colour_flicker * rng.uniform(-1, 1, 3)
        picture = _gained(ideal, gains)
        rows, cols = ideal.shape[:2]
        if self.vignetting > 0 or self.dust:
            left = _light_left(rows, cols, self.vignetting, self.dust, seed)
            picture = np.asarray(cv2.multiply(picture, left, scale=1 / 65535, dtype=cv2.CV_8U), np.uint8)
        if self.read_noise > 0 or self.shot_noise > 0:
            picture = self._noisy(picture, rng, seed)
        if self.hot_pixels:
            where, added = _hot_pixels(rows, cols, self.hot_pixels, seed)
            picture[where] = np.minimum(picture[where].astype(np.int16) + added, 255)
        return np.asarray(picture, np.uint8)

    def _noisy(self, picture: NDArray[np.uint8], rng: np.random.Generator, seed: int) -> NDArray[np.uint8]:
        light = np.arange(256) / 255
        sigma = np.sqrt(self.read_noise**2 + self.shot_noise**2 * light)
        table = np.rint(sigma * _SIGMA_UNIT).astype(np.int16)
        rows, cols = picture.shape[:2]
        tile = _noise_tile(rows + _SPARE_PX, cols + _SPARE_PX, seed)
        top, left = rng.integers(0, _SPARE_PX + 1, 2)
        cut = tile[top : top + rows, left : left + cols]
        sign = 1 - 2 * int(rng.integers(2))
        strength = cv2.LUT(picture, table)
        noise = cv2.multiply(strength, cut, scale=sign / (_SIGMA_UNIT * _NOISE_UNIT))
        return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)


def _gained(ideal: NDArray[np.uint8], gains: NDArray[np.float64]) -> NDArray[np.uint8]:
    if np.all(gains == 1):
        return ideal.copy()
    table = np.clip(np.rint(np.arange(256)[:, None] * gains), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(ideal, table.reshape(256, 1, 3)), np.uint8)


@lru_cache(maxsize=4)
def _light_left(rows: int, cols: int, lost: float, dust: int, seed: int) -> NDArray[np.uint16]:
    """Light left at each pixel and channel, in 65535ths."""
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, cols, dtype=np.float32)[None, :]
    aspect = np.float32((cols / rows) ** 2)
    left = 1 - np.float32(lost) * (y**2 + aspect * x**2) / (1 + aspect)
    rng = np.random.default_rng((seed, 0xD057))
    for _ in range(dust):
        radius, depth = rng.uniform(2, 6), rng.uniform(0.1, 0.4)
        away = np.hypot(
            np.arange(rows)[:, None] - rng.uniform(0, rows), np.arange(cols)[None, :] - rng.uniform(0, cols)
        )
        left *= 1 - np.float32(depth) * np.clip(radius + 0.5 - away, 0, 1).astype(np.float32)
    plane = np.rint(left * 65535).astype(np.uint16)
    return np.repeat(plane[..., None], 3, axis=2)


@lru_cache(maxsize=2)
def _hot_pixels(
    rows: int, cols: int, count: int, seed: int
) -> tuple[tuple[NDArray[np.int64], ...], NDArray[np.int16]]:
    """Rows, columns and channels of hot pixels, no two alike, and what each adds."""
    rng = np.random.default_rng((seed, 0x407))
    at = rng.choice(rows * cols, min(count, rows * cols), replace=False)
    where = (at // cols, at % cols, rng.integers(0, 3, len(at)))
    return where, rng.integers(12, 201, len(at)).astype(np.int16)


@lru_cache(maxsize=2)
def _noise_tile(rows: int, cols: int, seed: int) -> NDArray[np.int16]:
    """White Gaussian noise, (rows, cols, 3), in 256ths of its standard deviation."""
    rng = np.random.default_rng((seed, 0x5EED))
    normal = rng.standard_normal((rows, cols, 3), dtype=np.float32)
    return np.rint(normal * _NOISE_UNIT).astype(np.int16)
