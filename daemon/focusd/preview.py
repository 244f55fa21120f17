"""``focusd preview``: one frame as it is, its histogram and its figures. The rail is not touched.

Exit codes: 0 for a frame that a stack may begin with, 1 when no frame could be had, 2 for wrong usage or
configuration, 3 for a frame that the test before a stack would refuse. In the last case the files are there
all the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2

from focusd.atomic import write_bytes
from focusd.clock import Clock
from focusd.config import Config, light_faults
from focusd.errors import CameraError, ConfigError, FrameLost, Stopped
from focusd.flat_stand import Stand
from focusd.interrupts import interrupts
from focusd.job import JobSettings
from focusd.outputs.flat import write_jpeg
from focusd.outputs.histogram import Channel, channels_of, write_histogram
from focusd.pictures import jpeg
from focusd.pictures.images import decode_frame
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr
from focusd.preflight import Look, look_at, white_of_file
from focusd.reception import frames_come
from focusd.rig import Frame
from focusd.signals import Signals

FINE, FOUND = 0, 3

_SUFFIXES = (".jpg", ".jpeg")
_LEAST_SIDE_PX = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``preview`` but ``--config``."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("preview.jpg"),
        metavar="FILE",
        help="JPEG to write (preview.jpg); its histogram goes beside it, as preview-histogram.png",
    )
    parser.add_argument(
        "--max-side", type=_side, metavar="PX", help="make the picture this large at most; default: as it is"
    )
    parser.add_argument(
        "--light", metavar="NAME", help="by this light alone; default: as a stack's fused frames"
    )


def run(
    args: argparse.Namespace,
    config: Config,
    open_stand: Callable[[], Stand],
    clock: Clock,
    signals: Signals,
) -> int:
    """Take one frame, write it and its histogram, and print its figures.

    Parameters
    ----------
    args : argparse.Namespace
        From a parser made with `add_arguments`.
    config : Config
        The rig's.
    open_stand : callable
        Takes the camera and the lights, and nothing else.
    clock : Clock
        The rig's.
    signals : Signals
        Whose stop ends everything.

    Returns
    -------
    int
        0, or 3 when the test before a stack would refuse the frame.

    Raises
    ------
    ConfigError
        Options that do not fit the rig, or a folder that cannot be written; no picture was taken.
    Stopped
        By a signal; camera and lights were let go.
    CameraError
        There is no frame.
    FocusdError
        A file that cannot be written.
    """
    output = _checked(args, config)
    # As the test frame before a stack: by the light whose frames are fused.
    light = args.light or next(iter(config.stack.lights), None)
    with interrupts(signals.stop):
        frame = _photographed(open_stand, light, clock, signals)
    image, white = _image_of(frame), white_of_file(frame.encoded, frame.name)
    channels, look = channels_of(image, white), look_at(image, white)
    if frame.encoded is not None and frame.encoded.startswith(jpeg.START) and args.max_side is None:
        write_bytes(output, frame.encoded)
    else:
        write_jpeg(output, _at_most(image, args.max_side), white=channels[0].white)
    histogram = output.with_name(f"{output.stem}-histogram.png")
    lines = figures(frame, image, channels, look)
    write_histogram(histogram, channels, lines[0].encode("ascii", "replace").decode())
    lines += [f"{output}: the picture", f"{histogram}: its histogram"]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return FOUND if look.findings else FINE


def figures(frame: Frame, image: Image | Planes, channels: tuple[Channel, ...], look: Look) -> list[str]:
    """Lines that say what a frame is and what it shows.

    Parameters
    ----------
    frame : Frame
        As the camera gave it.
    image : ndarray or Planes
        Decoded.
    channels : tuple of Channel
        Its histogram.
    look : Look
        Its judgement.
    """
    rows, cols = image.shape[:2]
    exposed = frame.exposure.exposure_s
    length = "exposure not known" if exposed is None else f"{exposed:g} s"
    lines = [
        f"{frame.name}: {cols} x {rows} px, {length}, levels 0 to {channels[0].white}",
        f"{'':8}{'mean':>9}{'1st perc.':>11}{'median':>9}{'99th perc.':>12}{'at black':>11}{'at white':>11}",
    ]
    lines += [
        f"{channel.name:8}{channel.mean:9.1f}{channel.percentile(1):11d}{channel.percentile(50):9d}"
        f"{channel.percentile(99):12d}{_per_cent(channel.black_share):>11}{_per_cent(channel.blown_share):>11}"
        for channel in channels
    ]
    lines.append(f"sharpest parts: {_sharpest(look)}")
    findings = [f"a stack would be refused: {finding.message}" for finding in look.findings]
    return [*lines, *(findings or ["a stack may begin with this"])]


def _sharpest(look: Look) -> str:
    if look.detail is None:
        return "not told of so small a frame"
    if look.blur_px is None:
        return "nothing above the noise"
    if look.blur_px < 1.0:
        return "blurred over less than 1 px"
    return f"blurred over about {look.blur_px:.1f} px"


def _checked(args: argparse.Namespace, config: Config) -> Path:
    """Refuse what cannot be done before anything is switched on; return the output, absolute."""
    output: Path = args.output.absolute()
    if output.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"{args.output}: the picture is a JPEG; name it with {' or '.join(_SUFFIXES)}")
    if args.light is not None and (faults := light_faults((args.light,), config.lights)):
        raise ConfigError(f"--light {args.light}: {faults}")
    if not frames_come(config.camera):
        raise ConfigError('camera.frames is "none": the frames stay in the camera; look at one there')
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise ConfigError(f"folder {output.parent}: not there, or not to be written to; choose one with -o")
    return output


def _photographed(
    open_stand: Callable[[], Stand], light: str | None, clock: Clock, signals: Signals
) -> Frame:
    """Take one frame, and give camera and lights back whatever happens."""
    stand = open_stand()
    camera, lights = stand.camera, stand.lights
    try:
        camera.begin(JobSettings())
        if lights is not None:
            _wait(max(lights.begin(), lights.turn_on(light)), clock, signals)
        exposure = camera.expose()
        if lights is not None:
            lights.turn_off()
        frame = camera.collect(exposure)
    finally:
        try:
            camera.end()
        finally:
            stand.close()
    if frame is None:
        raise CameraError("the camera keeps its frames; have them sent to this machine to look at one here")
    return frame


def _wait(seconds: float, clock: Clock, signals: Signals) -> None:
    if not clock.sleep(seconds, signals.stop):
        raise Stopped("stopped while the lights warmed up")


def _image_of(frame: Frame) -> Image | Planes:
    if frame.image is not None:
        return frame.image
    if frame.encoded is None:
        raise FrameLost(f"{frame.name}: neither an image nor a file")
    return decode_frame(frame.encoded, frame.name)


def _at_most(image: Image | Planes, side_px: int | None) -> Image | Planes:
    """Make a picture no longer than this either way."""
    rows, cols = image.shape[:2]
    if side_px is None or max(rows, cols) <= side_px:
        return image
    scale = side_px / max(rows, cols)
    size = (max(1, round(cols * scale)), max(1, round(rows * scale)))
    smaller: Image = cv2.resize(to_bgr(image), size, interpolation=cv2.INTER_AREA)
    return smaller


def _per_cent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _side(text: str) -> int:
    value = int(text)
    if value < _LEAST_SIDE_PX:
        raise argparse.ArgumentTypeError(f"{text}: {_LEAST_SIDE_PX} px or more")
    return value
