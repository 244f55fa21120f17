"""The frames of a run as `focusd fuse` finds them: what its folder says, and what it must not be believed."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusd.errors import FocusdError, JournalError
from focusd.job import Job, JobSettings, Started
from focusd.journal import JOURNAL_NAME, RECORD_NAME, Journal, record_of, write_json
from focusd.negatives import Negatives
from focusd.pictures.encoding import encode_jpeg
from focusd.plan import StackPlan, ZPlan
from focusd.rig import Exposure, Frame, Shot
from focusd.roll import is_run, read_roll

AT = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
JPEG = encode_jpeg(np.full((16, 16), 90, np.uint8))
PLAN = StackPlan((10.0, 30.0, 50.0), requested_step_um=20.0)


def job(**settings: Any) -> Job:
    return Job("20261121-120000-0001", ZPlan(absolute=PLAN.positions_um), PLAN, JobSettings(**settings))


def keep(folder: Path, *shots: tuple[int, int, str | None]) -> None:
    with closing(Negatives(folder, "source")) as negatives:
        for stop, number, light in shots:
            where_um = PLAN.positions_um[stop]
            shot = Shot(stop, number, where_um, where_um + 0.5, light)
            negatives.keep(shot, Frame("f.jpg", Exposure(0, 1.0, 1.1, 0.1, AT), encoded=JPEG))


def record(folder: Path, of: Job, **more: Any) -> None:
    write_json(folder / RECORD_NAME, record_of(of, 0) | more)


def test_kept_frames_with_their_true_positions_and_the_run_s_settings(tmp_path: Path) -> None:
    keep(tmp_path, (0, 0, None), (1, 0, None), (2, 0, None))
    record(tmp_path, job(prefer="front", fusion_mode="fast"))
    roll = read_roll(tmp_path)
    assert [(s.path.name, s.position_um, s.stop) for s in roll.sources] == [
        ("0000-00.jpg", 10.5, 0),
        ("0001-00.jpg", 30.5, 1),
        ("0002-00.jpg", 50.5, 2),
    ]
    assert (roll.prefer, roll.mode, roll.ends_um, roll.light) == ("front", "fast", (10.0, 50.0), None)


def test_a_run_without_a_record_is_read_by_its_journal(tmp_path: Path) -> None:
    keep(tmp_path, (0, 0, None))
    with closing(Journal(tmp_path / JOURNAL_NAME)) as journal:
        journal.accept(job(prefer="back"), AT)
        journal.enter(Started(StackPlan((0.0, 70.0))), AT)
    assert is_run(tmp_path)
    roll = read_roll(tmp_path)
    assert (roll.prefer, roll.mode, roll.ends_um) == ("back", "default", (0.0, 70.0))


def test_by_default_the_light_that_was_fused(tmp_path: Path) -> None:
    keep(tmp_path, (0, 0, "left"), (0, 1, "right"), (1, 0, "left"), (1, 1, "right"))
    record(tmp_path, job(lights=("left", "right")))
    assert [s.path.name for s in read_roll(tmp_path).sources] == ["0000-00.jpg", "0001-00.jpg"]
    assert [s.path.name for s in read_roll(tmp_path, "right").sources] == ["0000-01.jpg", "0001-01.jpg"]
    with pytest.raises(FocusdError, match=r"--light top: .* it has left, right"):
        read_roll(tmp_path, "top")


def test_a_light_of_a_run_whose_lights_took_no_turns(tmp_path: Path) -> None:
    keep(tmp_path, (0, 0, None))
    record(tmp_path, job())
    with pytest.raises(FocusdError, match=r"--light left: .* none: they did not take turns"):
        read_roll(tmp_path, "left")


def test_a_run_that_kept_nothing_says_what_to_do(tmp_path: Path) -> None:
    record(tmp_path, job())
    with pytest.raises(FocusdError, match=r"kept no frames .* focusd fuse .* CARD_DIR"):
        read_roll(tmp_path)


def test_a_run_whose_index_is_empty(tmp_path: Path) -> None:
    keep(tmp_path)
    record(tmp_path, job())
    with pytest.raises(FocusdError, match=r"no frame; look into its journal"):
        read_roll(tmp_path)


def shot_of(opened_s: float, **more: Any) -> dict[str, Any]:
    return {"opened_s": opened_s, "closed_s": opened_s, "frame": None, "error": None} | more


def test_the_card_s_files_take_the_place_of_kept_ones(tmp_path: Path) -> None:
    run, card = tmp_path / "run", tmp_path / "card"
    run.mkdir()
    card.mkdir()
    keep(run, (0, 0, None))
    stops = [{"index": n, "position_um": 10.25 + 20 * n, "shots": [shot_of(4.0 * n)]} for n in range(3)]
    record(run, job(), stops=stops)
    files = [card / f"{n}.jpg" for n in range(3)]
    for file in files:
        file.write_bytes(JPEG)
    roll = read_roll(run, files=files)
    assert [(s.path, s.position_um) for s in roll.sources] == list(
        zip(files, (10.25, 30.25, 50.25), strict=True)
    )


def test_shots_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    """A shot that was taken again lies in its stop's list, after the next stop's in time."""
    stops = [
        {"index": 0, "position_um": 1.0, "shots": [shot_of(0.0, number=0), shot_of(8.0, number=0)]},
        {"index": 1, "position_um": 2.0, "shots": [shot_of(4.0, number=0)]},
    ]
    record(tmp_path, job(), stops=stops)
    files = [tmp_path / f"{n}.jpg" for n in range(3)]
    for file in files:
        file.write_bytes(JPEG)
    assert [s.path.name for s in read_roll(tmp_path, files=files).sources] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"stops": []}, "no shots"),
        ({"stops": [{"index": 0}]}, "cannot be followed"),
        ({"stops": [7]}, "cannot be followed"),
        ({"stops": 7}, "no run's record"),
        (
            {
                "settings": {"lights": ["left"]},
                "stops": [{"index": 0, "position_um": 1, "shots": [shot_of(0)]}],
            },
            "light",
        ),
        ({"settings": {"prefer": "top"}}, "cannot be followed"),
        ({"settings": {"fusion_mode": ["fast"]}}, "cannot be followed"),
        ({"plan": {"positions_um": []}}, "cannot be followed"),
        ({"plan": {"positions_um": ["a"]}}, "cannot be followed"),
        ({"plan": 3}, "no run's record"),
        ({"settings": None}, "no run's record"),
    ],
)
def test_a_record_that_makes_no_sense_is_named(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    record(tmp_path, job(), **more)
    with pytest.raises(FocusdError, match=said) as caught:
        read_roll(tmp_path, files=[tmp_path / "a.jpg"])
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "3", '{"settings": {}}'])
def test_a_record_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD_NAME).write_text(text)
    with pytest.raises(JournalError, match=r"run\.json"):
        read_roll(tmp_path)


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_NAME).write_text(json.dumps({"kind": "accepted"}) + "\n")
    with pytest.raises(JournalError):
        read_roll(tmp_path)


def test_a_folder_of_pictures_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(JPEG)
    assert not is_run(tmp_path)
    assert not is_run(tmp_path / "0.jpg")
    assert not is_run(tmp_path / "gone")
