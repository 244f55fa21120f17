"""What a request leaves out: presets, settings, optics, and where the rail will be."""

from __future__ import annotations

from typing import Any

import pytest

from focusd.app import rail_spec
from focusd.config import parse_config
from focusd.draft import Draft, Drafter
from focusd.errors import FocusdError, NotHomed, OutOfTravel, PlanError, RequestError
from focusd.estimate import Estimator, Pace, disk_bytes
from focusd.link.payloads import JobStart, Settings, parse
from focusd.needs import FrameForm, correction_bytes, fusion_needs
from focusd.orders import RigState
from focusd.register.correction import Correction
from focusd.room import DISK_RESERVE_BYTES, MEMORY_RESERVE_BYTES, NoRoom, Room

OPTICS = {"magnification": 3.7, "na": 0.11, "pixel_um": 4.9}
HALF_DEPTH_UM = 28.7469
AT_4000 = RigState(position_um=4000.0, position_valid=True, marks_um={"near": 4100.0, "far": 4300.0})
LOST = RigState()
WIDE = Room(10**10, 10**11)
FRAME = FrameForm(10, 100, "4:2:0", encoded=True)
NEEDS = fusion_needs(FRAME)
# Odd frames are looked for unless told otherwise.
MEMORY_BYTES = NEEDS.memory_bytes + correction_bytes(FRAME, Correction(odd="fuse"))


def drafter(
    stack: dict[str, Any] | None = None,
    rail: dict[str, Any] | None = None,
    room: Room = WIDE,
    **more: Any,
) -> Drafter:
    table = {
        "rail": {
            "step_pin": 17,
            "direction_pin": 27,
            "enable_pin": 22,
            "high_um": 25_000,
            "home": {"pin": 23, "go_to_um": 5000},
            **(rail or {}),
        },
        "camera": {"kind": "dslr", "release_pin": 24, "frame_size": {"width": 100, "height": 10}},
        "stack": stack or {},
        **more,
    }
    config = parse_config(table, "rig.toml")
    return Drafter(config, Estimator(rail_spec(config.rail), Pace(), lambda _settings: 0.5), lambda: room)


def draft(desk: Drafter, fields: dict[str, Any], rig: RigState = AT_4000) -> Draft:
    return desk.draft(parse(JobStart, desk.with_preset(fields)), rig)


def spaced(stops: Draft) -> tuple[float, float, float | None]:
    return stops.plan.low_um, stops.plan.high_um, stops.plan.requested_step_um


def test_a_whole_request_needs_nothing() -> None:
    stops = draft(drafter(), {"z_plan": {"range": 100, "step": 30}, "settle_s": 3, "hold": "off"})
    assert stops.plan.positions_um == (3950.0, 3975.0, 4000.0, 4025.0, 4050.0)
    assert (stops.settings.settle_s, stops.settings.hold) == (3.0, "off")
    assert stops.facts["time_s"] > 5 * 3.5
    assert {k: stops.facts[k] for k in stops.facts if k != "time_s"} == {
        "stops": 5,
        "requested_step_um": 30.0,
        "step_um": 25.0,
        "motor_step_um": 5.0,
        "from_um": 4000.0,
        "first_um": 3950.0,
        "last_um": 4050.0,
        "memory_bytes": MEMORY_BYTES,
        "disk_bytes": disk_bytes(FRAME, 5, NEEDS.checkpoint_bytes),
        "checkpoint_bytes": NEEDS.checkpoint_bytes,
        "memory_free_bytes": 10**10,
        "disk_free_bytes": 10**11,
        "series": None,
        "fits": True,
        "warnings": [],
    }


