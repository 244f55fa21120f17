"""The daemon's main thread: one queue of events, two workers, and nothing slow.

::

    paho's thread --Message-->  events --> main: Desk --Order--> job thread: Photographer, Rig
                                  ^                                    |  frames (two at most)
                                  |                                    v
                                  +------------- reports ------- fuse thread: Darkroom, Fusion
"""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from focusd.board import Board
from focusd.clock import BeatingClock
from focusd.config import Config
from focusd.darkroom import Darkroom
from focusd.desk import Desk, Extra
from focusd.draft import Drafter
from focusd.easel import FuseReport
from focusd.errors import LinkError
from focusd.estimate import Estimator, Pace
from focusd.journal import Runs
from focusd.link.mqtt import PACKET_OVERHEAD_BYTES, Connected, Disconnected, Link, LinkEvent, Message
from focusd.link.topics import Topics
from focusd.notify import notify, watchdog_interval_s
from focusd.orders import Report
from focusd.photographer import Photographer
from focusd.rig import Rig
from focusd.runner import Runner, Signals
from focusd.worker import Worker, WorkerDied

_TICK_S = 0.5
_METRICS_S = 10.0
_SILENT_S = 120.0
_JOIN_S = 60.0
# Requests that wait for the main thread; a flood beyond is dropped, but for stop.
_UNREAD = 200
_OFFLINE = b'{"state": "offline"}'


@dataclass(frozen=True, slots=True)
class Quit:
    """A signal asked the daemon to end."""

    signum: int


@dataclass(frozen=True, slots=True)
class ButtonPressed:
    """Somebody at the rig pressed its stop button."""


Event = LinkEvent | Report | FuseReport | WorkerDied | Quit | ButtonPressed


