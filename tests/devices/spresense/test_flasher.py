"""Flashing a simulated Spresense: success, every fault, and what is said of the board's state then."""

from __future__ import annotations

import dataclasses
import re
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from serial.tools.list_ports_common import ListPortInfo

from ei_automation.devices.at.console import AtConsole
from ei_automation.devices.host import SerialPort
from ei_automation.devices.local_host import LocalHost
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.faults import Faults
from ei_automation.devices.sim.pty import PtyDoor
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.spresense import SimulatedSpresense
from ei_automation.devices.sim.updater import PROMPT, WAITING, WELCOME, Receiver
from ei_automation.devices.spresense.flasher import SpresenseFlasher
from ei_automation.devices.spresense.updater import Waits
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import (
    DeviceError,
    DoesNotFitError,
    InterruptedRunError,
    UsageError,
    VerificationError,
)
from ei_automation.files import sha256_bytes
from tests.devices.scripted_board import ScriptedBoard
from tests.devices.spresense.test_spk import make_spk
from tests.devices.spresense.test_xmodem1k import Canned
from tests.devices.spresense_jobs import SPK, WAITS, firmware, job
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings

FLASHER = SpresenseFlasher(WAITS)
KEEPS = "the board should still have its old firmware, if it had one; the updater is not touched"


class Plugged:
    """A simulated board that is plugged in, and what was heard while it was flashed."""

    def __init__(self, board: SimulatedSpresense, url: str) -> None:
        self.board, self.host = board, SimulatedHost(url)
        self.notes: list[str] = []
        self.steps: list[str] = []

    def flash(self, content: bytes = SPK, **how):
        return FLASHER.flash(job(self.host, content, on_note=self.notes.append, on_step=self.steps.append, **how))


@contextmanager
def plugged(folder, *faults, kind=SimulatedSpresense, **how):
    """A board with an application."""
    around = surroundings(folder, *faults, model=CLASSIFIER, labels=LABELS)
    board = kind(around, window_s=0.06, request_s=0.03, **how)
    with serving(board) as url:
        yield Plugged(board, url)


# Planning


def test_the_plan_names_the_package_and_writes_nothing(tmp_path):
    with plugged(tmp_path) as it:
        plan = FLASHER.plan(job(it.host, baud=230_400))
        assert it.board.store.packages == {}
    (write,) = plan.writes
    assert (write.what, write.size_bytes, write.sha256) == (
        "edge_impulse_firmware.spk",
        len(SPK),
        sha256_bytes(SPK),
    )
    assert write.where == 'package "nuttx", by XMODEM-1K at 230400 baud'
    assert (plan.board, plan.serial_number) == ("sony-spresense", "SIM0001")
    assert plan.port.endswith("/ttyUSB0")


def test_what_cannot_be_flashed_is_refused_before_the_board_is_touched(tmp_path):
    with plugged(tmp_path) as it:
        good = job(it.host)
        library = dataclasses.replace(good, firmware=dataclasses.replace(firmware(), images={}))
        with pytest.raises(UsageError, match=r"v3\.zip holds no package \(\.spk\) for Sony Spresense"):
            FLASHER.flash(library)
        with pytest.raises(VerificationError, match="no whole Spresense package"):
            FLASHER.flash(job(it.host, SPK[:-100]))
        with pytest.raises(DoesNotFitError, match="takes 2,000,000 bytes of memory, Sony Spresense has 1,572,864"):
            FLASHER.flash(job(it.host, make_spk("nuttx", b"x", in_memory=2_000_000)))
        with pytest.raises(UsageError, match="cannot go to 9600 baud") as caught:
            FLASHER.flash(dataclasses.replace(good, baud=9600))
        assert "921600" in caught.value.hint
        with pytest.raises(DeviceError, match="no serial port of a Sony Spresense is there"):
            FLASHER.flash(dataclasses.replace(good, port=None))
        assert it.board.store.packages == {}


# Success