@pytest.mark.parametrize(
    ("stack", "more", "settings", "fields", "step_um"),
    [
        # The request's own step wins over everything.
        ({"step_um": 7}, {"optics": OPTICS}, {"step_um": 9}, {"z_plan": {"range": 100, "step": 11}}, 11),
        # Then its own optics,
        ({"step_um": 7}, {}, {"step_um": 9}, {"z_plan": {"range": 100}, "optics": OPTICS}, HALF_DEPTH_UM),
        # then what was set,
        ({"step_um": 7}, {"optics": OPTICS}, {"step_um": 9}, {"z_plan": {"range": 100}}, 9),
        # then the configuration's step,
        ({"step_um": 7}, {"optics": OPTICS}, {}, {"z_plan": {"range": 100}}, 7),
        # then the rig's optics,
        ({}, {"optics": OPTICS}, {}, {"z_plan": {"range": 100}}, HALF_DEPTH_UM),
        # with the overlap of the request, the settings, or the configuration.
        (
            {},
            {"optics": OPTICS},
            {"overlap": 0.9},
            {"z_plan": {"range": 99}, "overlap": 0.75},
            HALF_DEPTH_UM / 2,
        ),
        (
            {"overlap": 0.9},
            {"optics": OPTICS},
            {"overlap": 0.75},
            {"z_plan": {"range": 99}},
            HALF_DEPTH_UM / 2,
        ),
        ({"overlap": 0.75}, {"optics": OPTICS}, {}, {"z_plan": {"range": 99}}, HALF_DEPTH_UM / 2),
        # Whoever names an overlap wants it heeded, whatever step the rig takes by default.
        (
            {"step_um": 7},
            {"optics": OPTICS},
            {},
            {"z_plan": {"range": 99}, "overlap": 0.75},
            HALF_DEPTH_UM / 2,
        ),
    ],
)
def test_where_the_step_comes_from(
    stack: dict[str, Any],
    more: dict[str, Any],
    settings: dict[str, Any],
    fields: dict[str, Any],
    step_um: float,
) -> None:
    desk = drafter(stack, **more)
    desk.set(parse(Settings, settings))
    stops = draft(desk, fields)
    assert stops.plan.requested_step_um == pytest.approx(step_um, abs=1e-3)
    assert stops.z_plan.step == stops.plan.requested_step_um, "the plan is resolved again when the job starts"


def test_without_step_and_optics_both_are_named() -> None:
    with pytest.raises(PlanError, match="no step and the rig has no optics"):
        draft(drafter(), {"z_plan": {"range": 100}})


def test_listed_positions_take_no_step_from_anywhere() -> None:
    stops = draft(drafter({"step_um": 7}, optics=OPTICS), {"z_plan": {"relative": [0, 5]}})
    assert stops.plan.positions_um == (4000.0, 4005.0)


def test_marks_are_the_rig_s() -> None:
    assert spaced(draft(drafter(), {"z_plan": {"marks": True, "step": 20}})) == (4100.0, 4300.0, 20.0)
    with pytest.raises(PlanError, match="near and far"):
        draft(drafter(), {"z_plan": {"marks": True, "step": 20}}, RigState(position_valid=True))


def test_nothing_at_all_runs_the_default() -> None:
    assert spaced(draft(drafter({"range_um": 200, "step_um": 20}), {})) == (3900.0, 4100.0, 20.0)
    with pytest.raises(PlanError, match="no z_plan, and there is no default"):
        draft(drafter(), {})


PRESETS = {
    "moth": {"z_plan": {"range": 300, "step": 30}, "settle_s": 2.5, "shots_per_step": 2},
    "wing": {"z_plan": {"range": 60, "step": 6}},
}


@pytest.mark.parametrize(
    ("stack", "settings", "fields", "range_um", "settle_s"),
    [
        ({"default_preset": "moth"}, {}, {}, 300, 2.5),
        ({"default_preset": "moth"}, {}, {"transaction": "a", "job_id": "b", "metadata": {"c": 1}}, 300, 2.5),
        ({"default_preset": "moth"}, {"preset": "wing"}, {}, 60, 1.0),
        ({"default_preset": "moth"}, {}, {"preset": "wing"}, 60, 1.0),
        ({}, {}, {"preset": "moth", "settle_s": 9}, 300, 9.0),
        ({}, {}, {"preset": "moth", "z_plan": {"range": 90, "step": 9}}, 90, 2.5),
        # How often, and at what risk, says nothing about the stack itself.
        (
            {"default_preset": "moth"},
            {},
            {"time_plan": {"interval": 900, "loops": 2}, "force": True},
            300,
            2.5,
        ),
        # A request that says something about the stack is no empty one: no default preset under it.
        ({"default_preset": "moth"}, {}, {"z_plan": {"range": 90, "step": 9}}, 90, 1.0),
        ({"default_preset": "moth", "range_um": 50, "step_um": 5}, {}, {"settle_s": 4}, 50, 4.0),
        ({"settle_s": 6}, {}, {"preset": "wing"}, 60, 6.0),
        ({"settle_s": 6}, {"settle_s": 8}, {"preset": "wing"}, 60, 8.0),
        ({"settle_s": 6}, {"settle_s": 0}, {"preset": "wing"}, 60, 0.0),
    ],
)
def test_presets_lie_under_the_request(
    stack: dict[str, Any], settings: dict[str, Any], fields: dict[str, Any], range_um: float, settle_s: float
) -> None:
    desk = drafter(stack, presets=PRESETS)
    desk.set(parse(Settings, settings))
    stops = draft(desk, fields)
    assert stops.plan.high_um - stops.plan.low_um == range_um
    assert stops.settings.settle_s == settle_s


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mth", "did you mean 'moth'"), ("zzzz", "there are: moth, wing"), (5, "'5'"), ([], "there are")],
)
def test_an_unknown_preset_is_refused_with_what_there_is(name: Any, hint: str) -> None:
    with pytest.raises(RequestError, match=hint) as raised:
        drafter(presets=PRESETS).with_preset({"preset": name})
    assert raised.value.code == "unknown_preset"


