"""The simulated Spresense: what its boot loader and firmware say, and what other senders can do with it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import serial

from ei_automation.devices.at.console import AtConsole
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.pty import PtyDoor
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.spresense import FACTS, SimulatedSpresense
from ei_automation.devices.sim.uart import wait_until
from ei_automation.devices.transport import Deadline, open_port
from ei_automation.errors import DeviceError
from tests.devices.spresense.test_spk import make_spk
from tests.devices.spresense_jobs import SPK
from tests.devices.surroundings import CLASSIFIER, FOMO, LABELS, surroundings

SONYS_PROGRAM = "EIAUTO_TEST_FLASH_WRITER"
"""Environment variable: path of Sony's flash_writer.py, with its xmodem.py beside it; it is not ours to bring."""
SONYS_PROGRAM_PATH = os.environ.get(SONYS_PROGRAM)  # before the tests' clean world takes it away


@contextmanager
def plugged(board):
    """An open port to a board; at 115200 baud."""
    with serving(board) as url:
        host = SimulatedHost(url)
        with host.open(host.ports()[0], 115_200) as port:
            yield port


def until(port, text: bytes) -> bytes:
    return port.read_until(text, deadline=Deadline(5), doing=f"waiting for {text!r}")


def say(port, line: str, end: bytes = b"updater# ") -> str:
    port.write(line.encode() + b"\n")
    return until(port, end).removesuffix(end).decode()


# The boot loader


def test_it_is_a_bridge_of_silabs(tmp_path):
    with serving(SimulatedSpresense(surroundings(tmp_path))) as url:
        (port,) = SimulatedHost(url).ports()
    assert (port.usb_id, port.serial_number) == ("10C4:EA60", "SIM0001")
    assert port.name.endswith("/ttyUSB0")
    assert "CP2102N" in port.description


def test_a_reset_by_dtr_and_r_stop_it_in_the_updater(tmp_path):
    log = []
    board = SimulatedSpresense(surroundings(tmp_path, model=CLASSIFIER, labels=LABELS, log=log.append))
    with plugged(board) as port:
        until(port, b"AT+HELP")
        port.set_dtr(False)
        deadline, said = Deadline(2), b""
        while b"updater# " not in said and not deadline.passed:
            port.write(b"r")
            said += port.read(deadline.within(0.02))
        assert b"Welcome to nash\r\nupdater# " in said
    assert log == ["the application starts", "stopped in the updater"]


def test_opening_and_closing_resets_it_only_where_that_is_wanted(tmp_path):
    for resets, starts in ((False, 1), (True, 3)):
        log = []
        around = surroundings(tmp_path, model=CLASSIFIER, labels=LABELS, log=log.append)
        with serving(SimulatedSpresense(around, window_s=0.01, resets_on_open=resets)) as url:
            assert wait_until(lambda log=log: len(log) == 1, 2)
            host = SimulatedHost(url)
            for _ in range(2):
                with host.open(host.ports()[0], 115_200) as port:
                    port.write(b"\r")
                    until(port, b"> ")
        assert log == ["the application starts"] * starts


def test_without_an_r_the_application_starts(tmp_path):
    with plugged(SimulatedSpresense(surroundings(tmp_path, model=CLASSIFIER, labels=LABELS))) as port:
        assert until(port, b"\n> ").startswith(b"Hello from Edge Impulse Device SDK.\nCompiled on ")


def test_a_board_that_holds_nothing_stays_in_its_updater(tmp_path):
    with plugged(SimulatedSpresense(surroundings(tmp_path), window_s=0.3)) as port:
        assert until(port, b"updater# ") == b"Welcome to nash\r\nupdater# "
        assert say(port, "") == "\r\n"
        assert say(port, "what") == "what\r\nwhat: command not found\r\n"
        assert say(port, "set bootable M0P") == "set bootable M0P\r\n"
        assert say(port, "reboot", b"nash") == "reboot\r\nWelcome to "


def test_a_transfer_can_be_cancelled_with_ctrl_x(tmp_path):
    with plugged(SimulatedSpresense(surroundings(tmp_path), window_s=0.3)) as port:
        until(port, b"updater# ")
        assert say(port, "install", b"Ctrl-X to cancel.").endswith("Waiting for XMODEM (CRC or 1K) transfer. ")
        until(port, b"C")
        port.write(b"\x18\x18")
        assert b"cancelled" in until(port, b"updater# ")
        assert say(port, "sync") == "sync\r\n"


@pytest.mark.parametrize("baud", ["0", "99999999999"])
def test_a_speed_that_no_line_has_is_refused(baud, tmp_path):
    with plugged(SimulatedSpresense(surroundings(tmp_path), window_s=0.3)) as port:
        until(port, b"updater# ")
        assert say(port, f"install -b {baud}").endswith(f"\r\n{baud}: no such speed\r\n")
        assert say(port, "sync") == "sync\r\n"


def test_a_package_can_be_removed(tmp_path):
    board = SimulatedSpresense(surroundings(tmp_path), window_s=0.3)
    board.store.packages["other"] = board.store.accepted["other"] = SPK
    with plugged(board) as port:
        until(port, b"updater# ")
        say(port, "rm other")
        assert board.store.packages == {}


