"""The Laplacian pyramid: an image as bands of detail over a small blurred base.

References
----------
.. [1] Burt P.J., Adelson E.H., The Laplacian pyramid as a compact image code, IEEE Trans. Commun. 31(4),
   1983, 532-540. doi:10.1109/TCOM.1983.1095851
"""

from __future__ import annotations

from dataclasses import dataclass

# More levels than five change nothing that is seen and blur the base's choice.
MAX_LEVELS = 5


@dataclass(frozen=True, slots=True)
class Grid:
    """Sizes of a pyramid's levels.

    The image is padded below and to the right so that every level is exactly half the one before.

    Parameters
    ----------
    rows, cols : int
        Size of the image, pixels, 1 or more.
    levels : int
        Number of bands; 0 for an image one pixel wide or high.
    """

    rows: int
    cols: int
    levels: int

    @classmethod
    def of(cls, rows: int, cols: int) -> Grid:
        """Grid of an image of this size; fewer levels for a small one."""
        return cls(rows, cols, min(MAX_LEVELS, min(rows, cols).bit_length() - 1))

    def shape(self, level: int) -> tuple[int, int]:
        """(rows, cols) of `level`, padding included."""
        size = 1 << self.levels
        padded = (-(-self.rows // size) * size, -(-self.cols // size) * size)
        return padded[0] >> level, padded[1] >> level

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """`shape` of every level, the base included."""
        return [self.shape(level) for level in range(self.levels + 1)]

    @property
    def block_px(self) -> int:
        """Side of the blocks in which the finest level's range is kept, to save memory."""
        return 1 << min(self.levels, 1)

    def halved(self) -> Grid:
        """Grid of a plane of half the size, whose levels are this one's from 1 on."""
        return Grid((self.rows + 1) // 2, (self.cols + 1) // 2, self.levels - 1)

    def cropped_shape(self, level: int) -> tuple[int, int]:
        """(rows, cols) of `level` that the image itself covers."""
        return -(-self.rows >> level), -(-self.cols >> level)
