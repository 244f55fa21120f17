"""What the kernel's tracer saw of the daemon's lines, and what follows from it. Pure but for `read`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Edge:
    """A line changed to `level` at `t_ns` of CLOCK_MONOTONIC."""

    t_ns: int
    line: int
    level: bool


@dataclass(frozen=True, slots=True)
class Pulse:
    """A line was high from `rise_ns` to `fall_ns`."""

    rise_ns: int
    fall_ns: int

    @property
    def width_ns(self) -> int:
        """How long it was high."""
        return self.fall_ns - self.rise_ns


class Trace:
    """Edges of all lines, oldest first.

    Parameters
    ----------
    edges : list of Edge
        In order of time.
    """

    def __init__(self, edges: list[Edge]) -> None:
        self.edges = edges
        self._times = [edge.t_ns for edge in edges]
        self._lines: dict[int, tuple[list[Edge], list[int]]] = {}

    def between(self, begin_ns: int, end_ns: int) -> Trace:
        """Return what happened from `begin_ns` to `end_ns`."""
        return Trace(self.edges[bisect_left(self._times, begin_ns) : bisect_right(self._times, end_ns)])

    def of(self, line: int) -> list[Edge]:
        """Return the edges of one line."""
        return self._line(line)[0]

    def pulses(self, line: int) -> list[Pulse]:
        """Return the whole pulses of one line; a pulse cut off at either end is left out."""
        edges = self.of(line)
        return [
            Pulse(rise.t_ns, fall.t_ns) for rise, fall in pairwise(edges) if rise.level and not fall.level
        ]

    def rises(self, line: int) -> list[int]:
        """Times at which a line rose."""
        return [edge.t_ns for edge in self.of(line) if edge.level]

    def level_at(self, line: int, t_ns: int) -> bool | None:
        """Level of a line at `t_ns`; None before its first edge."""
        edges, times = self._line(line)
        at = bisect_right(times, t_ns)
        return edges[at - 1].level if at else None

    def _line(self, line: int) -> tuple[list[Edge], list[int]]:
        if line not in self._lines:
            edges = [edge for edge in self.edges if edge.line == line]
            self._lines[line] = edges, [edge.t_ns for edge in edges]
        return self._lines[line]


def collapsed(writes: list[Edge]) -> list[Edge]:
    """Leave out what writes a level that the line has already: the tracer records writes, not edges."""
    levels: dict[int, bool] = {}
    edges = []
    for write in writes:
        if levels.get(write.line) != write.level:
            levels[write.line] = write.level
            edges.append(write)
    return edges


def read(path: Path) -> Trace:
    """Read what `inside/plant.py` wrote: a line each, ``<ns> <line> <0, 1 or in>``."""
    writes = []
    for text in path.read_text().splitlines():
        t_ns, line, what = text.split()
        if what != "in":
            writes.append(Edge(int(t_ns), int(line), what == "1"))
    return Trace(collapsed(writes))


def shortest_gap_ns(these: list[int], others: list[int]) -> int:
    """Shortest time between any of `these` and the nearest of `others`, ns."""
    shortest = []
    for t_ns in these:
        at = bisect_left(others, t_ns)
        near = others[max(0, at - 1) : at + 1]
        shortest += [abs(t_ns - other) for other in near]
    return min(shortest)
