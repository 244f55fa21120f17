"""A scene: what lies before the lens, drawn at any focus, with its truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from focusd.errors import ConfigError
from focusd_sim.layers import Layer
from focusd_sim.lens import Lens
from focusd_sim.sheet import Sheet, slabs

_COLOUR, _AS_STORED = cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED
# Occlusion layers made of a picture and its height map.
# What is cut off the tail of a smear beyond this is below a thousandth.
_SMEAR_TAIL_PX = 8
_SLABS = 8


class Scene:
    """Sheets behind one another over a smooth ground that is never in focus.

    Parameters
    ----------
    name : str
        For messages and records.
    lens : Lens
        Gives the blur.
    sheets : sequence of Sheet
        From back to front, all of one size.
    ground : ndarray of uint8, (rows, cols, 3)
        BGR behind everything; so smooth and so far that blur does not change it.
    reach_um : float
        Heights from ``-reach_um`` to ``reach_um`` count as within reach of a stack; beyond, ``height_um`` is
        NaN.

    Attributes
    ----------
    name, lens
        As given.
    all_in_focus : ndarray of uint8, (rows, cols, 3)
        BGR, read-only: what the lens would see were everything in focus. The truth of a fusion.
    height_um : ndarray of float32, (rows, cols)
        Read-only: z of the surface seen at each pixel, um, 0 in the middle of the scene, larger towards the
        lens; NaN where only the ground is seen or the surface is out of reach.
    reach_um : float
        As given.

    Raises
    ------
    ConfigError
        When there is no sheet, or sizes differ.
    """

    def __init__(
        self, name: str, lens: Lens, sheets: Sequence[Sheet], ground: NDArray[np.uint8], reach_um: float
    ) -> None:
        shapes = {sheet.height_um.shape for sheet in sheets} | {ground.shape[:2]}
        if not sheets or len(shapes) != 1:
            raise ConfigError(
                f"scene {name!r} has {len(sheets)} sheets of sizes {sorted(shapes)}: it needs one or more, "
                "all of the ground's size"
            )
        self.name = name
        self.lens = lens
        self.reach_um = reach_um
        self._ground = np.asarray(cv2.cvtColor(ground, cv2.COLOR_BGR2BGRA), np.uint8)
        self._layers = [Layer(sheet, lens, 2 * reach_um) for sheet in sheets]
        self.all_in_focus = _in_focus(ground, sheets)
        self.height_um = _top_heights(sheets, reach_um)
        self.all_in_focus.setflags(write=False)
        self.height_um.setflags(write=False)

    def render(
        self,
        focus_um: float,
        *,
        smear_px: float = 0.0,
        magnification: float = 1.0,
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> NDArray[np.uint8]:
        """Draw what an ideal sensor sees.

        Parameters
        ----------
        focus_um : float
            z of the focal plane, um, on the axis of `height_um`.
        smear_px : float
            How far the image moved sideways (along the column axis, axis 1) during the exposure, at constant
            speed, px, 0 or more.
        magnification : float
            Focus breathing: the picture's scale about its centre, above 0; 1 is none.
        shift_px : tuple of float
            Sideways drift of the picture, px along (row, column). What comes into view from beyond the edge
            is the picture mirrored.

        Returns
        -------
        ndarray of uint8, (rows, cols, 3)
            BGR; a fresh array.

        Raises
        ------
        ConfigError
            When `smear_px` or `magnification` is out of range.
        """
        if not smear_px >= 0:
            raise ConfigError(f"smear_px is {smear_px} px: it must be 0 or more")
        if not magnification > 0:
            raise ConfigError(f"magnification is {magnification}: it must be above 0; 1 is no breathing")
        canvas = self._ground.copy()
        for layer in self._layers:
            layer.draw(canvas, focus_um)
        picture = np.asarray(cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR), np.uint8)
        if magnification != 1 or shift_px != (0.0, 0.0):
            picture = _moved(picture, magnification, shift_px)
        return _smeared(picture, smear_px) if smear_px > 0 else picture


def scene_from_files(
    image: Path, height_map: Path, height_range_um: tuple[float, float], *, lens: Lens | None = None
) -> Scene:
    """Make a scene of a sharp picture and its heights.

    Parameters
    ----------
    image : Path
        Any picture OpenCV reads; the truth.
    height_map : Path
        Grey picture of the same size, 8 or 16 bits: black is the far end of the range, white the near end.
    height_range_um : tuple of float
        z at black and at white, um, the first below the second. The middle of the range becomes z = 0.
    lens : Lens, optional
        The default is `Lens()`, the demo's.

    Raises
    ------
    ConfigError
        When a file cannot be read, sizes differ, or the range is empty.
    """
    low_um, high_um = height_range_um
    if not low_um < high_um:
        raise ConfigError(f"height range {low_um} to {high_um} um: the first must be below the second")
    picture, grey = (_read(path, flag) for path, flag in ((image, _COLOUR), (height_map, _AS_STORED)))
    if grey.ndim != 2 or grey.dtype not in (np.uint8, np.uint16):
        raise ConfigError(f"{height_map} is {grey.shape} {grey.dtype}: a height map is grey, 8 or 16 bits")
    if grey.shape != picture.shape[:2]:
        raise ConfigError(
            f"{height_map} is {grey.shape[1]} x {grey.shape[0]} px and {image} "
            f"{picture.shape[1]} x {picture.shape[0]} px: give a pair of one size"
        )
    reach_um = (high_um - low_um) / 2
    share = grey.astype(np.float32) / np.float32(np.iinfo(grey.dtype).max)
    height_um = np.asarray((share * 2 - 1) * np.float32(reach_um), np.float32)
    ground = np.zeros_like(picture, np.uint8)
    sheets = slabs(picture.astype(np.uint8), height_um, _SLABS)
    return Scene(image.stem, lens or Lens(), sheets, ground, reach_um)


def smear_kernel(length_px: float) -> NDArray[np.float32]:
    """Weigh a box of `length_px` (above 0) for what a picture's pixels can carry; shape (1, odd).

    Its share of each spatial frequency is the box's, sinc(f * length), but for a window that ends it: a smear
    far below a pixel takes its small part of sharpness, no more. Some weights are below 0.
    """
    half = int(np.ceil(length_px / 2)) + _SMEAR_TAIL_PX
    at = np.arange(-half, half + 1)
    frequency = np.linspace(0, 0.5, 4 * half + 1)
    share = np.sinc(frequency * length_px) * np.where(np.isin(frequency, (0.0, 0.5)), 0.5, 1.0)
    weights = np.cos(2 * np.pi * np.outer(at, frequency)) @ share
    beyond = np.clip((np.abs(at) - length_px / 2) / (half + 1 - length_px / 2), 0, 1)
    weights *= np.cos(np.pi / 2 * beyond) ** 2
    return np.asarray(weights[None, :] / weights.sum(), np.float32)


def _smeared(picture: NDArray[np.uint8], length_px: float) -> NDArray[np.uint8]:
    ran = cv2.filter2D(picture, cv2.CV_32F, smear_kernel(length_px), borderType=cv2.BORDER_REFLECT_101)
    # A camera's noise comes before its converter, so steps of a level hide no smear; here it comes after.
    dither = np.random.default_rng(round(length_px * 1e9)).random(ran.shape, np.float32)
    return np.asarray(np.clip(ran + dither, 0, 255), np.uint8)


def _read(path: Path, flag: int) -> NDArray[Any]:
    """Read a picture, or say which file it was."""
    stored = cv2.imread(str(path), flag) if path.is_file() else None
    if stored is None:
        raise ConfigError(f"{path} is not a picture that can be read: give a PNG, TIFF or JPEG file")
    return np.asarray(stored)


def _moved(
    picture: NDArray[np.uint8], magnification: float, shift_px: tuple[float, float]
) -> NDArray[np.uint8]:
    rows, cols = picture.shape[:2]
    middle = np.array([(cols - 1) / 2, (rows - 1) / 2])
    offset = middle * (1 - magnification) + np.array([shift_px[1], shift_px[0]])
    matrix = np.array([[magnification, 0, offset[0]], [0, magnification, offset[1]]])
    moved = cv2.warpAffine(
        picture, matrix, (cols, rows), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.uint8)


def _in_focus(ground: NDArray[np.uint8], sheets: Sequence[Sheet]) -> NDArray[np.uint8]:
    picture = ground.astype(np.float32)
    for sheet in sheets:
        clear = (np.float32(255) - sheet.bgra[..., 3:]) / np.float32(255)
        picture = np.asarray(picture * clear + sheet.bgra[..., :3], np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _top_heights(sheets: Sequence[Sheet], reach_um: float) -> NDArray[np.float32]:
    height = np.full(sheets[0].height_um.shape, np.nan, np.float32)
    for sheet in sheets:
        seen = sheet.bgra[..., 3] >= 128
        height[seen] = sheet.height_um[seen]
    height[np.abs(np.nan_to_num(height)) > reach_um] = np.nan
    return height
