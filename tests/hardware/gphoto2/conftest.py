"""libgphoto2's virtual camera, a Nikon D750 that photographs a file: it comes with the stock wheel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from focusd.camera_config import Gphoto2Config
from focusd.clock import SystemClock
from focusd.drivers.gphoto2 import Gphoto2
from focusd.halt import Halt
from focusd.job import JobSettings

from ..conftest import refuse

FILE_BYTES = 60_000
"""The virtual camera looks up its file's length once for each session, so every picture has the same."""
SETTINGS = JobSettings(post_shot_s=0.0, shutter_gap_s=0.0)


@dataclass(frozen=True, slots=True)
class Card:
    """What lies before the virtual camera's lens: one file, shown again at each exposure."""

    folder: Path

    def show(self, picture: np.ndarray) -> bytes:
        """Put a picture before the lens; return the bytes that a frame of it has."""
        done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        assert done
        data = encoded.tobytes()
        assert len(data) <= FILE_BYTES, f"{len(data)} bytes: too large a picture for this test"
        data += bytes(FILE_BYTES - len(data))
        hidden = self.folder / "shown.part"
        hidden.write_bytes(data)
        hidden.rename(self.folder / "shown.jpg")
        return data

    def show_grey(self, level: int) -> bytes:
        """Put an even grey before the lens."""
        return self.show(np.full((48, 64, 3), level, np.uint8))

    def take_away(self) -> None:
        """Leave nothing to photograph: the file of an exposure cannot be read."""
        (self.folder / "shown.jpg").unlink()


@dataclass
class Stand:
    """A camera under test on the genuine library."""

    card: Card
    library: Any
    stop: Halt
    made: list[Gphoto2]

    def camera(self, library: Any = None, clock: Any = None, **table: Any) -> Gphoto2:
        table = {"exposure_s": 0.01, "release_lag_s": 0.05, "frame_timeout_s": 5.0, **table}
        config = Gphoto2Config.model_validate(table)
        made = Gphoto2(config, library or self.library, clock or SystemClock(), self.stop)
        self.made.append(made)
        return made


@pytest.fixture(scope="session")
def library() -> Any:
    """The stock python-gphoto2."""
    with warnings.catch_warnings():
        # SWIG's own, on Python 3.12 and later, at import.
        warnings.filterwarnings(
            "ignore", message="builtin type .* has no __module__", category=DeprecationWarning
        )
        try:
            import gphoto2
        except ImportError:
            refuse('python-gphoto2 is not installed (pip install "focusd[gphoto2]")')
    return gphoto2


@pytest.fixture
def stand(library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    virtual = Path(library.__file__).parent / "libgphoto2" / "vusb"
    if not (virtual / "vusb.so").exists():
        refuse(f"no virtual camera in {virtual.parent}: this gphoto2 is not the wheel of PyPI")
    card = Card(tmp_path / "card")
    card.folder.mkdir()
    card.show_grey(128)
    # Both are read by libgphoto2 whenever it lists its ports and opens one; it keeps its settings at home.
    monkeypatch.setenv("IOLIBS", str(virtual))
    monkeypatch.setenv("VCAMERADIR", str(card.folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    made: list[Gphoto2] = []
    yield Stand(card, library, Halt(), made)
    for camera in made:
        camera.close()
