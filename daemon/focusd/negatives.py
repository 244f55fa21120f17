"""The frames of a run that are kept: each in a file of its own, and an index of them.

``frames/`` of a run's folder holds the files, named by stop and shot (``0007-00.jpg``; ``0007-00-2.jpg`` for
a shot that was taken again), and their index, `focusd.frame_index`.

=========================  ===================================  ================================
a frame that came as       ``source``                           ``jpeg``
=========================  ===================================  ================================
a file (DSLR, DNG)         the same bytes                       the same bytes
planes (Pi camera)         ``.y4m``, no sample changed          JPEG of quality 95, EXIF in it
any other image            TIFF, no sample changed              TIFF, no sample changed
=========================  ===================================  ================================

A camera's own file is never encoded anew: of a JPEG nothing would be gained, and developing a raw takes
longer than the stop it was taken at.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePath

from focusd.atomic import replacing, write_bytes
from focusd.errors import FocusdError, JournalError
from focusd.frame_index import FOLDER, INDEX_NAME, LINE_KIND, facts_of, read_lines
from focusd.job import KeepFrames
from focusd.journal import Journal
from focusd.outputs.tiff import write_image_tiff
from focusd.pictures import exif, jpeg, y4m
from focusd.pictures.containers import PNG, TIFF
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.kinds import RAW_SUFFIXES, is_raw
from focusd.pictures.metadata import Metadata
from focusd.pictures.planes import Planes
from focusd.pictures.tags import UNDEFINED, Tag, text_tag
from focusd.rig import Frame, Shot
from focusd.room import DISK_RESERVE_BYTES, megabytes, read_room

JPEG_QUALITY = 95

_REMEDY = "delete runs that are no longer needed, choose another [data] dir, or set keep_frames off or jpeg"
_RATIONAL = 5
# EXIF 2.32, section 4.6.5.
_DATE_TIME, _EXPOSURE_TIME, _VERSION = 306, 33434, 36864
_TAKEN, _TAKEN_ZONE, _TAKEN_FRACTION = 36867, 36881, 37521
_LARGEST_LONG = 2**32 - 1


class Negatives:
    """Writes the frames of one run, on the job thread.

    Parameters
    ----------
    folder : Path
        The run's.
    kind : {'source', 'jpeg'}
        See this module. Nothing from the camera or the wire becomes a file's name.
    reserve_bytes : int
        Disk that must stay free, for the picture and its maps.

    Raises
    ------
    JournalError
        The folder cannot be made.
    """

    def __init__(self, folder: Path, kind: KeepFrames, reserve_bytes: int = DISK_RESERVE_BYTES) -> None:
        self._folder = folder / FOLDER
        self._kind = kind
        self._reserve_bytes = reserve_bytes
        self._kept: Counter[tuple[int, int]] = Counter()
        try:
            self._folder.mkdir(exist_ok=True)
            _sync(folder)
        except OSError as error:
            raise JournalError(
                f"{self._folder}: cannot be made ({error.strerror}); check the disk"
            ) from error
        self._index = Journal(self._folder / INDEX_NAME)
        for kept in read_lines(self._folder / INDEX_NAME):
            self._kept[kept.shot.stop_index, kept.shot.number] += 1

    def keep(self, shot: Shot, frame: Frame) -> Path | None:
        """Write a frame; it and its line are on the disk when this returns.

        Parameters
        ----------
        shot : Shot
            Which it is. The same one may come again: the later frame counts.
        frame : Frame
            As it came from the camera.

        Returns
        -------
        Path or None
            Its file; None for a frame with nothing in it.

        Raises
        ------
        JournalError
            The disk would not take it, or too little would be left for the picture.
        """
        if frame.image is None and frame.encoded is None:
            return None
        retaken = self._kept[shot.stop_index, shot.number]
        again = f"-{retaken + 1}" if retaken else ""
        path = self._write(self._folder / f"{shot.stop_index:04d}-{shot.number:02d}{again}", shot, frame)
        facts = facts_of(path.name, shot, frame, retaken)
        self._index.append(LINE_KIND, frame.exposure.at, sync=True, **facts)
        self._kept[shot.stop_index, shot.number] += 1
        return path

    def close(self) -> None:
        """Close the index; safe to call twice."""
        # Each line was synced before `keep` returned: all that can fail here is one that it complained of.
        with suppress(JournalError):
            self._index.close()

    def _write(self, path: Path, shot: Shot, frame: Frame) -> Path:
        image = frame.image
        if image is None:
            data = frame.encoded or b""
            return self._put(path.with_suffix(_suffix(data, frame.name)), data)
        if not isinstance(image, Planes):
            pixels, notes = image, _notes(shot, frame)
            write = partial(write_image_tiff, image=pixels, metadata=notes)
            return self._put_by(write, path.with_suffix(".tif"), pixels.nbytes)
        if self._kind == "jpeg":
            data = encode_jpeg(image, quality=JPEG_QUALITY, metadata=_notes(shot, frame))
            return self._put(path.with_suffix(".jpg"), data)
        return self._put_by(partial(_write_y4m, planes=image), path.with_suffix(y4m.SUFFIX), image.nbytes)

    def _put(self, path: Path, data: bytes) -> Path:
        return self._put_by(partial(write_bytes, data=data), path, len(data))

    def _put_by(self, write: Callable[[Path], None], path: Path, needed_bytes: int) -> Path:
        free_bytes = read_room(self._folder).disk_bytes
        why = "the frame does not fit"
        if free_bytes is None or needed_bytes + self._reserve_bytes <= free_bytes:
            try:
                write(path)
            except FocusdError as error:
                why = str(error.__cause__ or error)
            else:
                return path
        free = "an unknown number" if free_bytes is None else megabytes(free_bytes)
        raise JournalError(
            f"{path}: {why}: needs {megabytes(needed_bytes)}, {free} are free, "
            f"{megabytes(self._reserve_bytes)} of them kept back for the picture; {_REMEDY}",
            path=str(path),
            disk_bytes=needed_bytes,
            disk_free_bytes=free_bytes,
        )


def _sync(folder: Path) -> None:
    """Make a new folder in `folder` last through a power cut; files in it are synced with each frame."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_y4m(path: Path, planes: Planes) -> None:
    with replacing(path) as file:
        y4m.write(file, planes)


