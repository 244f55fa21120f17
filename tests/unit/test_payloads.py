"""From bytes that anyone may send to a request, or to a refusal with a reason."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from focusd.errors import RequestError
from focusd.job import JobSettings
from focusd.link.payloads import (
    MAX_DEPTH,
    MAX_PAYLOAD_BYTES,
    REQUESTS,
    UNSUPPORTED,
    JobPlan,
    JobRef,
    JobStart,
    Mark,
    Move,
    Plain,
    Settings,
    parse,
    read_payload,
    transaction_of,
)
from focusd.plan import MAX_STOPS, ZPlan

# Bytes.


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"", {}),
        (b" \n\t", {}),
        (b"{}", {}),
        (b' {"a": [1, 2.5, null, true]} ', {"a": [1, 2.5, None, True]}),
        ('{"a": "\u00b5"}'.encode(), {"a": "\u00b5"}),
        (b"moth", "moth"),
        (b" moth\n", "moth"),
        (b'"moth"', "moth"),
        (b"M8_x-1", "M8_x-1"),
    ],
)
def test_what_is_read(payload: bytes, value: Any) -> None:
    assert read_payload(payload) == value


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"null", "bad_request"),
        (b"true", "bad_request"),
        (b"42", "bad_request"),
        (b"[]", "bad_request"),
        (b'["moth"]', "bad_request"),
        (b"two words", "bad_request"),
        (b"x" * 65, "bad_request"),
        (b"{", "bad_request"),
        (b'{"a": 1,}', "bad_request"),
        (b"{} {}", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b'{"a": "\xe9"}', "bad_request"),
        (b"{'a': 1}", "bad_request"),
        (b'{"a": NaN}', "bad_request"),
        (b'{"a": Infinity}', "bad_request"),
        (b'{"a": [-Infinity]}', "bad_request"),
        (b'{"a": 1e999}', "bad_request"),
        (b'{"metadata": {"a": [-1e999]}}', "bad_request"),
        (b'{"a": ' + b"9" * 5000 + b"}", "bad_request"),
        (b'{"a": 1, "a": 1}', "bad_request"),
        (b'{"z_plan": {"step": 1, "step": 2}}', "bad_request"),
        (b'{"a": {"\\u0061": 1, "a": 2}}', "bad_request"),
        (b"{" * 100_000, "too_large"),
        (b" " * (MAX_PAYLOAD_BYTES + 1), "too_large"),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "too_deep"),
        (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "too_deep"),
        (b"[" * 60_000, "too_deep"),
    ],
)
def test_what_is_refused(payload: bytes, code: str) -> None:
    with pytest.raises(RequestError) as raised:
        read_payload(payload)
    assert raised.value.code == code
    assert len(str(raised.value)) < 1000


def test_the_bounds_themselves_are_allowed() -> None:
    padding = MAX_PAYLOAD_BYTES - len(b'{"a": ""}')
    assert read_payload(b'{"a": "' + b"x" * padding + b'"}') == {"a": "x" * padding}
    deepest = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert isinstance(read_payload(deepest), dict)
    with pytest.raises(RequestError, match="deeper"):
        read_payload(b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}")


def test_brackets_in_words_are_no_nesting() -> None:
    text = "[" * 100 + '\\"' + "{" * 100
    assert read_payload(json.dumps({"a": text}).encode()) == {"a": text}
    assert read_payload(rb'{"a": "\\", "b": "' + b"[" * 50 + b'"}') == {"a": "\\", "b": "[" * 50}


# Fields.


@pytest.mark.parametrize(
    ("model", "fields", "named"),
    [
        (Plain, {"a": 1}, "unknown key 'a'"),
        (JobStart, {"zplan": {}}, "did you mean 'z_plan'"),
        (JobStart, {"z_plan": {"rnge": 1}}, "z_plan.rnge: unknown key 'rnge' (did you mean 'range'?)"),
        (JobStart, {"z_plan": {}}, "exactly one of"),
        (JobStart, {"z_plan": {"range": 100, "top": 5}}, "exactly one of"),
        (JobStart, {"z_plan": {"range": 100, "step": 0}}, "above 0"),
        (JobStart, {"z_plan": {"range": -1, "step": 1}}, "z_plan.range"),
        (JobStart, {"z_plan": {"range": "100"}}, "z_plan.range: Input should be a valid number"),
        (JobStart, {"z_plan": {"range": math.inf}}, "z_plan.range: Input should be a finite number"),
        (JobStart, {"z_plan": {"range": 10**400}}, "z_plan.range"),
        (JobStart, {"z_plan": {"range": 1e8}}, "z_plan.range: Input should be less than"),
        (JobStart, {"z_plan": {"absolute": 5}}, "z_plan.absolute"),
        (JobStart, {"z_plan": {"absolute": [5, "x"]}}, "z_plan.absolute.1"),
        (JobStart, {"z_plan": {"absolute": [0] * (MAX_STOPS + 1)}}, "z_plan.absolute"),
        (JobStart, {"z_plan": {"range": 10, "go_up": 1}}, "z_plan.go_up"),
        (JobStart, {"settle_s": True}, "settle_s"),
        (JobStart, {"settle_s": -1}, "settle_s"),
        (JobStart, {"settle_s": 3601}, "settle_s"),
        (JobStart, {"shots_per_step": 0}, "shots_per_step"),
        (JobStart, {"shots_per_step": 1.5}, "shots_per_step"),
        (JobStart, {"shutter_on_s": 0}, "shutter_on_s"),
        (JobStart, {"approach": "left"}, "approach"),
        (JobStart, {"return_to": "top"}, "return_to"),
        (JobStart, {"hold": True}, "hold"),
        (JobStart, {"overlap": 1}, "overlap"),
        (JobStart, {"optics": {"magnification": 3.7, "pixel_um": 4.9}}, "na and f_number"),
        (JobStart, {"preset": "../x"}, "preset"),
        (JobStart, {"time_plan": {"interval": 60}}, "time_plan.loops: Field required"),
        (JobStart, {"time_plan": {"loops": 2}}, "time_plan.interval: Field required"),
        (JobStart, {"time_plan": {"interval": 0.5, "loops": 2}}, "time_plan.interval"),
        (JobStart, {"time_plan": {"interval": 604_801, "loops": 2}}, "time_plan.interval"),
        (JobStart, {"time_plan": {"interval": 60, "loops": 0}}, "time_plan.loops"),
        (JobStart, {"time_plan": {"interval": 60, "loops": 10_001}}, "time_plan.loops"),
        (JobStart, {"time_plan": {"interval": 60, "loops": 2.5}}, "time_plan.loops"),
        (JobStart, {"time_plan": {"interval": 60, "loop": 2}}, "did you mean 'loops'"),
        (JobStart, {"job_id": 5}, "job_id"),
        (JobStart, {"job_id": "x" * 257}, "job_id"),
        (JobStart, {"metadata": []}, "metadata"),
        (JobStart, {"expires_at": "tomorrow"}, "ISO 8601"),
        (JobStart, {"expires_at": "2026-01-01T00:00:00"}, "no time zone"),
        (JobStart, {"expires_at": 1.0}, "expires_at"),
        (JobStart, {"transaction": 5}, "transaction"),
        (JobStart, {"\ud800": 5}, "unicode"),
        (Mark, {}, "end: Field required"),
        (Mark, {"end": "left"}, "end"),
        (Move, {}, "exactly one of to_um and by_um"),
        (Move, {"to_um": 1, "by_um": 1}, "exactly one of to_um and by_um"),
        (Move, {"to_um": math.nan}, "to_um"),
        (Move, {"by_um": 1e8}, "by_um"),
        (JobRef, {"id": "../../etc"}, "id"),
        (Settings, {"step_um": 0}, "step_um"),
        (Settings, {"stepum": 5}, "did you mean 'step_um'"),
    ],
)
def test_fields_that_are_refused(model: type[Any], fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse(model, fields)
    assert named in str(raised.value)
    assert raised.value.code == "bad_request"


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(RequestError) as raised:
        parse(JobStart, {"settle_s": -1, "hodl": "job", "z_plan": {"range": "x"}})
    assert len(raised.value.values["faults"]) == 3
    assert all(fault in str(raised.value) for fault in raised.value.values["faults"])


@pytest.mark.parametrize(
    "payload",
    [
        "{" + ",".join(f'"{i:04x}":1' for i in range(6000)) + "}",
        '{"z_plan": {"relative": [' + ",".join(['""'] * 9000) + "]}}",
        json.dumps({"settle_s": "x" * 60_000}),
        json.dumps({"x" * 60_000: 1}),
        json.dumps({"expires_at": "x" * 60_000}),
    ],
    ids=["keys", "positions", "value", "key", "moment"],
)
def test_a_refusal_is_no_larger_than_a_request(payload: str) -> None:
    """A response of megabytes would be refused by the broker, which paho would then meet for ever."""
    fields = read_payload(payload.encode())
    assert isinstance(fields, dict)
    with pytest.raises(RequestError) as raised:
        parse(JobStart, fields)
    assert len(json.dumps([str(raised.value), raised.value.values])) <= MAX_PAYLOAD_BYTES


def test_whole_numbers_are_micrometres_too() -> None:
    request = parse(Move, {"to_um": 5000})
    assert isinstance(request.to_um, float)
    start = parse(JobStart, {"z_plan": {"absolute": [1, 2]}, "settle_s": 1})
    assert start.z_plan is not None
    assert start.z_plan.as_plan() == ZPlan(absolute=(1.0, 2.0))


def test_a_job_s_settings_all_arrive() -> None:
    asked: dict[str, Any] = {
        "settle_s": 2.0,
        "approach": "down",
        "backlash_um": 40.0,
        "prerun_um": 10.0,
        "shots_per_step": 3,
        "pre_delay_s": 5.0,
        "shutter_on_s": 0.3,
        "shutter_gap_s": 0.7,
        "post_shot_s": 0.2,
        "mirror_lockup_s": 1.5,
        "return_to": "centre",
        "hold": "off",
        "slab": 12,
        "slab_overlap": 3,
        "prefer": "front",
        "fusion_mode": "fast",
        "align": "similarity",
        "gain": True,
        "odd_frames": "stop",
        "border": "mark",
        "transforms": "20261121-120000-0001",
        "keep_frames": "source",
        "lights": ("left", "right"),
        "preset": "wasp",
        "force": True,
    }
    assert set(asked) == set(JobSettings.__dataclass_fields__)
    assert parse(JobStart, asked).settings() == JobSettings(**asked)
    assert parse(JobStart, {}).settings() == JobSettings()


@pytest.mark.parametrize(
    ("moment", "expired"),
    [
        ("2026-01-31T11:59:59Z", True),
        ("2026-01-31T12:00:00Z", True),
        ("2026-01-31T12:00:01Z", False),
        ("2026-01-31T13:00:00+02:00", True),
        ("2026-01-31T11:00:00-02:00", False),
        ("20260131T120001Z", False),
        ("0001-01-01T00:00:00+23:59", True),
        ("9999-12-31T23:59:59-23:59", False),
    ],
)
def test_when_a_request_has_expired(moment: str, expired: bool) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert parse(Plain, {"expires_at": moment}).expired(noon) is expired
    assert not parse(Plain, {}).expired(noon)


@pytest.mark.parametrize(
    ("payload", "transaction"),
    [
        (b'{"transaction": "a1"}', "a1"),
        (b'{"transaction": "a1", "nonsense": []}', "a1"),
        (b'{"transaction": 5}', None),
        (b'{"transaction": "' + b"x" * 257 + b'"}', None),
        (b'{"transaction": "a1"', None),
        (b"moth", None),
        (b"", None),
        (b"\xff", None),
        (b"x" * 100_000, None),
    ],
)
def test_the_transaction_of_a_payload_that_may_be_bad(payload: bytes, transaction: str | None) -> None:
    assert transaction_of(payload) == transaction


def test_no_command_is_both_built_and_unsupported() -> None:
    assert not set(REQUESTS) & set(UNSUPPORTED)
    assert issubclass(JobPlan, JobStart)


# Anything at all.

NAMES = sorted({*JobStart.model_fields, *Move.model_fields, "range", "step", "absolute", "end", "id", "x"})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


def try_all(payload: bytes) -> None:
    transaction_of(payload)
    try:
        fields = read_payload(payload)
    except RequestError as error:
        json.dumps(error.values)
        return
    if isinstance(fields, str):
        return
    for model in {*REQUESTS.values()}:
        try:
            request = parse(model, fields)
        except RequestError as error:
            assert error.code
            json.dumps([str(error), error.values], allow_nan=False)
        else:
            request.expired(datetime(2026, 1, 1, tzinfo=UTC))
            json.dumps(request.model_dump(), allow_nan=False)


@settings(deadline=None, max_examples=200)
@given(payload=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@example(b'{"metadata": {"a": 1e999}}')
@example(b'{"\\ud800": "\\udfff"}')
def test_arbitrary_bytes_raise_nothing_but_a_refusal(payload: bytes) -> None:
    try_all(payload)


@settings(deadline=None, max_examples=200)
@given(fields=st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6))
def test_arbitrary_json_raises_nothing_but_a_refusal(fields: dict[str, Any]) -> None:
    try_all(json.dumps(fields).encode())


@settings(deadline=None, max_examples=60)
@given(
    head=st.sampled_from([b'{"a":', b"[", b'"', b"{", b"\\", b"9", b"-", b'{"z_plan":{"relative":[']),
    times=st.integers(1, 20_000),
    tail=st.binary(max_size=8),
)
def test_monotonous_payloads_raise_nothing_but_a_refusal(head: bytes, times: int, tail: bytes) -> None:
    try_all(head * times + tail)