# The firmware


def test_the_firmware_is_the_spresenses(tmp_path):
    with plugged(SimulatedSpresense(surroundings(tmp_path, model=CLASSIFIER, labels=LABELS))) as port:
        console = AtConsole(port, pace_s=0)
        console.connect(Deadline(5))
        config = console.config(Deadline(5))
        assert config.device_type == "SONY_SPRESENSE"
        with pytest.raises(DeviceError, match="too small"):
            console.start_inference(Deadline(5))
    assert (FACTS.max_baud, FACTS.chunk, FACTS.prompt_in_debug, FACTS.blocks) == (921_600, 32, True, False)


def test_a_network_in_the_flashed_package_is_what_it_classifies_with(tmp_path):
    package = make_spk("nuttx", b"code TFL3 " + FOMO + b"more code")
    log = []
    around = surroundings(tmp_path, model=CLASSIFIER, labels=LABELS, log=log.append)
    board = SimulatedSpresense(around, window_s=0.01)
    board.store.packages["nuttx"] = board.store.accepted["nuttx"] = package
    with plugged(board) as port:
        console = AtConsole(port, pace_s=0)
        console.connect(Deadline(5))
    assert log[0] == "the application starts"
    assert log[1].startswith("what looks like a network in the firmware is none: ")
    assert log[2] == "the package holds a network"


# Other programs


@contextmanager
def path_of(board, door):
    """A board's address, or its path."""
    with serving(board) as url:
        if door == "sim":
            yield f"{url}/ttyUSB0"
            return
        pytest.importorskip("termios", reason="this system has no pseudo terminals")
        pty = PtyDoor(board, "ttyUSB0")
        pty.start()
        try:
            yield pty.path
        finally:
            pty.stop()


@contextmanager
def installing(board, door, command):
    """A plain serial port where the updater waits for a package."""
    with path_of(board, door) as path:
        open_port("loop://").close()  # so that pyserial knows `sim://`
        with serial.serial_for_url(path, 115_200, timeout=2) as line:
            line.write(b"\n")
            assert line.read_until(b"updater# ").endswith(b"updater# ")
            line.write(command)
            line.read_until(b"Ctrl-X to cancel.\r\n")
            yield line


ACCEPTED = f'{len(SPK)} bytes loaded.\r\nPackage validation is OK.\r\nSaving package to "nuttx"\r\nupdater# '


@pytest.mark.parametrize(("door", "faults"), [("sim", ["nak=5"]), ("pty", [])])
def test_the_python_package_xmodem_can_flash_it(door, faults, tmp_path):
    xmodem = pytest.importorskip("xmodem", reason="the Python package xmodem is not installed")
    board = SimulatedSpresense(surroundings(tmp_path, *faults), window_s=0.01)
    with installing(board, door, b"install -b 921600\n") as line:
        line.baudrate = 921_600
        time.sleep(0.05)  # it takes a request of before the change for a bad answer; flash_writer sleeps too
        line.reset_input_buffer()
        modem = xmodem.XMODEM(
            lambda size, timeout=1: line.read(size) or None, lambda data, timeout=1: line.write(data), "xmodem1k"
        )
        assert modem.send(io.BytesIO(SPK))
        line.baudrate = 115_200
        assert line.read_until(b"updater# ").decode().endswith(ACCEPTED)
    assert board.store.packages == {"nuttx": SPK}


@pytest.mark.parametrize("packets", [[], ["-k"]], ids=["128 bytes", "1024 bytes"])
def test_lrzsz_can_flash_it(packets, tmp_path):
    sx = shutil.which("sx") or shutil.which("lsx")
    if sx is None:
        pytest.skip("lrzsz is not installed: no program sx")
    package = tmp_path / "firmware.spk"
    package.write_bytes(SPK)
    board = SimulatedSpresense(surroundings(tmp_path), window_s=0.01)
    with installing(board, "pty", b"install\n") as line:
        os.set_blocking(line.fd, True)  # pyserial's way to open it is not what sx expects
        command = [sx, "-X", *packets, str(package)]
        done = subprocess.run(
            command, stdin=line.fd, stdout=line.fd, stderr=subprocess.PIPE, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        # What the updater says then is not looked at: sx drops what comes while it ends.
        assert wait_until(lambda: board.store.packages == {"nuttx": SPK}, 5)


@pytest.mark.timeout(60)
def test_sonys_flash_writer_can_flash_it(tmp_path):
    if SONYS_PROGRAM_PATH is None:
        pytest.skip(f"{SONYS_PROGRAM} does not name Sony's flash_writer.py")
    package = tmp_path / "firmware.spk"
    package.write_bytes(SPK)
    board = SimulatedSpresense(surroundings(tmp_path))
    with path_of(board, "pty") as path:
        command = [sys.executable, SONYS_PROGRAM_PATH, "-s", "-c", path, "-b", "921600", "-n", str(package)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert "Package validation is OK." in done.stdout
    assert board.store.packages == {"nuttx": SPK}
