from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ei_automation.devices.at.console import AtConsole
from ei_automation.devices.sim.at.firmware import AtFacts
from ei_automation.devices.sim.uart import Uart
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError
from ei_automation.workflow.simulated_model import load_model
from tests.devices.at_boards import NICLA, SPRESENSE, LineBoard, answering, firmware, plugged_in, talking
from tests.devices.surroundings import CLASSIFIER, FOMO, FOMO_LABELS, IMAGES, LABELS

pytestmark = pytest.mark.timeout(30)
SOON = 5.0
BOTH = pytest.mark.parametrize("facts", [SPRESENSE, NICLA], ids=["spresense", "nicla"])
FEATURES = np.random.default_rng(3).integers(0, 1 << 24, 64).astype(np.float32)


def console(port: Port, **options: float) -> AtConsole:
    """One that is connected and does not wait between bytes."""
    found = AtConsole(port, pace_s=0, **options)  # type: ignore[arg-type]
    found.connect(Deadline(SOON))
    return found


def failure(board: LineBoard, seconds: float = 0.3) -> DeviceError:
    """What connecting to it ends in."""
    with plugged_in(board) as port, pytest.raises(DeviceError) as caught:
        AtConsole(port, pace_s=0).connect(Deadline(seconds))
    return caught.value


@BOTH
def test_configuration_and_info(tmp_path: Path, facts: AtFacts) -> None:
    with plugged_in(firmware(tmp_path, facts)) as port:
        at = console(port)
        config, info = at.config(Deadline(SOON)), at.info(Deadline(SOON))
        assert at.command("AT+DEVICEID?", Deadline(SOON)) == "SIM0001"
    assert (config.device_type, config.device_id, config.at_version) == (facts.device_type, "SIM0001", "1.8.0")
    assert (config.transfer_baud, at.max_baud) == (facts.max_baud, facts.max_baud)
    assert (config.sensors, config.sensor, config.model_type) == (("Camera",), "camera", "classification")
    assert (config.has_snapshot, config.resolutions) == (True, facts.resolutions)
    assert (info.project_name, info.project_author, info.project_id) == ("Simulated project", "somebody", 1234)
    assert (info.deploy_version, info.edge_impulse_version, info.sensor) == (1, "v1.86.0", "camera")


@pytest.mark.timeout(30)
def test_prompts_without_end_are_no_answer(tmp_path: Path) -> None:
    def prompts(uart: Uart) -> None:
        while True:
            uart.write(b"no\n> ")
            uart.sleep(0.001)

    with plugged_in(talking(tmp_path, prompts)) as port, pytest.raises(DeviceError, match="answer to AT"):
        AtConsole(port, pace_s=0).command("AT+CONFIG?", Deadline(0.1))


def test_commands_that_the_firmware_does_not_know(tmp_path: Path) -> None:
    with plugged_in(firmware(tmp_path, SPRESENSE)) as port:
        at = console(port)
        for text in ("AT+BOOTMODE", "AT+INFO?", "hello"):
            with pytest.raises(DeviceError, match=re.escape(text)) as caught:
                at.command(text, Deadline(SOON))
            assert caught.value.hint
        assert at.command("AT+DEVICEID=abc", Deadline(SOON)) == "OK"


@BOTH
@pytest.mark.parametrize("mode", ["normal", "continuous", "debug"])
def test_results_come_from_the_network(tmp_path: Path, facts: AtFacts, mode: str) -> None:
    model = load_model(CLASSIFIER)
    with plugged_in(firmware(tmp_path, facts)) as port:
        at = console(port, max_baud=facts.max_baud)
        settings = at.start_inference(Deadline(SOON), continuous=mode == "continuous", debug=mode == "debug")
        assert (settings.width, settings.height, settings.frame_size, settings.classes) == (8, 8, 64, 3)
        assert port.baud == (facts.max_baud if mode == "debug" else 115_200)
        results = list(islice(at.results(Deadline(math.inf)), 5))
        at.stop(Deadline(SOON))
        assert port.baud == 115_200
        assert at.info(Deadline(SOON)).deploy_version == 1
    for number, result in enumerate(results):
        expected = model.run(IMAGES[number % len(IMAGES)])
        assert list(result.classification) == list(LABELS)
        np.testing.assert_allclose(list(result.classification.values()), expected, atol=1e-6)
        assert result.timing.inference_us is not None


