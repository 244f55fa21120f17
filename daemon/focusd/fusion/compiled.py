"""The pyramid rule's inner loops in C, where the package was built with a compiler."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from focusd.fusion.rule import SHARP_LEVELS, Rule
from focusd.fusion.sums import Sums
from focusd.fusion.tone import Source

LIBRARY = Path(__file__).with_name("_kernel.so")
_VERSION = 4
_MARGIN = 8
_MOST_ROWS = 32


Fixed = npt.NDArray[np.uint16]


class _Source(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("stride_bytes", ctypes.c_int64),
        ("rows", ctypes.c_int32),
        ("cols", ctypes.c_int32),
        ("sample_bytes", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("weights", ctypes.c_float * 3),
        ("centre", ctypes.c_float),
    )


class _Rule(ctypes.Structure):
    _fields_ = (
        ("fixed", ctypes.c_float),
        ("from_finer", ctypes.c_float),
        ("from_coarser", ctypes.c_float),
        ("evidence", ctypes.c_float),
        ("evidence_span", ctypes.c_float),
        ("cap", ctypes.c_float),
        ("square_unit", ctypes.c_float),
        ("floor", ctypes.c_float * 5),
        ("half_power", ctypes.c_int32 * 5),
        ("base_offset", ctypes.c_float),
        ("base_unit", ctypes.c_float),
    )


class _Window(ctypes.Structure):
    _fields_ = (
        ("near", ctypes.c_float * 3),
        ("reach", ctypes.c_int32),
        ("boxed", ctypes.c_int32),
        ("own", ctypes.c_int32),
        ("noise", ctypes.c_float),
        ("finer", ctypes.c_float),
    )


class _Range(ctypes.Structure):
    _fields_ = (
        ("low", ctypes.c_void_p),
        ("high", ctypes.c_void_p),
        ("block_low", ctypes.c_void_p),
        ("block_high", ctypes.c_void_p),
        ("block", ctypes.c_int32),
        ("sample_bytes", ctypes.c_int32),
    )


@cache
def library() -> ctypes.CDLL | None:
    """Load the compiled loops; None where there are none: no compiler, or ``FOCUSD_KERNEL=plain``."""
    if os.environ.get("FOCUSD_KERNEL") == "plain" or not LIBRARY.is_file():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
        if loaded.focusd_kernel_version() != _VERSION:
            return None
        for name in (
            "split",
            "energy",
            "halve",
            "carry_up",
            "carry_down",
            "carry_over",
            "scale",
            "gather",
            "base",
        ):
            getattr(loaded, f"focusd_{name}").restype = None
    except (OSError, AttributeError):  # of another machine; of another focusd
        return None
    return loaded


class CompiledKernel:
    """Adds frames to sums. The planes it works in live from frame to frame.

    Parameters
    ----------
    sums : Sums
        Of one stack; changed by `add`.
    rule : Rule
        How frames are weighted.
    loops : ctypes.CDLL
        From `library`.
    """

    name = "compiled"

    def __init__(self, sums: Sums, rule: Rule, loops: ctypes.CDLL) -> None:
        self._sums, self._loops = sums, loops
        self._fixed = ctypes.c_float(sums.tone.fixed)
        self._rule = _Rule(
            fixed=sums.tone.fixed,
            from_finer=rule.from_finer,
            from_coarser=rule.from_coarser,
            evidence=rule.evidence,
            evidence_span=rule.evidence_span,
            cap=rule.cap,
            square_unit=rule.square_unit,
            floor=rule.floors,
            half_power=rule.half_powers,
            base_offset=rule.base_offset,
            base_unit=rule.base_unit,
        )
        # Above the finest two levels evidence comes from below, in the second one's noise.
        self._window = [
            _Window(
                near=window.near,
                reach=window.reach,
                boxed=window.boxed,
                own=min(level, 2),
                noise=rule.noise[min(level, 1)],
                finer=rule.noise[1] / rule.noise[0],
            )
            for level, window in enumerate(rule.windows)
        ]
        self._halved = [window.halved for window in rule.windows]
        self._grid_level = rule.grid_level
        self._blurred: list[list[Fixed]] = []
        self._energies: list[Fixed] = []
        self._evidence: list[Fixed] = []
        self._sharp: list[Fixed] = []
        self._scratch = np.empty(0, np.float32)

    @property
    def nbytes(self) -> int:
        """Working memory, bytes."""
        planes = [
            *(plane for each in self._blurred for plane in each),
            *self._energies,
            *self._evidence,
            *self._sharp,
        ]
        each = {id(plane): plane.nbytes for plane in planes}  # neighbouring levels may share one
        return sum(each.values()) + self._scratch.nbytes

    def release(self) -> None:
        """Give the working memory back; the next `add` takes it again."""
        self._blurred, self._energies, self._evidence, self._sharp = [], [], [], []
        self._scratch = np.empty(0, np.float32)

    def _prepare(self) -> None:
        grid = self._sums.grids[0]
        self._blurred = [
            [np.empty(shape, np.uint16) for shape in each.shapes[1:]] for each in self._sums.grids
        ]
        shapes = [grid.shape(self._grid_level(level)) for level in range(grid.levels)]
        self._energies = [np.empty(shape, np.uint16) for shape in shapes]
        self._evidence = [np.empty(shape, np.uint16) for shape in shapes[1:]]
        self._sharp = _shared(shapes[:SHARP_LEVELS])
        self._scratch = np.empty(_MOST_ROWS * (grid.shapes[0][1] // 2 + 2 * _MARGIN), np.float32)

    def add(self, sources: list[Source], gain: float = 1.0) -> Fixed:
        """Add one frame, given as its planes; its energies count `gain` times.

        Returns
        -------
        ndarray
            uint16: the frame's sharpness on the half grid, 1/512 of an 8-bit level; until the next call.
        """
        sums = self._sums
        if sums.grids[0].levels == 0:
            self._add_base_alone(sources)
            return np.zeros(sums.grids[0].shapes[0], np.uint16)
        if not self._energies:
            self._prepare()
        for number, source in enumerate(sources):
            self._split(number, source)
        self._weigh(gain)
        self._gather(sources)
        return self._sharp[0]

    def _split(self, number: int, source: Source) -> None:
        sums, grid = self._sums, self._sums.grids[number]
        level_source = _source(source.data, source)
        for level in range(grid.levels):
            coarse = self._blurred[number][level]
            detail = self._energies[level] if number == 0 else None
            extent = None
            if number == 0:
                extent = _Range(
                    low=sums.low[level + 1].ctypes.data,
                    high=sums.high[level + 1].ctypes.data,
                    block_low=sums.low[0].ctypes.data if level == 0 else None,
                    block_high=sums.high[0].ctypes.data if level == 0 else None,
                    block=grid.block_px,
                    sample_bytes=sums.tone.dtype.itemsize,
                )
            self._loops.focusd_split(
                ctypes.byref(level_source),
                *coarse.shape,
                self._fixed,
                _at(coarse),
                None if detail is None else _at(detail),
                int(self._halved[level]),
                None if extent is None else ctypes.byref(extent),
                _at(self._scratch),
            )
            level_source = self._plane(coarse)

    def _weigh(self, gain: float) -> None:
        """Turn the magnitudes of luma's bands into energies, with what the levels tell each other."""
        loops, energies, evidence, sharp = self._loops, self._energies, self._evidence, self._sharp
        scratch, rule = _at(self._scratch), ctypes.byref(self._rule)
        up, down = (ctypes.c_float(share) for share in (self._rule.from_finer, self._rule.from_coarser))
        for level, energy in enumerate(energies):
            seen = None
            if level > 0:
                self._hand_up(sharp[0] if level == 1 else evidence[level - 2], evidence[level - 1])
                seen = _at(evidence[level - 1])
            window = ctypes.byref(self._window[level])
            kept = _at(sharp[level]) if level < len(sharp) else None
            adds = int(0 < level < len(sharp) and sharp[level] is sharp[level - 1])
            loops.focusd_energy(_at(energy), seen, kept, adds, *energy.shape, window, rule, scratch)
            if level > 0:
                self._carry(energies[level - 1], up, energy)
        for planes, share in ((energies, down), (sharp, ctypes.c_float(1.0))):
            for finer, coarser in reversed(list(pairwise(planes))):
                if finer is not coarser:
                    self._carry(coarser, share, finer)
        if gain != 1.0:
            for plane in (*energies, sharp[0]):
                loops.focusd_scale(_at(plane), ctypes.c_int64(plane.size), ctypes.c_float(gain))

    def _hand_up(self, finer: Fixed, coarser: Fixed) -> None:
        """Bring evidence to the next level's grid, which is the same or half as large."""
        if finer.shape == coarser.shape:
            np.copyto(coarser, finer)
        else:
            self._loops.focusd_halve(_at(finer), *coarser.shape, _at(coarser))

    def _carry(self, source: Fixed, share: ctypes.c_float, target: Fixed) -> None:
        """Add a share of a neighbouring level's plane."""
        scratch = _at(self._scratch)
        if source.shape == target.shape:
            self._loops.focusd_carry_over(_at(source), ctypes.c_int64(target.size), share, _at(target))
        elif source.size > target.size:
            finer = self._plane(source, 1.0)
            self._loops.focusd_carry_up(ctypes.byref(finer), *target.shape, share, _at(target), scratch)
        else:
            self._loops.focusd_carry_down(_at(source), *source.shape, share, _at(target), scratch)

    def _gather(self, sources: list[Source]) -> None:
        sums = self._sums
        groups = [(0, len(sources))] if sums.step == 0 else [(0, 1), (1, len(sources))]
        coarsest = self._energies[-1]
        if coarsest.shape != sums.grids[0].shapes[-1]:
            coarsest = np.zeros(sums.grids[0].shapes[-1], np.uint16)
            self._carry(self._energies[-1], ctypes.c_float(1.0), coarsest)
        for first, last in groups:
            shift = sums.step if first else 0
            numbers = range(first, last)
            grid = sums.grids[first]
            planes = [_source(sources[number].data, sources[number]) for number in numbers]
            for level in range(grid.levels):
                rows, cols = grid.shapes[level + 1]
                self._loops.focusd_gather(
                    (_Source * len(planes))(*planes),
                    len(planes),
                    _list([self._blurred[number][level] for number in numbers]),
                    rows,
                    cols,
                    self._fixed,
                    _at(self._energies[level + shift]),
                    int(self._halved[level + shift]),
                    level + shift,
                    ctypes.byref(self._rule),
                    _list([sums.bands[number][level] for number in numbers]),
                    _at(sums.weights[level]) if first == 0 else None,
                )
                planes = [self._plane(self._blurred[number][level]) for number in numbers]
            bases = [
                self._blurred[number][-1]
                if grid.levels
                else self._fixed_plane(sources[number], grid.shapes[0])
                for number in numbers
            ]
            self._base(bases, numbers, coarsest, first == 0)

    def _base(self, bases: list[Fixed], numbers: range, energy: Fixed | None, weighs: bool) -> None:
        sums = self._sums
        self._loops.focusd_base(
            _list(bases),
            len(bases),
            ctypes.c_int64(bases[0].size),
            self._fixed,
            None if energy is None else _at(energy),
            ctypes.byref(self._rule),
            _list([sums.bands[number][-1] for number in numbers]),
            _at(sums.weights[-1]) if weighs else None,
        )

    def _add_base_alone(self, sources: list[Source]) -> None:
        """Add an image one pixel wide or high, which has no bands."""
        shape = self._sums.grids[0].shapes[0]
        bases = [self._fixed_plane(source, shape) for source in sources]
        self._base(bases, range(len(sources)), None, True)

    def _fixed_plane(self, source: Source, shape: tuple[int, int]) -> Fixed:
        levels = source.rows(0, source.data.shape[0])
        padded = np.pad(
            levels, [(0, more - had) for more, had in zip(shape, levels.shape, strict=True)], "reflect"
        )
        fixed: Fixed = np.rint(padded * np.float32(self._sums.tone.fixed)).astype(np.uint16)
        return fixed

    def _plane(self, plane: Fixed, scale: float | None = None) -> _Source:
        """Make a source of a plane in fixed point; `scale` over the one that gives levels."""
        return _source(plane, Source(plane, (scale or 1.0 / self._sums.tone.fixed,), 0.0))


def _shared(shapes: Sequence[tuple[int, int]]) -> list[Fixed]:
    """Make a plane for each level; one plane for neighbours of the same shape."""
    planes: list[Fixed] = []
    for shape in shapes:
        planes.append(planes[-1] if planes and planes[-1].shape == shape else np.empty(shape, np.uint16))
    return planes


def _source(data: npt.NDArray[Any], source: Source) -> _Source:
    return _Source(
        data=data.ctypes.data,
        stride_bytes=data.strides[0],
        rows=data.shape[0],
        cols=data.shape[1],
        sample_bytes=data.itemsize,
        channels=len(source.weights),
        weights=source.weights,
        centre=source.centre,
    )


def _at(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _list(arrays: list[npt.NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
