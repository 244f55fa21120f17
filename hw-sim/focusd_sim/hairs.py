"""Hairs: curved, tapered, each with its own colour and depth, drawn into one sheet."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd_sim.sheet import Sheet, extend
from focusd_sim.solids import View

# Drawn this much larger and shrunk, for widths below a pixel.
_FINER = 2
_PARTS = 7
_SHIFT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Hairs:
    """Many hairs; `n` of them.

    Parameters
    ----------
    root_um, bend_um, tip_um : ndarray of float, (n, 3)
        Control points of a quadratic Bezier curve, x right, y up, z towards the lens.
    width_um : ndarray of float, (n,)
        At the root; the tip tapers to a fifth.
    colour : ndarray of float, (n, 3)
        BGR, 0 to 1, as seen (encoded), in the shade; lit parts are lighter.
    """

    root_um: NDArray[np.float64]
    bend_um: NDArray[np.float64]
    tip_um: NDArray[np.float64]
    width_um: NDArray[np.float64]
    colour: NDArray[np.float64]

    def sheet(self, view: View, under: Sheet | None = None) -> Sheet:
        """Draw the hairs, farthest first.

        Parameters
        ----------
        view : View
        under : Sheet, optional
            A sheet these hairs stand on, to be drawn into it (they then share one occlusion layer).
        """
        rows, cols = view.shape
        big = np.zeros((rows * _FINER, cols * _FINER, 4), np.uint8)
        height = np.full(big.shape[:2], np.nan, np.float32)
        t = np.linspace(0, 1, _PARTS + 1)[None, :, None]
        path = (
            self.root_um[:, None] * (1 - t) ** 2
            + self.bend_um[:, None] * 2 * t * (1 - t)
            + self.tip_um[:, None] * t**2
        )
        seen = self._shaded(path)
        column = ((cols - 1) / 2 + path[..., 0] / view.um_per_px + 0.5) * _FINER - 0.5
        row = ((rows - 1) / 2 - path[..., 1] / view.um_per_px + 0.5) * _FINER - 0.5
        at = np.rint(np.stack([column, row], axis=-1) * 2**_SHIFT).astype(np.int32)
        middle_um = (path[:, :-1, 2] + path[:, 1:, 2]) / 2
        taper = 1 - 0.8 * (np.arange(_PARTS) + 0.5) / _PARTS
        width_px = np.maximum(1, np.rint(self.width_um[:, None] * taper / view.um_per_px * _FINER)).astype(
            int
        )
        for hair in np.argsort(self.root_um[:, 2]):
            for part in range(_PARTS):
                a, b = at[hair, part].tolist(), at[hair, part + 1].tolist()
                width = int(width_px[hair, part])
                tint = (*seen[hair, part].tolist(), 255.0)
                cv2.line(big, a, b, tint, width, cv2.LINE_AA, _SHIFT)
                cv2.line(height, a, b, float(middle_um[hair, part]), width + 2, cv2.LINE_8, _SHIFT)
        bgra = np.asarray(cv2.resize(big, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8)
        z = height[::_FINER, ::_FINER]
        if under is None:
            return Sheet(bgra, extend(z, np.isfinite(z)))
        clear = np.float32(1) - bgra[..., 3:].astype(np.float32) / 255
        both = np.rint(under.bgra * clear + bgra).astype(np.uint8)
        mine = (bgra[..., 3] >= 128) & np.isfinite(z)
        return Sheet(both, np.where(mine, z, under.height_um).astype(np.float32))

    def _shaded(self, path: NDArray[np.float64]) -> NDArray[np.float64]:
        """Colour of each part, 0 to 255: a hair across the light is bright, one along it dark."""
        along = np.diff(path, axis=1)
        along /= np.linalg.norm(along, axis=-1, keepdims=True) + 1e-9
        key = np.array([-0.50, 0.62, 0.60]) / np.linalg.norm([-0.50, 0.62, 0.60])
        diffuse = np.sqrt(np.maximum(0, 1 - (along @ key) ** 2))
        half = key + np.array([0.0, 0.0, 1.0])
        shine = np.maximum(0, 1 - (along @ (half / np.linalg.norm(half))) ** 2) ** 20
        colour = self.colour[:, None, :] * (0.45 + 0.75 * diffuse[..., None]) + 0.22 * shine[..., None]
        return np.asarray(np.clip(colour, 0, 1) * 255)
