"""The bench: real gpiozero outputs in, true positions out, a config in which every effect has a switch."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpiozero import Button, DigitalOutputDevice

from focusd.errors import ConfigError
from focusd_sim.bench import Bench, Lines
from focusd_sim.clock import VirtualClock
from focusd_sim.config import BenchConfig, CarriageConfig, MotorConfig, SimConfig
from focusd_sim.faults import Faults
from focusd_sim.pins import SimFactory

LINES = Lines(step=17, direction=27, enable=22, endstop=4)
IDEAL = {
    "backlash_um": 0,
    "sag_um_s": 0,
    "creep": 0,
    "vibration_hz": 0,
    "start_um": 3000,
}


class Rig:
    """A bench with outputs on its lines, as a daemon has them; the motor is on."""

    def __init__(self, *, lines: Lines = LINES, motor: dict | None = None, **carriage: object) -> None:
        self.clock = VirtualClock()
        self.factory = SimFactory(self.clock, {22: "up"})
        self.faults = Faults(self.clock)
        config = BenchConfig(
            motor=MotorConfig(**(motor or {})), carriage=CarriageConfig(**(IDEAL | carriage))
        )
        self.bench = Bench(config, self.clock, self.factory, lines, self.faults)
        self.step, self.direction = (
            DigitalOutputDevice(line, pin_factory=self.factory) for line in (lines.step, lines.direction)
        )
        self.enable = DigitalOutputDevice(
            22, active_high=False, initial_value=False, pin_factory=self.factory
        )
        self.enable.on()
        self.clock.sleep(0.01)

    def move(self, steps: int, rate_hz: float = 200.0) -> None:
        self.direction.value = steps > 0
        self.clock.sleep(1e-5)
        for _ in range(abs(steps)):
            self.step.on()
            self.clock.sleep(5e-6)
            self.step.off()
            self.clock.sleep(1 / rate_hz - 5e-6)


def test_twenty_micrometres_are_four_full_steps() -> None:
    rig = Rig()
    rig.move(4)
    assert rig.bench.position_um() == pytest.approx(3020)
    rig.move(-10)
    assert rig.bench.position_um() == pytest.approx(2970)
    assert rig.bench.shaft_um() == pytest.approx(2970)


@pytest.mark.parametrize(("option", "value", "expected_um"), [("direction", -1, -20), ("lead_um", 2000, 40)])
def test_the_screw_is_as_configured(option: str, value: int, expected_um: float) -> None:
    rig = Rig(**{option: value})
    rig.move(4)
    assert rig.bench.position_um() - 3000 == pytest.approx(expected_um)


def test_microsteps_are_as_configured() -> None:
    rig = Rig(motor={"microsteps": 16})
    rig.move(4)
    assert rig.bench.position_um() == pytest.approx(3001.25)


def test_ms_lines_choose_the_microsteps() -> None:
    rig = Rig(lines=Lines(17, 27, 22, 4, ms=(5, 6, 13)))
    outputs = [DigitalOutputDevice(line, pin_factory=rig.factory) for line in (5, 6, 13)]
    for output in outputs:
        output.on()
    rig.clock.sleep(0.01)
    rig.move(16)
    assert rig.bench.position_um() == pytest.approx(3005)


def test_the_shaft_knows_nothing_of_play_and_screw_error() -> None:
    rig = Rig(backlash_um=30, periodic_um=8)
    rig.move(50)
    rig.move(-4)
    assert rig.bench.shaft_um() == pytest.approx(3230)
    assert rig.bench.position_um() == pytest.approx(3258, abs=1)


def test_a_motor_never_enabled_does_not_move_and_counts_nothing_as_violation() -> None:
    rig = Rig()
    rig.enable.off()
    rig.move(9)
    assert rig.bench.position_um() == 3000
    assert (rig.bench.ignored_steps, rig.bench.violations, rig.bench.lost_steps) == (9, {}, 0)


def test_the_motor_is_off_before_the_daemon_and_after_its_death() -> None:
    rig = Rig()
    assert rig.bench.motor.energised
    rig.factory.close()
    assert not rig.bench.motor.energised


def test_without_an_enable_line_the_motor_is_always_on() -> None:
    clock = VirtualClock()
    factory = SimFactory(clock)
    assert Bench(BenchConfig(), clock, factory, Lines(17, 27)).motor.energised


def test_pulses_without_length_are_violations() -> None:
    rig = Rig()
    for _ in range(3):
        rig.step.on()
        rig.step.off()
        rig.clock.sleep(0.01)
    assert rig.bench.violations == {"step_high": 3}
    assert rig.bench.position_um() == 3000


def test_too_fast_a_start_loses_steps_unless_the_limit_is_lifted() -> None:
    slow, limited, free = Rig(), Rig(), Rig(motor={"pull_in_hz": 0})
    slow.move(100, 700)
    limited.move(100, 900)
    free.move(100, 900)
    assert (slow.bench.lost_steps, free.bench.lost_steps) == (0, 0)
    limited.clock.sleep(1.0)
    assert limited.bench.lost_steps > 50
    assert limited.bench.position_um() < 3300


def test_the_end_stop_reaches_the_daemons_button() -> None:
    rig = Rig(start_um=100)
    button = Button(4, pull_up=True, pin_factory=rig.factory)
    rig.move(-19)
    assert not button.is_pressed
    rig.move(-1)
    assert button.is_pressed
    rig.move(3)
    assert button.is_pressed
    rig.move(1)
    assert not button.is_pressed


def test_an_end_stop_can_be_at_the_far_end_active_high_or_absent() -> None:
    rig = Rig(start_um=2990, endstop="far", endstop_um=3000, endstop_active_high=True)
    button = Button(4, pull_up=False, pin_factory=rig.factory)
    rig.move(2)
    assert button.is_pressed
    absent = Rig(start_um=10, endstop="none")
    absent.move(-9)
    assert absent.bench.endstop is None


def test_hard_ends_hold_the_carriage_and_count_crashes() -> None:
    rig = Rig(start_um=-450, endstop="none")
    rig.move(-40)
    assert rig.bench.position_um() >= -500
    assert rig.bench.crashes > 0
    assert rig.bench.lost_steps > 20


def test_faults_stall_the_motor_and_stick_the_end_stop() -> None:
    rig = Rig(start_um=20)
    rig.faults.set("stick_endstop", True)
    rig.move(-10)
    assert rig.factory.level(4) is True
    rig.faults.set("stick_endstop", False)
    assert rig.factory.level(4) is False
    rig.faults.set("stall_motor", True)
    rig.move(20)
    assert rig.bench.position_um() == -30
    assert rig.bench.lost_steps > 0


def test_motion_during_an_exposure_counts_edges_and_excursions() -> None:
    rig = Rig()
    t0_s = rig.clock.now_s()
    rig.move(4)
    moved = rig.bench.motion_during(t0_s, rig.clock.now_s())
    assert (moved.step_edges, moved.start_um, moved.end_um) == (4, 3000, 3020)
    assert moved.peak_to_peak_um == 20
    assert 3005 < moved.position_um < 3020
    t1_s = rig.clock.now_s()
    rig.clock.sleep(1.0)
    still = rig.bench.motion_during(t1_s, rig.clock.now_s())
    assert (still.step_edges, still.peak_to_peak_um, still.max_speed_um_s) == (0, 0, 0)
    assert still.position_um == pytest.approx(3020)


def test_the_future_cannot_be_summed_up() -> None:
    rig = Rig()
    with pytest.raises(ValueError, match="past"):
        rig.bench.motion_during(0.0, rig.clock.now_s() + 1)


SPAN_PX_PER_UM = 3.7 / 14.8


@pytest.mark.parametrize(
    ("settle_s", "low_px", "high_px"), [(0.0, 3, 12), (0.2, 0.8, 4), (0.35, 0.3, 1), (1.0, 0, 0.05)]
)
def test_default_vibration_smears_an_exposure_taken_too_soon(
    settle_s: float, low_px: float, high_px: float
) -> None:
    rig = Rig(**CarriageConfig().model_dump())
    rig.move(40)
    rig.clock.sleep(3.0)
    rig.move(4)
    rig.clock.sleep(settle_s)
    t0_s = rig.clock.now_s()
    rig.clock.sleep(0.05)
    smear_px = rig.bench.motion_during(t0_s, rig.clock.now_s()).smear_um * SPAN_PX_PER_UM
    assert low_px <= smear_px <= high_px


def test_one_line_for_two_things_is_refused() -> None:
    clock = VirtualClock()
    with pytest.raises(ConfigError, match="twice"):
        Bench(BenchConfig(), clock, SimFactory(clock), Lines(17, 17))


def test_an_edge_trace_moves_it_without_any_pins() -> None:
    clock = VirtualClock()
    bench = Bench(BenchConfig(), clock, SimFactory(clock, {22: "up"}), LINES)
    bench.edge(27, True, 0.0)
    bench.edge(22, False, 0.1)
    for i in range(40):
        bench.edge(17, True, 0.2 + 0.005 * i)
        bench.edge(17, False, 0.2 + 0.005 * i + 1e-5)
    clock.sleep(10.0)
    assert bench.shaft_um() == pytest.approx(3200)
    assert bench.position_um() == pytest.approx(3200)


# -- configuration


def test_defaults_describe_a_well_behaved_rail() -> None:
    config = SimConfig()
    assert (config.carriage.lead_um, config.carriage.backlash_um, config.centre_um) == (1000, 30, 5000)
    assert (config.carriage.near_um, config.carriage.far_um, config.carriage.endstop_um) == (-500, 30000, 0)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"carriage": {"backlsh_um": 3}}, ["sim.carriage.backlsh_um", "did you mean 'backlash_um'"]),
        ({"carriage": {"backlash_um": 300}}, ["sim.carriage.backlash_um", "200"]),
        ({"carriage": {"start_um": -600.0}}, ["start_um", "-500"]),
        ({"carriage": {"near_um": 9.0, "far_um": 9.0, "start_um": 9.0}}, ["near_um", "below far_um"]),
        ({"motor": {"microsteps": 32}}, ["microsteps", "A4988"]),
        ({"motor": {"chip": "L298"}}, ["sim.motor.chip", "DRV8825"]),
        ({"scen": "wasp"}, ["sim.scen", "did you mean 'scene'"]),
        ({"speed": 0, "seed": -1}, ["sim.speed", "sim.seed"]),
        ({"dslr": {"partial_s": 1.0}}, ["partial_s", "write_s"]),
        ({"faults": [{"kind": "lose_frame"}]}, ["lose_frame", "exactly one"]),
        ({"faults": [{"kind": "lose_frames", "at_s": 1}]}, ["sim.faults.0.kind", "lose_frame"]),
        ({"faults": [{"kind": "lose_frame", "at": 1}]}, ["sim.faults.0.at", "unknown key"]),
        ({"carriage": {"start_um": float("nan")}}, ["start_um", "finite"]),
    ],
)
def test_a_bad_table_is_refused_naming_everything(table: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        SimConfig.from_table(table)
    for word in words:
        assert word in str(caught.value)


def test_the_table_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(
        '[rail]\nkind = "x"\n[sim]\nscene = "slope"\n[sim.carriage]\nbacklash_um = 55\n'
        '[[sim.faults]]\nkind = "lose_frame"\nat_exposure = 3\n'
    )
    config = SimConfig.from_toml(path)
    assert (config.scene, config.carriage.backlash_um, config.faults[0].at_exposure) == ("slope", 55, 3)
    path.write_text("")
    assert SimConfig.from_toml(path) == SimConfig()


@pytest.mark.parametrize("text", ["[sim", None])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "rig.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"rig\.toml"):
        SimConfig.from_toml(path)