@pytest.mark.parametrize("dialect", ["G1", "G2", "G3", "G4", "G5"])
def test_every_dialect_over_the_line(tmp_path: Path, dialect: str) -> None:
    facts = replace(SPRESENSE, dialect=dialect)
    with plugged_in(firmware(tmp_path, facts, model=FOMO, labels=FOMO_LABELS)) as port:
        at = console(port)
        at.start_inference(Deadline(SOON), continuous=True)
        [result] = islice(at.results(Deadline(SOON)), 1)
    assert result.boxes is not None
    assert {box.label for box in result.boxes} <= set(FOMO_LABELS[1:])
    assert not result.classification


def test_results_end_with_their_deadline(tmp_path: Path) -> None:
    with plugged_in(firmware(tmp_path, SPRESENSE)) as port:
        at = console(port)
        at.start_inference(Deadline(SOON), continuous=True)
        assert len(list(at.results(Deadline(0.2)))) > 1


def test_the_last_result_is_given_though_nothing_follows_it(tmp_path: Path) -> None:
    text = b"Timing: DSP 4 ms, inference 183 ms, anomaly 0 ms\n#Classification predictions:\n  K\xc3\xbche: 0.5\n"
    settings = b"\tImage resolution: 8x8\n\tFrame size: 64\n\tNo. of classes: 1\n"
    with plugged_in(talking(tmp_path, answering(to_return=settings + text))) as port:
        at = AtConsole(port, pace_s=0)
        at.start_inference(Deadline(SOON))
        [result] = islice(at.results(Deadline(SOON)), 1)
    assert result.classification == {"Kühe": 0.5}


def test_a_run_that_somebody_left_is_stopped_at_either_speed(tmp_path: Path) -> None:
    with plugged_in(firmware(tmp_path, SPRESENSE)) as port:
        console(port, max_baud=921_600).start_inference(Deadline(SOON), continuous=True)
        at = console(port, max_baud=921_600)
        at.start_inference(Deadline(SOON), debug=True)
        port.set_baud(115_200)  # as a program that was killed leaves it
        assert console(port, max_baud=921_600).info(Deadline(SOON)).project_id == 1234


@pytest.mark.parametrize("debug", [False, True])
def test_a_firmware_that_does_not_stop(tmp_path: Path, debug: bool) -> None:
    with plugged_in(firmware(tmp_path, SPRESENSE, "endless")) as port:
        at = console(port, max_baud=921_600)
        at.start_inference(Deadline(SOON), continuous=True, debug=debug)
        with pytest.raises(DeviceError, match="goes on with its inference though it was told to stop") as caught:
            at.stop(Deadline(0.3))
        assert "reset button" in caught.value.hint
        assert port.baud == 115_200


def test_a_debug_run_that_keeps_its_speed(tmp_path: Path) -> None:
    with plugged_in(firmware(tmp_path, SPRESENSE, "garble")) as port:
        at = console(port, max_baud=921_600)
        at.start_inference(Deadline(SOON), debug=True)
        with pytest.raises(DeviceError, match="another speed"):
            list(at.results(Deadline(SOON)))
        at.stop(Deadline(SOON))
        assert at.info(Deadline(SOON)).project_id == 1234


# What else may answer


@pytest.mark.parametrize(
    ("hello", "to_return", "message", "hint"),
    [
        (b"", b"", "the board says nothing", "reset button"),
        (
            b"\r\nWelcome to nash\r\n",
            b"\r\nnash: b: command not found\r\nnsh> ",
            "boot loader's shell",
            "boot loader",
        ),
        (b"", b"\r\nupdater# ", "waits in its updater", "reset button"),
        (
            b"cxd56_farapiinitialize: Mismatched version: loader(2015) != Self(20585)\r\n",
            b"",
            "older",
            "boot loader",
        ),
        (b"", b"b\r\nNameError: name 'b' isn't defined\r\n>>> ", "MicroPython answers", "OpenMV"),
        (b"\x8f\xe0\xfc\x00\x1c\xe3\x80", b"\xfe\x80\x00\xf8", "another speed", "115200"),
        (b"", b"GPS ready\r\n", "not Edge Impulse's firmware", "reset button"),
    ],
    ids=["silence", "nash", "updater", "mismatch", "repl", "garbage", "other"],
)
def test_what_else_may_answer(tmp_path: Path, hello: bytes, to_return: bytes, message: str, hint: str) -> None:
    error = failure(talking(tmp_path, answering(hello=hello, to_return=to_return)))
    assert message in str(error)
    assert hint in error.hint
    assert bool(error.log_tail) == bool(hello or to_return)