def test_no_fields_are_changed_that_were_handed_in() -> None:
    fields = {"preset": "moth"}
    drafter(presets=PRESETS).with_preset(fields)
    assert fields == {"preset": "moth"}


# Settings.


def test_settings_go_over_the_configuration_and_null_gives_it_back() -> None:
    desk = drafter({"step_um": 7, "settle_s": 2}, presets=PRESETS)
    configured = {"range_um": None, "step_um": 7.0, "settle_s": 2.0, "overlap": 0.5, "preset": None}
    assert desk.effective_settings() == configured
    desk.set(parse(Settings, {"step_um": 5, "preset": "moth", "transaction": "t"}))
    desk.set(parse(Settings, {"overlap": 0.0}))
    assert desk.effective_settings() == {**configured, "step_um": 5.0, "preset": "moth", "overlap": 0.0}
    desk.set(parse(Settings, {"step_um": None, "preset": None, "overlap": None}))
    assert desk.effective_settings() == configured


def test_a_setting_with_an_unknown_preset_changes_nothing() -> None:
    desk = drafter({"step_um": 7}, presets=PRESETS)
    with pytest.raises(RequestError, match="no preset 'gnat'"):
        desk.set(parse(Settings, {"step_um": 5, "preset": "gnat"}))
    assert desk.effective_settings()["step_um"] == 7.0


# Where the rail is, or will be.


@pytest.mark.parametrize(
    ("rail", "rig", "centre_um"),
    [
        ({}, AT_4000, 4000.0),
        ({"at_start": "home"}, AT_4000, 4000.0),
        ({"at_start": "home"}, LOST, 5000.0),
        ({"at_start": "zero", "low_um": -500}, LOST, 0.0),
        # A position that is not valid means nothing.
        ({"at_start": "home"}, RigState(position_um=777.0), 5000.0),
    ],
)
def test_a_relative_plan_is_centred_where_the_job_will_begin(
    rail: dict[str, Any], rig: RigState, centre_um: float
) -> None:
    stops = draft(drafter(rail=rail), {"z_plan": {"range": 100, "step": 50}}, rig)
    assert stops.plan.positions_um == (centre_um - 50, centre_um, centre_um + 50)


def test_on_a_lost_rail_a_job_is_refused() -> None:
    with pytest.raises(NotHomed, match="at_start"):
        draft(drafter(), {"z_plan": {"absolute": [5000]}}, LOST)


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"z_plan": {"absolute": [25_001]}}, OutOfTravel, "out_of_travel"),
        ({"z_plan": {"absolute": [10]}, "prerun_um": 20}, OutOfTravel, "out_of_travel"),
        ({"z_plan": {"range": 20_000, "step": 1}}, PlanError, "bad_plan"),
        ({"time_plan": {"interval": 1, "loops": 2}}, PlanError, "bad_plan"),
        ({"lights": ["left"]}, PlanError, "bad_plan"),
    ],
)
def test_what_cannot_be_run(fields: dict[str, Any], error: type[FocusdError], code: str) -> None:
    with pytest.raises(error) as raised:
        draft(drafter({"range_um": 100, "step_um": 10}), fields)
    assert raised.value.code == code


# What does not fit.


