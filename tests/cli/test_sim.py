"""`eiauto sim`, and `flash` against it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.devices.surroundings import CLASSIFIER, LABELS
from tests.helpers import Cli
from tests.workflow.test_flash import nicla_zip


@contextmanager
def simulating(*words: str) -> Iterator[dict[str, str]]:
    """`eiauto sim` in a process of its own; yields what it prints."""
    command = [sys.executable, "-m", "ei_automation.cli.main", "sim", *words, "--listen", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            text += line
        try:
            yield json.loads(text)
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
            assert "Traceback" not in said, said


@pytest.mark.timeout(90)
def test_flash_and_run_a_simulated_board(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.tflite").write_bytes(CLASSIFIER)
    words = ("nicla", "--model", str(tmp_path / "model.tflite"), "--labels", ",".join(LABELS))
    with simulating(*words) as board:
        assert board["board"] == "arduino-nicla-vision"
        monkeypatch.setenv("EIAUTO_PORT", board["url"])
        assert cli("boards") == 0
        assert "2341:025F" in cli.out
        flash = ("flash", "--board", "nicla", "--from", str(nicla_zip(tmp_path)))
        assert cli(*flash, "--dry-run") == 0
        assert "nothing was written" in cli.out
        assert cli(*flash) == 0, cli.err
        assert "read back by DFU" in cli.out
        assert "AT+INFO" in cli.out
        assert cli(*flash, "--json") == 0
        document = json.loads(cli.out)
        assert document["written"] is True
        assert len(document["plan"]["writes"][0]["sha256"]) == 64
        assert cli("run", "--board", "nicla", "--continuous", "--count", "2", "--json") == 0, cli.err
        results = [json.loads(line) for line in cli.out.splitlines()]
        assert [set(result["classification"]) for result in results] == [set(LABELS)] * 2


@pytest.mark.timeout(60)
def test_a_fault_is_an_error_of_the_device(cli: Cli, tmp_path: Path) -> None:
    with simulating("nicla", "--fault", "unplug=12000") as board:
        source = str(nicla_zip(tmp_path))
        assert cli("flash", "--board", "nicla", "--from", source, "--port", board["url"]) == 9
        assert "the boot loader is gone" in cli.err
        assert "press the board's RESET button twice" in cli.err


def test_what_cannot_be_simulated_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("sim") == 2
    assert "sony-spresense" in cli.err
    assert cli("sim", "cortex-m4f-80mhz") == 2
    assert "cannot be simulated" in cli.err
    assert cli("sim", "nicla", "--fault", "rain") == 2
    assert "no fault 'rain'" in cli.err
    assert cli("sim", "nicla", "--model", str(tmp_path / "none.tflite")) == 4
    (tmp_path / "bad.tflite").write_bytes(b"nonsense" * 9)
    assert cli("sim", "nicla", "--model", str(tmp_path / "bad.tflite")) == 8
    (tmp_path / "model.tflite").write_bytes(CLASSIFIER)
    assert cli("sim", "nicla", "--model", str(tmp_path / "model.tflite"), "--labels", "a,b") == 2
    assert "2 labels were given, the network has 3" in cli.err
    assert cli("sim", "nicla", "--fault", "nak") == 2
    (tmp_path / "empty").mkdir()
    assert cli("sim", "nicla", "--images", str(tmp_path / "empty")) == 4
    assert cli("sim", "openmv-cam-h7", "--firmware-version", "new") == 2


@pytest.mark.parametrize(("module", "distribution"), [("serial", "pyserial"), ("usb", "pyusb")])
def test_a_missing_extra_is_said(module: str, distribution: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['eiauto', 'boards']; "
        "from ei_automation.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"boards need {distribution}, which is not installed" in done.stderr
    assert "pip install 'eiauto[devices]'" in done.stderr


def test_the_faults_are_listed(cli: Cli) -> None:
    assert cli("sim", "--list-faults") == 0
    assert "every Nth XMODEM packet" in cli.out
    assert cli("sim", "--list-faults", "--json") == 0
    assert "unplug" in json.loads(cli.out)


@pytest.mark.timeout(60)
def test_it_ends_after_its_time_and_says_where_the_port_is_taken(cli: Cli, tmp_path: Path) -> None:
    assert (
        cli("sim", "openmv-cam-h7", "--listen", "0", "--seconds", "0.2", "--folder", str(tmp_path), "--pty") == 0
    )
    address, path = cli.out.split()
    assert address.startswith("sim://127.0.0.1:")
    assert path.startswith("/dev/")
    with simulating("spresense") as board:
        taken = board["url"].rpartition(":")[2]
        assert cli("sim", "spresense", "--listen", taken) == 3
        assert "--listen" in cli.err