@pytest.mark.parametrize("resets_on_open", [False, True])
def test_a_package_is_stored_and_the_firmware_runs(resets_on_open, tmp_path):
    progress = []
    with plugged(tmp_path, resets_on_open=resets_on_open) as it:
        result = it.flash(on_progress=lambda *done: progress.append(done))
        assert it.board.store.packages == {"nuttx": SPK}
        port = it.host.ports()[0]
        with it.host.open(port, 115_200) as line:
            console = AtConsole(line, pace_s=0)
            console.connect(Deadline(5))
            assert console.config(Deadline(5)).device_type == "SONY_SPRESENSE"
    assert re.fullmatch(
        r"the updater received all 14,176 bytes at 921600 baud, found the package valid and saved it as "
        r"\"nuttx\"; the firmware started",
        result.verified,
    )
    assert (result.port, result.serial_number, result.notes) == (port.name, "SIM0001", ())
    assert it.notes == []
    assert [step.split()[0] for step in it.steps] == ["resetting", "sending", "restarting"]
    assert progress[0] == ("sending", 1024, 14_176)
    assert progress[-1] == ("sending", 14_176, 14_176)


@pytest.mark.parametrize("baud", [115_200, 1_152_000])
def test_the_speed_can_be_chosen(baud, tmp_path):
    with plugged(tmp_path) as it:
        it.flash(baud=baud)
        assert it.board.store.packages == {"nuttx": SPK}


def test_a_board_that_holds_nothing_is_flashed_too(tmp_path):
    board = SimulatedSpresense(surroundings(tmp_path), request_s=0.03)
    with serving(board) as url:
        FLASHER.flash(job(SimulatedHost(url)))
        assert board.store.packages == {"nuttx": SPK}


def test_packets_that_are_refused_are_sent_again(tmp_path):
    with plugged(tmp_path, "nak=4") as it:
        it.flash()
        assert it.board.store.packages == {"nuttx": SPK}
    assert it.notes == ["4 packets were sent again: the line is disturbed"]


def test_a_board_that_stays_at_its_old_speed_gets_the_package_at_that(tmp_path):
    with plugged(tmp_path, "garble") as it:
        result = it.flash()
        assert it.board.store.packages == {"nuttx": SPK}
    assert "bytes at 115200 baud" in result.verified
    assert it.notes == ["the updater stayed at 115200 baud when it should have gone to 921600: sent so"]


def test_a_mute_firmware_is_flashed_and_the_silence_is_said(tmp_path):
    with plugged(tmp_path, "mute-firmware") as it:
        result = it.flash()
        assert it.board.store.packages == {"nuttx": SPK}
    assert result.verified.endswith('saved it as "nuttx"')
    assert result.notes[0].startswith("the board said nothing after its restart; whether the firmware runs")
    assert "SD card" in result.notes[0]


# Failure: the sentence, what was heard, and the state that the board is left in

FAILURES = {
    "cancel": (
        "the receiver cancelled the transfer while waiting for the answer to packet 3 of 14",
        f"the transfer is ended, and the board waits in its updater: press RESET .*; by its messages .*{KEEPS}",
    ),
    "silence": (
        r"waiting for the answer to packet 10 of 14: nothing within 0\.12 s",
        f"the board says nothing more; .*{KEEPS}",
    ),
    "unplug": (
        "is gone while reading: the simulated board was unplugged",
        f"plug the board in again .*the board cannot be asked what it does now; .*{KEEPS}",
    ),
    "power-cut": (
        "the board has started anew while waiting for the answer to packet 10 of 14",
        r"^the board has restarted by itself \(its power .* and runs its application; .*" + KEEPS,
    ),
    "old-loader": (
        r"is stored, but the board's boot loader is too old for it \(loader\(2015\) != Self\(20585\)\)",
        "Arduino IDE.* Burn Bootloader; Sony's licence is shown, and accepted by you, there; then run the same",
    ),
    "flipped-bit": (
        "the firmware is stored, but the boot loader does not start it: it stops in its updater",
        "in case it was stored damaged; else the boot loader is too old: .*Burn Bootloader",
    ),
    "no-bootloader": (
        "does not stop in its updater after resets by DTR and `r`: what it says is not the updater's",
        "press RESET when it says so.*nothing was written: the board has its old firmware",
    ),
}