class Service:
    """One rig, one broker, three threads of ours; runs until a signal or a worker's death.

    Parameters
    ----------
    config : Config
        The rig's.
    rig : Rig
        Taken over by the job thread.
    clock : BeatingClock
        The rig's.
    signals : Signals
        The same the rig's parts were built with.
    clock_is_synced : callable
        Whether the time of day can be trusted.
    broker : str, optional
        Address to connect to in place of the configured one.
    extras : mapping, optional
        Further commands of whoever built the rig.
    discard_frames : bool
        Do not fuse; for measuring what fusing costs a run.
    """

    def __init__(
        self,
        config: Config,
        rig: Rig,
        clock: BeatingClock,
        signals: Signals,
        clock_is_synced: Callable[[], bool],
        *,
        broker: str | None = None,
        extras: Mapping[str, Extra] | None = None,
        discard_frames: bool = False,
    ) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._config = config
        self._signals = signals
        self._unread = 0
        post = self.events.put
        topics = Topics(config.rig.name)
        self._stop_topic = topics.of("request/stop")
        self._offline = (topics.of("availability"), _OFFLINE)
        self._link = Link(
            config.mqtt if broker is None else config.mqtt.model_copy(update={"broker": broker}),
            _password(config),
            [topics.requests, topics.of("set")],
            self._offline,
            self._post_from_link,
            client_id=f"focusd-{config.rig.name}",
        )
        pace = pace_of(config)
        runs = Runs(config.data.dir / "runs")
        self._darkroom = Darkroom(
            post,
            config.preview,
            config.mqtt.image_limit_bytes,
            signals.stop,
            give_up_after=pace.give_up_after,
            discard=discard_frames,
        )
        self._photographer = Photographer(
            rig,
            Runner(rig, clock, signals, pace),
            self._darkroom,
            runs,
            config,
            clock,
            signals,
            post,
        )
        estimator = Estimator(rig.rail.spec, pace, rig.camera.stop_s)
        self._board = Board(config, self._link)
        self._desk = Desk(
            config,
            self._board,
            self._photographer.order,
            signals,
            Drafter(config, estimator),
            runs,
            clock,
            clock_is_synced,
            extras or {},
        )
        self._job_worker = Worker("job", self._photographer.work, post)
        self._fuse_worker = Worker("fuse", self._darkroom.work, post)
        clock.beat = self._job_worker.beat
        rig.rail.watch_button(self._on_button)

    def run(self) -> int:
        """Run until a signal (0) or a worker's death (1). The motor is off afterwards."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._on_signal)
        self._desk.announce()
        self._fuse_worker.start()
        self._job_worker.start()
        exit_code = 1
        try:
            self._link.open()
            notify("READY=1", f"STATUS=rig {self._config.rig.name}")
            exit_code = self._loop()
        finally:
            self._end()
        return exit_code

    def _loop(self) -> int:
        interval_s = watchdog_interval_s()
        fed_s = measured_s = time.monotonic()
        while True:
            event = self._next_event()
            if isinstance(event, Quit):
                self._board.say("info", f"signal {event.signum}: ending")
                return 0
            if isinstance(event, WorkerDied):
                self._board.say("critical", f"the {event.name} thread died: {event.error!r}")
                return 1
            if isinstance(event, ButtonPressed):
                self._desk.stop_by_button()
            elif event is not None:
                self._handle(event)
            now_s = time.monotonic()
            if interval_s is not None and now_s - fed_s >= interval_s and self._all_alive():
                fed_s = now_s
                notify("WATCHDOG=1")
            if now_s - measured_s >= _METRICS_S:
                measured_s = now_s
                self._desk.publish_metrics()

    def _next_event(self) -> Event | None:
        try:
            return self.events.get(timeout=_TICK_S)
        except queue.Empty:
            return None

    def _handle(self, event: LinkEvent | Report | FuseReport) -> None:
        match event:
            case Message():
                self._unread -= 1
                self._desk.receive(event)
            case Connected(version, largest):
                limit = self._config.mqtt.image_limit_bytes
                if largest is not None:
                    limit = min(limit, max(1024, largest - PACKET_OVERHEAD_BYTES))
                self._darkroom.image_limit_bytes = limit
                self._link.flush(largest)
                self._board.say("info", f"connected to {self._config.mqtt.broker}, MQTT {_VERSIONS[version]}")
            case Disconnected(reason):
                self._board.say("warning", f"broker: {reason}; trying again")
            case _:
                self._desk.hear(event)

    def _post_from_link(self, event: LinkEvent) -> None:
        """On paho's thread: enqueue, within a bound; and let the rig hear `stop` before any queue does."""
        if isinstance(event, Message):
            if event.topic == self._stop_topic and event.is_live:
                self._signals.stop.set()
            elif self._unread >= _UNREAD:
                return
            self._unread += 1
        self.events.put(event)

    def _all_alive(self) -> bool:
        return all(w.silent_s() < _SILENT_S for w in (self._job_worker, self._fuse_worker))

    def _end(self) -> None:
        """Motor off first; then what there is of the picture; then goodbye."""
        notify("STOPPING=1")
        self._signals.quit.set()
        self._signals.stop.set()
        self._desk.interrupt("the daemon ended")
        self._photographer.close()
        self._job_worker.join(_JOIN_S)
        self._darkroom.close()
        self._fuse_worker.join(_JOIN_S)
        while not self.events.empty():
            event = self.events.get()
            if not isinstance(event, Quit | WorkerDied | Message | ButtonPressed):
                self._handle(event)
        self._link.close(self._offline)

    def _on_button(self) -> None:
        """On the pins' thread: the rig first, everything else by the queue."""
        if not self._signals.stop.is_set():  # a contact that chatters is one press
            self._signals.stop.set()
            self.events.put(ButtonPressed())

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self.events.put(Quit(signum))


def pace_of(config: Config) -> Pace:
    """Return the rig's own times, as the core's value."""
    stack = config.stack
    return Pace(stack.settle_s, stack.pre_delay_s, config.rail.hold, stack.give_up_after, stack.retries)


_VERSIONS = {5: "5", 4: "3.1.1"}


def _password(config: Config) -> str | None:
    """Read the password that systemd's LoadCredential put into the credentials folder."""
    name = config.mqtt.password_credential
    if name is None:
        return None
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise LinkError(
            f"mqtt.password_credential is '{name}' but there are no credentials: start the daemon by its "
            f"unit with LoadCredential={name}:FILE"
        )
    try:
        return (Path(folder) / name).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise LinkError(f"credential {name}: {error.strerror}") from error
