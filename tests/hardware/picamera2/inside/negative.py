"""A DNG as the genuine PiDNG makes it of a sensor's packed buffer."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from pidng.camdefs import Picamera2Camera
from pidng.core import PICAM2DNG

ROWS, COLS, BITS, BLACK = 48, 64, 12, 256
GAINS = (1.8, 1.6)
# Light of the four quarters of the picture: red, green and blue, linear sRGB.
QUARTERS = ((0.05, 0.05, 0.05), (0.6, 0.1, 0.2), (0.2, 0.5, 0.1), (0.1, 0.3, 0.7))


def negative() -> dict[str, Any]:
    """Four patches on a sensor like IMX477: blue first, 12 bits packed (CSI2P), rows padded."""
    light = np.zeros((ROWS, COLS, 3))
    for number, colour in enumerate(QUARTERS):
        top, left = ROWS // 2 * (number // 2), COLS // 2 * (number % 2)
        light[top : top + ROWS // 2, left : left + COLS // 2] = colour
    seen = light / (GAINS[0], 1.0, GAINS[1])
    sites = seen[..., 1].copy()
    sites[0::2, 0::2], sites[1::2, 1::2] = seen[0::2, 0::2, 2], seen[1::2, 1::2, 0]
    samples = np.rint(BLACK + sites * (2**BITS - 1 - BLACK)).astype(np.uint16)
    packed = np.zeros((ROWS, COLS * 3 // 2 + 16), np.uint8)
    even, odd = samples[:, 0::2], samples[:, 1::2]
    packed[:, : COLS * 3 // 2 : 3], packed[:, 1 : COLS * 3 // 2 : 3] = even >> 4, odd >> 4
    packed[:, 2 : COLS * 3 // 2 : 3] = (even & 15) | (odd & 15) << 4
    stream = {"size": (COLS, ROWS), "format": "SBGGR12_CSI2P", "stride": packed.shape[1]}
    metadata = {
        "SensorBlackLevels": (BLACK << 4,) * 4,
        "ColourGains": GAINS,
        "ColourCorrectionMatrix": tuple(np.eye(3).ravel()),
        "ExposureTime": 20_000,
        "AnalogueGain": 1.0,
        "DigitalGain": 1.0,
        "SensorTimestamp": 1,
    }
    maker = PICAM2DNG(Picamera2Camera(stream, metadata))
    maker.options()
    return {"dng": base64.b64encode(maker.convert(packed)).decode(), "quarters": QUARTERS}
