"""What is asked for, by options and by a file, and what cannot be."""

from __future__ import annotations

import argparse

import pytest

from focusd.compare.command import add_arguments
from focusd.compare.experiment import bounded, read_experiment, recipes_asked
from focusd.compare.methods import METHODS
from focusd.compare.options import cache_folder, recipes_wanted
from focusd.compare.recipe import Recipe
from focusd.errors import RequestError


def labels(recipes):
    return [recipe.label for recipe in recipes]


def test_nothing_asked_for_is_every_method_as_it_is():
    assert labels(recipes_asked([], [])) == list(METHODS)


def test_values_of_a_knob_are_tried_in_every_combination():
    assert labels(recipes_asked(["laplacian"], ["gaussian_px=3,5", "laplacian_px=5,7"])) == [
        "laplacian, gaussian_px 3",
        "laplacian, gaussian_px 3, laplacian_px 7",
        "laplacian",
        "laplacian, laplacian_px 7",
    ]


def test_a_knob_is_set_for_each_method_that_has_it_or_for_the_one_named():
    both = recipes_asked(["pyramid", "laplacian", "average"], ["gaussian_px=7"])
    assert labels(both) == ["pyramid", "laplacian, gaussian_px 7", "average, gaussian_px 7"]
    one = recipes_asked(["laplacian", "average"], ["average.gaussian_px=7"])
    assert labels(one) == ["laplacian", "average, gaussian_px 7"]


def test_every_recipe_says_all_its_settings_so_that_a_new_default_is_another_recipe():
    (recipe,) = recipes_asked(["laplacian"], [])
    assert recipe.settings == (("gaussian_px", 5), ("laplacian_px", 5)) and recipe.changed == ()


def test_a_file_asks_the_same(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(
        '[[recipe]]\nmethod = "pyramid"\nrefine = [false, true]\n'
        '[[recipe]]\nmethod = "laplacian"\nalign = ["off", "homography"]\ngaussian_px = 3\n'
    )
    assert labels(read_experiment(path)) == [
        "pyramid",
        "pyramid, refine true",
        "laplacian, gaussian_px 3",
        "laplacian, align homography, gaussian_px 3",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[recipe]]\nmethod = 'piramid'", "recipe 1: method 'piramid' is not known; did you mean pyramid"),
        ("[[recipe]]\nmethod = 'pyramid'\nrefined = true", "no 'refined'; did you mean refine"),
        ("[[recipe]]\nmethod = 'pyramid'\nrefine = 'perhaps'", "refine is 'perhaps': it must be bool"),
        ("[[recipe]]\nmethod = 'pyramid'\nmode = 'slow'", "must be default, fast"),
        ("[[recipe]]\nmethod = 'pyramid'\nmode = []", "mode has no values"),
        ("[[recipe]]\nmethod = 'laplacian'\ngaussian_px = true", "gaussian_px is True: it must be int"),
        ("[[recipe]]\nmethod = 'laplacian'\ngaussian_px = 3.5", "gaussian_px is 3.5"),
        ("[[recipe]]\nmethod = 'laplacian'\nalign = 'of'", "align 'of' is not known; did you mean off"),
        ("[[recipe]]\nalign = 'off'", "method is None: it must be one of"),
        ("[recipe]\nmethod = 'pyramid'", "names no recipe"),
        ("", "names no recipe"),
        ("recipes = 1", "'recipes' is not known; did you mean recipe"),
        ("[[recipe", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(tmp_path, text, said):
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    with pytest.raises(RequestError, match=r"experiment\.toml") as caught:
        read_experiment(path)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        read_experiment(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="is not TOML"):
        read_experiment(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("methods", "setting", "said"),
    [
        ([], "gausian_px=3", "no method compared has 'gausian_px'; did you mean gaussian_px"),
        (["pyramid"], "gaussian_px=3", "no method compared has"),
        (["pyramid"], "laplacian.gaussian_px=3", "no method compared has"),
        (["pyramid"], "refine", "must be KNOB=VALUE"),
        (["pyramid"], "refine=", "must be KNOB=VALUE"),
        (["pyramid"], "refine=maybe", "refine is 'maybe'"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said(methods, setting, said):
    with pytest.raises(RequestError) as caught:
        recipes_asked(methods, [setting])
    assert said in str(caught.value)


def test_more_than_fits_a_page_is_refused_and_repeats_count_once():
    odd = ",".join(str(side) for side in range(1, 32, 2))
    with pytest.raises(RequestError, match="at most 24"):
        recipes_asked(["laplacian"], [f"gaussian_px={odd}", "laplacian_px=3,5"])
    assert len(bounded([Recipe("average")] * 30)) == 1


def asked(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["stack", "-o", "out", *arguments])


def test_options_and_a_file_go_together_with_methods_named(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text('[[recipe]]\nmethod = "pyramid"\n')
    with_both = asked("--experiment", str(path), "--method", "average", "--set", "gaussian_px=3")
    assert labels(recipes_wanted(with_both)) == ["pyramid", "average, gaussian_px 3"]
    assert labels(recipes_wanted(asked("--experiment", str(path)))) == ["pyramid"]
    with pytest.raises(RequestError, match="go with --method"):
        recipes_wanted(asked("--experiment", str(path), "--set", "gaussian_px=3"))


@pytest.mark.parametrize("arguments", [("--crops", "0"), ("--jobs", "0"), ("--truth", "a", "--truth", "b")])
def test_numbers_that_make_no_sense_are_refused(arguments):
    with pytest.raises(RequestError, match=arguments[0]):
        recipes_wanted(asked(*arguments))


def test_results_are_kept_where_caches_are(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(asked()) == tmp_path / "focusd" / "compare"
    assert cache_folder(asked("--cache", "here")).name == "here"
    assert cache_folder(asked("--no-cache")) is None
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(asked()) == tmp_path / ".cache" / "focusd" / "compare"