@pytest.mark.parametrize(("memory_short", "disk_short"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_what_does_not_fit_is_warned_of_and_not_admitted(memory_short: int, disk_short: int) -> None:
    disk = disk_bytes(FRAME, 5, NEEDS.checkpoint_bytes)
    room = Room(MEMORY_BYTES + MEMORY_RESERVE_BYTES - memory_short, disk + DISK_RESERVE_BYTES - disk_short)
    desk = drafter(room=room)
    stops = draft(desk, {"z_plan": {"range": 100, "step": 30}})
    warnings = stops.facts["warnings"]
    assert [word for word in ("memory", "disk") if any(f"of {word}" in w for w in warnings)] == [
        word for word, short in (("memory", memory_short), ("disk", disk_short)) if short
    ]
    assert all(warning.startswith("does not fit: needs ") for warning in warnings)
    if not warnings:
        desk.admit(stops)
        return
    with pytest.raises(NoRoom, match="; ".join(f"the job {warning}.*" for warning in warnings)) as raised:
        desk.admit(stops)
    assert raised.value.code == "no_room"


def test_without_checkpoints_their_room_is_not_asked_for() -> None:
    facts = draft(drafter(data={"checkpoint_s": 0.0}), {"z_plan": {"range": 100, "step": 30}}).facts
    assert (facts["checkpoint_bytes"], facts["disk_bytes"]) == (0, disk_bytes(FRAME, 5, 0))


def test_frames_of_unknown_size_are_not_held_against_a_job() -> None:
    camera = {"kind": "dslr", "release_pin": 24}
    desk = drafter(room=Room(0, 0), camera=camera)
    stops = draft(desk, {"z_plan": {"range": 100, "step": 30}})
    assert (stops.facts["memory_bytes"], stops.facts["warnings"]) == (None, [])
    desk.admit(stops)


def test_unless_told_otherwise_the_machine_itself_is_asked() -> None:
    table = {
        "rail": {"step_pin": 17, "direction_pin": 27, "enable_pin": 22, "high_um": 25_000},
        "camera": {"kind": "dslr", "release_pin": 24},
    }
    config = parse_config(table, "rig.toml")
    desk = Drafter(config, Estimator(rail_spec(config.rail), Pace(), lambda _settings: 0.5))
    facts = draft(desk, {"z_plan": {"range": 100, "step": 30}}).facts
    assert facts["memory_free_bytes"] > 0
    assert facts["disk_free_bytes"] > 0


@pytest.mark.parametrize(
    ("z_plan", "says"),
    [
        ({"range": 100, "step": 4.9}, "a step of 4.7619 um is less than the motor's, 5 um"),
        ({"range": 100, "step": 0.001}, "stops: 10000 at most"),
        ({"relative": [0, 1]}, "two stops fall on the same motor step, of 5 um"),
        ({"range": 0, "step": 5}, "covers no distance: both ends are at 4000 um"),
        ({"absolute": [4000, 25_001]}, "25001 um is outside the rail's limits 0 to 25000 um"),
    ],
)
def test_stops_that_the_rail_cannot_make_are_refused(z_plan: dict[str, Any], says: str) -> None:
    with pytest.raises(FocusdError, match=says):
        draft(drafter(), {"z_plan": z_plan})


def test_round_takes_what_the_motor_can_do_and_says_so() -> None:
    stops = draft(drafter(), {"z_plan": {"range": 100, "step": 3}, "round": True})
    assert stops.plan.positions_um == tuple(3950.0 + 5 * k for k in range(21))
    assert (stops.facts["requested_step_um"], stops.facts["step_um"], stops.facts["motor_step_um"]) == (
        3,
        5,
        5,
    )
    assert stops.z_plan.resolve(6000.0).positions_um == tuple(5950.0 + 5 * k for k in range(21)), "kept"


# Series.

HOURLY = {"interval": 3600, "loops": 5}


def test_a_series_takes_the_time_and_disk_of_all_its_stacks() -> None:
    asked = {"z_plan": {"range": 100, "step": 30}}
    one, all_of_it = draft(drafter(), asked), draft(drafter(), {**asked, "time_plan": HOURLY})
    series = all_of_it.facts["series"]
    assert (series["interval"], series["loops"]) == (3600.0, 5)
    assert series["time_s"] == 4 * 3600 + series["stack_s"]
    checkpoints = 2 * NEEDS.checkpoint_bytes
    each = disk_bytes(FRAME, 5, NEEDS.checkpoint_bytes)
    assert series["disk_bytes"] == 5 * (each - checkpoints) + checkpoints
    # What a stack takes is told as ever.
    same = set(one.facts) - {"series"}
    assert {k: one.facts[k] for k in same} == {k: all_of_it.facts[k] for k in same}
    assert all_of_it.time_plan is not None
    assert all_of_it.settings == one.settings


def test_the_way_back_counts_for_the_stacks_after_the_first() -> None:
    asked = {"z_plan": {"range": 8000, "step": 2000}, "time_plan": HOURLY}
    stays = draft(drafter(), asked, RigState(position_um=5000.0, position_valid=True)).facts
    assert stays["series"]["stack_s"] > stays["time_s"], "from the last stop, not from the middle"


def test_an_interval_must_hold_a_stack() -> None:
    asked = {"z_plan": {"range": 100, "step": 30}}
    stack_s = draft(drafter(), {**asked, "time_plan": HOURLY}).facts["series"]["stack_s"]
    just = draft(drafter(), {**asked, "time_plan": {"interval": stack_s + 0.01, "loops": 2}}).facts
    assert just["fits"]
    assert "leaves 0.0 s of an interval" in just["warnings"][0]
    with pytest.raises(PlanError, match="without waiting for frames, and time_plan") as raised:
        draft(drafter(), {**asked, "time_plan": {"interval": stack_s - 0.01, "loops": 2}})
    assert raised.value.values == {
        "stack_s": stack_s,
        "interval_s": pytest.approx(stack_s - 0.01),
    }


def test_disk_is_asked_for_all_stacks_at_first_and_for_one_at_each_turn() -> None:
    asked = {"z_plan": {"range": 100, "step": 30}}
    needed = draft(drafter(), {**asked, "time_plan": HOURLY}).disk_bytes
    assert needed is not None
    for short in (0, 1):
        desk = drafter(room=Room(10**10, needed + DISK_RESERVE_BYTES - short))
        stops = draft(desk, {**asked, "time_plan": HOURLY})
        assert stops.facts["fits"] is (short == 0)
        desk.admit(stops, all_stacks=False)
        if not short:
            desk.admit(stops)
            continue
        with pytest.raises(NoRoom, match="the disk is for 5 stacks: fewer loops need less") as raised:
            desk.admit(stops)
        each = stops.estimate.disk_bytes
        assert raised.value.values == {
            "disk_bytes": needed,
            "disk_free_bytes": needed + DISK_RESERVE_BYTES - 1,
            "loops": 5,
            "stack_disk_bytes": each,
        }


def test_too_little_memory_is_no_matter_of_loops() -> None:
    desk = drafter(room=Room(0, 10**11))
    with pytest.raises(NoRoom) as raised:
        desk.admit(draft(desk, {"z_plan": {"range": 100, "step": 30}, "time_plan": HOURLY}))
    assert "loops" not in str(raised.value)


# Lights and kept frames.

LIGHTS = {
    "left": {"pin": 5, "warm_up_s": 0.25},
    "right": {"pin": 6, "warm_up_s": 3.0},
    "ring": {"pin": 12, "on": "job", "warm_up_s": 7.0},
}
THREE = {"z_plan": {"range": 40, "step": 20}}


@pytest.mark.parametrize(
    ("stack", "fields", "keep_frames", "lights"),
    [
        ({}, {}, "off", ()),
        ({"keep_frames": "jpeg"}, {}, "jpeg", ()),
        ({"keep_frames": "jpeg"}, {"keep_frames": "off"}, "off", ()),
        ({"lights": ["left"]}, {}, "off", ("left",)),
        ({"lights": ["left"]}, {"lights": []}, "off", ()),
        ({"lights": ["left"]}, {"lights": ["right"]}, "off", ("right",)),
        ({"keep_frames": "source"}, {"lights": ["right", "left"]}, "source", ("right", "left")),
    ],
)
def test_frames_are_kept_and_lights_take_turns_as_the_rig_says_where_a_request_is_silent(
    stack: dict[str, Any], fields: dict[str, Any], keep_frames: str, lights: tuple[str, ...]
) -> None:
    stops = draft(drafter(stack, lights=LIGHTS), {**THREE, **fields})
    assert (stops.settings.keep_frames, stops.settings.lights) == (keep_frames, lights)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"lights": ["lamp"]}, "lights: there is no light lamp; there are: left, right, ring"),
        ({"lights": ["left", "left"], "keep_frames": "source"}, "lights: a light is named twice"),
        ({"lights": ["ring"]}, "ring burns for the whole job and takes no turns"),
        (
            {"lights": ["left", "right"]},
            "only the frames by left are fused: the others would be lost; set keep",
        ),
    ],
)
def test_lights_that_cannot_take_turns_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says) as raised:
        draft(drafter(lights=LIGHTS), {**THREE, **fields})
    assert raised.value.values == {"lights": fields["lights"]}