def _suffix(data: bytes, name: str) -> str:
    """Return the ending for a camera's file, by what is in it; from the camera's name a known one only."""
    if is_raw(data, name):
        given = PurePath(name).suffix.lower()
        return given if given in RAW_SUFFIXES else ".raw"
    for begin, suffix in ((jpeg.START, ".jpg"), (PNG, ".png"), (TIFF, ".tif")):
        if data.startswith(begin):
            return suffix
    return ".bin"


def _notes(shot: Shot, frame: Frame) -> Metadata:
    """Return where, when and how long, for a file that is encoded here."""
    exposure = frame.exposure
    at = exposure.at.astimezone(UTC)
    light = f", light {shot.light}" if shot.light is not None else ""
    text = (
        f"stop {shot.stop_index}, shot {shot.number}: z {shot.position_um:.12g} um "
        f"(planned {shot.planned_um:.12g} um){light}"
    )
    taken = f"{at:%Y:%m:%d %H:%M:%S}"
    inner = [
        Tag(_VERSION, UNDEFINED, 4, b"", b"0232"),
        text_tag(_TAKEN, taken),
        text_tag(_TAKEN_FRACTION, f"{at.microsecond // 1000:03d}"),
        text_tag(_TAKEN_ZONE, "+00:00"),
    ]
    if exposure.exposure_s is not None:
        inner.append(_rational(_EXPOSURE_TIME, exposure.exposure_s))
    return Metadata(exif=exif.block([text_tag(_DATE_TIME, taken)], inner, "<")).about(text)


def _rational(code: int, value: float) -> Tag:
    share = Fraction(value).limit_denominator(1_000_000)
    numerator, denominator = min(share.numerator, _LARGEST_LONG), share.denominator
    both = numerator.to_bytes(4, "little") + denominator.to_bytes(4, "little")
    return Tag(code, _RATIONAL, 1, b"", both)
