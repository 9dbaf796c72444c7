from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ei_automation.devices.openmv.camera import sensor_hint
from ei_automation.devices.openmv.debug import connect_camera, script_error, wait_for_end
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.openmv.script import NO_SENSOR
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import Uart, wait_until
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError
from tests.devices import camera_scripts as scripts
from tests.devices.camera_board import V1, V1_OLD, V2, DebugBoard, ScriptedBoard, camera, drive
from tests.devices.surroundings import surroundings

VERSIONS = pytest.mark.parametrize("version", [V1_OLD, V1, V2], ids=["4.5.5", "4.8.1", "5.0.0"])
TRACEBACK = 'Traceback (most recent call last):\r\n  File "<stdin>", line 3, in <module>\r\n'


def fail_to_connect(board: DebugBoard, seconds: float) -> None:
    with serving(board) as url:
        host = SimulatedHost(url)
        connect_camera(host, host.ports()[0], Deadline(seconds)).close()


@VERSIONS
def test_a_camera_says_what_it_is(tmp_path: Path, version: tuple[int, int, int]) -> None:
    with camera(tmp_path, version) as connected:
        info = connected.info(Deadline(5))
    assert info.firmware_version == version
    assert info.unique_id == "002E00173433510A37333231"
    if version == V2:
        assert (info.protocol, info.usb_id, info.arch) == ("V2", "37C5:1204", "")
    else:
        assert (info.protocol, info.arch, info.board_type) == ("V1", "OMV4 H7 1024", "H7")


@VERSIONS
def test_a_script_runs_is_replaced_and_stops(tmp_path: Path, version: tuple[int, int, int]) -> None:
    script = scripts.Y2020 if version == V1_OLD else scripts.Y2024
    with camera(drive(tmp_path), version) as connected:
        assert not connected.is_running(Deadline(5))
        connected.stop_script(Deadline(5))  # nothing to stop is no error
        connected.run_script(script + "#" * 9000, Deadline(5))
        assert connected.is_running(Deadline(5))
        connected.run_script('print("another")\n', Deadline(5))
        assert wait_for_end(connected, Deadline(5)) == "another\r\n"
        connected.run_script(script, Deadline(5))
        connected.stop_script(Deadline(5))
        assert not connected.is_running(Deadline(5))
        assert script_error(connected.output(Deadline(5))) == ""


@VERSIONS
def test_text_of_any_letters_comes_whole(tmp_path: Path, version: tuple[int, int, int]) -> None:
    lines = [f"dög 猫 {number}" for number in range(60)]
    script = "".join(f"print({line!r})\n" for line in lines)
    with camera(tmp_path, version) as connected:
        connected.run_script(script, Deadline(5))
        assert wait_for_end(connected, Deadline(5)).splitlines() == lines


@VERSIONS
@pytest.mark.parametrize("to_bootloader", [False, True])
def test_restarts(tmp_path: Path, version: tuple[int, int, int], to_bootloader: bool) -> None:
    board = DebugBoard(surroundings(tmp_path), version)
    with serving(board) as url:
        host = SimulatedHost(url)
        connected = connect_camera(host, host.ports()[0], Deadline(5))
        (connected.reset_to_bootloader if to_bootloader else connected.reset)()
        assert wait_until(lambda: bool(board.left), 5)
        with connect_camera(host, host.ports()[0], Deadline(5)) as again:  # the port is free
            assert again.info(Deadline(5)).firmware_version == version
    assert board.left == ["bootloader" if to_bootloader else "reset"]


@VERSIONS
def test_connecting_again_finds_the_script_running(tmp_path: Path, version: tuple[int, int, int]) -> None:
    script = scripts.Y2020 if version == V1_OLD else scripts.Y2024
    with serving(DebugBoard(surroundings(drive(tmp_path)), version, image_s=0.001)) as url:
        host = SimulatedHost(url)
        with connect_camera(host, host.ports()[0], Deadline(5)) as first:
            first.run_script(script, Deadline(5))
        with connect_camera(host, host.ports()[0], Deadline(5)) as second:
            assert second.is_running(Deadline(5))
            second.stop_script(Deadline(5))


@VERSIONS
def test_a_script_that_goes_on_is_an_error(tmp_path: Path, version: tuple[int, int, int]) -> None:
    script = scripts.Y2020 if version == V1_OLD else scripts.Y2024
    with camera(drive(tmp_path), version, "endless") as connected:
        connected.run_script(script, Deadline(5))
        with pytest.raises(DeviceError, match=r"did not stop within 0\.15 s") as error:
            connected.stop_script(Deadline(0.15))
        assert "unplug" in error.value.hint


@VERSIONS
@pytest.mark.timeout(30)
def test_a_camera_that_falls_silent_while_it_gets_a_script(tmp_path: Path, version: tuple[int, int, int]) -> None:
    with camera(tmp_path, version, "silence=100") as connected, pytest.raises(DeviceError, match="within"):
        connected.run_script("#" * 5000, Deadline(0.2))


@pytest.mark.timeout(30)
def test_a_mute_camera(tmp_path: Path) -> None:
    board = DebugBoard(surroundings(tmp_path, "mute-firmware"), V1)
    with pytest.raises(DeviceError, match="either version of its debug protocol") as error:
        fail_to_connect(board, 0.1)
    assert "said nothing at all" in error.value.message
    assert "unplug" in error.value.hint


@pytest.mark.timeout(30)
def test_a_camera_that_shows_its_prompt(tmp_path: Path) -> None:
    def prompt(uart: Uart) -> None:
        if uart.read(0.01):
            uart.write("SyntaxError: invalid syntax\r\n>>> ")

    with pytest.raises(DeviceError, match="shows MicroPython's prompt") as error:
        fail_to_connect(ScriptedBoard(surroundings(tmp_path), prompt), 0.1)
    assert ">>> " in error.value.log_tail[0]


@pytest.mark.timeout(60)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6))
def test_any_noise_ends_in_an_error_in_time(tmp_path: Path, noise: list[bytes]) -> None:
    def babble(uart: Uart) -> None:
        for piece in noise:
            uart.read(0.005)
            uart.write(b"\xaa\xd5" * (len(piece) % 2) + piece)

    with pytest.raises(DeviceError):
        fail_to_connect(ScriptedBoard(surroundings(tmp_path), babble), 0.06)


def test_why_a_script_ended() -> None:
    assert script_error("dark = 0.5\r\n") == ""
    assert script_error("a\r\n" + TRACEBACK + "OSError: [Errno 2] ENOENT\r\n>>> ") == "OSError: [Errno 2] ENOENT"
    assert script_error(TRACEBACK + "Exception: a\r\n" + TRACEBACK + "MemoryError: b\r\n") == "MemoryError: b"
    assert script_error(TRACEBACK) == "Traceback (most recent call last):"
    assert script_error(TRACEBACK + "KeyboardInterrupt: \r\n") == ""
    assert script_error(TRACEBACK + "Exception: IDE interrupt\r\n") == ""


def test_a_missing_camera_module_is_told_from_other_errors() -> None:
    assert "ribbon" in sensor_hint(f"RuntimeError: {NO_SENSOR}")
    assert "ribbon" in sensor_hint("OSError: Frame capture has timed out.")
    assert sensor_hint("OSError: [Errno 2] ENOENT") == ""
    assert sensor_hint("") == ""
