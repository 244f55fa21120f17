"""What may be asked, as strict models, and how a payload of bytes becomes one."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from focusd.config import LightName, OpticsConfig
from focusd.errors import PlanError, RequestError
from focusd.job import FusionMode, JobSettings, KeepFrames, Preference
from focusd.plan import MAX_STOPS, ZPlan
from focusd.register.aligner import Mode
from focusd.register.correction import Border, OddPolicy
from focusd.schema import Strict, complaints
from focusd.series import TimePlan
from focusd.slab_plan import LARGEST_SLAB

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_DEPTH = 16
PRESET_NAME = r"^[A-Za-z_-][A-Za-z0-9_-]{0,63}$"

_JSON_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")

Micrometres = Annotated[float, Field(ge=-1e7, le=1e7)]
Distance = Annotated[float, Field(ge=0, le=1e7)]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Positions = Annotated[tuple[Micrometres, ...], Field(strict=False, max_length=MAX_STOPS)]
ShortText = Annotated[str, Field(max_length=256)]
RunId = Annotated[str, Field(pattern=r"^\d{8}-\d{6}-\d{4}$")]


class Request(Strict):
    """What every request may carry."""

    transaction: ShortText | None = Field(None, description="comes back in the response")
    expires_at: str | None = Field(
        None, max_length=64, description="ISO 8601 with a time zone; refused after that moment"
    )

    @field_validator("expires_at")
    @classmethod
    def _moment(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError("write it as ISO 8601, e.g. 2026-01-31T12:00:00Z") from None
            if moment.tzinfo is None:
                raise ValueError("it has no time zone; append Z for UTC")
        return value

    def expired(self, now: datetime) -> bool:
        """Whether the request came too late."""
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= now.astimezone(UTC)


class ZPlanModel(Strict):
    """``z_plan``: one of {top,bottom}, {marks}, {range}, {above,below}, {relative}, {absolute}; um."""

    top: Micrometres | None = None
    bottom: Micrometres | None = None
    marks: bool | None = None
    range: Distance | None = None
    above: Distance | None = None
    below: Distance | None = None
    relative: Positions | None = None
    absolute: Positions | None = None
    step: Distance | None = None
    go_up: bool = True

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        self.as_plan()
        return self

    def as_plan(self) -> ZPlan:
        """As the core's value."""
        return ZPlan(**self.model_dump())


class TimePlanModel(Strict):
    """``time_plan``: the stack again and again, begun at a steady interval."""

    interval: float = Field(ge=1, le=604_800, description="s, from one stack's beginning to the next one's")
    loops: int = Field(ge=1, le=10_000, description="stacks in all")

    def as_plan(self) -> TimePlan:
        """As the core's value."""
        return TimePlan(self.interval, self.loops)


class JobStart(Request):
    """``job/start``: photograph a stack. Every field is optional; an empty payload runs the default."""

    z_plan: ZPlanModel | None = None
    round: bool = Field(
        False, description="put stops on whole motor steps, and those that fall on the same one together"
    )
    time_plan: TimePlanModel | None = Field(None, description="the same stack again and again")
    metadata: dict[str, Any] = Field({}, description="kept with the run, not looked at")
    job_id: ShortText | None = Field(None, description="the client's own name; a second start is not run")
    preset: Annotated[str, Field(pattern=PRESET_NAME)] | None = None
    optics: OpticsConfig | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    settle_s: Seconds | None = None
    approach: Literal["up", "down"] | None = None
    backlash_um: Annotated[float, Field(ge=0, le=2000)] | None = None
    prerun_um: Annotated[float, Field(ge=0, le=5000)] | None = None
    shots_per_step: Annotated[int, Field(ge=1, le=100)] = 1
    pre_delay_s: Seconds | None = None
    shutter_on_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    shutter_gap_s: Seconds | None = None
    post_shot_s: Seconds | None = None
    mirror_lockup_s: Seconds | None = None
    return_to: Literal["none", "start", "end", "centre"] | None = None
    hold: Literal["always", "job", "off"] | None = None
    slab: Annotated[int, Field(ge=0, le=LARGEST_SLAB)] | None = Field(
        None, description="stops fused by themselves as well, written while the stack runs; 0: none"
    )
    slab_overlap: Annotated[int, Field(ge=0, lt=LARGEST_SLAB)] | None = Field(
        None, description="stops that a slab shares with the next"
    )
    prefer: Preference | None = Field(
        None, description="end that wins where two depths answer about alike; high positions are in front"
    )
    fusion_mode: FusionMode | None = Field(None, description="fast: a little less of a picture, sooner")
    align: Mode | None = Field(None, description="what of the frames' place may be corrected; auto finds out")
    gain: bool | None = Field(None, description="even flicker of the lamp out")
    odd_frames: OddPolicy | None = Field(
        None,
        description="a frame unlike its neighbours: fuse it, skip it (or take it again), or stop",
    )
    border: Border | None = Field(None, description="what not all frames cover: cut off, or told by a mask")
    transforms: RunId | None = Field(None, description="id of a run whose frames lay as these will")
    keep_frames: KeepFrames | None = Field(
        None, description="frames kept in the run's folder: as they came, or as JPEG"
    )
    lights: Annotated[tuple[LightName, ...], Field(strict=False, max_length=16)] | None = Field(
        None, description="lights that take turns at each stop; the first one's frames are fused"
    )
    force: bool = Field(False, description="begin whatever the test frame shows")

    @model_validator(mode="after")
    def _slabs(self) -> Self:
        _ = self.settings().slab_plan
        return self

    def settings(self) -> JobSettings:
        """How to visit the stops, as the core's value."""
        values = {name: getattr(self, name) for name in JobSettings.__dataclass_fields__}
        return JobSettings(**{name: value for name, value in values.items() if value is not None})


