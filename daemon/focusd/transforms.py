"""Where the frames of a stack lie, as a file: written with a run, read for another stack."""

from __future__ import annotations

from pathlib import Path

from focusd.atomic import write_bytes
from focusd.errors import FocusdError
from focusd.register.table import TransformTable, TransformTableInvalid

TRANSFORMS_NAME = "transforms.json"
"""In a run's folder."""
# A row takes some 200 bytes.
_LARGEST_BYTES = 16 << 20


def read_transforms(path: Path) -> TransformTable:
    """Read a file of transforms.

    Raises
    ------
    FocusdError
        A file that cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise FocusdError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    if len(text) > _LARGEST_BYTES:
        raise FocusdError(f"{path}: larger than {_LARGEST_BYTES} bytes, which no file of transforms is")
    try:
        return TransformTable.loads(text)
    except TransformTableInvalid as error:
        raise FocusdError(f"{path}: {error}") from error


def write_transforms(path: Path, table: TransformTable) -> str:
    """Write a file of transforms; return a line on it.

    Raises
    ------
    FocusdError
        The disk would not take it.
    """
    write_bytes(path, table.dumps().encode())
    return f"{path}: where each of {len(table.rows)} frames lies"
