"""Where the frames of a stack lie, all together: what is kept of each once it is fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from focusd.register.crop import Coverage, Rectangle
from focusd.register.drift import Drift
from focusd.register.table import TransformRow, TransformTable
from focusd.register.transform import Transform


class Lay:
    """The rows of the frames laid so far, and what follows from all of them."""

    def __init__(self) -> None:
        self.rows: list[TransformRow] = []
        self.drift: Drift | None = None
        self._shape: tuple[int, int] | None = None
        self._coverage: Coverage | None = None

    def add(self, row: TransformRow, shape: tuple[int, ...]) -> None:
        """Take in a frame's row; `shape` is the frame's."""
        if self._coverage is None or self.drift is None:
            self._shape = (shape[0], shape[1])
            self.drift, self._coverage = Drift(self._shape), Coverage(self._shape)
        self.drift.take(row.transform.matrix)
        self._coverage.add(row.transform)
        self.rows.append(row)

    @property
    def moved(self) -> bool:
        """Whether any frame lies elsewhere than the first."""
        return any(not row.transform.is_identity for row in self.rows)

    def rectangle(self) -> Rectangle | None:
        """Return the part that all frames cover, from an even row and column on; None before the first.

        Raises
        ------
        FusionError
            There is none.
        """
        return None if self._coverage is None else self._coverage.rectangle(even=True)

    def covered(self) -> npt.NDArray[np.uint8] | None:
        """Return the mask of what all frames cover: uint8, (rows, cols), 255; None before the first."""
        return None if self._coverage is None else self._coverage.mask()

    def table(self, model: str) -> TransformTable | None:
        """Return where the frames lie, one of each stop; None before the first."""
        if self._shape is None or not self.rows:
            return None
        first: dict[int, TransformRow] = {}
        for row in self.rows:
            first.setdefault(row.number, row)
        return TransformTable(self._shape, tuple(first.values()), model)

    def state(self, model: str) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        table = self.table(model)
        return {
            "table": None if table is None else table.as_json(),
            # A stop may have several frames, and each takes its part of the border.
            "lies": [row.transform.as_json() for row in self.rows],
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> tuple[Lay, str | None]:
        """Return one from `state`, which takes no more frames, and the model.

        Raises
        ------
        FusionError, LookupError, TypeError, ValueError
            Not such a state.
        """
        made = cls()
        if state["table"] is None:
            return made, None
        table = TransformTable.of_json(state["table"])
        made._shape, made.rows = table.shape, list(table.rows)
        made._coverage = Coverage(table.shape)
        for lie in state["lies"]:
            made._coverage.add(Transform.of_json(lie))
        return made, table.model
