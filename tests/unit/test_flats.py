"""Where a preset's flat and dark frame lie, their files, and the command's refusals."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd import flat_command, flats
from focusd.clock import SystemClock
from focusd.config import Config, parse_config
from focusd.errors import ConfigError, FocusdError, FrameMismatch
from focusd.pictures.average import Average, Averaging, FlatUnusable
from focusd.pictures.average_tiff import facts_of, read_average, write_average
from focusd.pictures.samples import to_planes
from focusd.signals import Signals

TABLE: dict[str, Any] = {
    "rail": {
        "step_pin": 17,
        "direction_pin": 27,
        "enable_pin": 22,
        "lead_um": 1000,
        "low_um": 0,
        "high_um": 9000,
    }
    | {"start_um_s": 500, "cruise_um_s": 3000, "accel_um_s2": 6000},
    "camera": {"kind": "dslr", "release_pin": 24, "exposure_s": 0.02},
    "lights": {"left": {"pin": 5}, "right": {"pin": 6}},
    "presets": {"slide": {}, "both": {"lights": ["right", "left"]}},
}


def frame(form: str = "BGR", level: int = 150, seed: int = 0) -> Any:
    noise = np.random.default_rng(seed).normal(0, 2, (33, 45, 3))
    image = np.clip(np.rint(level + noise), 0, 255).astype(np.uint8)
    match form:
        case "BGR":
            return image
        case "4:2:0":
            return to_planes(image)
        case "grey":
            return np.ascontiguousarray(image[..., 0])
        case _:
            return image.astype(np.uint16) * 16


def average(form: str = "BGR", level: int = 150, frames: int = 3) -> Average:
    averaging = Averaging()
    for seed in range(frames):
        averaging.add(frame(form, level, seed))
    return averaging.result()


def config_for(folder: Path) -> Config:
    return parse_config({**TABLE, "data": {"dir": str(folder)}}, "test")


def command(folder: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    flat_command.add_arguments(parser)

    def build() -> Any:
        raise AssertionError("no hardware is needed")

    return flat_command.run(parser.parse_args(words), config_for(folder), build, SystemClock(), Signals())


@pytest.mark.parametrize("form", ["BGR", "4:2:0", "grey", "16 bits"])
def test_an_average_comes_back_from_its_file_as_it_was(tmp_path: Path, form: str) -> None:
    before = average(form)
    path = flats.path_of(tmp_path, "slide", "flat")
    write_average(path, before, {"at": "2026-01-01T00:00:00", "camera": {"kind": "dslr"}})
    after = read_average(path)
    assert after.form == before.form
    assert all(np.array_equal(a, b) for a, b in zip(after.planes, before.planes, strict=True))
    assert (after.white, after.frames, after.noise) == (before.white, before.frames, before.noise)
    assert facts_of(path)["camera"] == {"kind": "dslr"}
    assert list(tmp_path.rglob("*.part")) == []


@given(name=st.text(max_size=80))
def test_nothing_but_a_presets_name_becomes_a_path(name: str) -> None:
    folder = Path("/data")
    try:
        path = flats.path_of(folder, name, "flat")
    except FlatUnusable:
        return
    assert path == folder / "flats" / name / "flat.tif"
    assert path.resolve().is_relative_to(folder / "flats")
    assert name.replace("-", "_").isidentifier() or name.startswith("-")


@pytest.mark.parametrize("name", ["", ".", "..", "../slide", "a/b", "a\n", "a\0", "5x", "x" * 65])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FlatUnusable, match="cannot be a preset"):
        flats.shading_for(tmp_path, name)


def test_without_files_there_is_no_correction(tmp_path: Path) -> None:
    assert flats.shading_for(tmp_path, None) is None
    assert flats.shading_for(tmp_path, "slide") is None
    assert flats.record_of(tmp_path, "slide") is None
    assert flats.record_of(tmp_path, None) is None
    assert flats.kept(tmp_path) == []
    assert flats.remove(tmp_path, "slide") == []


def test_the_record_names_the_files_by_their_hash(tmp_path: Path) -> None:
    path = flats.path_of(tmp_path, "slide", "dark")
    write_average(path, average(level=2), {"at": "2026-01-01T00:00:00"})
    assert flats.record_of(tmp_path, "slide") == {
        "preset": "slide",
        "dark": {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "at": "2026-01-01T00:00:00",
            "frames": 3,
        },
    }
    json.dumps(flats.record_of(tmp_path, "slide"))


def test_a_run_keeps_the_files_it_was_corrected_by(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    path = flats.path_of(tmp_path, "slide", "flat")
    write_average(path, average(), {})
    flats.hand_over(tmp_path, "slide", run)
    flats.hand_over(tmp_path, None, run)
    first = (run / "flat.tif").read_bytes()
    write_average(path, average(level=170), {})
    assert (run / "flat.tif").read_bytes() == first
    assert path.read_bytes() != first
    shading = flats.shading_of(run / "flat.tif", None)
    assert shading.form == average().form
    with pytest.raises(FocusdError, match="cannot be written"):
        flats.hand_over(tmp_path, "slide", tmp_path / "nowhere")


def test_a_picture_of_the_camera_will_do_as_a_flat(tmp_path: Path) -> None:
    path = tmp_path / "flat.jpg"
    image = np.clip(cv2.GaussianBlur(frame("BGR"), (9, 9), 0), 0, 255)
    cv2.imwrite(str(path), image)
    found = read_average(path)
    assert (found.form.colour, found.frames) == ("4:2:0", 1)
    assert flats.shading_of(path, None).largest_gain < 1.2


@pytest.mark.parametrize("damage", ["cut", "text", "other size", "gone"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    path = flats.path_of(tmp_path, "slide", "flat")
    write_average(path, average(), {})
    data = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "text":
            path.write_bytes(b"no picture")
        case "other size":
            path.write_bytes(data.replace(b'"size": [45, 33]', b'"size": [33, 45]'))
        case _:
            path = tmp_path / "nothing.tif"
    with pytest.raises(FlatUnusable, match=r"(flat|nothing)\.tif: .*take it again by `focusd flat`"):
        flats.shading_of(path, None)


def test_a_flat_and_a_dark_that_do_not_match_are_named(tmp_path: Path) -> None:
    write_average(flats.path_of(tmp_path, "slide", "flat"), average("BGR"), {})
    write_average(flats.path_of(tmp_path, "slide", "dark"), average("grey", level=2), {})
    with pytest.raises(FrameMismatch, match=r"flat\.tif and .*dark\.tif: .*grey"):
        flats.shading_for(tmp_path, "slide")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "flats").write_text("in the way")
    with pytest.raises(FocusdError, match="cannot be made"):
        write_average(flats.path_of(tmp_path, "slide", "flat"), average(), {})


def test_the_list_names_each_file_and_the_damaged_one(tmp_path: Path, capsys: Any) -> None:
    assert command(tmp_path, "--list") == 0
    assert "no preset has" in capsys.readouterr().out
    write_average(flats.path_of(tmp_path, "slide", "flat"), average(), {"at": "noon", "exposure_s": 0.02})
    flats.path_of(tmp_path, "slide", "dark").write_bytes(b"")
    (tmp_path / "flats" / "not a preset").mkdir()
    assert command(tmp_path, "--list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "slide: flat of noon, mean of 3, 45 x 33 px, BGR, 8 bits, exposed 0.02 s",
        "slide: dark, damaged: take it again",
    ]


def test_files_are_removed_one_or_all(tmp_path: Path, capsys: Any) -> None:
    paths = [flats.path_of(tmp_path, "old", kind) for kind in flats.KINDS]
    for path in paths:
        write_average(path, average(), {})
    # "old" is no longer in the configuration.
    assert command(tmp_path, "--remove", "--preset", "old", "--dark") == 0
    assert [path.is_file() for path in paths] == [True, False]
    assert command(tmp_path, "--remove", "--preset", "old") == 0
    assert [path.is_file() for path in paths] == [False, False]
    assert capsys.readouterr().out.splitlines() == [f"{paths[1]}: removed", f"{paths[0]}: removed"]
    with pytest.raises(ConfigError, match="--preset other"):
        command(tmp_path, "--remove", "--preset", "other")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--preset None: name one of .*both, slide"),
        (("--preset", "nosuch"), "--preset nosuch: name one of .*both, slide"),
        (("--preset", "../slide"), "name one of"),
        (("--preset", "slide", "--light", "top"), "--light top: name one of .*left, right"),
    ],
)
def test_what_the_configuration_does_not_know_is_refused(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        command(tmp_path, *words)


@pytest.mark.parametrize("count", ["1", "257", "many"])
def test_a_mean_is_of_2_to_256_frames(tmp_path: Path, count: str) -> None:
    with pytest.raises(SystemExit):
        command(tmp_path, "--preset", "slide", "--frames", count)
