"""The table of boards."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ei_automation.errors import NotFoundError
from ei_automation.schema.board import BoardKind, find_board, known_boards

WANTED = (
    "openmv-cam-h7",
    "openmv-cam-h7-plus",
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
