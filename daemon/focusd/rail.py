"""The rail: micrometres in, whole steps out, and never a move without a trusted position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from focusd.errors import EndstopHit, EndstopNotFound, NotHomed, PlanError, RailError, Stopped
from focusd.halt import Halt
from focusd.rail_spec import SIGN, Homing, RailSpec, Reach, run_in_after
from focusd.ramp import Ramp

READINGS = 3
"""Times in a row that a switch must say the same to be believed."""


class Switch(Protocol):
    """An input at the rail: an end stop, or the stop button."""

    @property
    def line(self) -> int:
        """Its BCM number."""
        ...

    @property
    def active_high(self) -> bool:
        """Level of its line while it is pressed."""
        ...

    @property
    def is_pressed(self) -> bool:
        """Whether it is pressed now."""
        ...

    def close(self) -> None:
        """Give the pin back."""
        ...


class Button(Switch, Protocol):
    """A switch that tells when it is pressed."""

    def watch(self, when_pressed: Callable[[], None]) -> None:
        """Have `when_pressed` called whenever it is pressed, on any thread."""
        ...


@dataclass(frozen=True, slots=True)
class Until:
    """What ends a run early: a switch that is pressed, or one that is not any more."""

    switch: Switch
    pressed: bool = True

    @property
    def reached(self) -> bool:
        """Whether the run is to end; asked three times, since a motor's cables make spikes in a switch's."""
        return all(self.switch.is_pressed == self.pressed for _ in range(READINGS))


class Motor(Protocol):
    """Makes steps. The position is the rail's business."""

    def energise(self) -> None:
        """Switch the current on; does nothing when it is on."""
        ...

    def release(self) -> None:
        """Switch the current off. Safe at any time, more than once."""
        ...

    def run(self, steps: int, ramp: Ramp, stop: Halt, until: Sequence[Until] = ()) -> int:
        """Make `steps` steps (the sign is the direction).

        Parameters
        ----------
        steps : int
            How many; 0 does nothing.
        ramp : Ramp
            How fast.
        stop : Halt
            Ends the run before the next step.
        until : sequence of Until
            Any of them, once reached, ends the run before the next step.

        Returns
        -------
        int
            Steps made, with the sign of `steps`.
        """
        ...

    def close(self) -> None:
        """Release and give the pins back."""
        ...

    @property
    def ended_by(self) -> Until | None:
        """What ended the last run early; None for the emergency stop, and for a whole run."""
        ...

    @property
    def worst_late_s(self) -> float:
        """The latest any step has been behind its time so far, s."""
        ...