def test_a_hopeless_case_is_not_waited_for(tmp_path: Path) -> None:
    error = failure(talking(tmp_path, answering(to_return=b"\r\n>>> ")), seconds=3600)
    assert "MicroPython" in str(error)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_answer_ends_in_a_sentence(tmp_path: Path, hello: bytes, to_return: bytes) -> None:
    error = failure(talking(tmp_path, answering(hello=hello, to_return=to_return)), seconds=0.1)
    assert error.hint


def test_a_board_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    board = firmware(tmp_path, SPRESENSE)
    started = board._talk

    def slowly(uart: Uart) -> None:
        while not uart.wait_open(1):
            pass
        uart.write("Welcome to nash\r\n")
        uart.sleep(0.3)
        started(uart)

    board._talk = slowly
    with plugged_in(board) as port:
        assert console(port).info(Deadline(SOON)).project_id == 1234


def test_mute_firmware(tmp_path: Path) -> None:
    assert "says nothing" in str(failure(firmware(tmp_path, NICLA, "mute-firmware")))


@pytest.mark.parametrize(
    ("facts", "said"),
    [(SPRESENSE, "camera is missing"), (NICLA, "Failed to init camera")],
    ids=["spresense", "nicla"],
)
def test_no_camera(tmp_path: Path, facts: AtFacts, said: str) -> None:
    with plugged_in(firmware(tmp_path, facts, "no-camera")) as port:
        at = console(port)
        with pytest.raises(DeviceError, match=f"finds no camera .*{said}") as caught:
            at.start_inference(Deadline(SOON))
        assert "camera" in caught.value.hint
        assert at.info(Deadline(SOON)).project_id == 1234


@pytest.mark.parametrize(
    ("facts", "model", "message"),
    [
        (SPRESENSE, None, "could not run its network"),
        (NICLA, b"no network", "too little memory for the network"),
        (replace(SPRESENSE, smallest=(96, 64)), CLASSIFIER, "as small as the network takes"),
    ],
    ids=["no model", "no arena", "small"],
)
def test_firmware_that_cannot_start(tmp_path: Path, facts: AtFacts, model: bytes | None, message: str) -> None:
    with plugged_in(firmware(tmp_path, facts, model=model)) as port:
        at = console(port)
        with pytest.raises(DeviceError, match=message):
            at.start_inference(Deadline(SOON))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"ERR: Failed to allocate snapshot buffer!\n", "no memory left for a photo"),
        (b"Failed to allocate TFLite arena (error code 1)\n", "too little memory"),
        (b"ERR: Failed to run impulse (-3)\n", "could not run its network"),
        (b"ERR: Something new\n", "reports an error"),
        (b"\r\nHello from Edge Impulse Device SDK.\n", "started anew"),
    ],
)
def test_trouble_while_it_runs(tmp_path: Path, said: bytes, message: str) -> None:
    settings = b"\tImage resolution: 8x8\n\tFrame size: 64\n\tNo. of classes: 1\nTaking photo...\n"
    with plugged_in(talking(tmp_path, answering(to_return=settings + said))) as port:
        at = AtConsole(port, pace_s=0)
        at.start_inference(Deadline(SOON))
        with pytest.raises(DeviceError, match=message) as caught:
            list(at.results(Deadline(SOON)))
    assert caught.value.hint
    assert said.decode().strip()[:10] in str(caught.value)