class JobPlan(JobStart):
    """``plan``: what `job/start` with the same fields would do, without doing it."""


class Mark(Request):
    """``mark``: remember the present position as one end."""

    end: Literal["near", "far"]


class Move(Request):
    """``move``: to a position (trusted rail), or by a bounded distance."""

    to_um: Micrometres | None = None
    by_um: Micrometres | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.to_um is None) == (self.by_um is None):
            raise ValueError("give exactly one of to_um and by_um")
        return self


class JobRef(Request):
    """``job/cancel``, ``job/pause``, ``job/resume``: of the running job, or of the one named."""

    id: RunId | None = None
    job_id: ShortText | None = None


class Plain(Request):
    """``stop``, ``home``, ``zero``, ``identify``: nothing more to say."""


class Settings(Request):
    """``set``: what a job does where its request is silent; null takes the configuration's value back."""

    range_um: Annotated[float, Field(gt=0, le=1e7)] | None = None
    step_um: Annotated[float, Field(gt=0, le=1e7)] | None = None
    settle_s: Seconds | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] | None = None
    preset: Annotated[str, Field(pattern=PRESET_NAME)] | None = None


REQUESTS: dict[str, type[Request]] = {
    "job/start": JobStart,
    "job/cancel": JobRef,
    "job/pause": JobRef,
    "job/resume": JobRef,
    "stop": Plain,
    "home": Plain,
    "zero": Plain,
    "mark": Mark,
    "move": Move,
    "plan": JobPlan,
    "identify": Plain,
    "set": Settings,
}
UNSUPPORTED = ("autofocus", "doctor")
"""Commands of the contract that are not built yet."""

R = TypeVar("R", bound=Request)


def read_payload(payload: bytes) -> dict[str, Any] | str:
    """Bytes to a JSON object, or to the bare word that names a preset; an empty payload is ``{}``.

    Raises
    ------
    RequestError
        Too large, too deep, not JSON, a key twice, a number that is not finite, or not an object.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RequestError(
            f"the payload has {len(payload)} bytes: {MAX_PAYLOAD_BYTES} at most", code="too_large"
        )
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise RequestError(f"the payload is not UTF-8: {error}") from error
    if not text:
        return {}
    if _is_bare_word(text):
        return text
    if _nesting(text) > MAX_DEPTH:
        raise RequestError(f"the payload nests deeper than {MAX_DEPTH} levels", code="too_deep")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
    except ValueError as error:
        raise RequestError(f"the payload is not JSON: {error}") from error
    if not isinstance(value, dict | str):
        raise RequestError("the payload must be a JSON object, e.g. {}, or the name of a preset")
    return value


def parse(model: type[R], fields: dict[str, Any]) -> R:
    """Validate the fields of a request.

    Raises
    ------
    RequestError
        Every fault in one message, and as ``values["faults"]``.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        faults = complaints(error, model)
        inside = [name for name in fields if name in ZPlanModel.model_fields]
        if inside and "z_plan" in model.model_fields:
            named = ", ".join(inside)
            faults.insert(0, f'{named} belong inside z_plan: {{"z_plan": {{"{inside[0]}": ...}}}}')
        raise RequestError("; ".join(faults), faults=faults) from error
    except PlanError as error:
        raise RequestError(str(error), code=error.code) from error


def preset_faults(presets: dict[str, dict[str, Any]]) -> list[str]:
    """Say what is wrong with the presets of a configuration, one line each."""
    faults = []
    for name, fields in presets.items():
        if not _is_bare_word(name):
            faults.append(
                f"presets.{name}: a name is 1 to 64 letters, digits, _ and -, begins with no digit, and is "
                "not true, false or null"
            )
        try:
            parse(JobStart, fields)
        except RequestError as error:
            faults += [f"presets.{name}: {fault}" for fault in error.values.get("faults", [str(error)])]
    return faults


def transaction_of(payload: bytes) -> str | None:
    """Fish the transaction out of a payload that may be bad in every other way."""
    try:
        value = read_payload(payload)
    except RequestError:
        return None
    transaction = value.get("transaction") if isinstance(value, dict) else None
    return transaction if isinstance(transaction, str) and len(transaction) <= 256 else None


def _nesting(text: str) -> int:
    """Deepest nesting of brackets outside strings; counted in one pass before the parser could recurse."""
    deepest = depth = 0
    quoted = escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key appears twice")
    return fields


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:32]} is not a number that can be used")
    return value


def _is_bare_word(text: str) -> bool:
    """Whether a payload is the name of a preset rather than JSON."""
    return text not in _JSON_WORDS and re.fullmatch(PRESET_NAME, text) is not None
