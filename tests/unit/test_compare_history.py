"""How the figures of benchmarks went over time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import nan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusd.compare import history
from focusd.compare.chart import Line, draw
from focusd.compare.history import Entry, charts, read, record
from focusd.errors import FocusdError


def test_what_is_recorded_is_read_with_machine_versions_and_time(tmp_path):
    path = tmp_path / "new" / "history.jsonl"
    made = record(path, "fuse", {"cpu_ms_mp": 6.5, "peak_mb": 200})
    record(path, "fuse", {"cpu_ms_mp": 6.25})
    entries, faults = read(path)
    assert faults == [] and entries[0] == made
    assert [entry.figures["cpu_ms_mp"] for entry in entries] == [6.5, 6.25]
    assert made.versions.keys() == {"focusd", "python", "numpy", "opencv"}
    assert "cores" in made.machine and made.when.endswith("+00:00")
    assert len(path.read_text().splitlines()) == 2


def test_the_commit_is_that_of_the_checkout():
    commit = history.commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{12}(-dirty)?", commit)


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert history.commit() is None


def test_a_torn_line_takes_neither_the_lines_before_nor_the_next_with_it(tmp_path):
    path = tmp_path / "history.jsonl"
    record(path, "fuse", {"cpu_s": 1.0})
    with path.open("a") as file:
        file.write('{"bench": "fu')
    record(path, "fuse", {"cpu_s": 2.0})
    entries, (fault,) = read(path)
    assert [entry.figures["cpu_s"] for entry in entries] == [1.0, 2.0]
    assert "line 2" in fault


def test_runs_that_end_together_write_whole_lines(tmp_path):
    path = tmp_path / "history.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: record(path, "fuse", {"cpu_s": float(number)}), range(24)))
    entries, faults = read(path)
    assert faults == [] and {entry.figures["cpu_s"] for entry in entries} == set(map(float, range(24)))


@settings(max_examples=100, deadline=None)
@given(line=st.binary(max_size=80) | st.from_regex(r"\{.*\}", fullmatch=True).map(str.encode))
def test_a_file_that_is_no_history_is_passed_over_line_by_line(tmp_path_factory, line):
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    path.write_bytes(line)
    entries, faults = read(path)
    assert entries == [] and len(faults) <= len(line.splitlines())


@pytest.mark.parametrize(
    "facts",
    [
        {"bench": "b", "figures": {"a": "x"}, "machine": "m", "when": "2026-01-01T00:00:00"},
        {"bench": "b", "figures": {"a": 1e999}, "machine": "m", "when": "2026-01-01T00:00:00"},
        {"bench": "b", "figures": {"a": 1.0}, "machine": "m", "when": "yesterday"},
        {"bench": "b", "figures": [1.0], "machine": "m", "when": "2026-01-01T00:00:00"},
        {"bench": "b", "figures": {"a": 1.0}, "when": "2026-01-01T00:00:00"},
        {"bench": "b", "figures": {"a": 1.0}, "machine": "m", "when": "2026-01-01", "versions": 1},
    ],
)
def test_a_line_that_says_too_little_is_a_fault(tmp_path, facts):
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps(facts))
    entries, faults = read(path)
    assert entries == [] and len(faults) == 1


def test_figures_that_are_none_are_refused(tmp_path):
    for figures in ({}, {"cpu_s": nan}, {"cpu_s": float("inf")}):
        with pytest.raises(FocusdError, match="finite number"):
            record(tmp_path / "history.jsonl", "fuse", figures)
    assert not (tmp_path / "history.jsonl").exists()


def test_a_file_that_cannot_be_had_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FocusdError, match="cannot be written"):
        record(tmp_path / "file" / "history.jsonl", "fuse", {"cpu_s": 1.0})
    with pytest.raises(FocusdError, match="cannot be read"):
        read(tmp_path / "none.jsonl")


def entry(cpu_ms_mp, machine="Pi 4", bench="fuse", **more):
    return Entry("2026-11-21T16:00:00+00:00", bench, {"pyramid_cpu_ms_mp": cpu_ms_mp, **more}, machine)


def test_each_benchmark_and_unit_has_a_chart_and_each_figure_a_line():
    first, second, third = charts(
        [entry(6.0, average_cpu_ms_mp=9.0, pyramid_peak_mb=200), entry(5.0), entry(1.0, bench="<other>")]
    )
    assert first.count("<polyline") == 2 and "pyramid cpu" in first and "ms / MP" in first
    assert second.count("<polyline") == 1 and ">MB<" in second
    assert "&lt;other&gt;" in third and "<other>" not in third


def test_machines_have_lines_of_their_own():
    (chart,) = charts([entry(6.0), entry(2.0, machine="Zen 4"), entry(5.9)])
    assert chart.count("<polyline") == 2 and "pyramid cpu, Zen 4" in chart


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-1e6, 1e6) | st.sampled_from([nan, float("inf")])] * 2), min_size=1, max_size=8
    )
)
def test_every_point_of_a_chart_lies_inside_its_axes(points):
    chart = draw([Line("", tuple(points))], x_label="x", y_label="y", size_px=(300, 200))
    finite = [at for at in points if abs(at[0]) <= 1e6 and abs(at[1]) <= 1e6]
    places = re.findall(r'<circle cx="([-.\d]+)" cy="([-.\d]+)"', chart)
    assert len(places) == len(finite)
    for x, y in places:
        assert 57.9 <= float(x) <= 286.1 and 13.9 <= float(y) <= 160.1
    assert bool(chart) == bool(finite)


def test_bench_scripts_keep_their_figures_where_the_environment_says_and_draw_them(tmp_path):
    bench, kept, page = Path(__file__).parents[1] / "bench", tmp_path / "bench.jsonl", tmp_path / "bench.html"
    script = "from history import keep; keep('add', {'add_ms_mp': 1.5})"
    for environment in ({}, {"FOCUSD_HISTORY": str(kept)}):
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=bench,
            env={**os.environ, **environment},
            check=True,
            timeout=50,
        )
    assert [entry.figures for entry in read(kept)[0]] == [{"add_ms_mp": 1.5}]
    subprocess.run([sys.executable, bench / "history.py", kept, "-o", page], check=True, timeout=50)
    assert page.read_text().count("<circle") == 1