@pytest.mark.parametrize("fault", FAILURES)
def test_a_fault_is_explained_and_leaves_a_board_that_can_be_flashed(fault, tmp_path):
    sentence, hint = FAILURES[fault]
    flasher = SpresenseFlasher(
        dataclasses.replace(WAITS, reset_s=0.08, button_s=0.05, line_s=0.1, packet_s=0.12, boot_s=0.2)
    )
    with plugged(tmp_path, fault) as it:
        with pytest.raises(DeviceError) as caught:
            flasher.flash(job(it.host))
        stored = dict(it.board.store.packages)
        it.host.ask({"faults": {}})
        it.flash()  # it can be flashed again, once what was wrong is mended
        assert it.board.store.packages == {"nuttx": SPK}
    error = caught.value
    assert error.exit_code == 9
    assert re.search(sentence, error.message)
    assert re.search(hint, error.hint)
    assert "bytes from the board" in error.log_tail[0]
    assert bool(stored) == (fault in ("old-loader", "flipped-bit"))


def test_a_package_that_is_not_valid_is_a_failed_verification(tmp_path):
    with plugged(tmp_path, "bad-package") as it, pytest.raises(VerificationError) as caught:
        it.flash()
    assert caught.value.exit_code == 8
    sentence, said = caught.value.message.split("; it said: ")
    assert sentence == "the updater found edge_impulse_firmware.spk not valid"
    assert said == "14176 bytes loaded. Package validation is NG."
    assert re.search(
        "whether the board keeps its old firmware then is not known; .*stays reachable", caught.value.hint
    )
    assert it.board.store.packages == {}


def test_a_power_cut_of_a_board_that_holds_nothing(tmp_path):
    board = SimulatedSpresense(surroundings(tmp_path, "power-cut"), window_s=0.02, request_s=0.03)
    with serving(board) as url, pytest.raises(DeviceError, match="has started anew while") as caught:
        FLASHER.flash(job(SimulatedHost(url)))
    assert re.search(
        "^the board has restarted by itself .* and waits in its updater, as it does where", caught.value.hint
    )


class DiesSaving(SimulatedSpresense):
    """Its cable is pulled out while it saves a package."""

    def __init__(self, *args, **how):
        super().__init__(*args, **how)
        board = self

        class Flash(dict):
            def __setitem__(self, name, content):
                board.unplug()

        self.store.packages = Flash()


class DiesRestarting(SimulatedSpresense):
    """Its cable is pulled out when it has been flashed and restarts."""

    def boot(self) -> None:
        if self.store.packages:
            self.unplug()
        super().boot()


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (DiesSaving, "the package was being stored: the board may have neither .* stays reachable by RESET"),
        (DiesRestarting, "the package is stored: press RESET to start it"),
    ],
)
def test_unplugged_at_the_end(kind, state, tmp_path):
    with plugged(tmp_path, kind=kind) as it, pytest.raises(DeviceError, match="is gone while reading") as caught:
        it.flash()
    assert re.search(state, caught.value.hint)


def test_ctrl_c_ends_the_transfer_and_says_the_state(tmp_path):
    def stop(what, done, total):
        if done > 3000:
            raise KeyboardInterrupt

    with plugged(tmp_path) as it:
        with pytest.raises(InterruptedRunError, match="stopped while sending the package") as caught:
            it.flash(on_progress=stop)
        assert KEEPS in caught.value.hint
        assert "the board waits in its updater: press RESET to start" in caught.value.hint
        assert it.board.store.packages == {}
        with it.host.open(it.host.ports()[0], 115_200) as line:
            with pytest.raises(DeviceError, match="waits in its updater") as told:
                AtConsole(line, pace_s=0).connect(Deadline(15))
            assert "press its reset button" in told.value.hint
        with it.host.open(it.host.ports()[0], 115_200) as line:
            line.write(b"\n")
            line.read_until(b"updater# ", deadline=Deadline(5), doing="looking for the updater")


