"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from focusd.errors import FocusdError


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file that takes `path`'s place when the block ends well.

    It is written under a temporary name in the same folder, synced to the disk and renamed. When the block
    raises, the temporary file is removed and `path` is as it was.

    Raises
    ------
    FocusdError
        The folder does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise FocusdError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and the free space",
            path=str(path),
        ) from error
    finally:
        # Gone already after a rename.
        part.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` by `replacing`."""
    with replacing(path) as file:
        file.write(data)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
