"""Hold a run's files against the simulated scene's truth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from focusd.config import load_config
from focusd.outputs.prints import depth_picture
from focusd.pictures.images import encode_jpeg, read_image
from focusd_sim.catalogue import scene_of
from focusd_sim.config import SimConfig
from focusd_sim.score import psnr, ssim
from focusd_sim.sensor import Sensor

_WIDE_PX = 1050


@dataclass(frozen=True, slots=True)
class Review:
    """How good a run was.

    Parameters
    ----------
    psnr_db, ssim : float
        Of the fused picture, luma, against the scene as this lens and sensor would show it all in focus.
    frame_psnr_db : float
        Of the middle frame, for comparison.
    depth_error_um : float
        Median of the absolute error where depth is known.
    depth_known_percent : float
        Of the pixels that show something within reach.
    step_um : float
        Distance between stops.
    capture_s, wall_s : float
        Rig time of the capture; real time of the whole job.
    picture : Path
        Fused picture, middle frame and depth beside each other.
    """

    psnr_db: float
    ssim: float
    frame_psnr_db: float
    depth_error_um: float
    depth_known_percent: float
    step_um: float
    capture_s: float
    wall_s: float
    picture: Path


def review(config_file: Path, scene_name: str, data: Path, folder: Path) -> Review:
    """Judge the run in `folder`, whose frames are in ``data/inbox``."""
    sim = SimConfig.from_table({**load_config(config_file).sim, "scene": scene_name})
    scene = scene_of(sim)
    # Vignetting is the lens's, not the fusion's, to answer for.
    lens_only = Sensor(vignetting=sim.sensor.vignetting)
    truth = lens_only.expose(scene.all_in_focus, frame=0, seed=sim.seed)
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    fused = read_image(folder / "final.tif")
    stops = record["stops"]
    frame = read_image(data / "inbox" / stops[len(stops) // 2]["shots"][0]["frame"])
    depth_um = np.asarray(tifffile.imread(folder / "depth.tif"), np.float32)
    true_depth_um = scene.height_um + sim.centre_um
    within = np.isfinite(true_depth_um)
    known = within & np.isfinite(depth_um)
    picture = folder / "before-after.jpg"
    picture.write_bytes(encode_jpeg(_side_by_side(frame, fused, depth_um), quality=85))
    return Review(
        psnr_db=psnr(fused, truth),
        ssim=ssim(fused, truth),
        frame_psnr_db=psnr(frame, truth),
        depth_error_um=float(np.median(np.abs(depth_um[known] - true_depth_um[known]))),
        depth_known_percent=100 * float(known.sum() / within.sum()),
        step_um=record["plan"]["step_um"],
        capture_s=record["times"]["capture_s"],
        wall_s=record["times"]["wall_s"],
        picture=picture,
    )


def _side_by_side(
    frame: NDArray[Any], fused: NDArray[Any], depth_um: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Lay out the fused picture large, one frame and the depth map small beside it."""
    rows, columns = fused.shape[:2]
    height = 2 * round(_WIDE_PX * rows / columns / 2)
    small = (_WIDE_PX // 2, height // 2)
    column = [_resized(panel, small) for panel in (frame, depth_picture(depth_um))]
    return np.asarray(np.hstack([_resized(fused, (_WIDE_PX, height)), np.vstack(column)]), np.uint8)


def _resized(panel: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(cv2.resize(panel, size, interpolation=cv2.INTER_AREA))
