"""Running inference on simulated boards: every way in which it ends, and that the board is stopped each time."""

import signal
import threading

import pytest

from ei_automation.devices.host import SerialPort
from ei_automation.devices.openmv.drives import MARKER
from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError, UsageError
from ei_automation.schema.board import find_board
from ei_automation.schema.inference_result import InferenceResult, ObjectBox, Timing
from ei_automation.workflow.board_session import PluggedBoard
from ei_automation.workflow.camera_script import ScriptWish
from ei_automation.workflow.consoles import console_of
from ei_automation.workflow.run_board import RunRequest, Tally, run_board
from ei_automation.workflow.run_board import _Compared as Compared
from tests.devices.camera_board import V1, V2, DebugBoard, drive
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings
from tests.workflow.board_projects import SCRIPTS, library, project_with, synced

NICLA, H7, SPRESENSE = map(find_board, ("nicla-vision", "openmv-cam-h7", "spresense"))


class Notebook:
    """Remembers what a run tells; may do something at each result."""

    def __init__(self, at_result=lambda: None):
        self.facts, self.results, self.events, self._at_result = None, [], [], at_result

    def start(self, facts, tally):
        self.facts = facts

    def result(self, result, tally):
        self.results.append(result)
        self._at_result()


def plugged(url, board=None):
    host = SimulatedHost(url)
    return PluggedBoard(host, host.ports()[0], board)


@pytest.fixture
def nicla(tmp_path):
    with serving(SimulatedNicla(surroundings(tmp_path, model=CLASSIFIER, labels=LABELS))) as url:
        yield plugged(url)


class Camera:
    """A camera with a model on its drive, and the deployment that belongs to it."""

    def __init__(self, folder, version, *faults, **options):
        files = folder / "files"
        files.mkdir()
        self.board = DebugBoard(surroundings(drive(files), *faults), version, image_s=0.005, **options)
        self.wish = ScriptWish(given=library(folder / "ei-a-openmv-v1.zip"))

    def is_running(self):
        with SimulatedHost(self.url).open(SerialPort(f"{self.url}/ttyACM0"), 921_600) as port:
            port.write(b"\x30\x87\x04\x00\x00\x00")
            return int.from_bytes(port.read_exactly(4, Deadline(2), "asking"), "little") == 1


def run(plug, notebook, **wanted):
    return run_board(plug, RunRequest(**wanted), notebook, on_event=notebook.events.append)


def is_silent(plug):
    """Whether the firmware prints nothing more; while it runs it prints every 30 ms."""
    with plug.host.open(plug.port, 115_200) as port:
        return port.read(Deadline(0.12)) == b""


# Edge Impulse's firmware


def test_at_firmware_runs_until_the_count_and_is_stopped(nicla):
    notebook = Notebook()
    tally = run(nicla, notebook, continuous=True, count=3)
    assert tally.ended == "count"
    assert tally.results == len(notebook.results) == 3
    assert tuple(notebook.results[0].classification) == LABELS
    assert sum(tally.tops.values()) == 3
    assert tally.mean_latency_us > 0
    assert notebook.facts.board == "Arduino Nicla Vision"
    assert "project Simulated project, deploy version 1" in notebook.facts.firmware
    assert is_silent(nicla)


def test_ctrl_c_stops_the_board(nicla):
    before = signal.getsignal(signal.SIGINT)
    notebook = Notebook(at_result=lambda: signal.raise_signal(signal.SIGINT))
    tally = run(nicla, notebook, continuous=True)
    assert tally.ended == "stopped"
    assert tally.results == 1
    assert is_silent(nicla)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_signal_is_no_usual_end(nicla):
    notebook = Notebook(at_result=lambda: signal.raise_signal(signal.SIGTERM))
    assert run(nicla, notebook, continuous=True).ended == "interrupted"


def test_whoever_listens_and_goes_away_stops_the_board(nicla):
    def gone():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(nicla, Notebook(at_result=gone), continuous=True)
    assert is_silent(nicla)


def test_a_script_for_at_firmware_is_refused(nicla, tmp_path):
    with pytest.raises(UsageError, match="no script: --script has no effect"):
        run(nicla, Notebook(), scripts=ScriptWish(file=tmp_path / "x.py"), count=1)


@pytest.mark.timeout(30)
def test_firmware_that_does_not_stop_is_an_error(tmp_path):
    board = SimulatedNicla(surroundings(tmp_path, "endless", model=CLASSIFIER, labels=LABELS))
    with serving(board) as url, pytest.raises(DeviceError, match="goes on with its inference"):
        run(plugged(url), Notebook(), continuous=True, count=1, stop_timeout_s=0.2)


@pytest.mark.timeout(30)
def test_what_is_waited_for_at_the_end_is_said(tmp_path):
    board, notebook = (
        SimulatedNicla(surroundings(tmp_path, "endless", model=CLASSIFIER, labels=LABELS)),
        Notebook(),
    )
    with serving(board) as url, pytest.raises(DeviceError, match="goes on with its inference"):
        run(plugged(url), notebook, continuous=True, count=1, stop_timeout_s=0.2, stop_word_s=0.0)
    assert "stopping the board; it may take up to 0.2 s" in notebook.events[0].text


