"""The front desk, on the main thread: takes requests in, gives orders on, says how things stand.

Nothing here is slow, because this thread hears `stop`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from focusd import __version__
from focusd.agenda import Agenda
from focusd.board import Board
from focusd.clock import Clock
from focusd.config import Config
from focusd.draft import Drafter
from focusd.easel import FrameFused, FrameOdd, FrameSpoiled, FuseReport, Picture
from focusd.errors import FocusdError, RequestError
from focusd.job import JobStatus
from focusd.journal import Runs
from focusd.link.mqtt import Message
from focusd.link.payloads import (
    REQUESTS,
    UNSUPPORTED,
    JobPlan,
    JobRef,
    JobStart,
    Mark,
    Move,
    Request,
    Settings,
    parse,
    read_payload,
    transaction_of,
)
from focusd.orders import (
    AllStop,
    Answered,
    Home,
    JobChanged,
    Jog,
    MarkEnd,
    MoveTo,
    Order,
    OrderDone,
    Report,
    RigState,
    Ticket,
    Trouble,
    Zero,
)
from focusd.runner import Signals
from focusd.schema import did_you_mean

_RETAIN_AS_PUBLISHED = 5
MOVING = ("job/start", "home", "zero", "mark", "move")
"""Commands that an empty payload over MQTT 3.1.1 does not give."""
Extra = Callable[[dict[str, Any]], dict[str, Any]]
_COMMAND = re.compile(r"^[A-Za-z0-9_/-]{1,64}$")


class Desk:
    """Answers requests and publishes the rig's state.

    Parameters
    ----------
    config : Config
        The rig's.
    board : Board
        What the rig shows of itself.
    submit : callable
        Takes an `Order` to the job thread.
    signals : Signals
        Shared with the job thread.
    drafter : Drafter
        Completes requests.
    runs : Runs
        Gives run ids.
    clock : Clock
        The rig's; its time of day stamps and expires requests.
    clock_is_synced : callable
        Whether the time of day can be trusted.
    extras : mapping
        Further commands of whoever built the rig (the simulator's faults): fields in, answer out.
    """

    def __init__(
        self,
        config: Config,
        board: Board,
        submit: Callable[[Order], None],
        signals: Signals,
        drafter: Drafter,
        runs: Runs,
        clock: Clock,
        clock_is_synced: Callable[[], bool],
        extras: Mapping[str, Extra],
    ) -> None:
        self._config = config
        self._board = board
        self._signals = signals
        self._drafter = drafter
        self._clock = clock
        self._clock_is_synced = clock_is_synced
        self._extras = extras
        self._rig = RigState()
        self._agenda = Agenda(board, submit, signals, drafter, runs, clock, config.mqtt.queue_limit)

    @property
    def is_busy(self) -> bool:
        """Whether an order is being carried out or jobs wait."""
        return self._agenda.is_busy

    def announce(self) -> None:
        """Publish everything that is retained."""
        self._board.announce()
        self._show_rig()
        self._agenda.show()

    def publish_metrics(self) -> None:
        """Publish the numbers."""
        agenda = self._agenda
        self._board.show_numbers(self._rig, agenda.job, agenda.fused, agenda.queued)

    # What comes in.

    def receive(self, message: Message) -> None:
        """Take one message from the broker; every request is answered, whatever is in it."""
        command = self._board.topics.command(message.topic)
        if command is None:
            return
        if not _COMMAND.fullmatch(command):
            self._board.say("warning", "a request on a topic that is no command's was ignored")
            return
        ticket = Ticket(command, transaction_of(message.payload), message.reply_topic, message.correlation)
        try:
            # A retained stop that comes live is obeyed; one that is replayed to a new connection is not.
            if message.retained and not (command == "stop" and message.is_live):
                raise RequestError(
                    "a retained request is never carried out: it would be again at every start; publish "
                    "without -r, and clear it with an empty retained message",
                    code="retained",
                )
            if command == "stop":
                self._stop(ticket)
                return
            data = self._handle(command, ticket, message)
        except FocusdError as error:
            self._board.answer(Answered(ticket, error=error))
        else:
            if data is not None:
                self._board.answer(Answered(ticket, data))

    def hear(self, report: Report | FuseReport) -> None:
        """Take one report of the job or the fuse thread."""
        match report:
            case RigState():
                self._rig = report
                self._show_rig()
            case JobChanged(job):
                self._agenda.follow(job)
                self.publish_metrics()
            case Answered():
                self._board.answer(report)
            case OrderDone():
                self._agenda.order_done(self._rig)
            case Trouble(message):
                self._board.event("trouble", message=message)
                self._board.say("error", message)
            case Picture():
                self._board.show_picture(report)
            case FrameFused(_, frames):
                self._agenda.fused = frames
            case FrameOdd(stop_index, frame, reason, why, is_fused):
                self._board.event(
                    "frame_odd", stop=stop_index, frame=frame, reason=reason, why=why, fused=is_fused
                )
            case FrameSpoiled(stop_index, frame, reason):
                self._board.event("frame_spoiled", stop=stop_index, frame=frame, reason=reason)
                self._board.say("warning", f"stop {stop_index}: {reason}")

    def stop_by_button(self) -> None:
        """Do what `stop` does, for somebody who pressed the rig's own button."""
        self._stop(None, by="button")
        self._board.say("warning", "the stop button was pressed: the motor is off, the position unknown")

    def interrupt(self, reason: str) -> None:
        """End what waits, because the daemon ends; the running job hears of it by its signals."""
        self._agenda.drop(JobStatus.INTERRUPTED, reason, "interrupted")

    def _handle(self, command: str, ticket: Ticket, message: Message) -> dict[str, Any] | None:
        """Carry out a request at once and return the answer, or give an order and return None."""
        if message.expiry_s is not None and time.monotonic() - message.received_s > message.expiry_s:
            raise RequestError(f"the message expired after {message.expiry_s} s", code="expired")
        model = REQUESTS.get(command)
        if model is None and command not in self._extras:
            if command in UNSUPPORTED:
                raise RequestError(f"'{command}' is not built yet; see info.capabilities", code="unsupported")
            hint = did_you_mean(command, sorted(REQUESTS))
            raise RequestError(f"there is no command '{command}'{hint}", code="unknown_command")
        if not message.payload and message.version < _RETAIN_AS_PUBLISHED and command in MOVING:
            raise RequestError(
                "an empty payload moves nothing over MQTT 3.1.1, where clearing a retained message looks the "
                "same; send {}",
                code="empty",
            )
        fields = read_payload(message.payload)
        if isinstance(fields, str):
            if command not in ("job/start", "plan"):
                raise RequestError(f"'{command}' takes a JSON object, e.g. {{}}, not a bare word")
            fields = {"preset": fields}
        if model is None:
            return self._extras[command]({k: v for k, v in fields.items() if k != "transaction"})
        request = parse(model, self._drafter.with_preset(fields) if issubclass(model, JobStart) else fields)
        self._check_fresh(request)
        match request:
            case JobPlan():
                return self._drafter.draft(request, self._rig).facts
            case JobStart():
                return self._agenda.start(request, fields, self._rig)
            case JobRef():
                return self._agenda.refer(command, request)
            case Settings():
                self._drafter.set(request)
                self._show_rig()
                return self._drafter.effective_settings()
        if command == "identify":
            return {"name": self._config.rig.name, "version": __version__}
        self._order(ticket, request)
        return None

    def _check_fresh(self, request: Request) -> None:
        if request.expires_at is None:
            return
        if not self._clock_is_synced():
            raise RequestError(
                "the rig's clock is not synchronised, so it cannot tell whether the request has expired; "
                "wait for it, or leave expires_at out",
                code="clock_unsynced",
            )
        if request.expired(self._clock.wall()):
            raise RequestError(f"the request expired at {request.expires_at}", code="expired")

    # Orders.

    def _order(self, ticket: Ticket, request: Request) -> None:
        if self.is_busy:
            doing = self._agenda.doing or self._rig.state
            raise RequestError(f"the rig is busy ({doing}); wait, or send job/cancel or stop", code="busy")
        match ticket.command, request:
            case "home", _:
                order: Order = Home(ticket)
            case "zero", _:
                order = Zero(ticket)
            case _, Mark(end=end):
                order = MarkEnd(ticket, end)
            case _, Move(to_um=float(to_um)):
                order = MoveTo(ticket, to_um)
            case _, Move(by_um=float(by_um)):
                order = Jog(ticket, by_um)
            case _:
                raise RequestError(f"'{ticket.command}' cannot be carried out", code="unsupported")
        self._agenda.give(order)

    def _show_rig(self) -> None:
        self._board.show_rig(self._rig, self._drafter.effective_settings())

    def _stop(self, ticket: Ticket | None, by: str = "request") -> None:
        """Emergency: first the signal, everything else after it."""
        self._signals.stop.set()
        self._agenda.drop(JobStatus.CANCELLED, "the emergency stop was pressed", "stopped")
        self._agenda.give(AllStop(ticket))
        self._board.event("stopped", by=by)
