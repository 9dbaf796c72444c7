"""The table of boards."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ei_automation.errors import NotFoundError
from ei_automation.schema.board import (
    CONSOLES,
    FLASHERS,
    MODES,
    WAYS,
    BoardKind,
    DfuTarget,
    find_board,
    known_boards,
)

WANTED = (
    "openmv-cam-h7",
    "openmv-cam-h7-plus",
    "openmv-pure-thermal",
    "arduino-nicla-vision",
    "arduino-portenta-h7",
    "sony-spresense",
    "arduino-nano-33-ble-sense",
    "cortex-m4f-80mhz",
    "cortex-m7-216mhz",
)


def test_the_boards_are_there() -> None:
    assert [board.id for board in known_boards()] == list(WANTED)


def test_every_name_means_one_board() -> None:
    names = [name.lower() for board in known_boards() for name in (board.id, board.name, *board.aliases)]
    assert len(names) == len(set(names))
    for board in known_boards():
        assert {find_board(name).id for name in (board.id, board.name, *board.aliases)} == {board.id}


@pytest.mark.parametrize("board", known_boards(), ids=lambda board: board.id)
def test_every_number_has_its_source(board: BoardKind) -> None:
    assert all(len(source) > 20 for source in board.sources)
    assert board.rule
    if board.openmv is not None:
        assert all("OMV_" in source for source in board.openmv.sources)
        assert board.openmv.frame_buffer_bytes > 400_000
    assert all(len(source) > 20 for source in board.flash_sources)
    assert bool(board.usb) == bool(board.flash_sources)


def test_cores_are_those_that_can_be_measured() -> None:
    from ei_automation.compiler.measure.cores import find_core

    assert {find_core(board.core).name for board in known_boards()} == {"cortex-m4f", "cortex-m7"}


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("OpenMV Cam H7", "openmv-cam-h7"),
        ("openmv cam H7 PLUS", "openmv-cam-h7-plus"),
        ("OpenMV H7+", "openmv-cam-h7-plus"),
        ("Nicla_Vision", "arduino-nicla-vision"),
        ("spresense", "sony-spresense"),
        ("Cortex-M4F 80MHz", "cortex-m4f-80mhz"),
        ("Nano 33 BLE Sense Rev2", "arduino-nano-33-ble-sense"),
        ("cam h7", "openmv-cam-h7"),
        ("Cam H7 Plus", "openmv-cam-h7-plus"),
    ],
)
def test_names_may_be_written_as_people_do(name: str, board: str) -> None:
    assert find_board(name).id == board


def test_an_unknown_board_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="no board is called 'Nicla Visoin'") as caught:
        find_board("Nicla Visoin")
    assert "did you mean arduino-nicla-vision?" in caught.value.hint
    assert "sony-spresense" in caught.value.hint


def test_nothing_near_gives_the_list_alone() -> None:
    with pytest.raises(NotFoundError) as caught:
        find_board("@@@")
    assert caught.value.hint.startswith("known are openmv-cam-h7, ")


def test_an_application_cannot_have_more_than_the_board() -> None:
    values: dict[str, Any] = known_boards()[0].model_dump()
    with pytest.raises(ValidationError, match="more than the board has"):
        BoardKind.model_validate({**values, "application_ram_bytes": values["ram_bytes"] + 1})


def test_no_two_boards_share_an_id_but_those_known_to() -> None:
    owners: dict[str, set[str]] = {}
    for board in known_boards():
        for usb in board.usb:
            owners.setdefault(usb.id, set()).add(board.id)
    shared = {usb_id: len(boards) for usb_id, boards in owners.items() if len(boards) > 1}
    assert shared == {"1209:ABD1": 3, "0483:DF11": 5}


@pytest.mark.parametrize("board", [board for board in known_boards() if board.dfu], ids=lambda board: board.id)
def test_dfu_never_reaches_the_boot_loader(board: BoardKind) -> None:
    assert board.dfu is not None
    assert board.dfu.protected[0] == 0x0800_0000  # where an STM32H7's flash begins, and its boot loader with it
    assert board.dfu.allowed.start == 0x0804_0000 >= board.dfu.protected[1]
    assert board.dfu.allowed.stop <= 0x0800_0000 + board.flash_bytes
    assert board.flasher is not None


def test_a_dfu_target_over_the_boot_loader_is_refused() -> None:
    dfu = find_board("Nicla Vision").dfu
    assert dfu is not None
    with pytest.raises(ValidationError, match="the firmware lies over the boot loader"):
        DfuTarget.model_validate({**dfu.model_dump(), "address": 0x0802_0000, "first": 0x0802_0000})
    with pytest.raises(ValidationError, match="address and first differ"):
        DfuTarget.model_validate({**dfu.model_dump(), "address": 0x0808_0000})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"flash_sources": []}, "flash_sources must say"),
        ({"usb": []}, "not among its USB ids"),
        ({"firmware_files": ["("]}, "no regular expression"),
        ({"usb": [{"id": "37c5:1204", "mode": "openmv"}]}, "should match pattern"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        BoardKind.model_validate({**find_board("OpenMV Cam H7").model_dump(), **change})


def test_the_older_boot_loader_is_told_by_its_serial_number() -> None:
    board = find_board("OpenMV Cam H7")
    for usb_id, serial_number, mode in (
        ("37c5:1204", "", "openmv"),
        ("37C5:9204", "206437A53033", "dfu"),
        ("1209:ABD1", "206437A53033", "openmv"),
        ("1209:ABD1", "000000000010", "loader"),
    ):
        found = board.usb_as(usb_id, serial_number)
        assert found is not None
        assert found.mode == mode
    assert board.usb_as("37C5:124A") is None


@pytest.mark.parametrize(
    ("name", "boards"),
    [
        ("edge_impulse_firmware_openmv_cam_h7.bin", ["openmv-cam-h7"]),
        ("edge_impulse_firmware_openmv4.bin", ["openmv-cam-h7"]),
        ("edge_impulse_firmware_openmv4P.bin", ["openmv-cam-h7-plus"]),
        ("edge_impulse_firmware_openmv_cam_h7plus.bin", ["openmv-cam-h7-plus"]),
        ("edge_impulse_firmware_openmvPT.bin", ["openmv-pure-thermal"]),
        ("edge_impulse_firmware_openmv_pure_thermal.bin", ["openmv-pure-thermal"]),
        ("edge_impulse_firmware_niclav.bin", ["arduino-nicla-vision"]),
        ("edge_impulse_firmware_arduino_nicla_vision.bin", ["arduino-nicla-vision"]),
        ("edge_impulse_firmware_portenta.bin", ["arduino-portenta-h7"]),
        ("edge_impulse_firmware_arduino_portenta.bin", ["arduino-portenta-h7"]),
        ("firmware-arduino-nicla-vision.ino.bin", ["arduino-nicla-vision"]),
        ("edge_impulse_firmware.spk", ["sony-spresense"]),
        ("edge_impulse_firmware_openmv3.bin", []),
        ("edge_impulse_firmware_openmv_cam_m7.bin", []),
        ("firmware-arduino-nicla-vision.ino.with_bootloader.bin", []),
    ],
)
def test_firmware_files_name_their_board(name: str, boards: list[str]) -> None:
    assert [board.id for board in known_boards() if board.names_firmware(name)] == boards


def test_what_answers_has_its_words() -> None:
    assert {usb.mode for board in known_boards() for usb in board.usb} == set(MODES)
    assert {board.flasher for board in known_boards()} - {None} == set(FLASHERS)
    assert {console for board in known_boards() for console in board.consoles} == set(CONSOLES)
    words = [word for text in (*FLASHERS.values(), *CONSOLES.values()) for word in text.split(", ")]
    assert set(words) == set(WAYS)
    assert find_board("spresense").at_baud == 921_600