def test_frames_that_stay_in_the_camera_are_not_lost() -> None:
    camera = {"kind": "dslr", "release_pin": 24, "frames": "none"}
    stops = draft(drafter(lights=LIGHTS, camera=camera), {**THREE, "lights": ["left", "right"]})
    assert stops.settings.exposures_per_stop == 2


@pytest.mark.parametrize(
    ("lights", "fields", "more_s"),
    [
        # One exposure takes 0.5 s and settling 1 s, in which the first light warms up.
        ({}, {}, 0.0),
        ({"left": LIGHTS["left"]}, {}, 0.0),
        ({"left": LIGHTS["left"], "right": LIGHTS["right"]}, {}, 3 * 2.0),
        ({"right": LIGHTS["right"]}, {"settle_s": 4}, 3 * 3.0),
        ({"ring": LIGHTS["ring"]}, {}, 7.0),
        (LIGHTS, {"lights": ["left"]}, 7.0),
        (LIGHTS, {"lights": ["left", "right"], "keep_frames": "jpeg"}, 7.0 + 3 * (0.5 + 3.0)),
        (LIGHTS, {"lights": ["right", "left"], "keep_frames": "jpeg"}, 7.0 + 3 * (2.0 + 0.5 + 0.25)),
    ],
)
def test_lights_take_their_time(lights: dict[str, Any], fields: dict[str, Any], more_s: float) -> None:
    blind = {"preflight": False}
    dark_s = draft(drafter(blind), THREE).facts["time_s"]
    lit_s = draft(drafter(blind, lights=lights), {**THREE, **fields}).facts["time_s"]
    assert lit_s - dark_s == pytest.approx(more_s)


