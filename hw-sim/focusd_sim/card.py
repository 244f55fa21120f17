"""The files that a DSLR makes: their numbers, their time by the camera's clock, and how they are written."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.pictures import exif
from focusd.pictures.metadata import Metadata, into_jpeg
from focusd.pictures.tags import text_tag
from focusd_sim import dng
from focusd_sim.config import DslrConfig

_EPOCH = datetime(2026, 1, 1)  # a camera knows of no zone
# File numbers have four digits and begin again at 1 (DCF 2.0, section 3.2).
_MOST_FILES = 9999
_SUFFIXES = {"jpeg": (".JPG",), "raw": (".DNG",), "both": (".JPG", ".DNG")}
_TAKEN, _TAKEN_FRACTION = 36867, 37521


class Card:
    """Where a camera's files go.

    Parameters
    ----------
    folder : Path
        Made if absent.
    config : DslrConfig
        What the files are.
    """

    def __init__(self, folder: Path, config: DslrConfig) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._config = config
        # Its numbering goes on from what is there.
        self._last = max((int(path.stem[4:]) for path in folder.glob("DSC_[0-9]*.*")), default=0)

    def next_names(self) -> tuple[str, ...]:
        """Return the names of the next exposure's files; a camera never writes over a picture."""
        while True:
            self._last = self._last % _MOST_FILES + 1
            names = tuple(f"DSC_{self._last:04d}{suffix}" for suffix in _SUFFIXES[self._config.files])
            if not any((self._folder / name).exists() for name in names):
                return names

    def encoded(self, name: str, picture: NDArray[np.uint8], opened_s: float) -> bytes:
        """Return the file of a picture.

        Parameters
        ----------
        name : str
            Its ending says what kind of file.
        picture : ndarray of uint8, (rows, cols, 3)
            BGR.
        opened_s : float
            When the shutter opened, rig time.
        """
        taken = self._told(opened_s)
        if name.endswith(".DNG"):
            return dng.written(dng.linear(picture), taken=taken)
        quality = [cv2.IMWRITE_JPEG_QUALITY, self._config.jpeg_quality]
        data = np.asarray(cv2.imencode(".jpg", picture, quality)[1], np.uint8).tobytes()
        if taken is None:
            return data
        tags = [text_tag(_TAKEN, f"{taken:%Y:%m:%d %H:%M:%S}")]
        if self._config.time == "fraction":
            tags.append(text_tag(_TAKEN_FRACTION, f"{taken.microsecond // 10000:02d}"))
        return into_jpeg(data, Metadata(exif=exif.block((), tags, "<")))

    def put(self, name: str, data: bytes) -> bool:
        """Write a file; False where there is no room, and the picture is gone."""
        path = self._folder / name
        try:
            if self._config.partial_s:
                path.write_bytes(data)
            else:
                hidden = path.with_name(f".{name}.part")
                hidden.write_bytes(data)
                hidden.rename(path)
        except OSError:
            return False
        return True

    def _told(self, opened_s: float) -> datetime | None:
        """Return what the camera's own clock says at a rig time, as exactly as its files tell."""
        config = self._config
        if config.time == "none":
            return None
        shown_s = config.clock_ahead_s + opened_s * (1 + config.clock_fast_ppm / 1e6)
        taken = _EPOCH + timedelta(seconds=shown_s)
        return taken.replace(microsecond=0) if config.time == "seconds" else taken
