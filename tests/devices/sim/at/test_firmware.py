from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ei_automation.devices.sim.at.firmware import PREVIEW, AtFacts
from ei_automation.devices.transport import Deadline, Port
from tests.devices.at_boards import NICLA, SPRESENSE, LineBoard, firmware, plugged_in

pytestmark = pytest.mark.timeout(30)
SOON = 5.0
QUIET_S = 0.08
BOTH = pytest.mark.parametrize("facts", [SPRESENSE, NICLA], ids=["spresense", "nicla"])


def say(port: Port, data: bytes, *ends: bytes) -> bytes:
    """Send, and return what comes up to an end (the prompt where none is given)."""
    port.write(data)
    return port.read_until(*(ends or (b"\n> ",)), deadline=Deadline(SOON), doing=f"after {data!r}")


def rest(port: Port) -> bytes:
    """What comes until nothing does."""
    return port.drain(QUIET_S, Deadline(SOON))


def ready(board: LineBoard, port: Port) -> Port:
    """Past the hello, however much of it was heard."""
    say(port, b"\r", b"Not a valid AT command ()\n> ")
    return port


def test_a_usb_port_says_hello_to_who_opens_it(tmp_path: Path) -> None:
    with plugged_in(firmware(tmp_path, NICLA)) as port:
        assert say(port, b"") == f"{NICLA.hello}> ".encode()


def test_echo_backspace_and_escape_sequences(tmp_path: Path) -> None:
    board = firmware(tmp_path, SPRESENSE)
    with plugged_in(board) as port:
        ready(board, port)
        assert say(port, b"AT+DEVICEID?\r\n") == b"AT+DEVICEID?\r\nSIM0001\n> "
        assert say(port, b"AT+DEVICEIX\x7f\x1b[AD?\r").endswith(b"\r\nSIM0001\n> ")
        port.write(b"ax\x08\x1b[A")
        assert rest(port) == b"ax\r\x1b[K> a\x1b[4G\x1b[s"
        assert say(port, b"\r") == b"\r\nNot a valid AT command (a)\n> "
        assert rest(port) == b""


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"", b"Not a valid AT command ()\n> "),
        (b"at+info", b"Not a valid AT command (at+info)\n> "),
        (b"AT+BOOTMODE", b"Command not found! (AT+BOOTMODE)\n> "),
        (b"AT+NONE=1", b"Command not found! (AT+NONE)\n> "),
        (b"AT+CONFIG", b"No handler for command! (AT+CONFIG)\n> "),
        (b"AT+RUNIMPULSE=y", b"No handler for command! (AT+RUNIMPULSE=y)\n> "),
        (b"AT+RUNIMPULSEDEBUG", b"No handler for command! (AT+RUNIMPULSEDEBUG)\n> "),
        (b"AT+DEVICEID=a,b", b"OK\n> "),
    ],
)
def test_what_commands_are_answered_with(tmp_path: Path, command: bytes, answer: bytes) -> None:
    board = firmware(tmp_path, SPRESENSE)
    with plugged_in(board) as port:
        ready(board, port)
        assert say(port, command + b"\r") == command + b"\r\n" + answer


def test_help_snapshot_and_info(tmp_path: Path) -> None:
    board = firmware(tmp_path, SPRESENSE)
    with plugged_in(board) as port:
        ready(board, port)
        assert b"AT+RUNIMPULSE\n\tRun the impulse\n\n" in say(port, b"AT+HELP\r")
        assert b"Resolutions:          [ 64x64, 96x96, 160x120, 320x240 ]\n" in say(port, b"AT+SNAPSHOT?\r")
        assert b"Model deploy version : 1\nEdge Impulse version : v1.86.0\n" in say(port, b"AT+INFO\r")


def test_a_spresense_prints_a_prompt_in_the_middle_of_its_debug_mode(tmp_path: Path) -> None:
    board = firmware(tmp_path, SPRESENSE)
    with plugged_in(board) as port:
        ready(board, port)
        assert b"No. of classes: 3\n" in say(port, b"AT+RUNIMPULSEDEBUG=n\r", b"OK\r\n")
        port.set_baud(921_600)
        assert say(port, b"", b"Taking photo...\n") == b"> Taking photo...\n"
        turn = say(port, b"", b"End output\n")
        assert turn.startswith(f"Begin output\nFramebuffer: {PREVIEW}\r\nTiming: DSP ".encode())
        say(port, b"b", b"\r\nOK\r\n")
        port.set_baud(115_200)
        assert say(port, b"") == b"Inferencing stopped by user\r\n> "
        assert rest(port) == b""


def test_a_nicla_takes_no_command_while_it_runs_and_stops_without_a_word(tmp_path: Path) -> None:
    board = firmware(tmp_path, NICLA)
    with plugged_in(board) as port:
        ready(board, port)
        say(port, b"AT+RUNIMPULSE\r", b"Starting inferencing in 2 seconds...\n")
        port.write(b"AT+INFO\r")
        assert b"AT+INFO" not in say(port, b"", b"Taking photo...\n")
        say(port, b"", b"Starting inferencing in 2 seconds...\n")
        assert say(port, b"b", b"> ").endswith(b"> ")
        assert rest(port) == b""


