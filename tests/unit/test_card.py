"""Files of a camera's card matched to a run's shots by number and by time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusd.card import Shutter, match
from focusd.errors import FocusdError
from focusd.pictures import exif
from focusd.pictures.encoding import encode_jpeg
from focusd.pictures.metadata import Metadata
from focusd.pictures.tags import text_tag
from focusd.sources import find_sources

GREY = np.full((16, 16), 128, np.uint8)
NOON = datetime(2020, 2, 29, 23, 59, 57)
PICTURE = encode_jpeg(GREY)


def photograph(seconds: float | None, *, fractions: bool = False) -> bytes:
    """Return a JPEG taken so long after some time of the camera's own clock, in whole seconds or better."""
    if seconds is None:
        return PICTURE
    at = NOON + timedelta(seconds=seconds)
    tags = [text_tag(36867, f"{at:%Y:%m:%d %H:%M:%S}")]
    if fractions:
        tags.append(text_tag(37521, f"{at.microsecond // 10000:02d}"))
    return encode_jpeg(GREY, metadata=Metadata(exif=exif.block([], tags, "<")))


def card(
    folder: Path, times: Sequence[float | None], *, fractions: bool = False, first: int = 1
) -> list[Path]:
    folder.mkdir(parents=True)
    for number, seconds in enumerate(times):
        # A camera begins again after 9999.
        name = f"DSC_{(first + number - 1) % 9999 + 1:04d}.JPG"
        (folder / name).write_bytes(photograph(seconds, fractions=fractions))
    return find_sources([folder])


def shots(count: int, gap_s: float = 4.0, first_s: float = 0.3) -> list[Shutter]:
    return [Shutter(stop, 20.0 * stop, first_s + gap_s * stop) for stop in range(count)]


def test_as_many_files_as_shots_belong_to_them_by_name(tmp_path: Path) -> None:
    sources, notes = match(card(tmp_path / "c", [None] * 4), shots(4))
    assert notes == ()
    assert [(s.path.name, s.position_um, s.stop) for s in sources] == [
        ("DSC_0001.JPG", 0.0, 0),
        ("DSC_0002.JPG", 20.0, 1),
        ("DSC_0003.JPG", 40.0, 2),
        ("DSC_0004.JPG", 60.0, 3),
    ]


def test_times_come_before_names(tmp_path: Path) -> None:
    """Names begin again after 9999, in the middle of the stack."""
    files = card(tmp_path / "c", [0.3 + 4 * n for n in range(4)], first=9998)
    sources, _ = match(files, shots(4))
    assert [s.path.name for s in sources] == ["DSC_9998.JPG", "DSC_9999.JPG", "DSC_0001.JPG", "DSC_0002.JPG"]


def test_files_of_one_second_keep_the_order_of_their_names(tmp_path: Path) -> None:
    sources, _ = match(card(tmp_path / "c", [5.0, 5.2, 5.4]), shots(3, gap_s=0.2))
    assert [s.path.name for s in sources] == ["DSC_0001.JPG", "DSC_0002.JPG", "DSC_0003.JPG"]


def test_other_files_than_the_run_s_are_refused(tmp_path: Path) -> None:
    files = card(tmp_path / "c", [0, 4, 8, 15, 19])
    with pytest.raises(
        FocusdError, match=r"DSC_0004.JPG was taken 7.0 s after DSC_0003.JPG .* stops 2 and 3 .* 4.0 s"
    ):
        match(files, shots(5))


@pytest.mark.parametrize("count", [3, 6])
def test_unequal_numbers_without_times_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(FocusdError, match=rf"{count} files for 5 shots, and not every file says when"):
        match(card(tmp_path / "c", [*[1.0] * (count - 1), None]), shots(5))


@pytest.mark.parametrize("fractions", [False, True])
@given(
    missing=st.sets(st.integers(1, 18), min_size=1, max_size=6),
    clock_s=st.floats(-5e4, 5e4),
    drift=st.floats(-3e-5, 3e-5),
)
def test_missing_files_are_found_by_their_times(
    tmp_path_factory: pytest.TempPathFactory, fractions: bool, missing: set[int], clock_s: float, drift: float
) -> None:
    run = shots(20, gap_s=3.0)
    there = [shutter for shutter in run if shutter.stop not in missing]
    times = [clock_s + shutter.opened_s * (1 + drift) for shutter in there]
    sources, notes = match(card(tmp_path_factory.mktemp("m") / "c", times, fractions=fractions), run)
    assert [source.stop for source in sources] == [shutter.stop for shutter in there]
    assert notes[0] == f"{len(there)} files for 20 shots, matched by their times"
    assert notes[1] == "no file of " + ", ".join(f"stop {stop}" for stop in sorted(missing))


