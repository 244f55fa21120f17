"""What the rig shows of itself on the wire: state, job, info, events, numbers, pictures and answers."""

from __future__ import annotations

import json
import logging
import resource
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from focusd import __version__
from focusd.config import Config
from focusd.easel import Picture
from focusd.errors import OutOfTravel, PlanError, RequestError
from focusd.job import Job, JobStatus
from focusd.link.payloads import REQUESTS
from focusd.link.topics import Topics
from focusd.orders import Answered, RigState
from focusd.series import Series

PROTOCOL_VERSION = 1
# Characters of one preset in `info`: with 100 of them and the schemas it stays below what the smallest broker
# takes, 128 KB.
_LONGEST_PRESET = 500
log = logging.getLogger("focusd")


class Outlet(Protocol):
    """Where the desk publishes; the `Link`."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        lasting: bool = False,
        content_type: str | None = None,
        correlation: bytes | None = None,
    ) -> None:
        """Publish, or keep for when the broker is back; what is `lasting` is kept longest."""
        ...


class Board:
    """Publishes by the contract; decides nothing.

    Parameters
    ----------
    config : Config
        The rig's.
    outlet : Outlet
        Where to publish.
    """

    def __init__(self, config: Config, outlet: Outlet) -> None:
        self._config = config
        self._outlet = outlet
        self.topics = Topics(config.rig.name)
        self._began_s = time.monotonic()

    def announce(self) -> None:
        """Publish who the rig is and that it is there; the link repeats it on each new connection."""
        self._publish("availability", {"state": "online"}, qos=1, retain=True)
        presets = listed(self._config.presets)
        info = {
            "name": self._config.rig.name,
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "capabilities": sorted(REQUESTS),
            "presets": {name: presets[name] for name in sorted(presets)},
            "schemas": {name: model.model_json_schema() for name, model in REQUESTS.items()},
        }
        self._publish("info", info, qos=1, retain=True)

    def show_rig(self, rig: RigState, settings: dict[str, Any]) -> None:
        """Publish ``state``."""
        state = {
            "state": rig.state,
            "position_um": rig.position_um,
            "position_valid": rig.position_valid,
            "fault": rig.fault,
            "settings": settings,
            "marks_um": dict(rig.marks_um),
        }
        self._publish("state", state, qos=1, retain=True)

    def show_job(
        self, job: Job | None, series: Series | None = None, next_at: datetime | None = None
    ) -> None:
        """Publish ``job``; with the series it is a stack of, and when the next one is to begin."""
        payload: dict[str, Any] = {"id": None, "job_id": None, "status": None}
        if job is not None:
            payload = {
                "id": job.run_id,
                "job_id": job.job_id,
                "status": _status(job, series).value,
                "progress": {"done": job.done, "total": len(job.plan), "percent": percent(job)},
                "eta_s": None if job.eta_s is None else round(job.eta_s, 1),
                "result": job.result,
                "error": None if job.error is None else {"code": job.code, "message": job.error},
                "series": None,
            }
            if series is not None:
                moment = None if next_at is None else next_at.isoformat(timespec="seconds")
                place = {"id": series.series_id, "loop": min(series.loop, series.time_plan.loops)}
                payload["series"] = place | series.counts | {"next_at": moment}
        self._publish("job", payload, qos=1, retain=True)

    def show_numbers(self, rig: RigState, job: Job | None, fused: int, queued: int) -> None:
        """Publish ``metrics``, flat."""
        numbers: dict[str, float | int] = {
            "uptime_s": round(time.monotonic() - self._began_s, 1),
            "rss_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "position_um": rig.position_um,
            "worst_step_late_ms": round(1000 * rig.worst_late_s, 3),
            "queued": queued,
        }
        if job is not None:
            numbers |= {"done": job.done, "total": len(job.plan), "percent": percent(job)}
            numbers |= {"missing": len(job.missing), "fused": fused}
            if job.eta_s is not None:
                numbers["eta_s"] = round(job.eta_s, 1)
        self._publish("metrics", numbers)

    def show_picture(self, picture: Picture) -> None:
        """Publish ``image/...``: final and depth retained, none at QoS 1 (a large one may be refused)."""
        self._outlet.publish(
            self.topics.of(f"image/{picture.kind}"),
            picture.jpeg,
            retain=picture.kind != "preview",
            content_type="image/jpeg",
        )

    def event(self, event_type: str, **facts: Any) -> None:
        """Publish ``event``."""
        payload = json.dumps({"event_type": event_type, **facts}).encode()
        lasting = event_type.startswith(("job_", "series_"))
        self._outlet.publish(self.topics.of("event"), payload, qos=1, lasting=lasting)

    def say(self, level: str, message: str) -> None:
        """Log, here and on the wire."""
        log.log(getattr(logging, level.upper()), "%s", message)
        self._publish("log", {"level": level, "message": message})

    def answer(self, answered: Answered) -> None:
        """Publish ``response/...``, and on the v5 response topic where the request named one."""
        ticket, error = answered.ticket, answered.error
        if error is None:
            body: dict[str, Any] = {"status": "ok", "data": answered.data}
        else:
            body = {"status": "error", "code": error.code, "error": str(error), "data": error.values}
            level = "info" if isinstance(error, RequestError | PlanError | OutOfTravel) else "warning"
            self.say(level, f"{ticket.command} refused ({error.code}): {error}")
        payload = json.dumps({**body, "transaction": ticket.transaction}).encode()
        self._outlet.publish(self.topics.response(ticket.command), payload, qos=1, lasting=True)
        if ticket.reply_topic and self._may_reply_on(ticket.reply_topic):
            self._outlet.publish(
                ticket.reply_topic, payload, qos=1, lasting=True, correlation=ticket.correlation
            )

    def _may_reply_on(self, topic: str) -> bool:
        """Whether a stranger's response topic can be published on: no wildcard, no request of ours."""
        return not set("+#\0") & set(topic) and self.topics.command(topic) is None

    def _publish(self, name: str, value: dict[str, Any], *, qos: int = 0, retain: bool = False) -> None:
        payload = json.dumps(value).encode()
        self._outlet.publish(self.topics.of(name), payload, qos=qos, retain=retain)


def _status(job: Job, series: Series | None) -> JobStatus:
    """Return the word for how a job stands; a stack that waits for its time can be held."""
    if series is not None and series.paused and job.status is JobStatus.QUEUED:
        return JobStatus.PAUSED
    return job.status


def listed(presets: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """Return presets as they can be shown: their fields, or None where they are too long for that.

    Parameters
    ----------
    presets : mapping
        Fields by name, as the configuration has them.
    """
    shown: dict[str, dict[str, Any] | None] = {}
    for name, fields in presets.items():
        text = json.dumps(fields, default=str)  # TOML has dates
        shown[name] = json.loads(text) if len(text) <= _LONGEST_PRESET else None
    return shown


def percent(job: Job) -> float:
    """How much of a job is done, 0 to 100."""
    return round(100 * job.done / len(job.plan), 1)
