"""`eiauto boards`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ei_automation.devices.permissions import udev_rules
from ei_automation.devices.sim.server import serving
from ei_automation.workflow.boards import supported_markdown
from tests.devices.echo_board import EchoBoard
from tests.devices.surroundings import surroundings
from tests.helpers import Cli


def test_two_tables(cli: Cli, tmp_path: Path) -> None:
    with serving(EchoBoard(surroundings(tmp_path))) as url:
        assert cli("boards", "--port", url) == 0
        said = cli.out
        for words in (
            "arduino-nano-33-ble-sense",
            "Arduino Nano 33 BLE Sense",
            "cortex-m7",
            "drive, DFU",
            "AT, script",
        ):
            assert words in said
        assert "AT: commands of Edge Impulse's firmware" in said
        for words in ("10C4:EA60", "SIM0001", "perhaps Sony", "a serial line"):
            assert words in said
        assert "name it with --board" in cli.err


def test_one_document(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(EchoBoard(surroundings(tmp_path))) as url:
        monkeypatch.setenv("EIAUTO_PORT", url)
        assert cli("boards", "--json") == 0
    document = json.loads(cli.out)
    (found,) = document["plugged_in"]
    assert (found["boards"], found["serial_number"]) == (["sony-spresense"], "SIM0001")
    assert found["port"] == f"{url}/ttyUSB0"
    assert {"id", "name", "core", "flashed", "run", "usb_ids"} < set(document["supported"][0])


def test_the_readmes_table_alone(cli: Cli) -> None:
    assert cli("boards", "--supported") == 0
    assert cli.out == supported_markdown() + "\n"


def test_the_rules_alone(cli: Cli) -> None:
    assert cli("boards", "--udev") == 0
    assert cli.out == udev_rules()


def test_what_excludes_one_another(cli: Cli) -> None:
    for options in (("--udev", "--supported"), ("--udev", "--json"), ("--supported", "--json")):
        assert cli("boards", *options) == 2
        assert "exclude one another" in cli.err


def test_no_simulated_board(cli: Cli) -> None:
    assert cli("boards", "--port", "sim://127.0.0.1:1") == 9
    assert "eiauto sim BOARD" in cli.err
