"""Which files of a folder are pictures that count, told by their names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from focusd.camera_config import SUFFIXES, FileKind


class PictureNames:
    """The kind of files that counts.

    Parameters
    ----------
    kind : {'jpeg', 'tiff', 'png', 'raw'} or None
        None: all, until `fix` says by a first one.
    """

    def __init__(self, kind: FileKind | None = None) -> None:
        self._configured = self._kind = kind

    def reset(self) -> None:
        """Forget what `fix` said."""
        self._kind = self._configured

    def fix(self, name: str) -> None:
        """From now on only files of this one's kind count."""
        self._kind = self._kind or _kind_of(name)

    def counts(self, name: str) -> bool:
        """Whether a file is a picture that counts."""
        kind = _kind_of(name)
        return kind is not None and self._kind in (None, kind)

    def is_other(self, name: str) -> bool:
        """Whether a file is a picture of a kind that does not count."""
        return _kind_of(name) is not None and not self.counts(name)

    def has_partner(self, name: str, others: Iterable[str]) -> bool:
        """Whether this is a raw file and its picture in another form is among the others."""
        if _kind_of(name) != "raw":
            return False
        stem = PurePath(name).stem
        return any(PurePath(other).stem == stem and _kind_of(other) not in ("raw", None) for other in others)


def _kind_of(name: str) -> FileKind | None:
    """Return what kind of picture a file is; None for none, and for a hidden one.

    Hidden are uploads on their way, and what other systems put beside a picture.
    """
    suffix = "" if name.startswith(".") else PurePath(name).suffix.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)
