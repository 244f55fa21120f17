"""The methods that ``focusd compare`` knows: to add one, add it to the table here.

The table is read by the process that fuses as well, which is another one: it must be filled when this module
is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from focusd.compare.frames import Frames
from focusd.compare.recipe import Knob, Method, Picture
from focusd.focus.measures import LOG_SIGMA_PX
from focusd.fusion import Fusion
from focusd.fusion.prefer import Prefer
from focusd.fusion.refine import Refinement
from focusd.pictures.planes import Planes
from focusd.pictures.samples import Image, to_bgr
from focusd.seeds.log_nms import LogNms

_CODE = ("fusion", "compare/methods.py")
_KERNELS = (Knob("gaussian_px", 5), Knob("laplacian_px", 5))


def _pyramid(frames: Frames, settings: Mapping[str, Any]) -> Picture:
    prefer = Prefer.over(settings["prefer"], frames.positions_um)
    made, second = _fused(frames, Fusion(mode=settings["mode"], prefer=prefer), settings["refine"])
    if second is None:
        return made
    as_bgr = not isinstance(made.image, Planes)

    def use(_: int, frame: Image | Planes, position_um: float) -> None:
        second.add(to_bgr(frame) if as_bgr else frame, position_um)

    frames.each(use)
    return Picture(second.image(), made.white)


def _fused(frames: Frames, fusion: Fusion, is_refined: bool) -> tuple[Picture, Refinement | None]:
    """Fuse; the sums, most of the memory, end here, so that a second pass goes into their place."""
    made, sigma = _one_pass(fusion, frames), fusion.sigma
    if not is_refined or sigma is None:
        return made, None
    return made, Refinement(fusion.relief(), made.image, fusion.positions_um, sigma)


def _laplacian(frames: Frames, settings: Mapping[str, Any]) -> Picture:
    return _one_pass(Fusion(method="laplacian", **settings), frames)


def _average(frames: Frames, settings: Mapping[str, Any]) -> Picture:
    return _one_pass(Fusion(method="average", **settings), frames)


def _log_nms(frames: Frames, settings: Mapping[str, Any]) -> Picture:
    # All methods get the same frames, aligned or not.
    return _one_pass(LogNms(align=False, **settings), frames)


def _one_pass(fusion: Fusion | LogNms, frames: Frames) -> Picture:
    frames.each(lambda _, frame, position_um: fusion.add(frame, position_um))
    return Picture(fusion.image(), fusion.white)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "pyramid",
            _pyramid,
            (
                Knob("mode", "default", ("default", "fast")),
                Knob("prefer", "none", ("none", "front", "back")),
                Knob("refine", False),
            ),
            _CODE,
        ),
        Method("laplacian", _laplacian, _KERNELS, _CODE),
        Method("average", _average, _KERNELS, _CODE),
        Method(
            "log-nms",
            _log_nms,
            (Knob("sigma_px", LOG_SIGMA_PX), Knob("equalise", True)),
            (*_CODE, "seeds", "focus"),
        ),
    )
}
"""Ways of fusing, by name, in the order they are shown."""