def test_firmware_without_a_model_is_one_reason_why_it_cannot_run(tmp_path):
    with serving(SimulatedNicla(surroundings(tmp_path))) as url, pytest.raises(DeviceError) as told:
        run(plugged(url), Notebook(), continuous=True)
    assert "could not run its network" in told.value.message
    assert "may hold no model: put one onto the board with `eiauto flash`" in told.value.hint


SCORES, BOTH = InferenceResult(dict.fromkeys(LABELS, 0.3)), ("dark", "red-ish")
SEEN = InferenceResult(boxes=(ObjectBox("lamp", 0.9, 0, 0, 8, 8),))
NOTHING = InferenceResult(boxes=())


def test_a_board_that_runs_something_else_is_told(nicla, tmp_path):
    notebook, session = Notebook(), synced(project_with(tmp_path), BOTH)
    run(nicla, notebook, continuous=True, count=2, scripts=ScriptWish(session=session))
    (note,) = notebook.events
    assert "the board's labels are dark, left side, red-ish, the project's dark, red-ish; " in note.text
    assert "is of project Simulated project, this one is colours: it runs something else" in note.text
    assert f"`eiauto flash {tmp_path}`" in note.text


@pytest.mark.parametrize(
    ("results", "labels", "name", "told"),
    [
        ((SCORES, SCORES), LABELS, "", ""),
        ((SCORES, SCORES), LABELS, "My colours (2)", ""),
        ((SCORES, SCORES), LABELS, "cells", "is of project cells, this one is colours: it may run something else"),
        ((SCORES, SCORES), BOTH, "", "it runs something else"),
        (
            (SCORES, SCORES),
            (*LABELS, "x"),
            "",
            "the project's dark, left side, red-ish, x: it runs something else",
        ),
        ((SCORES, SCORES), (), "", ""),
        ((NOTHING, SEEN, SEEN), ("lamp", "cup"), "", ""),
        ((NOTHING, SEEN, SEEN), ("cup",), "", "the board's labels are lamp, the project's cup: it runs"),
    ],
)
def test_what_is_said_once_of_a_boards_labels_and_project(tmp_path, results, labels, name, told):
    notebook, events = Notebook(), []
    compared = Compared(notebook, project_with(tmp_path), labels, name, events.append)
    for result in results:
        compared.result(result, Tally())
    assert notebook.results == list(results)
    assert len(events) == bool(told)
    assert told in "".join(event.text for event in events)


def test_whoever_does_not_wait_for_the_stop_is_told_that_the_board_may_run(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)

    def once():
        later.start()
        twice()

    later, notebook = threading.Timer(0.1, twice), Notebook(at_result=once)
    board = SimulatedNicla(surroundings(tmp_path, "endless", model=CLASSIFIER, labels=LABELS))
    with serving(board) as url, pytest.raises(KeyboardInterrupt):
        run(plugged(url), notebook, continuous=True)
    assert "may still be running" in notebook.events[-1].text


def test_a_time_that_is_too_short_for_a_result_is_not_blamed_on_the_camera(nicla):
    with pytest.raises(DeviceError, match=r"within 0\.01 s") as told:
        run(nicla, Notebook(), seconds=0.01)
    assert "--seconds" in told.value.hint
    assert is_silent(nicla)


# Scripts on cameras


@pytest.mark.parametrize("version", [V1, V2])
def test_a_cameras_script_runs_until_the_count_and_is_stopped(tmp_path, version):
    camera, notebook = Camera(tmp_path, version), Notebook()
    with serving(camera.board) as url:
        tally = run(plugged(url), notebook, scripts=camera.wish, count=3)
        assert (tally.ended, tally.results) == ("count", 3)
        assert tuple(notebook.results[0].classification) == LABELS
        assert notebook.results[0].fps > 0
        assert ".".join(map(str, version)) in notebook.facts.firmware
        again = run(plugged(url), Notebook(), scripts=camera.wish, seconds=0.1)
        assert again.ended == "seconds"
        assert again.results > 1


def test_ctrl_c_stops_the_script(tmp_path):
    camera = Camera(tmp_path, V1)
    with serving(camera.board) as camera.url:
        notebook = Notebook(at_result=lambda: signal.raise_signal(signal.SIGINT))
        assert run(plugged(camera.url), notebook, scripts=camera.wish).ended == "stopped"
        assert len(notebook.results) == 1
        assert not camera.is_running()


def test_a_script_that_fails_is_told_with_its_last_words(tmp_path):
    camera = Camera(tmp_path, V1)
    (tmp_path / "files" / "trained.tflite").unlink()
    with (
        serving(camera.board) as url,
        pytest.raises(DeviceError, match="ended with Exception: Failed to load") as told,
    ):
        run(plugged(url), Notebook(), scripts=camera.wish)
    assert "`eiauto flash PROJECT`" in told.value.hint
    assert any("Traceback" in line for line in told.value.log_tail)