def test_files_that_belong_to_no_shot_are_left_out(tmp_path: Path) -> None:
    """Two test shots long before, one between."""
    run = shots(8)
    times = sorted([-300.0, -290.0, 14.5, *(shutter.opened_s for shutter in run)])
    sources, notes = match(card(tmp_path / "c", times, fractions=True), run)
    assert [source.stop for source in sources] == list(range(8))
    assert notes[1] == "left out, belonging to no shot: DSC_0001.JPG, DSC_0002.JPG, DSC_0007.JPG"


def test_a_missing_file_at_an_end_of_an_even_stack_cannot_be_told(tmp_path: Path) -> None:
    """The camera's clock is not the rig's: it may be the first as well as the last."""
    files = card(tmp_path / "c", [4.0 * n for n in range(7)])
    with pytest.raises(FocusdError, match="7 files for 8 shots, and their times fit in 2 ways"):
        match(files, shots(8))


def test_a_missing_file_at_an_end_is_told_by_an_uneven_interval(tmp_path: Path) -> None:
    run = [Shutter(stop, 20.0 * stop, 4.0 * stop + (9.0 if stop > 4 else 0.0)) for stop in range(8)]
    sources, notes = match(card(tmp_path / "c", [shutter.opened_s for shutter in run[1:]]), run)
    assert [source.stop for source in sources] == list(range(1, 8))
    assert notes[1] == "no file of stop 0"


def test_times_that_fit_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FocusdError, match="3 files for 5 shots, and their times do not fit"):
        match(card(tmp_path / "c", [0, 900, 4000]), shots(5))


def test_shots_too_close_for_whole_seconds_are_refused(tmp_path: Path) -> None:
    run = shots(5, gap_s=1.5)
    with pytest.raises(FocusdError, match=r"4 files for 5 shots, and the shots are only 1.5 s apart"):
        match(card(tmp_path / "a", [0, 1.5, 4.5, 6]), run)
    sources, _ = match(card(tmp_path / "b", [0.1, 1.6, 4.6, 6.1], fractions=True), run)
    assert [source.stop for source in sources] == [0, 1, 3, 4]


def test_a_shot_that_went_wrong_may_have_a_file_or_none(tmp_path: Path) -> None:
    run = [Shutter(stop, 20.0 * stop, 4.0 * stop, is_sure=stop != 2) for stop in range(5)]
    for count, stops in ((4, [0, 1, 3, 4]), (5, [0, 1, 2, 3, 4])):
        sources, notes = match(card(tmp_path / str(count), [None] * count), run)
        assert ([source.stop for source in sources], notes) == (stops, ())


def test_the_files_of_one_light(tmp_path: Path) -> None:
    run = [
        Shutter(stop, 20.0 * stop, 4.0 * stop + number, light, number)
        for stop in range(3)
        for number, light in enumerate(("left", "right"))
    ]
    sources, _ = match(card(tmp_path / "c", [None] * 6), run, "right")
    assert [source.path.name for source in sources] == ["DSC_0002.JPG", "DSC_0004.JPG", "DSC_0006.JPG"]


def test_a_shot_taken_again_counts_once_where_it_was_taken_last(tmp_path: Path) -> None:
    order = [(0, 0), (1, 0), (2, 0), (1, 0)]
    run = [Shutter(stop, 20.0 * stop, 4.0 * n, None, number) for n, (stop, number) in enumerate(order)]
    sources, _ = match(card(tmp_path / "c", [None] * 4), run)
    assert [(source.stop, source.path.name) for source in sources] == [
        (0, "DSC_0001.JPG"),
        (2, "DSC_0003.JPG"),
        (1, "DSC_0004.JPG"),
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FocusdError, match=r"gone\.jpg: cannot be read"):
        match([tmp_path / "gone.jpg"], shots(1))
