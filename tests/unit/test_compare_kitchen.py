"""Recipes made and judged, each step only where nobody did it before."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from focusd.compare import work
from focusd.compare.alignments import ALIGNMENTS, OFF
from focusd.compare.cache import Cache
from focusd.compare.crops import choose
from focusd.compare.experiment import recipes_asked
from focusd.compare.frames import find_stack
from focusd.compare.kitchen import Kitchen
from focusd.compare.methods import METHODS
from focusd.compare.recipe import Alignment, Laid, Method, Picture, Recipe
from focusd.errors import FocusdError

ROWS, COLS = 96, 144


def scene(seed=5):
    noise = np.random.default_rng(seed).normal(0, 1, (ROWS, COLS, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return np.clip(128 + 50 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def write_stack(folder, count=3):
    folder.mkdir()
    truth = scene()
    for number in range(count):
        frame = cv2.GaussianBlur(truth, (0, 0), 2.5)
        part = slice(number * COLS // count, (number + 1) * COLS // count)
        frame[:, part] = truth[:, part]
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    cv2.imwrite(str(folder.parent / "truth.png"), truth)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_stack(tmp_path / "stack")


@pytest.fixture
def kitchen(tmp_path):
    def make(cache=True):
        return Kitchen(Cache(tmp_path / "cache" if cache else None), find=work.find, fuse=work.fuse)

    return make


def test_what_was_done_is_not_done_again(folder, kitchen, tmp_path):
    recipes, truth = recipes_asked(["pyramid", "laplacian"], []), tmp_path / "truth.png"
    first = kitchen()
    dishes, failures = first.serve(find_stack(folder, 1), recipes, truth)
    assert failures == [] and first.computed == {"fuse": 2, "judge": 1, "truth": 2}
    again = kitchen()
    kept, _ = again.serve(find_stack(folder, 1), recipes, truth)
    assert again.computed == {}
    for dish, other in zip(dishes, kept, strict=True):
        assert dish.is_fresh and not other.is_fresh
        assert np.array_equal(dish.picture.image, other.picture.image)
        assert (dish.cost, dish.fidelity) == (other.cost, other.fidelity)
        assert dish.scores.edges == other.scores.edges
        assert np.array_equal(dish.scores.tiles, other.scores.tiles, equal_nan=True)


def test_a_changed_setting_does_only_its_own_work_again(folder, kitchen):
    stack = find_stack(folder, 1)
    kitchen().serve(stack, recipes_asked(["pyramid", "laplacian"], []))
    changed = kitchen()
    changed.serve(stack, recipes_asked(["pyramid", "laplacian"], ["gaussian_px=5,7"]))
    assert changed.computed == {"fuse": 1, "judge": 1}


def test_a_new_truth_leaves_pictures_and_scores_alone(folder, kitchen, tmp_path):
    stack, recipes = find_stack(folder, 1), recipes_asked(["pyramid"], [])
    kitchen().serve(stack, recipes)
    cv2.imwrite(str(tmp_path / "truth.png"), 255 - scene())
    given = kitchen()
    (dish,), _ = given.serve(stack, recipes, tmp_path / "truth.png")
    assert given.computed == {"truth": 1}
    assert dish.fidelity.psnr_db < 15


def test_a_frame_with_other_bytes_is_another_stack_and_a_new_name_is_not(folder, kitchen):
    recipes = recipes_asked(["average"], [])
    kitchen().serve(find_stack(folder, 1), recipes)
    renamed = kitchen()
    moved = folder.rename(folder.with_name("moved"))
    renamed.serve(find_stack(moved, 1), recipes)
    assert renamed.computed == {}
    cv2.imwrite(str(moved / "1.png"), scene(6))
    other = kitchen()
    other.serve(find_stack(moved, 1), recipes)
    assert other.computed == {"fuse": 1, "judge": 1}


def test_a_spoiled_entry_is_computed_again(folder, kitchen, tmp_path):
    stack, recipes = find_stack(folder, 1), recipes_asked(["pyramid"], [])
    (dish,), _ = kitchen().serve(stack, recipes)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    again = kitchen()
    (other,), _ = again.serve(stack, recipes)
    assert again.computed == {"fuse": 1, "judge": 1}
    assert np.array_equal(dish.picture.image, other.picture.image)


def test_without_a_cache_all_is_done_each_time(folder, kitchen):
    stack, recipes = find_stack(folder, 1), recipes_asked(["average"], [])
    for _ in range(2):
        fresh = kitchen(cache=False)
        fresh.serve(stack, recipes)
        assert fresh.computed == {"fuse": 1, "judge": 1}


def test_every_method_makes_a_sharper_picture_than_its_frames_blur(folder, kitchen, tmp_path):
    recipes = recipes_asked([], [])
    dishes, failures = kitchen().serve(find_stack(folder, 2), recipes, tmp_path / "truth.png")
    assert failures == []
    assert {dish.recipe.method for dish in dishes} == set(METHODS)
    for dish in dishes:
        assert dish.picture.image.shape == (ROWS, COLS, 3)
        assert dish.frames == 3 and dish.cost.wall_s > 0
        assert dish.fidelity.psnr_db > 18 and dish.scores.recovered > 0.3, dish.recipe.label


def test_refining_takes_a_second_pass_and_is_no_worse(folder, kitchen, tmp_path):
    recipes = recipes_asked(["pyramid"], ["refine=false,true"])
    (plain, refined), _ = kitchen().serve(find_stack(folder, 1), recipes, tmp_path / "truth.png")
    assert refined.recipe.label == "pyramid, refine true"
    assert refined.fidelity.psnr_db > plain.fidelity.psnr_db - 0.5


def test_a_recipe_that_fails_leaves_the_others(folder, kitchen):
    recipes = recipes_asked(["pyramid", "laplacian"], ["laplacian_px=4,5"])
    dishes, (failure,) = kitchen().serve(find_stack(folder, 1), recipes)
    assert [dish.recipe.label for dish in dishes] == ["pyramid", "laplacian"]
    assert failure.recipe.label == "laplacian, laplacian_px 4" and "must be odd" in failure.reason


def test_a_method_that_changes_the_size_is_refused(folder, kitchen, monkeypatch):
    def cut(frames, settings):
        frames.each(lambda *_: None)
        return Picture(np.zeros((4, 4, 3), np.uint8))

    monkeypatch.setitem(METHODS, "cut", Method("cut", cut))
    dishes, (failure,) = kitchen().serve(
        find_stack(folder, 1), [Recipe("cut"), *recipes_asked(["average"], [])]
    )
    assert len(dishes) == 1 and "must keep size and type" in failure.reason


def test_an_alignment_is_found_once_for_all_methods_and_leaves_frames_out(folder, kitchen, monkeypatch):
    frames_seen = []

    def find(stack):
        return Laid((0, None, 2), margin_px=4)

    def lay(frame, facts):
        frames_seen.append(facts)
        return frame

    monkeypatch.setitem(ALIGNMENTS, "test", Alignment("test", find, lay))
    stack, recipes = find_stack(folder, 1), recipes_asked(["laplacian", "average"], [], ["off", "test"])
    first = kitchen()
    dishes, _ = first.serve(stack, recipes)
    assert first.computed == {"align": 1, "fuse": 4, "judge": 2}
    assert set(frames_seen) == {0, 2}
    assert [(dish.frames, dish.margin_px, dish.aligning is None) for dish in dishes] == [
        (3, 0, True),
        (2, 4, False),
    ] * 2
    assert [dish.recipe.label for dish in dishes][1] == "laplacian, align test"
    again = kitchen()
    again.serve(stack, recipes_asked(["laplacian"], ["gaussian_px=3"], ["test"]))
    assert again.computed == {"fuse": 1, "judge": 1}


def test_an_alignment_that_fails_is_told_for_each_of_its_recipes(folder, kitchen, monkeypatch):
    def find(stack):
        raise FocusdError("nothing to hold on to")

    monkeypatch.setitem(ALIGNMENTS, "test", Alignment("test", find, OFF.lay))
    recipes = recipes_asked(["laplacian", "average"], [], ["test"])
    dishes, failures = kitchen().serve(find_stack(folder, 1), recipes)
    assert dishes == [] and [failure.reason for failure in failures] == ["nothing to hold on to"] * 2


def test_the_sharpest_frame_of_each_crop_is_looked_for_once(folder, kitchen):
    stack = find_stack(folder, 1)
    truth = scene()
    crops = choose([truth, cv2.GaussianBlur(truth, (0, 0), 2)], 3, (24, 24))
    first, again = kitchen(), kitchen()
    found = first.witness(stack, "off", crops)
    assert first.computed == {"witness": 1}
    for crop, (number, samples) in zip(crops, found, strict=True):
        if crop.left // 48 == (crop.left + 23) // 48:
            assert number == crop.left // 48
            assert np.array_equal(samples, crop.of(truth))
    kept = again.witness(stack, "off", crops)
    assert again.computed == {}
    for (number, samples), (other, same) in zip(found, kept, strict=True):
        assert number == other and np.array_equal(samples, same)


def test_a_truth_of_another_size_ends_all(folder, kitchen, tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(FocusdError, match="the truth is 20 x 20 px"):
        kitchen().serve(find_stack(folder, 1), recipes_asked(["average"], []), tmp_path / "small.png")


def test_a_frame_that_cannot_be_read_is_named(folder, kitchen):
    (folder / "1.png").write_bytes(b"no picture")
    _, (failure,) = kitchen().serve(find_stack(folder, 1), recipes_asked(["average"], []))
    assert "1.png" in failure.reason


def test_a_folder_without_a_stack_is_refused(tmp_path):
    with pytest.raises(FocusdError, match="no such folder"):
        find_stack(tmp_path / "none", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FocusdError, match="0 images"):
        find_stack(tmp_path / "empty", 1)
