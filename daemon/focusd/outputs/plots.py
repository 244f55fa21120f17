"""Plots of calibrations, where matplotlib is installed (the extra ``plots``)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focusd.atomic import write_bytes
from focusd.errors import FocusdError

Numbers = NDArray[np.float64]

_INCHES, _DPI = (8.0, 5.0), 120
_DATA, _SECOND, _LINE, _LIMIT = "#0072b2", "#d55e00", "#222222", "#999999"


class NoPlots(FocusdError):
    """matplotlib is not installed."""

    code = "no_plots"


def settle(
    path: Path,
    waits_s: Numbers,
    smear_px: Numbers,
    sigma_px: Numbers,
    envelope: tuple[Numbers, Numbers],
    limit_px: float,
    settle_s: float,
) -> None:
    """Draw smear against the wait after a move.

    Parameters
    ----------
    path : Path
        PNG file; replaced if there.
    waits_s, smear_px, sigma_px : ndarray of float64, (n,)
        Measurements and their standard errors.
    envelope : tuple of ndarray
        Waits (s) and smears (px) of the line through the upper edge.
    limit_px, settle_s : float
        What is allowed, and the wait from which it holds.

    Raises
    ------
    NoPlots
        Without matplotlib.
    FocusdError
        A file that cannot be written.
    """
    figure = _figure()
    axes = figure.add_subplot()
    axes.errorbar(waits_s, smear_px, sigma_px, fmt="o", color=_DATA, markersize=4, capsize=2, label="frames")
    axes.plot(*envelope, color=_LINE, label="envelope")
    axes.axhline(limit_px, color=_LIMIT, linestyle="--", label=f"limit {limit_px:g} px")
    axes.axvline(settle_s, color=_SECOND, label=f"settle_s {settle_s:.3f} s")
    axes.set_xlabel("wait from the end of the move until the camera is asked [s]")
    axes.set_ylabel("smear [px]")
    # Where nothing is seen any more need not be shown at full length.
    axes.set_xlim(-0.02, max(2.5 * settle_s, 0.25 * float(waits_s.max())))
    axes.set_ylim(bottom=0)
    axes.set_title("Settling after a move")
    axes.legend()
    _save(figure, path)


def backlash(
    path: Path, position_um: Numbers, up: Numbers, down: Numbers, plays_um: Numbers, play_um: float
) -> None:
    """Draw sharpness on the way up and down, and the play that each part of the picture shows.

    Parameters
    ----------
    path : Path
        PNG file; replaced if there.
    position_um, up, down : ndarray of float64, (n,)
        Motor's positions and the sharpness of one part of the picture, relative.
    plays_um : ndarray of float64
        Of each part.
    play_um : float
        Their median.

    Raises
    ------
    NoPlots, FocusdError
        As `settle`.
    """
    figure = _figure()
    curves, parts = figure.subplots(1, 2, width_ratios=(3, 2))
    curves.plot(position_um, up, "o-", color=_DATA, markersize=3, label="moving up")
    curves.plot(position_um, down, "s-", color=_SECOND, markersize=3, label="moving down")
    curves.set_xlabel("position by motor steps [um]")
    curves.set_ylabel("sharpness of one part [relative]")
    curves.legend()
    parts.hist(plays_um, bins=min(40, max(8, len(plays_um) // 6)), color=_DATA)
    parts.axvline(play_um, color=_LINE, label=f"median {play_um:.2f} um")
    parts.set_xlabel("play [um]")
    parts.set_ylabel("parts of the picture")
    parts.legend()
    figure.suptitle("Backlash of the screw")
    _save(figure, path)


def scale(path: Path, along_px: Numbers, steps: Numbers, line: Numbers, steps_per_mm: float) -> None:
    """Draw where the slope is sharp against the motor's steps.

    Parameters
    ----------
    path : Path
        PNG file; replaced if there.
    along_px : ndarray of float64, (n,)
        Place along the slope, px.
    steps, line : ndarray of float64, (n,)
        Motor steps at which it is sharpest, measured and fitted.
    steps_per_mm : float
        The result.

    Raises
    ------
    NoPlots, FocusdError
        As `settle`.
    """
    figure = _figure()
    main, rest = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    order = np.argsort(along_px)
    main.plot(along_px, steps, ".", color=_DATA, markersize=3, label="parts of the picture")
    main.plot(along_px[order], line[order], color=_LINE, label=f"{steps_per_mm:.2f} steps/mm")
    main.set_ylabel("sharpest at [motor steps]")
    main.legend()
    rest.plot(along_px, steps - line, ".", color=_DATA, markersize=3)
    rest.axhline(0, color=_LINE)
    # A part that is far off was not heeded: it need not set the scale.
    far = 6 * float(np.median(np.abs(steps - line))) + 1e-6
    rest.set_ylim(-far, far)
    rest.set_ylabel("off [steps]")
    rest.set_xlabel("place along the slope [px]")
    main.set_title("Steps per mm from a ruler on a slope")
    _save(figure, path)


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPlots(
            "there is no plot: matplotlib is not installed; `pip install 'focusd[plots]'`, or "
            "`apt install python3-matplotlib` on a Pi"
        ) from error
    return Figure(figsize=_INCHES, layout="constrained")


def _save(figure: Any, path: Path) -> None:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI)
    write_bytes(path, drawn.getvalue())
