"""The page itself, and the command that writes it."""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import signal
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from focusd.compare import command, work
from focusd.compare.crops import choose
from focusd.compare.dish import Dish, Failure
from focusd.compare.fidelity import Fidelity
from focusd.compare.figures import facts, table
from focusd.compare.frames import find_stack
from focusd.compare.kitchen import Kitchen
from focusd.compare.metrics import Scores
from focusd.compare.page import Part, crop_px, render
from focusd.compare.recipe import Laid, Picture, Recipe
from focusd.compare.work import Cost
from focusd.errors import FocusdError, RequestError

ROWS, COLS = 96, 144
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that elements are closed in order, and keeps what is loaded, linked and said."""

    def __init__(self, html):
        super().__init__()
        self.open, self.loaded, self.linked, self.text = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe")
        named = dict(attrs)
        if "src" in named:
            self.loaded.append(named["src"])
        if "href" in named:
            self.linked.append(named["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in ("rect", "line", "circle", "polyline")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (ROWS, COLS, 3), np.uint8)


def dish(label="average", seed=1, is_fresh=True, edges=0.5, fidelity=None, settings=()):
    changed = tuple(name for name, _ in settings)
    scores = Scores(edges, 0.9, float("nan"), 0.001, np.array([[0.5, np.nan, 2.5], [1.0, 1.0, 0.0]]))
    return Dish(
        Recipe(label, settings, changed),
        Picture(picture(seed)),
        5,
        Cost(1.5, 2.0, 150_000_000),
        None,
        scores,
        fidelity,
        is_fresh,
        0,
    )


def part(dishes, failures=(), name="stack", count=2):
    crops = choose([each.picture.image for each in dishes], count, (40, 40)) if dishes else []
    sharpest = [(3, crop.of(picture(9))) for crop in crops]
    links = [f"pictures/{number}.jpg" for number in range(len(dishes))]
    return Part(name, dishes, failures, crops, sharpest, None, links)


def test_the_page_loads_nothing_and_is_well_formed():
    html = render([part([dish(), dish("pyramid", 2)])], "Made now.", ["<p>history</p>"])
    reader = Reader(html)
    assert reader.loaded and all(uri.startswith("data:image/") for uri in reader.loaded)
    assert reader.linked == ["pictures/0.jpg", "pictures/1.jpg"]
    assert "url(" not in html and "@import" not in html
    text = " ".join(reader.text)
    assert "Made now." in text and "history" in text and "number 4" in text


def test_crops_are_in_the_page_pixel_by_pixel():
    shown = part([dish(), dish("pyramid", 2)])
    images = [
        cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        for data in re.findall(r"data:image/png;base64,([^\"]+)", render([shown], ""))
    ]
    for crop in shown.crops:
        for each in shown.dishes:
            wanted = crop.of(each.picture.image)
            assert any(image.shape == wanted.shape and np.array_equal(image, wanted) for image in images)


def test_a_page_that_would_be_too_large_has_crops_as_jpeg_and_says_so():
    shown = part([dish(), dish("pyramid", 2)], count=4)
    whole = render([shown], "")
    smaller = render([shown], "", limit_bytes=len(whole) - 1)
    assert len(smaller) < len(whole) and "JPEG of quality 92" in smaller
    with pytest.raises(RequestError, match="fewer stacks"):
        render([shown], "", limit_bytes=5000)


def test_names_cannot_break_the_page():
    evil = '<img src="http://x/">&"'
    html = render([part([dish(evil)], [Failure(Recipe(evil), evil)], name=evil)], evil, [])
    assert all(uri.startswith("data:") for uri in Reader(html).loaded)
    assert evil in "".join(Reader(html).text)


def test_a_stack_of_which_nothing_came_is_named_with_the_reason():
    text = " ".join(Reader(render([part([], [Failure(Recipe("average"), "no memory left")])], "")).text)
    assert "no memory left" in text


def test_the_best_figure_is_marked_and_equal_ones_are_not():
    html = table([dish(edges=0.5), dish("pyramid", edges=0.4)], ["a", "b"])
    assert html.count('class="best"') == 1 and '<td class="best">0.5000</td>' in html
    # Sharpness has no best: noise is energy too.
    assert '<td class="">90.0</td>' in html


def test_figures_that_nothing_has_have_no_column_and_old_times_are_marked():
    html = table([dish(is_fresh=False)], ["a"])
    assert "PSNR" not in html and "worst tenth" not in html
    assert html.count('class="old"') == 4
    near = dish(fidelity=Fidelity(float("inf"), 40.0, 0.9))
    html = table([near, dish()], ["a", "b"])
    assert "&infin;" in html and "&ndash;" in html
    assert facts(near).keys() >= {"edges", "colour_psnr_db", "cpu_ms_mp"}
    assert "psnr_db" not in facts(near)


def test_cpu_time_is_for_each_megapixel_of_each_frame():
    assert facts(dish())["cpu_ms_mp"] == pytest.approx(2000 / 5 / (ROWS * COLS / 1e6))


def test_a_knob_of_several_numbers_is_drawn():
    several = [dish("log-nms", side, edges=side / 10, settings=(("sigma_px", side),)) for side in (1, 2, 3)]
    html = render([part(several)], "")
    assert "log-nms: sigma_px" in html and html.count("<polyline") == 1
    assert "<polyline" not in render([part(several[:1])], "")


@pytest.mark.parametrize("count", range(2, 27))
def test_crops_of_any_number_fill_rows_of_the_page(count):
    side = crop_px(count)
    assert side % 2 == 0 and 200 <= side <= 400
    assert (side + 14) * min(count, 4) <= 1496 + 14 + 400


def stack_in(folder, count=4):
    folder.mkdir()
    noise = np.random.default_rng(4).normal(0, 1, (ROWS, COLS, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    truth = np.clip(128 + 50 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    for number in range(count):
        frame = cv2.GaussianBlur(truth, (0, 0), 2)
        columns = slice(number * COLS // count, (number + 1) * COLS // count)
        frame[:, columns] = truth[:, columns]
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    cv2.imwrite(str(folder.parent / "truth.png"), truth)
    return folder


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def in_process(monkeypatch):
    """Fuse without processes of their own, which take a second each."""
    monkeypatch.setattr(
        command, "Kitchen", lambda cache, tell: Kitchen(cache, find=work.find, fuse=work.fuse, tell=tell)
    )


def test_the_command_leaves_a_page_figures_and_whole_pictures(in_process, tmp_path, capsys):
    stack, out = stack_in(tmp_path / "stack"), tmp_path / "out"
    history = tmp_path / "history.jsonl"
    asked = [stack, "-o", out, "--method", "average", "--method", "laplacian", "--set", "gaussian_px=3,5"]
    asked += ["--truth", tmp_path / "truth.png", "--cache", tmp_path / "cache", "--history", history]
    assert run(*asked) == 0
    assert "4 fuse, 1 judge, 4 truth, 1 witness" in capsys.readouterr().out
    reader = Reader((out / "index.html").read_text())
    for link in reader.linked:
        assert cv2.imread(str(out / link)).shape == (ROWS, COLS, 3)
    assert "Benchmarks over time" in reader.text
    found = json.loads((out / "figures.json").read_text())
    recipes = found["stacks"][0]["recipes"]
    assert [recipe["settings"]["gaussian_px"] for recipe in recipes] == [3, 5, 3, 5]
    assert all(recipe["figures"]["psnr_db"] > 15 for recipe in recipes)
    assert len(history.read_text().splitlines()) == 1
    # All of it is known now, and nothing was measured that the history should hear of.
    assert run(*asked) == 0
    assert "done anew: nothing" in capsys.readouterr().out
    assert len(history.read_text().splitlines()) == 1


def test_stacks_of_one_name_are_kept_apart(in_process, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stack_in(tmp_path / name / "stack", 2)
    out = tmp_path / "out"
    assert (
        run(*(tmp_path / name / "stack" for name in "ab"), "-o", out, "--method", "average", "--no-cache")
        == 0
    )
    linked = Reader((out / "index.html").read_text()).linked
    assert len(set(linked)) == 2 and all((out / link).is_file() for link in linked)


def test_a_recipe_that_fails_is_named_and_the_exit_code_says_so(in_process, tmp_path, capsys):
    stack = stack_in(tmp_path / "stack", 2)
    out = tmp_path / "out"
    asked = ["--method", "laplacian", "--set", "gaussian_px=4,5", "--no-cache"]
    assert run(stack, "-o", out, *asked) == 1
    assert "gaussian_px 4 was not made" in capsys.readouterr().err
    assert (
        "gaussian_px 4" in json.loads((out / "figures.json").read_text())["stacks"][0]["failed"].popitem()[0]
    )


def test_nothing_is_written_for_a_request_that_makes_no_sense(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RequestError, match="no such folder"):
        run(tmp_path / "none", "-o", out)
    with pytest.raises(RequestError, match="did you mean pyramid"):
        run(stack_in(tmp_path / "stack", 2), "-o", out, "--method", "pyramide")
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FocusdError, match="check the folder"):
        run(
            stack_in(tmp_path / "stack", 2),
            "-o",
            tmp_path / "file" / "out",
            "--method",
            "average",
            "--no-cache",
        )


def test_pictures_are_fused_in_processes_of_their_own_which_may_fail(tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["--method", "laplacian", "--set", "laplacian_px=4,5", "--no-cache"]
    assert run(stack_in(tmp_path / "stack", 2), "-o", out, *asked) == 1
    assert "laplacian_px 4 was not made: laplacian_px is 4 px: it must be odd" in capsys.readouterr().err
    (recipe,) = json.loads((out / "figures.json").read_text())["stacks"][0]["recipes"]
    # The program itself is some tens of MB.
    assert 20 < recipe["figures"]["peak_mb"] < 1000 and recipe["figures"]["fuse_cpu_s"] > 0


def test_a_process_that_is_killed_is_a_failure_like_others(tmp_path, monkeypatch):
    stack = find_stack(stack_in(tmp_path / "stack", 2), 1)
    monkeypatch.setattr(work, "fuse", kill_me)
    with pytest.raises(FocusdError, match="fusing stack by average: its process ended with -9"):
        work.fuse_apart(stack, Recipe("average"), Laid((None, None)))


def kill_me(*_):
    os.kill(os.getpid(), signal.SIGKILL)
