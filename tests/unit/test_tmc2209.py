"""The TMC2209 on its serial line, against a simulated chip that shares no code with the driver."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from focusd.drivers.serial_wire import open_serial
from focusd.drivers.tmc2209 import (
    ATTEMPTS,
    ChipFault,
    ChipReset,
    SettingsLost,
    Tmc2209,
    WriteLost,
    WrongChip,
)
from focusd.errors import ConfigError, RailError
from focusd.tmc_datagram import (
    NoAnswer,
    NoEcho,
    Register,
    TmcError,
    WrongAddress,
    WrongCrc,
    WrongEcho,
    crc8,
    read_request,
    reply_value,
    write_request,
)
from focusd.tmc_settings import Stall, TmcSettings
from focusd.tmc_status import TmcStatus
from focusd_sim.one_wire import Noise, OneWire, Pty, drop, flip, lose
from focusd_sim.tmc2209 import SimTmc2209, checksum

FOREVER = 10**9
SETTINGS = TmcSettings(run_ma=800.0, hold_ma=400.0)

registers = st.sampled_from(Register)
addresses = st.integers(0, 3)
words = st.integers(0, 2**32 - 1)


def remainder(data: bytes) -> int:
    """The CRC as division of polynomials: the message's bits in the order of the line, times x^8."""
    bits = "".join(f"{byte:08b}"[::-1] for byte in data)
    value, divisor = int(bits or "0", 2) << 8, 0b1_0000_0111
    while value.bit_length() > 8:
        value ^= divisor << value.bit_length() - 9
    return value


def flipped(data: bytes, bit: int) -> bytes:
    return flip(bit)(data)


@dataclasses.dataclass
class Recorder(OneWire):
    """A line that notes what is done with it: a read that comes short has waited for the time-out."""

    log: list[str] = dataclasses.field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.log.append("sent")
        super().write(data)

    def read(self, count: int) -> bytes:
        heard = super().read(count)
        self.log.append("heard all" if len(heard) == count else "silence")
        return heard


class TestDatagrams:
    @given(st.binary(max_size=16))
    def test_the_crc_is_the_remainder_of_a_division(self, data: bytes) -> None:
        assert crc8(data) == checksum(data) == remainder(data)

    @pytest.mark.parametrize(
        ("datagram", "source"),
        [
            ("05 00 06 6f", "janelia-arduino/TMC2209 issue 105: read of IOIN"),
            ("55 00 06 e8", "PyTmcStepper issue 7: the same, with other reserved bits"),
            ("05 00 00 48", "read of GCONF in published firmware tests"),
            ("05 ff 06 21 00 02 41 9d", "TMC2209_Raspberry_Pi wiki, UART: a chip's answer"),
        ],
    )
    def test_published_datagrams_have_this_crc(self, datagram: str, source: str) -> None:
        data = bytes.fromhex(datagram)
        assert crc8(data[:-1]) == data[-1], source

    def test_requests_and_answers_are_the_published_ones(self) -> None:
        assert read_request(0, Register.IOIN) == bytes.fromhex("0500066f")
        assert reply_value(Register.IOIN, bytes.fromhex("05ff06210002419d")) == 0x21000241

    @given(addresses, registers, words)
    def test_a_write_says_where_what_and_how_much(self, address: int, register: Register, value: int) -> None:
        datagram = write_request(address, register, value)
        assert list(datagram[:3]) == [5, address, 128 + register]
        assert int.from_bytes(datagram[3:7], "big") == value
        assert list(datagram[7:]) == [remainder(datagram[:7])]

    @given(registers, words, st.integers(0, 63))
    def test_any_flipped_bit_of_an_answer_is_noticed(self, register: Register, value: int, bit: int) -> None:
        chip = bytes((5, 0xFF, register)) + value.to_bytes(4, "big")
        answer = chip + bytes((checksum(chip),))
        assert reply_value(register, answer) == value
        with pytest.raises(WrongCrc) as caught:
            reply_value(register, flipped(answer, bit))
        assert caught.value.values["crc"] != caught.value.values["crc_expected"]

    @given(registers, registers, words)
    def test_the_answer_to_another_question_is_refused(
        self, asked: Register, answered: Register, value: int
    ) -> None:
        assume(asked != answered)
        chip = bytes((5, 0xFF, answered)) + value.to_bytes(4, "big")
        with pytest.raises(WrongAddress, match=f"05 ff {answered:02x}, not 05 ff {asked:02x}"):
            reply_value(asked, chip + bytes((checksum(chip),)))

    @given(addresses, words)
    def test_a_write_of_the_pi_is_no_answer(self, address: int, value: int) -> None:
        with pytest.raises(WrongAddress):
            reply_value(Register.GCONF, write_request(address, Register.GCONF, value))