def test_a_spresense_takes_commands_while_it_runs(tmp_path: Path) -> None:
    board = firmware(tmp_path, replace(SPRESENSE, pause_s=0.5))
    with plugged_in(board) as port:
        ready(board, port)
        say(port, b"AT+RUNIMPULSE\r", b"Starting inferencing in 2 seconds...\n")
        assert say(port, b"AT+DEVICEID?\r").endswith(b"SIM0001\n> ")
        assert say(port, b"b\r", b"()\n> ").endswith(
            b"Inferencing stopped by user\r\n> \r\nNot a valid AT command ()\n> "
        )


@BOTH
def test_a_reset_in_the_middle_starts_it_anew(tmp_path: Path, facts: AtFacts) -> None:
    board = firmware(tmp_path, facts)
    with plugged_in(board) as port:
        ready(board, port)
        say(port, b"AT+RUNIMPULSECONT\r", b"Taking photo...\n")
        board.reset()
        assert facts.hello.encode() in say(port, b"", facts.hello.encode())
        assert say(port, b"AT+DEVICEID?\r").endswith(b"SIM0001\n> ")


# Static data


def test_the_dialogue_of_static_data(tmp_path: Path) -> None:
    board = firmware(tmp_path, SPRESENSE)
    content = base64.b64encode(np.zeros(64, "<f4").tobytes())
    pieces = [content[start : start + 32].ljust(32, b"=") for start in range(0, len(content), 32)]
    with plugged_in(board) as port:
        ready(board, port)
        assert say(port, b"AT+RUNIMPULSESTATIC=n,64\r", b"\r\nOK CHUNK=32\r\n").endswith(b"OK CHUNK=32\r\n")
        counts = [say(port, piece, b" \r\n") for piece in pieces]
        end = say(port, b"", b"END OUTPUT\r\n> ")
    assert counts == [f"OK {min(64, 6 * number)} \r\n".encode() for number in range(1, 12)]
    assert end.startswith(b"TRANSFER COMPLETED 64\r\nTiming: DSP 0.000 ms, inference ")
    assert b"\r\nPredictions:\r\n  dark: 0." in end
    assert end.endswith(b"\r\nRESULT 0\r\nEND OUTPUT\r\n> ")


def test_a_piece_that_does_not_come_and_one_that_is_garbage(tmp_path: Path) -> None:
    board = firmware(tmp_path, replace(SPRESENSE, piece_s=0.05))
    with plugged_in(board) as port:
        ready(board, port)
        say(port, b"AT+RUNIMPULSESTATIC=n,64\r", b"OK CHUNK=32\r\n")
        assert say(port, b"?" * 32, b" \r\n") == b"OK 0 \r\n"
        assert say(port, b"AAAA", b"END OUTPUT\r\n") == b"TIMEOUT\r\nEND OUTPUT\r\n"
        assert rest(port) == b""
        assert say(port, b"AT+RUNIMPULSESTATIC=n\r", b"2\n").endswith(b"Too few arguments! Required: 2\n")


def test_static_data_of_another_size(tmp_path: Path) -> None:
    board = firmware(tmp_path, NICLA)
    with plugged_in(board) as port:
        ready(board, port)
        say(port, b"AT+RUNIMPULSESTATIC=n,3\r", b"OK CHUNK=128\r\n")
        end = say(port, base64.b64encode(bytes(12)).ljust(128, b"="), b"END OUTPUT\r\n")
    assert b"Expected 64 items, but got 3\r\nRESULT -1\r\n" in end


# Faults


@pytest.mark.parametrize(
    ("facts", "said", "prompt"),
    [
        (SPRESENSE, b"ERR: Failed to start inference, camera is missing!\n", b""),
        (NICLA, b"Failed to init camera, check if camera is connected!\n", b"> "),
    ],
)
def test_no_camera(tmp_path: Path, facts: AtFacts, said: bytes, prompt: bytes) -> None:
    board = firmware(tmp_path, facts, "no-camera")
    with plugged_in(board) as port:
        ready(board, port)
        assert say(port, b"AT+RUNIMPULSE\r", said).endswith(said)
        assert rest(port) == prompt


def test_without_a_network_nothing_is_made_up(tmp_path: Path) -> None:
    board = firmware(tmp_path, NICLA, model=None)
    with plugged_in(board) as port:
        ready(board, port)
        assert say(port, b"AT+RUNIMPULSE\r").endswith(b"ERR: Failed to run impulse (-1)\n> ")
        assert b"Model type:       classification\r\n" in say(port, b"AT+CONFIG?\r")


def test_mute_firmware_says_nothing(tmp_path: Path) -> None:
    with plugged_in(firmware(tmp_path, SPRESENSE, "mute-firmware")) as port:
        port.write(b"AT+INFO\r")
        assert rest(port) == b""


def test_an_endless_run_ignores_the_stop(tmp_path: Path) -> None:
    board = firmware(tmp_path, SPRESENSE, "endless")
    with plugged_in(board) as port:
        ready(board, port)
        say(port, b"AT+RUNIMPULSECONT\r", b"Taking photo...\n")
        assert b"stopped" not in say(port, b"b", b"Taking photo...\n") + say(port, b"", b"Taking photo...\n")


def test_the_preview_is_a_picture() -> None:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(PREVIEW))) as picture:
        assert (picture.format, picture.size, picture.getpixel((0, 0))) == ("JPEG", (1, 1), 128)