class Rail:
    """A carriage on a screw, moved in whole steps.

    The position is the motor's, counted in steps in the frame of a carriage whose play is taken up on the
    approach side. It is trusted after homing or zeroing, and until the first doubt: an emergency stop, an
    end stop that trips, a failure. Then the motor is off and the rail refuses to move except to home or jog.

    Parameters
    ----------
    motor : Motor
        Makes the steps.
    spec : RailSpec
        What the rail is.
    stop : Halt
        The emergency stop; set by another thread.
    endstop : Switch, optional
        Needed where ``spec.homing`` is given.
    button : Button, optional
        A stop button at the rig: nothing moves while it is pressed.
    """

    def __init__(
        self,
        motor: Motor,
        spec: RailSpec,
        stop: Halt,
        endstop: Switch | None = None,
        button: Button | None = None,
    ) -> None:
        self.spec = spec
        self._motor = motor
        self._stop = stop
        self._endstop = endstop
        self._button = button
        self._steps = 0
        self._trusted = False
        # Travel since the last reversal, signed: how much of the play is surely taken up on which side.
        self._run_in = 0
        motor.release()

    @property
    def position_um(self) -> float:
        """Position, um; means nothing while not `trusted`."""
        return self.spec.um_at(self._steps)

    @property
    def position_steps(self) -> int:
        """Position in motor steps."""
        return self._steps

    @property
    def trusted(self) -> bool:
        """Whether the position is known."""
        return self._trusted

    @property
    def run_in(self) -> int:
        """Signed steps since the last reversal: how much of the play is taken up, and on which side."""
        return self._run_in

    @property
    def worst_late_s(self) -> float:
        """The latest any step has been behind its time, s."""
        return self._motor.worst_late_s

    def move_to(self, position_um: float, reach: Reach | None = None) -> None:
        """Go to a position, reached from the approach side with the play taken up.

        Raises
        ------
        NotHomed
            The position is not trusted. Nothing moved.
        OutOfTravel
            The target, or the run-up before it, is outside the limits. Nothing moved.
        EndstopHit, Stopped
            The move was cut short; the motor is off and the position untrusted.
        """
        for leg in self.route_to(position_um, reach):
            self._travel(leg, self.spec.ramp())

    def route_to(self, position_um: float, reach: Reach | None = None) -> list[int]:
        """Work out the step counts of `move_to`, and raise its refusals; moves nothing."""
        if not self._trusted:
            raise NotHomed(
                "the rail's position is not known: send `home`, or drive to a known place and send `zero`"
            )
        return self.spec.legs(self._steps, self._run_in, position_um, reach or self.spec.reach())

    def jog(self, by_um: float) -> None:
        """Move by a bounded distance, trusted or not: an operator at the rig is looking.

        Raises
        ------
        PlanError
            Longer than ``spec.jog_max_um``. Nothing moved.
        OutOfTravel
            The rail is trusted and the end of the jog is outside the limits. Nothing moved.
        EndstopHit, Stopped
            The move was cut short; the motor is off and the position untrusted.
        """
        if abs(by_um) > self.spec.jog_max_um:
            raise PlanError(
                f"a jog of {by_um:g} um is too long: {self.spec.jog_max_um:g} um at most; send several, or "
                "`move` with to_um on a homed rail",
                by_um=by_um,
                limit_um=self.spec.jog_max_um,
            )
        steps = self.spec.steps_at(by_um)
        if self._trusted:
            self.spec.check(self.position_um + by_um)
            steps = self.spec.inside(self._steps + steps) - self._steps
        self._travel(steps, self.spec.ramp())

    def zero(self, here_um: float = 0.0) -> None:
        """Take somebody's word for where the rail stands, and trust it."""
        self._steps = self.spec.steps_at(here_um)
        self._trusted = True

    def home(self) -> None:
        """Find the end of the rail.

        By a switch: fast until it trips, back off, slowly until it trips again at the same place. By a motor
        that stalls there: twice, fast, since a stall is only noticed at speed.

        Raises
        ------
        RailError
            The rail has no end stop, or the switch does not let go, or trips at two places.
        EndstopNotFound
            It did not trip within ``homing.max_travel_um``.
        Stopped
            The emergency stop was pressed.
        """
        homing, endstop = self.spec.homing, self._endstop
        if homing is None or endstop is None:
            raise RailError("this rail has no end stop: add [rail.home], or drive to 0 and send `zero`")
        self._trusted = False
        toward = SIGN[homing.direction]
        limit = self.spec.steps_at(homing.max_travel_um)
        away = self.spec.steps_at(homing.back_off_um)
        if homing.by_stall:
            self._stall(endstop, -toward * away, toward * limit, homing, (Until(endstop),))
            first = self._steps
            # Where it has just come from, with a sensor that may not yet have let go.
            self._stall(endstop, -toward * away, toward * limit, homing, ())
        else:
            self._leave(endstop, -toward * away)
            self._seek(endstop, toward * limit, homing.fast_um_s, "or raise rail.home.max_travel_um")
            first = self._steps
            self._leave(endstop, -toward * away)
            # Where it has tripped once it trips again, or the first time was false.
            self._seek(endstop, toward * 6 * away, homing.slow_um_s, "it tripped there before, falsely")
        self._agree(self._steps - first, homing)
        self._steps = self.spec.home_steps(homing)
        self._trusted = True
        if homing.go_to_um is not None:
            self.move_to(homing.go_to_um)

    def energise(self) -> None:
        """Switch the motor's current on."""
        self._motor.energise()

    def release(self) -> None:
        """Switch the motor's current off; safe at any time."""
        self._motor.release()

    def distrust(self) -> None:
        """Motor off, position in doubt, and with it where the play lies."""
        self._trusted = False
        self._run_in = 0
        self._motor.release()

    def watch_button(self, when_pressed: Callable[[], None]) -> None:
        """Have `when_pressed` called whenever the stop button is, if there is one; on any thread."""
        if self._button is not None:
            self._button.watch(when_pressed)

    def close(self) -> None:
        """Release and give the pins back."""
        self._motor.close()
        for switch in (self._endstop, self._button):
            if switch is not None:
                switch.close()

    def _seek(self, endstop: Switch, steps: int, speed_um_s: float, remedy: str) -> int:
        made = self._run(steps, self.spec.ramp(speed_um_s), (Until(endstop),))
        if made == steps:
            self.distrust()
            travelled_um = self.spec.um_at(abs(made))
            raise EndstopNotFound(
                f"the end stop did not trip within {travelled_um:g} um; check its wiring and "
                f"rail.home.direction, {remedy}",
                travelled_um=travelled_um,
            )
        return made

    def _stall(
        self, sensor: Switch, away: int, toward: int, homing: Homing, until: tuple[Until, ...]
    ) -> None:
        """Run away from the end and against it; every stall but the one there is a false one."""
        ramp = self.spec.ramp(homing.fast_um_s)
        made = 0
        if not any(end.reached for end in until) and self._run(away, ramp, until) == away:
            made = self._seek(sensor, toward, homing.fast_um_s, "or lower what stalls it (stall_threshold)")
        made_um = self.spec.um_at(abs(made))
        if made_um < homing.back_off_um - homing.agree_um:
            self.distrust()
            raise RailError(
                f"the motor driver told of a stall {made_um:g} um after "
                f"backing off {homing.back_off_um:g} um: a false one; check DIAG's wiring and "
                "rail.home.active, the driver's status, and stall_threshold",
                made=made,
            )

    def _leave(self, endstop: Switch, steps: int) -> None:
        """Back off until the switch lets go, then a little more."""
        if not endstop.is_pressed:
            return
        # At the speed that the motor can stop from at once.
        self._run(4 * steps, self.spec.ramp(self.spec.start_um_s), (Until(endstop, pressed=False),))
        if endstop.is_pressed:
            self.distrust()
            backed_off_um = self.spec.um_at(abs(4 * steps))
            raise RailError(
                f"the end stop is still pressed after backing off {backed_off_um:g} um: stuck, or wired the "
                "other way round (rail.home.active)",
                backed_off_um=backed_off_um,
            )
        self._run(steps, self.spec.ramp(), ())

    def _agree(self, apart: int, homing: Homing) -> None:
        """Refuse a switch that tripped at two places: one of them was false, and nobody knows which."""
        apart_um = self.spec.um_at(abs(apart))
        if abs(apart) > 2 and apart_um > homing.agree_um:
            self.distrust()
            raise RailError(
                f"the end stop tripped at two places {apart_um:g} um apart, {homing.agree_um:g} um at most: "
                "it sticks, or its wire catches noise; see to it and send `home` again (or raise "
                "rail.home.agree_um)",
                apart_um=apart_um,
                limit_um=homing.agree_um,
            )

    def _travel(self, steps: int, ramp: Ramp) -> None:
        """Make a move that must not meet the end stop."""
        homing, endstop = self.spec.homing, self._endstop
        until: tuple[Until, ...] = ()
        if endstop is not None and homing is not None and not homing.by_stall:
            # Off a switch that is pressed leads only the way back; then it may not be heard.
            leaving = steps * SIGN[homing.direction] < 0 and endstop.is_pressed
            until = () if leaving else (Until(endstop),)
        made = self._run(steps, ramp, until)
        if made != steps:
            self.distrust()
            raise EndstopHit(
                f"the end stop tripped after {made} of {steps} steps: the carriage is not where it was "
                "thought to be; send `home`",
                steps=steps,
                made=made,
            )

    def _run(self, steps: int, ramp: Ramp, until: tuple[Until, ...]) -> int:
        """Make steps until `until`, the emergency stop or the button; the last two end in `Stopped`."""
        button = () if self._button is None else (Until(self._button),)
        if any(pressed.reached for pressed in button):
            self._end_by_button()
        made = 0
        try:
            if not self._stop.is_set():
                self._motor.energise()
                made = self._motor.run(steps, ramp, self._stop, (*button, *until))
        except BaseException:
            self.distrust()
            raise
        finally:
            self._steps += made
            self._run_in = run_in_after(self._run_in, made)
        ended_by = self._motor.ended_by if made != steps else None
        if ended_by is not None and ended_by in button:
            self._end_by_button()
        if self._stop.is_set() or (made != steps and ended_by is None):
            self.distrust()
            raise Stopped(
                "the emergency stop was pressed: the motor is off and the position unknown; send `home`"
            )
        return made

    def _end_by_button(self) -> NoReturn:
        self.distrust()
        raise Stopped(
            "the stop button is pressed: the motor is off and the position unknown; release the button, then "
            "send `home`"
        )