# Updaters that say something else than they should


def read_line(uart) -> bytes:
    """A line; before the first one are the `r` of who wants the updater."""
    line = b""
    while not line.endswith(b"\n"):
        byte = uart.read_byte(1.0)
        line += bytes([byte]) if byte is not None else b""
    return line


def scripted_updater(reply: str, after: str = ""):
    """Stops in the updater at once, takes a package, and says what the test wants."""

    def script(uart):
        uart.write(WELCOME + PROMPT)
        while (line := read_line(uart)) != b"reboot\n":
            if line.endswith(b"install -b 115200\n"):
                uart.write(WAITING)
                Receiver(uart, Faults(), lambda: None, request_s=0.03).receive()
                uart.write(reply)
            else:
                uart.write(PROMPT)
        uart.write(after)

    return script


OK = "\r\n14176 bytes loaded.\r\nPackage validation is OK.\r\n"
SAVED = f'{OK}Saving package to "nuttx"\r\n{PROMPT}'


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (f"\r\n14175 bytes loaded.\r\n{PROMPT}", r"got 14,175 bytes of the 14,176 of edge_impulse_firmware\.spk"),
        (f"\r\nout of memory\r\n{PROMPT}", "does not say how many bytes it got .* it said: out of memory"),
        (PROMPT, "does not say how many bytes it got .* it said: nothing"),
        (f"{OK}{PROMPT}", "found edge_impulse_firmware.spk valid but did not save it"),
        (f'{OK}Saving package to "nut"\r\n{PROMPT}', 'saved the package "nuttx" as "nut"'),
        (f"{OK}Saving package to nuttx\r\n{PROMPT}", 'saved the package "nuttx" without saying its name'),
    ],
)
def test_an_updater_that_says_something_else_is_a_failure(reply, sentence, tmp_path):
    with (
        serving(ScriptedBoard(tmp_path, scripted_updater(reply))) as url,
        pytest.raises(VerificationError) as caught,
    ):
        FLASHER.flash(job(SimulatedHost(url), baud=115_200))
    assert re.search(sentence, caught.value.message)
    assert caught.value.exit_code == 8


def test_an_updater_that_does_not_know_install(tmp_path):
    def script(uart):
        uart.write(WELCOME + PROMPT)
        while uart.read(1.0) != b"":
            uart.write(f"what?\r\n{PROMPT}")

    match = "does not take the command `install`"
    with serving(ScriptedBoard(tmp_path, script)) as url, pytest.raises(DeviceError, match=match) as caught:
        FLASHER.flash(job(SimulatedHost(url)))
    assert KEEPS in caught.value.hint


def test_an_updater_that_asks_at_no_known_speed(tmp_path):
    def script(uart):
        uart.write(WELCOME + PROMPT)
        while b"install" not in read_line(uart):
            uart.write(PROMPT)
        uart.write(WAITING)

    match = "neither at 921600 baud nor at 115200"
    flasher = SpresenseFlasher(dataclasses.replace(WAITS, line_s=0.1, start_s=0.1))
    with serving(ScriptedBoard(tmp_path, script)) as url, pytest.raises(DeviceError, match=match) as caught:
        flasher.flash(job(SimulatedHost(url)))
    assert "`--baud 115200`" in caught.value.hint
    assert KEEPS in caught.value.hint


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("Type AT+HELP to see\r\n", ""),
        ("Welcome to nash\r\nType AT+HELP to see\r\n", ""),
        (
            "Mismatched version: loader(1) != Self(2)\r\nType AT+HELP to see\r\n",
            r"\(loader\(1\) != Self\(2\)\), which",
        ),
        ("NuttShell\r\nnsh> ", "is no greeting of Edge Impulse's: 'NuttShell nsh>'"),
    ],
)
def test_what_the_firmware_says_first(words, note, tmp_path):
    with serving(ScriptedBoard(tmp_path, scripted_updater(SAVED, words))) as url:
        result = FLASHER.flash(job(SimulatedHost(url), baud=115_200))
    assert len(result.notes) == bool(note)
    assert re.search(note, "".join(result.notes))
    assert result.verified.endswith("the firmware started") == ("AT+HELP" in words)