class TestSimulatedChip:
    """The truth that the driver is held against must itself be right."""

    @given(addresses, registers, words, st.integers(0, 63))
    def test_no_flipped_bit_of_a_write_changes_anything(
        self, address: int, register: Register, value: int, bit: int
    ) -> None:
        chip = SimTmc2209(address)
        before = {number: chip.register(number) for number in Register}
        chip.hear(flipped(write_request(address, register, value), bit))
        assert {number: chip.register(number) for number in Register} == before

    @given(addresses, registers, st.integers(0, 31))
    def test_no_flipped_bit_of_a_question_is_answered(
        self, address: int, register: Register, bit: int
    ) -> None:
        assert SimTmc2209(address).hear(flipped(read_request(address, register), bit)) == b""

    @given(addresses, addresses)
    def test_only_the_chip_that_is_meant_answers_and_counts(self, meant: int, strapped: int) -> None:
        chip = SimTmc2209(strapped)
        chip.hear(write_request(meant, Register.GCONF, 0x1C0))
        assert chip.register(Register.IFCNT) == (meant == strapped)
        assert bool(chip.hear(read_request(meant, Register.IFCNT))) == (meant == strapped)

    def test_the_counter_wraps_and_questions_do_not_count(self) -> None:
        chip = SimTmc2209()
        for _ in range(258):
            chip.hear(write_request(0, Register.SGTHRS, 1) + read_request(0, Register.IFCNT))
        assert chip.register(Register.IFCNT) == 2

    def test_what_only_reads_cannot_be_written_and_the_other_way_round(self) -> None:
        chip = SimTmc2209()
        chip.stall_value = 100
        chip.hear(write_request(0, Register.SG_RESULT, 7))
        chip.hear(write_request(0, Register.SGTHRS, 7))
        assert reply_value(Register.SG_RESULT, chip.hear(read_request(0, Register.SG_RESULT))) == 100
        assert reply_value(Register.SGTHRS, chip.hear(read_request(0, Register.SGTHRS))) == 0
        assert (chip.register(Register.SGTHRS), chip.register(Register.IFCNT)) == (7, 2)

    def test_flags_are_cleared_one_by_one_and_not_before_their_cause(self) -> None:
        chip = SimTmc2209()
        chip.conditions = 1 << 2
        chip.hear(write_request(0, Register.GSTAT, 0b010))
        assert chip.register(Register.GSTAT) == 0b011
        chip.conditions = 0
        assert chip.register(Register.GSTAT) == 0b011
        chip.hear(write_request(0, Register.GSTAT, 0b010))
        assert chip.register(Register.GSTAT) == 0b001


