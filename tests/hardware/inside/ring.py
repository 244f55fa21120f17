"""What the kernel's tracer wrote, as values: pages of its ring buffer, to the nanosecond.

The tracer's text is rounded to microseconds, which is as long as a STEP pulse. Layout: in the kernel's
sources include/linux/ring_buffer.h (`struct ring_buffer_event`, `enum ring_buffer_type`) and
Documentation/trace/ring-buffer-design.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PAGE_BYTES = 4096
_HEADER = struct.Struct("<QQ")
_WORD = struct.Struct("<I")
_COMMON_ID = struct.Struct("<H")
# unsigned gpio; int get or in; int value or err: after eight bytes that all events have.
_FIELDS = struct.Struct("<Iii")
_FIELDS_AT = 8
_DELTA_BITS = 27
_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_COMMIT_MASK = (1 << 20) - 1
_MISSED = 1 << 31


class Missed(Exception):
    """The tracer ran out of room and dropped events."""


@dataclass(frozen=True, slots=True)
class Record:
    """One event of the ``gpio`` subsystem.

    Attributes
    ----------
    t_ns : int
        On the tracer's clock.
    event : int
        Number of the event's kind.
    line : int
        The kernel's own number of the line.
    first, second : int
        `gpio_value`: get, value. `gpio_direction`: in, error.
    """

    t_ns: int
    event: int
    line: int
    first: int
    second: int


def records(page: bytes, kinds: frozenset[int]) -> Iterator[Record]:
    """Read the events of one page.

    Parameters
    ----------
    page : bytes
        As read from ``trace_pipe_raw``.
    kinds : frozenset of int
        Numbers of the events wanted; all must have the layout of `Record`.

    Raises
    ------
    Missed
        The page says that events before it were dropped.
    """
    t_ns, commit = _HEADER.unpack_from(page)
    if commit & _MISSED:
        raise Missed("the tracer dropped events: give it a larger buffer_size_kb")
    at, end = _HEADER.size, _HEADER.size + (commit & _COMMIT_MASK)
    while at < end:
        (word,) = _WORD.unpack_from(page, at)
        kind, delta = word & 31, word >> 5
        data = at + 4
        if kind in (_TIME_EXTEND, _TIME_STAMP):
            (high,) = _WORD.unpack_from(page, data)
            span = (high << _DELTA_BITS) + delta
            t_ns = t_ns + span if kind == _TIME_EXTEND else (t_ns >> 59 << 59) | span
            at = data + 4
            continue
        if kind == _PADDING:
            if delta == 0:
                return
            at = data + _WORD.unpack_from(page, data)[0]
            t_ns += delta
            continue
        t_ns += delta
        if kind == 0:
            size = _WORD.unpack_from(page, data)[0]
            at, data = data + size, data + 4
        else:
            at = data + 4 * kind
        (event,) = _COMMON_ID.unpack_from(page, data)
        if event in kinds:
            yield Record(t_ns, event, *_FIELDS.unpack_from(page, data + _FIELDS_AT))
