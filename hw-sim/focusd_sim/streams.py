"""Camera configurations, as picamera2 makes and completes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from focusd_sim.dng import FORMAT as RAW_FORMAT
from focusd_sim.planes import COLOUR_SPACES, FORMATS, stride_of

_STREAM_KEYS = ("format", "size", "stride", "preserve_ar")


@dataclass(frozen=True, slots=True)
class _UseCase:
    """Defaults of one of picamera2's use cases; no size means the sensor's own."""

    pixel_format: str
    size: tuple[int, int] | None
    buffer_count: int
    duration_us: tuple[int, int]


_USE_CASES = {
    "preview": _UseCase("XBGR8888", (640, 480), 4, (100, 83_333)),
    "still": _UseCase("BGR888", None, 1, (100, 1_000_000_000)),
    "video": _UseCase("XBGR8888", (1280, 720), 6, (33_333, 33_333)),
}


def configuration(
    use_case: str,
    sensor_size: tuple[int, int],
    main: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    raw: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make a configuration.

    Parameters
    ----------
    use_case : {"preview", "still", "video"}
        Whose defaults are taken.
    sensor_size : tuple of int
        (width, height), px.
    main : mapping, optional
        ``format`` and ``size`` of the picture.
    options : mapping
        ``buffer_count``, ``controls``, ``queue`` and whatever else picamera2 takes.
    raw : mapping, optional
        ``format`` and ``size`` of the sensor's own samples; None goes without.

    Raises
    ------
    ValueError
        For an unknown key of `main` or `raw`.
    """
    for key in (*(main or {}), *(raw or {})):
        if key not in _STREAM_KEYS:
            raise ValueError(f"Bad key {key!r}: valid stream configuration keys are {_STREAM_KEYS}")
    default = _USE_CASES[use_case]
    stream: dict[str, Any] = {
        "format": default.pixel_format,
        "size": default.size or sensor_size,
        "preserve_ar": True,
        **(main or {}),
    }
    width, height = stream["size"]
    stream["size"] = (width - width % 2, height - height % 2)
    colour_space = "sYCC"
    if use_case == "video":
        colour_space = "SMPTE170M" if width < 1280 or height < 720 else "Rec709"
    return {
        "use_case": use_case,
        "colour_space": colour_space,
        "buffer_count": default.buffer_count,
        "queue": True,
        "lores": None,
        "raw": None if raw is None else {"format": RAW_FORMAT, "size": stream["size"], **raw},
        "display": None,
        "encode": None,
        **options,
        "main": stream,
        "controls": {"FrameDurationLimits": default.duration_us, **options.get("controls", {})},
    }


def checked(config: Mapping[str, Any], stride_align: int, sensor_size: tuple[int, int]) -> dict[str, Any]:
    """Return `config` as the camera takes it, with the stride of its buffers.

    A raw stream gets the size of the sensor, which has this mode alone.

    Raises
    ------
    RuntimeError
        For a format, size or colour space the camera cannot give.
    """
    main = dict(config["main"])
    width, height = main["size"]
    if main["format"] not in FORMATS:
        raise RuntimeError(f"Bad format {main['format']} in stream main")
    if width % 2 or height % 2:
        raise RuntimeError("width and height should be even")
    if str(config["colour_space"]) not in COLOUR_SPACES:
        raise RuntimeError("Colour space has incorrect type")
    stride = stride_of(main["format"], width, stride_align)
    rows = height * 3 // 2 if main["format"] == "YUV420" else height
    main |= {"stride": stride, "framesize": stride * rows}
    if config["raw"] is None:
        return {**config, "main": main}
    raw_stride = stride_of(RAW_FORMAT, sensor_size[0], stride_align)
    raw = {**config["raw"], "format": RAW_FORMAT, "size": sensor_size, "stride": raw_stride}
    return {**config, "main": main, "raw": raw | {"framesize": raw_stride * sensor_size[1]}}