@pytest.mark.parametrize(
    ("lights", "fields", "more_s"),
    [
        ({}, {}, 1.0 + 0.5),
        ({}, {"shots_per_step": 3}, 1.0 + 0.5),
        (LIGHTS, {"lights": ["left", "right"], "keep_frames": "jpeg"}, 1.0 + 0.5),
        (LIGHTS, {"lights": ["right"]}, 3.0 + 0.5),
    ],
)
def test_the_test_frame_takes_its_time_before_the_first_stack(
    lights: dict[str, Any], fields: dict[str, Any], more_s: float
) -> None:
    """From 4000 um the middle is no way at all: all that is left is one settling and one exposure."""
    asked = {**THREE, **fields, "time_plan": HOURLY}
    blind, looked = (
        draft(drafter({"preflight": looks}, lights=lights), asked).facts for looks in (False, True)
    )
    assert looked["time_s"] - blind["time_s"] == pytest.approx(more_s)
    assert looked["series"]["stack_s"] == max(looked["time_s"], blind["series"]["stack_s"])


def test_the_way_by_the_test_frame_counts() -> None:
    far = {"z_plan": {"bottom": 6000, "top": 16_000, "step": 2000}}
    blind_s, looked_s = (draft(drafter({"preflight": looks}), far).facts["time_s"] for looks in (False, True))
    there_and_back_um = 2 * 6000
    assert looked_s - blind_s - 1.5 == pytest.approx(there_and_back_um / 2000, rel=0.1), "at 2 mm/s"


def test_frames_that_stay_in_the_camera_cannot_be_kept() -> None:
    camera = {"kind": "dslr", "release_pin": 24, "frames": "none"}
    with pytest.raises(PlanError, match=r'keep_frames: "source", and camera\.frames is "none"'):
        draft(drafter(camera=camera), {**THREE, "keep_frames": "source"})
