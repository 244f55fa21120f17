"""From a request to a job's stops: presets, settings and optics fill in what the request leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from focusd.camera_spec import frame_form
from focusd.config import Config
from focusd.errors import FocusdError, NotHomed, PlanError, RequestError
from focusd.estimate import Estimate, Estimator
from focusd.job import JobSettings
from focusd.light_spec import check_turns, lit_stop_s, steady_s
from focusd.link.payloads import JobStart, Settings
from focusd.needs import correction_bytes
from focusd.orders import RigState
from focusd.plan import StackPlan, ZPlan
from focusd.register.table import TransformTable
from focusd.room import NoRoom, Room, read_room
from focusd.schema import did_you_mean
from focusd.series import TimePlan
from focusd.transforms import TRANSFORMS_NAME, read_transforms

# Fields that say nothing about the stack itself.
_ASIDE = {"transaction", "job_id", "expires_at", "metadata", "time_plan", "force"}
# A checkpoint is gone when its run has ended; there are two for a moment.
_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class Draft:
    """A job as it would run from here.

    Parameters
    ----------
    z_plan : ZPlan
        With a step, where it needs one.
    plan : StackPlan
        Its stops.
    settings : JobSettings
        How to visit them.
    estimate : Estimate
        What it takes.
    facts : dict
        What the response tells: stops, steps, start and ends, time, memory and disk (needed and free) of one
        stack; `series` with those of all of them, where there is a time plan; whether it `fits`; warnings.
    time_plan : TimePlan or None
        How often it is to be photographed.
    """

    z_plan: ZPlan
    plan: StackPlan
    settings: JobSettings
    estimate: Estimate
    facts: dict[str, Any]
    time_plan: TimePlan | None = None

    @property
    def disk_bytes(self) -> int | None:
        """Disk for all its stacks; None where the size of a frame is not known beforehand."""
        one = self.estimate
        if self.time_plan is None or one.disk_bytes is None:
            return one.disk_bytes
        return self.time_plan.disk_bytes(one.disk_bytes, _CHECKPOINTS * (one.checkpoint_bytes or 0))


class Drafter:
    """Completes requests from a rig's configuration and its settings.

    Parameters
    ----------
    config : Config
        The rig's.
    estimator : Estimator
        Foresees what a job takes; frames and checkpoints are taken from `config`.
    room : callable, optional
        Says what the machine has left. Default: asks the system, disk for ``[data] dir``.
    """

    def __init__(self, config: Config, estimator: Estimator, room: Callable[[], Room] | None = None) -> None:
        self._config = config
        self._estimator = replace(
            estimator,
            frame=frame_form(config.camera),
            checkpoints=config.data.checkpoint_s > 0,
            stop_s=lambda settings: lit_stop_s(
                settings, config.lights, estimator.stop_s(settings), estimator.pace.settle_of(settings)
            ),
        )
        self._room = room or (lambda: read_room(config.data.dir))
        self.settings = Settings()

    def effective_settings(self) -> dict[str, Any]:
        """Return the settings in force: those that were set over the configuration's."""
        stack, own = self._config.stack, self.settings
        configured = {
            "range_um": stack.range_um,
            "step_um": stack.step_um,
            "settle_s": stack.settle_s,
            "overlap": stack.overlap,
            "preset": stack.default_preset,
        }
        return {
            name: value if getattr(own, name) is None else getattr(own, name)
            for name, value in configured.items()
        }

    def set(self, request: Settings) -> None:
        """Take the settings that a request names.

        Raises
        ------
        RequestError
            No such preset. Nothing is changed.
        """
        if request.preset is not None:
            self._preset(request.preset)
        named = request.model_fields_set - _ASIDE
        self.settings = self.settings.model_copy(update={n: getattr(request, n) for n in named})

    def with_preset(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Put a preset's fields under those of a request; no fields at all take the default preset.

        Raises
        ------
        RequestError
            No such preset.
        """
        name = fields.get("preset")
        if name is None and not set(fields) - _ASIDE:
            name = self.effective_settings()["preset"]
        if name is None:
            return fields
        return {**self._preset(name), **fields, "preset": name}

    def draft(self, request: JobStart, rig: RigState) -> Draft:
        """Work out a job's stops from where the rig is, or will be after homing.

        Raises
        ------
        NotHomed
            The position is unknown and will not become known by itself.
        PlanError, OutOfTravel
            The plan cannot be run.
        """
        effective = self.effective_settings()
        z_plan = self._with_step(request, effective)
        if request.round:
            z_plan = replace(z_plan, grid_um=float(self._estimator.spec.um_per_step))
        settings = request.settings()
        if settings.settle_s is None:
            settings = replace(settings, settle_s=effective["settle_s"])
        if request.return_to is None:
            settings = replace(settings, return_to=self._config.stack.return_to)
        table = self._transforms(settings)
        settings = self._with_slabs(settings)
        stack = self._config.stack
        settings = replace(
            settings,
            prefer=settings.prefer or stack.prefer,
            fusion_mode=settings.fusion_mode or stack.fusion_mode,
            align="off" if table is not None else settings.align or stack.align,
            gain=stack.gain if settings.gain is None else settings.gain,
            odd_frames=settings.odd_frames or stack.odd_frames,
            border=settings.border or stack.border,
            keep_frames=settings.keep_frames or stack.keep_frames,
            lights=stack.lights if request.lights is None else request.lights,
        )
        check_turns(settings, self._config)
        from_um = self._start_um(rig)
        plan = z_plan.resolve(from_um, rig.marks_um)
        self._check_steps(plan)
        estimate = self._foresee(plan, settings, from_um)
        estimate = replace(estimate, time_s=estimate.time_s + self._look_s(plan, settings, from_um))
        room = self._room()
        facts: dict[str, Any] = {
            "stops": len(plan),
            "requested_step_um": plan.requested_step_um,
            "motor_step_um": float(self._estimator.spec.um_per_step),
            "step_um": plan.step_um,
            "from_um": from_um,
            "first_um": plan.positions_um[0],
            "last_um": plan.positions_um[-1],
            **asdict(estimate),
            "memory_free_bytes": room.memory_bytes,
            "disk_free_bytes": room.disk_bytes,
            "series": None,
        }
        time_plan = None if request.time_plan is None else request.time_plan.as_plan()
        draft = Draft(z_plan, plan, settings, estimate, facts, time_plan)
        shortages = room.shortages(estimate.memory_bytes, draft.disk_bytes)
        warnings = [str(shortage) for shortage in shortages]
        if table is not None and (unknown := set(range(len(plan))) - {row.number for row in table.rows}):
            warnings.append(
                f"transforms {settings.transforms} does not name {len(unknown)} of {len(plan)} stops, the "
                f"first {min(unknown)}: their frames will be left out"
            )
        facts |= {"fits": not shortages, "warnings": warnings}
        if time_plan is not None:
            self._add_series(draft, time_plan)
        return draft

    def _add_series(self, draft: Draft, time_plan: TimePlan) -> None:
        """Check that the stacks do not run into each other, and add what they take together."""
        plan, settings = draft.plan, draft.settings
        [end_um] = settings.return_positions_um(plan) or [plan.positions_um[-1]]
        # All but the first begin where the one before has left the carriage.
        again_s = self._foresee(plan, settings, end_um).time_s
        longest_s = max(draft.estimate.time_s, again_s)
        time_plan.require(longest_s)
        draft.facts["series"] = {
            "interval": time_plan.interval_s,
            "loops": time_plan.loops,
            "stack_s": longest_s,
            "time_s": time_plan.time_s(longest_s),
            "disk_bytes": draft.disk_bytes,
        }
        warning = time_plan.warning(longest_s)
        if warning is not None:
            draft.facts["warnings"].append(warning)

    def admit(self, draft: Draft, *, all_stacks: bool = True) -> None:
        """Refuse a job that needs more than the machine has now.

        Parameters
        ----------
        draft : Draft
            The job's.
        all_stacks : bool
            Of a series, look at the disk for all of it, and not for one stack alone.

        Raises
        ------
        NoRoom
            Memory or disk does not suffice. Needs that are not known beforehand are not held against it.
        """
        disk_bytes = draft.disk_bytes if all_stacks else draft.estimate.disk_bytes
        try:
            self._room().require(draft.estimate.memory_bytes, disk_bytes)
        except NoRoom as error:
            if draft.time_plan is None or not all_stacks or "disk_bytes" not in error.values:
                raise
            each, loops = draft.estimate.disk_bytes, draft.time_plan.loops
            raise NoRoom(
                f"{error}; the disk is for {loops} stacks: fewer loops need less",
                **error.values,
                loops=loops,
                stack_disk_bytes=each,
            ) from error

    def _foresee(self, plan: StackPlan, settings: JobSettings, from_um: float) -> Estimate:
        """Estimate one stack, with the light that is switched on before it."""
        estimate = self._estimator.of(plan, settings, from_um)
        memory_bytes, form = estimate.memory_bytes, self._estimator.frame
        if memory_bytes is not None and form is not None:
            is_laid = settings.transforms is not None
            memory_bytes += correction_bytes(form, settings.correction, is_laid=is_laid)
        time_s = estimate.time_s + steady_s(self._config.lights)
        return replace(estimate, time_s=time_s, memory_bytes=memory_bytes)

    def _look_s(self, plan: StackPlan, settings: JobSettings, from_um: float) -> float:
        """Return what the test frame and the way by it take before the first stack, s."""
        config, spec = self._config, self._estimator.spec
        if not (config.stack.preflight and config.frames_come):
            return 0.0
        reach = spec.reach(settings.approach, settings.backlash_um, settings.prerun_um)
        ramp, first_um, middle_um = spec.ramp(), plan.positions_um[0], plan.positions_um[len(plan) // 2]
        ways = [
            spec.rehearse(positions_um, reach, spec.steps_at(from_um))
            for positions_um in ((first_um,), (middle_um, first_um))
        ]
        straight_s, by_it_s = (sum(ramp.duration_s(abs(leg)) for legs in way for leg in legs) for way in ways)
        one = replace(settings, shots_per_step=1, lights=settings.lights[:1])
        at_it_s = self._estimator.pace.settle_of(settings) + self._estimator.stop_s(one)
        return by_it_s - straight_s + at_it_s

    def _transforms(self, settings: JobSettings) -> TransformTable | None:
        """Read what the run that a request names says of its frames, before anything moves.

        Raises
        ------
        RequestError
            It says nothing, or the request asks for an alignment as well.
        """
        if settings.transforms is None:
            return None
        if settings.align not in (None, "off"):
            raise RequestError(f"align is {settings.align}: transforms says where the frames lie; give one")
        path = self._config.data.dir / "runs" / settings.transforms / TRANSFORMS_NAME
        if not path.is_file():
            raise RequestError(
                f"transforms is {settings.transforms}: no such run, or one that was not aligned; name one "
                f"whose folder has a {TRANSFORMS_NAME}",
                "no_transforms",
            )
        try:
            return read_transforms(path)
        except FocusdError as error:
            raise RequestError(f"transforms is {settings.transforms}: {error}", "no_transforms") from error

    def _with_slabs(self, settings: JobSettings) -> JobSettings:
        """Fill in how the stack is cut; the configuration's overlap goes with its own slab alone.

        Raises
        ------
        PlanError
            Numbers that do not go together.
        """
        stack = self._config.stack
        slab = stack.slab if settings.slab is None else settings.slab
        usual = stack.slab_overlap if slab == stack.slab else 0
        overlap = usual if settings.slab_overlap is None else settings.slab_overlap
        settings = replace(settings, slab=slab, slab_overlap=overlap if slab else 0)
        _ = settings.slab_plan
        return settings

    def _check_steps(self, plan: StackPlan) -> None:
        """Refuse stops that the motor cannot tell apart."""
        spec = self._estimator.spec
        motor_step_um = float(spec.um_per_step)
        remedy = (
            'choose a larger step or more microsteps, or send "round": true to have stops put on whole motor '
            "steps"
        )
        facts = {"motor_step_um": motor_step_um, "step_um": plan.step_um}
        if plan.step_um is not None and plan.step_um < motor_step_um:
            raise PlanError(
                f"a step of {plan.step_um:g} um is less than the motor's, {motor_step_um:g} um; {remedy}",
                **facts,
            )
        if len({spec.steps_at(position_um) for position_um in plan.positions_um}) < len(plan):
            raise PlanError(
                f"two stops fall on the same motor step, of {motor_step_um:g} um; {remedy}", **facts
            )

    def _preset(self, name: object) -> dict[str, Any]:
        presets = self._config.presets
        if not isinstance(name, str) or name not in presets:
            shown = str(name)[:64]
            known = sorted(presets)
            hint = did_you_mean(shown, known) or f"; there are: {', '.join(known) or 'none'}"
            raise RequestError(f"there is no preset '{shown}'{hint}", code="unknown_preset")
        return presets[name]

    def _with_step(self, request: JobStart, effective: dict[str, Any]) -> ZPlan:
        """Return the request's plan, or the settings' range, with a step found for it.

        A step is the request's own, or comes from optics that the request names or whose overlap it names,
        from the settings, or from the rig's optics.
        """
        if request.z_plan is not None:
            z_plan = request.z_plan.as_plan()
        elif effective["range_um"] is not None:
            z_plan = ZPlan(range=effective["range_um"])
        else:
            raise PlanError(
                'the request has no z_plan, and there is no default: send {"z_plan": {"range": 2540, '
                '"step": 20}}, or set a preset or [stack] range_um'
            )
        if z_plan.step is not None or not z_plan.needs_step:
            return z_plan
        overlap = effective["overlap"] if request.overlap is None else request.overlap
        asks_optics = request.optics is not None or request.overlap is not None
        optics = request.optics or self._config.optics
        if effective["step_um"] is not None and not (asks_optics and optics is not None):
            return replace(z_plan, step=effective["step_um"])
        if optics is not None:
            return replace(z_plan, step=optics.as_optics().step_um(overlap))
        return z_plan  # its resolve says what is missing

    def _start_um(self, rig: RigState) -> float:
        rail = self._config.rail
        if rig.position_valid:
            return rig.position_um
        if rail.at_start == "zero" and not rig.doubted:
            return 0.0
        reference_um = self._estimator.spec.home_reference_um
        if rail.at_start == "home" and reference_um is not None:
            return reference_um
        raise NotHomed(
            "the rail's position is not known: send `home` or `zero` first, or set [rail] at_start"
        )
