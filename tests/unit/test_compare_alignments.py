"""Frames that lie on each other before they are fused, by each way there is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from focusd.compare import work
from focusd.compare.alignments import ALIGNMENTS
from focusd.compare.cache import Cache
from focusd.compare.experiment import recipes_asked
from focusd.compare.frames import find_stack
from focusd.compare.kitchen import Kitchen

ROWS, COLS, FRAMES = 320, 400, 4
SHIFT_PX = (4.0, 2.0)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Frames that slide along, each sharp in columns of its own."""
    folder = tmp_path_factory.mktemp("align") / "stack"
    folder.mkdir()
    rng, wide = np.random.default_rng(8), 40
    noise = rng.normal(0, 1, (ROWS + 2 * wide, COLS + 2 * wide, 3)).astype(np.float32)
    smooth = sum(
        weight * (blurred := cv2.GaussianBlur(noise, (0, 0), sigma)) / blurred.std()
        for sigma, weight in ((1.5, 18), (5, 25), (12, 20))
    )
    scene = np.clip(128 + smooth, 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder.parent / "truth.png"), scene[wide:-wide, wide:-wide])
    for number in range(FRAMES):
        sharp = np.zeros(scene.shape[:2], np.float32)
        left = wide + number * COLS // FRAMES
        sharp[:, left if number else 0 : left + COLS // FRAMES if number < FRAMES - 1 else None] = 1
        sharp = cv2.GaussianBlur(sharp, (0, 0), 4)[..., None]
        frame = scene * sharp + cv2.GaussianBlur(scene, (0, 0), 2.0) * (1 - sharp)
        move = np.array([[1, 0, number * SHIFT_PX[0]], [0, 1, number * SHIFT_PX[1]]])
        moved = cv2.warpAffine(frame.astype(np.float32), move, scene.shape[1::-1], flags=cv2.INTER_LANCZOS4)
        shown = moved[wide:-wide, wide:-wide] + rng.normal(0, 1, (ROWS, COLS, 3))
        cv2.imwrite(str(folder / f"{number}.png"), np.clip(shown, 0, 255).astype(np.uint8))
    return folder


@pytest.mark.parametrize("align", [name for name in ALIGNMENTS if name != "off"])
def test_aligned_frames_make_a_picture_nearer_to_the_truth(stack, align):
    kitchen = Kitchen(Cache(None), find=work.find, fuse=work.fuse)
    recipes = recipes_asked(["pyramid"], [], ["off", align])
    (plain, aligned), failures = kitchen.serve(find_stack(stack, 1), recipes, stack.parent / "truth.png")
    assert failures == [] and aligned.frames == FRAMES and aligned.recipe.label == f"pyramid, align {align}"
    assert aligned.fidelity.psnr_db > plain.fidelity.psnr_db + 5 and aligned.scores.edges > plain.scores.edges
    # Frames slide off the first one by 12 px.
    assert 12 <= aligned.margin_px <= 16 and plain.margin_px == 0
    assert aligned.aligning.cpu_s > 0 and plain.aligning is None