def test_a_script_without_results_is_an_error(tmp_path):
    camera = Camera(tmp_path, V1)
    (tmp_path / "own.py").write_text('print("hello")\n')
    with serving(camera.board) as url, pytest.raises(DeviceError, match="ended without a result") as told:
        run(plugged(url), Notebook(), scripts=ScriptWish(file=tmp_path / "own.py"))
    assert told.value.log_tail == ("hello",)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("wanted", "told"), [({"result_timeout_s": 0.1}, "0.1 s"), ({"seconds": 0.05}, "0.05 s")])
def test_a_script_that_gives_no_result_in_time_is_an_error_and_is_stopped(tmp_path, wanted, told):
    camera = Camera(tmp_path, V1)
    camera.board.options["image_s"] = 60.0
    (tmp_path / "own.py").write_text('print("hello")\nprint("a minute later")\n')
    with serving(camera.board) as camera.url:
        with pytest.raises(DeviceError, match=f"gave no result within {told}") as error:
            run(plugged(camera.url), Notebook(), scripts=ScriptWish(file=tmp_path / "own.py"), **wanted)
        assert error.value.log_tail == ("hello",)
        assert ("--seconds" in error.value.hint) == ("seconds" in wanted)
        assert not camera.is_running()


def test_modes_of_at_firmware_are_refused_for_a_script(tmp_path):
    camera = Camera(tmp_path, V1)
    with serving(camera.board) as url, pytest.raises(UsageError, match="modes of Edge Impulse's AT firmware"):
        run(plugged(url), Notebook(), scripts=camera.wish, debug=True)


class CameraWithDrive(DebugBoard):
    """A camera whose drive is mounted."""

    def drives(self):
        return [{"path": str(self.around.folder), "capacity_bytes": 1 << 20}]


def test_a_camera_runs_its_own_script_where_none_is_named(tmp_path):
    (drive(tmp_path) / "main.py").write_text(SCRIPTS["ml"])
    (tmp_path / MARKER).touch()
    notebook = Notebook()
    with serving(CameraWithDrive(surroundings(tmp_path), V1, image_s=0.005)) as url:
        assert run(plugged(url), notebook, count=1).results == 1
        assert f"running main.py of the camera's drive {tmp_path}" in notebook.events[0].text
        assert notebook.facts.firmware.endswith(", main.py")
        (tmp_path / "main.py").write_text("print('no model')")
        with pytest.raises(UsageError, match="its drive has none that loads a model") as told:
            run(plugged(url), notebook, count=1)
    assert "OpenMV library" in told.value.hint


# Which of the two


def port(usb_id="", serial_number=""):
    vid, pid = (int(part, 16) for part in usb_id.split(":")) if usb_id else (None, None)
    return SerialPort("/dev/ttyX", vid, pid, serial_number)


@pytest.mark.parametrize(
    ("usb_id", "board", "console"),
    [
        ("2341:025F", None, "at"),
        ("2341:045F", None, "openmv"),
        ("2341:025F", NICLA, "at"),
        ("37C5:1204", None, "openmv"),
        ("1209:ABD1", None, "openmv"),
        ("10C4:EA60", SPRESENSE, "at"),
        ("10C4:EA60", None, "at"),
        ("", H7, "openmv"),
        ("", NICLA, None),
        ("", None, None),
    ],
)
def test_what_a_port_speaks(usb_id, board, console):
    assert console_of(PluggedBoard(None, port(usb_id), board)) == console


def test_a_boot_loader_runs_nothing():
    with pytest.raises(DeviceError, match="is in its boot loader") as told:
        console_of(PluggedBoard(None, port("1209:ABD1", "000000000010")))
    assert told.value.hint == "flash it again with `eiauto flash`, or press its RESET button"


@pytest.mark.timeout(30)
def test_a_port_of_which_nothing_is_known_is_asked(tmp_path):
    camera, notebook = Camera(tmp_path, V1), Notebook()
    with serving(camera.board) as url:
        plug = PluggedBoard(SimulatedHost(url), SerialPort(f"{url}/ttyACM0"))
        assert run(plug, notebook, scripts=camera.wish, count=1).results == 1
    assert "not known" in notebook.events[0].text
    assert notebook.facts.board == "OpenMV Cam H7"


# The numbers


def test_a_tally_counts_what_was_said():
    tally = Tally()
    assert tally.rate_hz is None
    assert tally.mean_latency_us is None
    tally.add(InferenceResult({"a": 0.9, "b": 0.1}, timing=Timing(dsp_us=100.0, inference_us=300.0)))
    tally.add(InferenceResult({"a": 0.2, "b": 0.8}, timing=Timing(inference_us=200.0)))
    tally.add(InferenceResult({"a": 0.6, "b": 0.4}))
    tally.end("count")
    assert (tally.results, tally.tops, tally.mean_latency_us) == (3, {"a": 2, "b": 1}, 300.0)
    assert tally.seconds == tally.seconds
    assert tally.rate_hz > 0