def test_photos_without_results_and_results_that_cannot_be_read(tmp_path: Path) -> None:
    settings = b"\tImage resolution: 8x8\n\tFrame size: 64\n\tNo. of classes: 1\nTaking photo...\n"
    nan = b"Timing: DSP 4 ms, inference 183 ms, anomaly 0 ms\nAnomaly prediction: nan\nTaking photo...\n"
    for said, message in ((b"", "nothing within"), (nan, "1 that cannot be read")):
        with plugged_in(talking(tmp_path, answering(to_return=settings + said))) as port:
            at = AtConsole(port, pace_s=0)
            at.start_inference(Deadline(SOON))
            with pytest.raises(DeviceError, match=message):
                list(at.results(Deadline(SOON), patience_s=0.1))
            with pytest.raises(DeviceError, match=message):
                list(at.results(Deadline(0.05)))


def test_the_cable_is_pulled_out(tmp_path: Path) -> None:
    board = firmware(tmp_path, SPRESENSE)
    with plugged_in(board) as port:
        at = console(port)
        at.start_inference(Deadline(SOON), continuous=True)
        results = at.results(Deadline(SOON))
        next(results)
        board.unplug()
        with pytest.raises(DeviceError, match="is gone"):
            list(results)


# Static data


@BOTH
def test_static_features_are_classified_on_the_board(tmp_path: Path, facts: AtFacts) -> None:
    with plugged_in(firmware(tmp_path, facts)) as port:
        at = console(port)
        for features in (FEATURES, FEATURES[::-1].copy()):
            result = at.run_static(features, deadline=Deadline(SOON))
            expected = load_model(CLASSIFIER).run_features(features)
            np.testing.assert_allclose(list(result.classification.values()), expected, atol=1e-6)
        assert at.info(Deadline(SOON)).project_id == 1234


def test_static_features_of_fomo_and_pieces_of_odd_size(tmp_path: Path) -> None:
    facts = replace(NICLA, chunk=102)
    with plugged_in(firmware(tmp_path, facts, model=FOMO, labels=FOMO_LABELS)) as port:
        result = console(port).run_static(np.zeros(1024, np.float32), deadline=Deadline(SOON))
    assert result.boxes is not None


@pytest.mark.parametrize(
    ("facts", "count", "model", "message"),
    [
        (SPRESENSE, 63, CLASSIFIER, "the network takes 64 features, 63 were sent"),
        (SPRESENSE, 64, None, "the firmware gives code -1 and 0 results"),
        (replace(SPRESENSE, chunk=4), 64, CLASSIFIER, "hold no feature"),
        (replace(SPRESENSE, heap_bytes=100), 64, CLASSIFIER, "no memory for the features"),
    ],
    ids=["size", "no model", "chunk", "memory"],
)
def test_static_features_that_are_refused(
    tmp_path: Path, facts: AtFacts, count: int, model: bytes | None, message: str
) -> None:
    with plugged_in(firmware(tmp_path, facts, model=model)) as port:
        at = console(port)
        with pytest.raises(DeviceError, match=message) as caught:
            at.run_static(FEATURES[:count], deadline=Deadline(SOON))
        assert caught.value.hint


@pytest.mark.parametrize(
    ("to_return", "message"),
    [
        (b"OK CHUNK=32\r\nTIMEOUT\r\nEND OUTPUT\r\n", "waited in vain for the next piece"),
        (b"Command not found! (AT+RUNIMPULSESTATIC)\n> ", "does not know the command"),
        (b"OK CHUNK=32\r\n", "after 0"),
    ],
    ids=["timeout", "unknown", "silence"],
)
def test_static_features_that_do_not_arrive(tmp_path: Path, to_return: bytes, message: str) -> None:
    with plugged_in(talking(tmp_path, answering(to_return=to_return))) as port:
        at = AtConsole(port, pace_s=0)
        with pytest.raises(DeviceError, match=message) as caught:
            at.run_static(FEATURES, deadline=Deadline(0.3))
        assert caught.value.hint


def test_what_is_sent_is_paced(tmp_path: Path) -> None:
    came: list[bytes] = []

    def talk(uart: Uart) -> None:
        came.append(uart.read(1))
        if b"\r" in came[-1]:
            uart.write("AT+DEVICEID?\r\nx\n> ")

    with plugged_in(talking(tmp_path, talk)) as port:
        assert AtConsole(port, pace_s=0.05).command("AT+DEVICEID?", Deadline(SOON)) == "x"
    pieces = [piece for piece in came if piece]
    assert b"".join(pieces) == b"AT+DEVICEID?\r"
    assert all(len(piece) <= 10 for piece in pieces)
    assert len(pieces) > 1