class TestSettings:
    @pytest.mark.parametrize(
        ("sense_ohm", "most_a"),
        # The data sheet's table in section 8: IRUN = 31, vsense = 0.
        [
            (1.00, 0.23), (0.82, 0.27), (0.75, 0.30), (0.68, 0.33), (0.50, 0.44), (0.47, 0.47), (0.39, 0.56),
            (0.33, 0.66), (0.27, 0.79), (0.22, 0.96), (0.18, 1.15), (0.15, 1.35), (0.12, 1.64), (0.10, 1.92),
        ],
    )  # fmt: skip
    def test_the_most_current_is_the_data_sheets(self, sense_ohm: float, most_a: float) -> None:
        with pytest.raises(ConfigError, match="at most") as caught:
            TmcSettings(run_ma=2000, hold_ma=10, sense_ohm=sense_ohm)
        most_ma = caught.value.values["limit_ma"]
        assert most_ma / 1000 == pytest.approx(most_a, abs=0.0051)
        full = TmcSettings(run_ma=most_ma, hold_ma=most_ma, sense_ohm=sense_ohm)
        assert (full.run_scale, full.vsense) == (31, False)
        assert full.run_actual_ma == pytest.approx(most_ma)

    @given(
        run=st.floats(0, 1),
        hold=st.floats(0, 1),
        sense_ohm=st.floats(0.05, 1.0),
        microsteps=st.sampled_from([2**n for n in range(9)]),
        interpolate=st.booleans(),
        stealthchop=st.booleans(),
        address=addresses,
    )
    def test_the_chip_gets_what_was_asked(
        self,
        run: float,
        hold: float,
        sense_ohm: float,
        microsteps: int,
        interpolate: bool,
        stealthchop: bool,
        address: int,
    ) -> None:
        least_ma, most_ma = (mv / (sense_ohm + 0.02) / 2**0.5 for mv in (180 / 32, 325))
        run_ma = least_ma + run * (min(most_ma, 2000) - least_ma)
        step_ma = (least_ma if run_ma < 33 * least_ma else most_ma / 32) * (1 + 1e-6)
        assume(run_ma >= step_ma)
        hold_ma = step_ma + hold * (run_ma - step_ma)
        settings = TmcSettings(run_ma, hold_ma, microsteps, interpolate, stealthchop, sense_ohm)

        chip = SimTmc2209(address)
        Tmc2209(OneWire([chip]), address).configure(settings)

        assert chip.microsteps == microsteps
        assert chip.interpolates == interpolate
        assert chip.stealthchop == stealthchop
        for standing, asked_ma, told_ma in (
            (False, run_ma, settings.run_actual_ma),
            (True, hold_ma, settings.hold_actual_ma),
        ):
            actual_ma = chip.current_ma(sense_ohm, standing, vref_v=1.2)
            assert actual_ma == pytest.approx(told_ma)
            assert asked_ma - step_ma < actual_ma <= asked_ma * (1 + 1e-6)

        # What the chip has is what it is set to when asked for just that.
        again = dataclasses.replace(settings, run_ma=settings.run_actual_ma, hold_ma=settings.hold_actual_ma)
        if again.vsense == settings.vsense:
            assert again.registers() == settings.registers()

    def test_registers_are_those_that_klipper_writes(self) -> None:
        # Dumps in Klipper's issue 1190 (SpreadCycle, 32) and 196 (StealthChop, 16, not interpolated).
        spread = TmcSettings(800, 800, microsteps=32, stealthchop=False).registers()
        assert spread[Register.GCONF] == 0x1C4
        assert spread[Register.CHOPCONF] == 0x13030053
        assert spread[Register.PWMCONF] == 0xC80D0E24
        silent = TmcSettings(800, 800, microsteps=16, interpolate=False).registers()
        assert silent[Register.GCONF] == 0x1C0
        assert silent[Register.CHOPCONF] == 0x04030053

    def test_a_current_above_the_fine_range_takes_the_coarse_one(self) -> None:
        # The fine range ends at 979.1 mA in steps of 30.6, the coarse one at 1767.8 in steps of 55.2.
        fine, coarse = TmcSettings(1009, 100), TmcSettings(1010, 100)
        assert (fine.vsense, coarse.vsense) == (True, False)
        assert fine.run_actual_ma == pytest.approx(979.1, abs=0.1)
        assert coarse.run_actual_ma == pytest.approx(18 * 55.24, abs=0.1)

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda: TmcSettings(1800, 100), "run_ma 1800: at most 1768 mA with sense_ohm 0.11"),
            (lambda: TmcSettings(2001, 100, sense_ohm=0.05), "run_ma 2001: at most 2000 mA"),
            (lambda: TmcSettings(30, 30), "run_ma 30: at least 30.60 mA"),
            (lambda: TmcSettings(1500, 50), "hold_ma 50: at least 55.24 mA"),
            (lambda: TmcSettings(500, 600), "hold_ma 600: above 0, and not above run_ma 500 mA"),
            (lambda: TmcSettings(500, 0), "hold_ma 0: above 0"),
            (lambda: TmcSettings(500, 300, microsteps=12), "microsteps 12: a TMC2209 has 1, 2"),
            (lambda: TmcSettings(500, 300, microsteps=512), "microsteps 512"),
            (lambda: TmcSettings(500, 300, sense_ohm=110), "sense_ohm 110: above 0.01, to 1 ohm"),
            (lambda: TmcSettings(500, 300, sense_ohm=0.01), "sense_ohm 0.01: above 0.01"),
            (lambda: Stall(256, 200), "stall_threshold 256: 0 to 255"),
            (lambda: Stall(-1, 200), "stall_threshold -1"),
            (lambda: Stall(60, 0.5), "0.5 full steps/s: 1 to 5000"),
            (lambda: Stall(60, 5001), "5001 full steps/s"),
            (
                lambda: TmcSettings(500, 300, stealthchop=False, stall=Stall(60, 200)),
                "stall_threshold without stealthchop",
            ),
        ],
    )
    def test_what_is_out_of_range_is_refused(self, make: Callable[[], object], said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            make()
        assert said in str(caught.value)


class TestStall:
    @given(st.floats(1, 5000), st.integers(1, 255), st.floats(0.96, 1.04))
    def test_diag_rises_at_homing_speed_under_load_and_not_before(
        self, speed_hz: float, threshold: int, clock: float
    ) -> None:
        chip = SimTmc2209(clock_hz=12e6 * clock)
        stall = Stall(threshold, speed_hz)
        Tmc2209(OneWire([chip])).configure(dataclasses.replace(SETTINGS, stall=stall))
        chip.speed_hz, chip.stall_value = speed_hz, min(510, 2 * threshold + 2)
        assert chip.diag is (threshold == 255)
        chip.stall_value = 2 * threshold
        assert chip.diag
        chip.speed_hz = 0.7 * speed_hz  # the run-up
        assert not chip.diag
        chip.speed_hz = 0.0
        assert not chip.diag

    def test_without_a_threshold_diag_never_rises_for_load(self) -> None:
        chip = SimTmc2209()
        Tmc2209(OneWire([chip])).configure(SETTINGS)
        chip.speed_hz, chip.stall_value = 400.0, 0
        assert not chip.diag

    def test_the_load_can_be_read(self) -> None:
        chip = SimTmc2209()
        chip.stall_value = 342
        assert Tmc2209(OneWire([chip])).stall_value() == 342


class TestConfigure:
    def test_every_setting_arrives_and_flags_are_cleared(self) -> None:
        chip = SimTmc2209()
        settings = dataclasses.replace(SETTINGS, stall=Stall(60, 400.0))
        Tmc2209(OneWire([chip])).configure(settings)
        for register, value in settings.registers().items():
            assert chip.register(register) == value, register.name
        assert chip.register(Register.GSTAT) == 0
        assert chip.register(Register.IFCNT) == len(settings.registers()) + 1

    @given(st.integers(0, 255))
    def test_the_counter_may_stand_anywhere(self, count: int) -> None:
        chip = SimTmc2209()
        chip.count(count)
        Tmc2209(OneWire([chip])).configure(SETTINGS)
        assert chip.register(Register.IFCNT) == (count + 12) % 256

    def test_four_chips_on_a_line_are_set_up_one_by_one(self) -> None:
        chips = [SimTmc2209(address) for address in range(4)]
        wire = OneWire(chips)
        for address, microsteps in enumerate((1, 4, 64, 256)):
            Tmc2209(wire, address).configure(dataclasses.replace(SETTINGS, microsteps=microsteps))
        assert [chip.microsteps for chip in chips] == [1, 4, 64, 256]

    def test_there_is_no_fifth_address(self) -> None:
        with pytest.raises(ConfigError, match="address 4: 0 to 3"):
            Tmc2209(OneWire([]), 4)

    @pytest.mark.parametrize(("version", "name"), [(0x20, "TMC2208"), (0x40, "TMC2300"), (0x99, "no chip")])
    def test_another_chip_is_refused_before_anything_is_written(self, version: int, name: str) -> None:
        chip = SimTmc2209(version=version)
        with pytest.raises(WrongChip, match=f"version is 0x{version:02x}.*{name}") as caught:
            Tmc2209(OneWire([chip])).configure(SETTINGS)
        assert caught.value.values == {"port": "sim", "address": 0, "version": version}
        assert chip.register(Register.IFCNT) == 0

    @pytest.mark.parametrize("after", range(0, 27, 2))
    def test_a_reset_on_the_way_is_never_missed(self, after: int) -> None:
        chip = SimTmc2209()

        def dip(data: bytes) -> bytes:
            chip.reset()
            return data

        # Exchanges: one of IOIN, then IFCNT, write, IFCNT for each register, then what is read back.
        wire = OneWire([chip], [Noise("request", dip, skip=5 + after)])
        with pytest.raises(ChipReset, match=r"lost its settings.*VM.*home"):
            Tmc2209(wire).configure(SETTINGS)
        wire.noise.clear()
        Tmc2209(wire).configure(SETTINGS)
        assert chip.register(Register.CHOPCONF) == SETTINGS.registers()[Register.CHOPCONF]

    def test_a_chip_that_does_not_keep_what_it_counts_is_refused(self) -> None:
        chip = SimTmc2209()
        wire = OneWire([chip])
        overwrite = write_request(0, Register.CHOPCONF, 0x10000053)

        def another_program(data: bytes) -> bytes:
            if data == read_request(0, Register.CHOPCONF):
                chip.hear(overwrite)
            return data

        wire.noise.append(Noise("request", another_program, times=FOREVER))
        with pytest.raises(SettingsLost, match="CHOPCONF is 0x10000053 after 0x14030053") as caught:
            Tmc2209(wire).configure(SETTINGS)
        assert caught.value.values["expected"] == 0x14030053


class TestStatus:
    @pytest.mark.parametrize(
        ("gstat", "drv_status", "expected"),
        [
            (0b000, 0xC0130000, {"standstill": True, "stealthchop": True, "current_scale": 19}),
            (0b000, 0x80130000, {"standstill": True, "current_scale": 19}),
            (0b001, 0, {"reset": True}),
            (0b010, 0, {"driver_error": True}),
            (0b100, 0, {"undervoltage": True}),
            (0, 1 << 0 | 1 << 8, {"over_temperature_warning": True, "temperature_over_c": 120}),
            (0, 1 << 1 | 0b0011 << 8, {"over_temperature": True, "temperature_over_c": 143}),
            (0, 0b0111 << 8, {"temperature_over_c": 150}),
            (0, 0b1111 << 8, {"temperature_over_c": 157}),
            (0, 1 << 2, {"short_to_ground": True}),
            (0, 1 << 3, {"short_to_ground": True}),
            (0, 1 << 4, {"short_to_supply": True}),
            (0, 1 << 5, {"short_to_supply": True}),
            (0, 1 << 6, {"open_load": True}),
            (0, 1 << 7, {"open_load": True}),
        ],
    )
    def test_each_bit_has_its_meaning(self, gstat: int, drv_status: int, expected: dict[str, object]) -> None:
        nothing = dict.fromkeys((field.name for field in dataclasses.fields(TmcStatus)), 0)
        assert dataclasses.asdict(TmcStatus.of(gstat, drv_status)) == nothing | expected

    def test_a_chip_in_order_passes(self) -> None:
        chip = SimTmc2209()
        driver = Tmc2209(OneWire([chip]))
        driver.configure(SETTINGS)
        assert driver.check() == driver.status()
        assert driver.status().current_scale == SETTINGS.hold_scale
        chip.speed_hz = 100.0
        status = driver.check()
        assert (status.current_scale, status.stealthchop, status.standstill) == (
            SETTINGS.run_scale,
            True,
            False,
        )

    def test_warmth_and_open_coils_are_told_and_no_reason_to_stop(self) -> None:
        chip = SimTmc2209()
        driver = Tmc2209(OneWire([chip]))
        driver.configure(SETTINGS)
        chip.conditions = 1 << 0 | 1 << 8 | 0b11 << 6
        status = driver.check()
        assert (status.over_temperature_warning, status.temperature_over_c, status.open_load) == (
            True,
            120,
            True,
        )

    def test_a_dip_of_the_supply_shows_after_the_move_until_set_up_again(self) -> None:
        chip = SimTmc2209()
        driver = Tmc2209(OneWire([chip]))
        driver.configure(SETTINGS)
        chip.reset()
        for _ in range(2):
            with pytest.raises(ChipReset, match="position is not known"):
                driver.check()
        driver.configure(SETTINGS)
        assert not driver.check().reset

    @pytest.mark.parametrize(
        ("conditions", "said"),
        [(1 << 1 | 0b1111 << 8, "too hot"), (1 << 3, "shorted to ground"), (1 << 4, "shorted to the supply")],
    )
    def test_a_motor_that_was_switched_off_is_an_error_even_afterwards(
        self, conditions: int, said: str
    ) -> None:
        chip = SimTmc2209()
        driver = Tmc2209(OneWire([chip]))
        driver.configure(SETTINGS)
        chip.conditions = conditions
        assert chip.diag
        with pytest.raises(ChipFault, match=said):
            driver.check()
        chip.conditions = 0
        with pytest.raises(ChipFault, match="it was too hot or a coil was shorted"):
            driver.check()
        driver.configure(SETTINGS)
        assert driver.check().faults == ()

    def test_a_weak_charge_pump_is_an_error_while_it_lasts(self) -> None:
        chip = SimTmc2209()
        driver = Tmc2209(OneWire([chip]))
        driver.configure(SETTINGS)
        chip.undervoltage = True
        with pytest.raises(ChipFault, match="charge pump") as caught:
            driver.check()
        assert caught.value.values["faults"] == ["its charge pump lacks voltage"]
        chip.undervoltage = False
        assert driver.check().faults == ()


class TestNoise:
    @given(
        st.lists(
            st.builds(
                Noise,
                st.sampled_from(["request", "echo", "reply"]),
                st.one_of(st.integers(0, 63).map(flip), st.integers(0, 7).map(drop), st.just(lose)),
                skip=st.integers(0, 30),
                times=st.just(1),
            ),
            max_size=4,
        )
    )
    def test_a_few_spoilt_datagrams_do_no_harm(self, noise: list[Noise]) -> None:
        chip = SimTmc2209()
        driver = Tmc2209(OneWire([chip], noise))
        driver.configure(SETTINGS)
        for register, value in SETTINGS.registers().items():
            assert chip.register(register) == value, register.name
        assert not driver.check().reset

    @pytest.mark.parametrize(
        ("noise", "error", "said"),
        [
            (Noise("echo", lose, times=FOREVER), WrongEcho, "05 00 01 .. was sent and 05 ff 01"),
            (
                Noise("request", lose, times=FOREVER),
                NoEcho,
                "not even what was sent; .*1 kohm.*enable_uart=1",
            ),
            (Noise("request", flip(9), times=FOREVER), WrongEcho, "serial console"),
            (Noise("echo", drop(2), times=FOREVER), WrongEcho, "came back"),
            (Noise("reply", lose, times=FOREVER), NoAnswer, "0 of 8 bytes.*VM.*PDN_UART"),
            (Noise("reply", drop(0), times=FOREVER), NoAnswer, "7 of 8 bytes"),
            (Noise("reply", flip(40), times=FOREVER), WrongCrc, "has the CRC 0x.., not 0x..;.*ground"),
            (
                Noise("reply", lambda _: bytes.fromhex("05ff06210002419d"), times=FOREVER),
                WrongAddress,
                "begins 05 ff 06, not 05 ff 01",
            ),
        ],
    )
    def test_what_never_gets_better_is_named(self, noise: Noise, error: type[TmcError], said: str) -> None:
        driver = Tmc2209(OneWire([SimTmc2209()], [noise]))
        with pytest.raises(error, match=f"^TMC2209 on sim, address 0: GSTAT could not .*{said}") as caught:
            driver.status()
        assert type(caught.value) is error
        assert isinstance(caught.value, RailError)
        assert noise.times == FOREVER - ATTEMPTS
        values = caught.value.values
        assert (values["port"], values["address"], values["register"], values["attempts"]) == (
            "sim",
            0,
            "GSTAT",
            ATTEMPTS,
        )

    def test_a_chip_of_another_address_and_one_without_supply_do_not_answer(self) -> None:
        chip = SimTmc2209(address=2)
        with pytest.raises(NoAnswer, match=r"address 1: .*MS1 and MS2"):
            Tmc2209(OneWire([chip]), 1).status()
        chip.powered = False
        with pytest.raises(NoAnswer, match=r"address 2: .*motor supply"):
            Tmc2209(OneWire([chip]), 2).status()

    def test_bytes_from_before_are_not_taken_for_an_echo(self) -> None:
        wire = Recorder([SimTmc2209()])
        wire.write(b"login: ")
        assert Tmc2209(wire).read(Register.CHOPCONF) == 0x10000053
        assert wire.log == ["sent", "sent", "heard all"]

    def test_after_an_error_the_line_is_left_in_silence(self) -> None:
        wire = Recorder([SimTmc2209()], [Noise("reply", flip(20))])
        assert Tmc2209(wire).read(Register.CHOPCONF) == 0x10000053
        assert wire.log == ["sent", "heard all", "silence", "sent", "heard all"]

    def test_two_chips_of_one_address_talk_at_once(self) -> None:
        chips = [SimTmc2209(), SimTmc2209()]
        wire = OneWire(chips)

        def collide(said: bytes) -> bytes:
            # Who pulls the line low wins.
            return bytes(a & b for a, b in zip(said[:8], said[8:], strict=True))

        chips[1].count(3)
        wire.noise.append(Noise("reply", collide, times=FOREVER))
        with pytest.raises(WrongCrc):
            Tmc2209(wire).read(Register.IFCNT)

    def test_a_write_that_is_never_counted_is_an_error(self) -> None:
        chip = SimTmc2209()

        def no_writes(data: bytes) -> bytes:
            return flipped(data, 30) if len(data) == 8 else data

        wire = OneWire([chip], [Noise("request", no_writes, times=FOREVER)])
        with pytest.raises(WriteLost, match=r"GSTAT = 0x00000007 was written 5 times and not counted once"):
            Tmc2209(wire).configure(SETTINGS)
        assert chip.register(Register.IFCNT) == 0

    def test_a_write_whose_echo_was_spoilt_is_not_repeated_when_it_was_counted(self) -> None:
        chip = SimTmc2209()
        wire = OneWire([chip], [Noise("echo", flip(3), skip=1)])
        Tmc2209(wire).write(Register.SGTHRS, 99)
        assert (chip.register(Register.SGTHRS), chip.register(Register.IFCNT)) == (99, 1)


@pytest.mark.usefixtures("pseudo_terminals")
class TestSerialPort:
    """Genuine pyserial on a pseudo-terminal of the system."""

    def test_a_chip_is_set_up_and_asked(self) -> None:
        chip = SimTmc2209(address=3)
        with Pty(OneWire([chip])) as pty:
            wire = open_serial(pty.path, timeout_s=5.0)
            driver = Tmc2209(wire, 3)
            driver.configure(SETTINGS)
            status = driver.check()
            wire.close()
        assert status.standstill
        assert status.current_scale == SETTINGS.hold_scale
        assert chip.microsteps == 16

    def test_a_spoilt_answer_is_asked_for_again(self) -> None:
        line = OneWire([SimTmc2209()], [Noise("reply", flip(20), times=2)])
        with Pty(line) as pty:
            wire = open_serial(pty.path, timeout_s=0.2)
            assert Tmc2209(wire).read(Register.CHOPCONF) == 0x10000053
            wire.close()
        assert line.noise[0].times == 0

    def test_a_mute_chip_is_named_with_its_port(self) -> None:
        chip = SimTmc2209()
        chip.powered = False
        with Pty(OneWire([chip])) as pty:
            wire = open_serial(pty.path, timeout_s=0.05)
            with pytest.raises(NoAnswer) as caught:
                Tmc2209(wire).status()
            wire.close()
        assert caught.value.values["port"] == pty.path

    def test_a_port_that_goes_away_is_an_error_of_the_rail(self) -> None:
        pty = Pty(OneWire([SimTmc2209()]))
        wire = open_serial(pty.path, timeout_s=0.05)
        Tmc2209(wire).configure(SETTINGS)
        pty.close()
        with pytest.raises(RailError, match=rf"serial port {pty.path} failed: .+"):
            Tmc2209(wire).status()
        wire.close()

    def test_a_port_is_not_shared(self) -> None:
        with Pty(OneWire([SimTmc2209()])) as pty:
            wire = open_serial(pty.path)
            with pytest.raises(ConfigError, match="no other program"):
                open_serial(pty.path)
            wire.close()

    def test_what_is_no_serial_port_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        for path in (tmp_path / "absent", file, tmp_path):
            with pytest.raises(ConfigError, match=r"enable_uart=1.*dialout.*console") as caught:
                open_serial(str(path))
            assert caught.value.values == {"port": str(path)}

    @pytest.mark.parametrize("baud", [8_999, 500_001])
    def test_a_rate_that_the_chip_cannot_follow_is_refused(self, baud: int) -> None:
        with pytest.raises(ConfigError, match=f"{baud} baud: a TMC2209 takes 9000 to 500000"):
            open_serial("/dev/null", baud)

    def test_without_pyserial_the_remedy_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "serial", None)
        with pytest.raises(ConfigError, match=r"python3-serial.*focusd\[tmc\]"):
            open_serial("/dev/null")