class Answering(Canned):
    """A line that answers each write with the next of given words."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(b"")
        self.words = list(words)

    def write(self, data):
        self.data += self.words.pop(0).encode("latin-1") if self.words else b""
        return len(data)


class Talker:
    """A machine at whose only port somebody says given words, whatever is sent."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def ports(self):
        return [SerialPort("talker")]

    def open(self, port, baud):
        return Port(Answering(self.words), port.name)


GOOD = [f"{WELCOME}{PROMPT}", PROMPT, f"{WAITING}C", *["\x06"] * 14, f"\x06{SAVED}", PROMPT, "AT+HELP"]
WORDS = [*GOOD, "", "\x15", "\x18\x18", "\xff", OK, "Mismatched version", WELCOME]
NO_WAITS = Waits(**dict.fromkeys(vars(WAITS), 0.001))


def heard(words: list[str], waits: Waits = NO_WAITS) -> str:
    """What flashing comes to: how it is verified, or the hint of the error."""
    try:
        return SpresenseFlasher(waits).flash(job(Talker(words), baud=115_200)).verified
    except (DeviceError, VerificationError) as error:
        return error.hint


def test_the_right_words_are_a_success():
    assert heard(GOOD, WAITS).endswith("the firmware started")


@pytest.mark.timeout(60)
@given(st.integers(0, len(GOOD)), st.lists(st.sampled_from(WORDS), max_size=20), st.integers(0, 3))
@examples(max_examples=60, deadline=None)
def test_whatever_a_board_says_it_ends_in_success_or_an_error(place, others, gone):
    assert heard([*GOOD[:place], *others, *GOOD[place + gone :]])


# A port without DTR


@contextmanager
def behind_a_pty(board):
    """The path of a board's line, as a machine with one port."""
    pytest.importorskip("termios", reason="this system has no pseudo terminals")
    with serving(board):
        door = PtyDoor(board, "ttyUSB0")
        door.start()
        try:
            yield LocalHost(lambda: [ListPortInfo(door.path)], tuple)
        finally:
            door.stop()


def test_a_board_that_is_in_its_updater_already_is_not_reset(tmp_path):
    board, notes = SimulatedSpresense(surroundings(tmp_path), request_s=0.03), []
    with behind_a_pty(board) as host:
        FLASHER.flash(job(host, on_note=notes.append))
        assert board.store.packages == {"nuttx": SPK}
    assert notes == []


def test_without_dtr_the_user_is_asked_to_press_reset(tmp_path):
    board, notes = SimulatedSpresense(surroundings(tmp_path, model=CLASSIFIER), request_s=0.03), []

    def user(note):
        notes.append(note)
        board.reset()

    flasher = SpresenseFlasher(dataclasses.replace(WAITS, button_s=2.0))
    with behind_a_pty(board) as host:
        flasher.flash(job(host, on_note=user))
        assert board.store.packages == {"nuttx": SPK}
    assert notes == ["press the RESET button of the board now; it is waited for 2 s"]


def test_without_dtr_and_a_user_it_ends(tmp_path):
    board = SimulatedSpresense(surroundings(tmp_path, "mute-firmware", "no-bootloader", model=CLASSIFIER))
    flasher = SpresenseFlasher(dataclasses.replace(WAITS, line_s=0.1, button_s=0.05))
    with behind_a_pty(board) as host, pytest.raises(DeviceError, match=r"has no DTR .* it said nothing") as caught:
        flasher.flash(job(host))
    assert caught.value.hint.endswith("nothing was written: the board has its old firmware, and RESET starts it")
