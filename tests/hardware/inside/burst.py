"""Gives a train of pulses on the STEP line, by the sender its argument names: lgpio's or the daemon's."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import lgpio
from gpiozero import DigitalOutputDevice

from focusd.clock import SystemClock
from focusd.drivers.native import NativePulses, lgpio_board
from focusd.drivers.pins import open_pins
from focusd.drivers.pulses import TIMINGS, PinPulses
from focusd.halt import Halt
from focusd.ramp import Ramp

STEP, COUNT, RATE_HZ = 17, 2000, 600.0
_PERIOD_US = round(1e6 / RATE_HZ)


def wave() -> None:
    """Queue all pulses as one wave and wait for its end."""
    chip = lgpio.gpiochip_open(0)
    lgpio.group_claim_output(chip, [STEP], [0])
    high, low = lgpio.pulse(1, 1, 10), lgpio.pulse(0, 1, _PERIOD_US - 10)
    lgpio.tx_wave(chip, STEP, [high, low] * COUNT)
    while lgpio.tx_busy(chip, STEP, lgpio.TX_WAVE):
        time.sleep(0.05)


def pulse() -> None:
    """Queue all pulses as repetitions of one and wait for their end."""
    chip = lgpio.gpiochip_open(0)
    lgpio.gpio_claim_output(chip, STEP, 0)
    lgpio.tx_pulse(chip, STEP, 10, _PERIOD_US - 10, 0, COUNT)
    while lgpio.tx_busy(chip, STEP, lgpio.TX_PWM):
        time.sleep(0.05)


def native() -> None:
    """Have the daemon's loop in C make them."""
    factory = open_pins("lgpio")
    line = DigitalOutputDevice(STEP, initial_value=False, pin_factory=factory)
    pulses = NativePulses(lgpio_board(factory), STEP, TIMINGS["a4988"], SystemClock())
    pulses.run(COUNT, Ramp(RATE_HZ, RATE_HZ, 1e6), Halt(), ())
    line.close()


def pins() -> None:
    """Have the daemon's loop in Python make them."""
    line = DigitalOutputDevice(STEP, initial_value=False, pin_factory=open_pins("lgpio"))
    PinPulses(line, TIMINGS["a4988"], SystemClock()).run(COUNT, Ramp(RATE_HZ, RATE_HZ, 1e6), Halt(), ())
    line.close()


SENDERS: dict[str, Callable[[], None]] = {each.__name__: each for each in (wave, pulse, native, pins)}

if __name__ == "__main__":
    SENDERS[sys.argv[1]]()
