"""What this installation is made of, and what fusing costs on this machine: `focusd --version --verbose`."""

from __future__ import annotations

import os
import platform
from statistics import median
from time import perf_counter

import cv2
import numpy as np

from focusd import __version__
from focusd.errors import ConfigError
from focusd.fusion import Fusion, compiled
from focusd.pictures import turbojpeg
from focusd.pictures.planes import Planes

_SHAPE = (1024, 2048)
_FRAMES = 7


def describe() -> list[str]:
    """Return lines: versions, which path fuses and why, and its time on made-up frames (under a second)."""
    system = f"{platform.system()} {platform.machine()}"
    return [
        f"focusd {__version__}, Python {platform.python_version()} on {system}",
        f"NumPy {np.__version__}, OpenCV {cv2.__version__}",
        jpeg_path(),
        steps_path(),
        f"{fusion_path()}; {fusing_ms_mp():.1f} ms/MP for 4:2:0 frames here, decoding apart",
    ]


def jpeg_path() -> str:
    """Say what decodes JPEGs."""
    version = turbojpeg.version()
    if version is None:
        return "JPEG by OpenCV; faster straight to planes with libturbojpeg (apt install libturbojpeg0)"
    return f"JPEG by libturbojpeg, interface {version}"


def steps_path() -> str:
    """Say what can time a motor's steps."""
    from focusd.drivers import native

    try:
        native.library()
    except ConfigError:
        return "steps by Python alone; by a loop in C where there is a compiler (apt install gcc libc6-dev)"
    return 'steps by a loop in C, or with rail.pulses = "pins" by Python'


def fusion_path() -> str:
    """Say which path fuses, and why if it is the plain one."""
    if compiled.library() is not None:
        return "fusion by the compiled kernel"
    if os.environ.get("FOCUSD_KERNEL") == "plain":
        reason = "FOCUSD_KERNEL=plain is set"
    elif not compiled.LIBRARY.is_file():
        reason = (
            "it was installed where no C compiler was; apt install gcc libc6-dev and install focusd again"
        )
    else:
        reason = f"{compiled.LIBRARY} is for another machine or another focusd; install focusd again"
    return f"fusion by NumPy and OpenCV alone ({reason})"


def fusing_ms_mp() -> float:
    """Time adding a frame of 2 MP to a stack: the median of a few, milliseconds a megapixel."""
    fusion = Fusion()
    frames = [_frame(number) for number in range(_FRAMES)]
    taken_s = []
    for number, frame in enumerate(frames):
        begin_s = perf_counter()
        fusion.add(frame, float(number))
        taken_s.append(perf_counter() - begin_s)
    # The first one also makes the sums.
    return 1e3 * median(taken_s[1:]) / (_SHAPE[0] * _SHAPE[1] / 1e6)


def _frame(number: int) -> Planes:
    """Return noise, another for each number: a frame seen before would not be added."""
    random = np.random.default_rng(number)
    half = (_SHAPE[0] // 2, _SHAPE[1] // 2)
    luma, blue, red = (random.integers(0, 256, shape, np.uint8) for shape in (_SHAPE, half, half))
    return Planes(luma, blue, red)
