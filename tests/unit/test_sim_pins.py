"""Simulated pins: edges reach the physics, the physics reaches gpiozero, resistors have the last word."""

from __future__ import annotations

import pytest
from gpiozero import PWMLED, Button, Device, DigitalOutputDevice, InputDevice, PinPWMUnsupported

from focusd.errors import ConfigError
from focusd_sim.clock import VirtualClock
from focusd_sim.pins import SimFactory

Edge = tuple[int, bool, float]


def test_every_output_edge_is_seen_once_with_the_time() -> None:
    clock, seen = VirtualClock(), []
    factory = SimFactory(clock)
    factory.watch(17, lambda *edge: seen.append(edge))
    step = DigitalOutputDevice(17, pin_factory=factory)
    for _ in range(3):
        clock.sleep(0.5)
        step.on()
        step.on()
        clock.sleep(0.25)
        step.off()
    assert seen == [
        (17, True, 0.5),
        (17, False, 0.75),
        (17, True, 1.25),
        (17, False, 1.5),
        (17, True, 2.0),
        (17, False, 2.25),
    ]


def test_no_history_grows() -> None:
    factory = SimFactory(VirtualClock())
    step = DigitalOutputDevice(17, pin_factory=factory)
    for _ in range(100):
        step.toggle()
    assert len(step.pin.states) == 0


def test_the_board_pulls_a_released_line() -> None:
    factory = SimFactory(VirtualClock(), {5: "up"})
    seen: list[Edge] = []
    factory.watch(5, lambda *edge: seen.append(edge))
    assert factory.level(5) is True
    enable = DigitalOutputDevice(5, active_high=False, initial_value=True, pin_factory=factory)
    assert factory.level(5) is False
    enable.close()
    assert factory.level(5) is True
    assert [level for _, level, _ in seen] == [False, True]


def test_a_line_without_a_resistor_keeps_its_level_when_released() -> None:
    factory = SimFactory(VirtualClock())
    device = DigitalOutputDevice(5, initial_value=True, pin_factory=factory)
    device.close()
    assert factory.level(5) is True


def test_the_end_of_the_process_releases_every_line_and_the_next_one_can_begin() -> None:
    factory = SimFactory(VirtualClock(), {5: "up", 6: "down"})
    outputs = [
        DigitalOutputDevice(5, active_high=False, initial_value=True, pin_factory=factory),
        DigitalOutputDevice(6, initial_value=True, pin_factory=factory),
    ]
    factory.close()
    assert (factory.level(5), factory.level(6)) == (True, False)
    for device in outputs:
        device.close()
    again = DigitalOutputDevice(5, active_high=False, initial_value=True, pin_factory=factory)
    assert factory.level(5) is False
    again.close()


def test_a_driven_input_fires_gpiozeros_callbacks() -> None:
    clock = VirtualClock()
    factory = SimFactory(clock)
    button = Button(4, pull_up=True, pin_factory=factory)
    seen: list[str] = []
    button.when_pressed = lambda: seen.append("pressed")
    button.when_released = lambda: seen.append("released")
    factory.drive(4, False)
    factory.drive(4, False)
    factory.drive(4, True)
    assert seen == ["pressed", "released"]
    clock.sleep(2.0)
    assert button.inactive_time == pytest.approx(2.0)


@pytest.mark.parametrize(("pull_up", "level"), [(True, True), (False, False)])
def test_an_input_left_alone_follows_the_pis_own_pull(pull_up: bool, level: bool) -> None:
    factory = SimFactory(VirtualClock())
    device = InputDevice(4, pull_up=pull_up, pin_factory=factory)
    assert factory.level(4) is level
    factory.drive(4, not level)
    assert factory.level(4) is not level
    factory.drive(4, None)
    assert factory.level(4) is level
    device.close()


def test_a_line_driven_before_its_pin_exists_is_read_right() -> None:
    factory = SimFactory(VirtualClock())
    factory.drive(4, False)
    assert Button(4, pull_up=True, pin_factory=factory).is_pressed


def test_an_output_wins_over_what_drives_its_line() -> None:
    factory = SimFactory(VirtualClock())
    device = DigitalOutputDevice(4, initial_value=True, pin_factory=factory)
    factory.drive(4, False)
    assert factory.level(4) is True
    device.close()
    assert factory.level(4) is False


def test_two_factories_do_not_meet_and_the_global_one_is_untouched() -> None:
    before = Device.pin_factory
    one, two = SimFactory(VirtualClock()), SimFactory(VirtualClock())
    first = DigitalOutputDevice(17, initial_value=True, pin_factory=one)
    second = DigitalOutputDevice(17, initial_value=False, pin_factory=two)
    assert (one.level(17), two.level(17)) == (True, False)
    one.close()
    second.on()
    assert two.level(17) is True
    assert Device.pin_factory is before
    first.close()


def test_pwm_is_refused() -> None:
    with pytest.raises(PinPWMUnsupported):
        PWMLED(17, pin_factory=SimFactory(VirtualClock()))


@pytest.mark.parametrize(("line", "pull"), [(28, "up"), (-1, "up"), (4, "sideways")])
def test_a_line_or_pull_that_does_not_exist_is_refused(line: int, pull: str) -> None:
    with pytest.raises(ConfigError, match=str(line)):
        SimFactory(VirtualClock(), {line: pull})  # type: ignore[dict-item]
