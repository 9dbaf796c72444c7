"""`eiauto run` against simulated boards."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from ei_automation.cli.commands.run import _say_end as say_end
from ei_automation.cli.commands.run import _show as show
from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.server import serving
from ei_automation.errors import InterruptedRunError
from ei_automation.workflow.parity import ParityReport, ParitySample
from ei_automation.workflow.run_board import Tally
from tests.devices.camera_board import V1, DebugBoard, drive
from tests.devices.surroundings import CLASSIFIER, FOMO, FOMO_LABELS, LABELS, surroundings
from tests.helpers import make_data
from tests.workflow.board_projects import library, project_with


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """Address of a camera with a model on its drive."""
    around = surroundings(drive(tmp_path_factory.mktemp("camera")))
    with serving(DebugBoard(around, V1, image_s=0.005)) as url:
        yield url


@pytest.fixture(scope="module")
def nicla(tmp_path_factory):
    around = surroundings(tmp_path_factory.mktemp("nicla"), model=CLASSIFIER, labels=LABELS)
    with serving(SimulatedNicla(around)) as url:
        yield url


@pytest.fixture
def given(tmp_path):
    return library(tmp_path / "ei-a-openmv-v1.zip")


def test_json_lines_and_nothing_else(cli, camera, given):
    assert cli("run", "--port", camera, "--from", given, "--count", "3", "--json") == 0
    lines = [json.loads(line) for line in cli.out.splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert list(lines[0]["classification"]) == list(LABELS)
    assert all(line["simulated"] is True for line in lines)
    assert "3 results in" in cli.err
    assert cli.err.count("simulated: times are this computer's") == 2
    assert "most often" in cli.err


def test_plain_lines_where_stdout_is_no_terminal(cli, camera, given):
    assert cli("run", "--port", camera, "--from", given, "--seconds", "0.1") == 0
    assert all(" s  " in line and "fps" in line for line in cli.out.splitlines())
    assert "OpenMV Cam H7 at sim://" in cli.err


def test_the_project_names_board_and_script(cli, camera, tmp_path):
    project_with(tmp_path, "ei-ml.zip", "ei-tf.zip", extra='\n[[boards]]\nname = "OpenMV Cam H7"\n')
    assert cli("run", tmp_path, "--port", camera, "--count", "1") == 0
    assert "ei_image_classification.py" in cli.err


def test_ports_come_from_the_environment(cli, camera, given, monkeypatch):
    monkeypatch.setenv("EIAUTO_PORT", camera)
    assert cli("run", "--from", given, "--count", "1") == 0


def test_ctrl_c_is_the_usual_end_with_a_summary(camera, given):
    command = [sys.executable, "-m", "ei_automation.cli.main", "run", "--port", camera, "--from", str(given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, talk = running.communicate(timeout=20)
    assert running.returncode == 0
    assert re.search(r"[0-9]+ results? in [0-9.]+ s", talk)
    assert "simulated: times are this computer's" in talk
    assert "stopped, and the board too" in talk
    assert "error:" not in talk


@pytest.mark.parametrize(("ended", "has_end"), [("stopped", True), ("interrupted", False)])
def test_an_end_before_its_own_is_an_interruption(ended, has_end):
    tally = Tally()
    tally.end(ended)
    with pytest.raises(InterruptedRunError, match="the board was stopped too"):
        say_end(tally, has_end=has_end)


def test_a_closed_pipe_stops_the_board(camera, given):
    command = [sys.executable, "-m", "ei_automation.cli.main", "run", "--json", "--port", camera]
    with subprocess.Popen([*command, "--from", str(given)], stdout=subprocess.PIPE) as running:
        assert json.loads(running.stdout.readline())["number"] == 1
        running.stdout.close()
        assert running.wait(20) == 141


def test_a_live_view_on_a_terminal(cli, camera, given, monkeypatch):
    reader, writer = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        assert cli("run", "--port", camera, "--from", given, "--count", "2") == 0
        shown = os.read(reader, 65536).decode()
    os.close(reader)
    assert "OpenMV Cam H7 at sim://" in shown
    assert "left side" in shown
    assert "▶" in shown


@pytest.mark.parametrize(("options", "words"), [((), "none was named"), (("--count", "0"), "is not in the range")])
def test_an_error_is_one_more_line_of_json(cli, camera, options, words):
    assert cli("run", "--port", camera, "--json", *options) == 2
    (line,) = cli.out.splitlines()
    error = json.loads(line)["error"]
    assert words in error["message"]
    assert error["hint"]
    assert error["exit_code"] == 2
    assert words in cli.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "m.tflite"), "--model is of --images"),
        (("--images", "i", "--continuous"), "--continuous is not of --images"),
        (("--count", "0"), "is not in the range"),
        (("--board", "toaster"), "no board is called 'toaster'"),
    ],
)
def test_wrong_calls(cli, options, words):
    assert cli("run", "--port", "sim://127.0.0.1:1", *options) in (2, 4)
    assert words in cli.err


def test_parity_of_the_same_model(cli, nicla, tmp_path):
    images = make_data(tmp_path / "images", 1) / "red"
    project_with(tmp_path / "p", "ei-ml.zip", extra='\n[[boards]]\nname = "Nicla Vision"\n')
    call = ("run", tmp_path / "p", "--port", nicla, "--images", images)
    assert cli(*call, "--json") == 0
    assert cli.json()["ok"] is True
    assert cli(*call) == 0
    assert "1 of 1 images get the same label from both" in cli.out


def test_parity_of_another_model_exits_with_8(cli, nicla, tmp_path):
    images = make_data(tmp_path / "images", 1) / "red"
    given = library(tmp_path / "x.zip", labels=LABELS)
    (tmp_path / "m.tflite").write_bytes(CLASSIFIER)
    call = ("run", "--port", nicla, "--images", images)
    assert cli(*call, "--from", given, "--tolerance", "0") == 8  # the firmware prints six digits
    assert "Images that differ (1)" in cli.out
    assert "the board differs from LiteRT" in cli.err
    assert cli(*call, "--model", tmp_path / "m.tflite", "--tolerance", "0", "--json") == 8
    assert cli.json()["ok"] is False


def test_parity_of_objects_is_refused(cli, nicla, tmp_path):
    given = library(tmp_path / "x.zip", model=FOMO, labels=FOMO_LABELS)
    assert cli("run", "--port", nicla, "--images", tmp_path, "--from", given, "--json") == 2
    assert "finds objects" in cli.json()["error"]["message"]


@pytest.mark.parametrize(
    "words", [("--seconds", "nan"), ("--result-timeout", "inf"), ("--tolerance", "nan"), ("--tolerance", "0")]
)
def test_numbers_that_would_have_no_effect_are_refused(cli, words):
    assert cli("run", "--port", "sim://127.0.0.1:9", *words) == 2


def mixed_up(labels):
    """A report of two images, each taken for the other label by the board."""
    pairs = (labels[:2], labels[1::-1])
    samples = tuple(
        ParitySample(
            "x", "", dict.fromkeys(labels, 0.0) | {board: 1.0}, dict.fromkeys(labels, 0.0) | {host: 1.0}, 1.0, None
        )
        for host, board in pairs
    )
    return ParityReport("fw", "m", "0" * 64, "squash", tuple(labels), 0.1, samples)


def test_a_matrix_has_labels_of_any_kind(capsys):
    show(mixed_up(["[/b]", "[red]x"]))
    assert "[/b] ┃ [red]x" in capsys.readouterr().out


def test_of_many_labels_those_that_are_mixed_up_are_listed(capsys):
    show(mixed_up([f"label {number}" for number in range(40)]))
    out = capsys.readouterr().out
    assert "Labels that are mixed up" in out
    assert "│ label 1 │ label 0 │      1 │" in out
