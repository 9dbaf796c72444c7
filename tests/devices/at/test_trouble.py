from __future__ import annotations

import pytest

from ei_automation.devices.at.trouble import TROUBLES, is_garbled, trouble_in, why_no_prompt


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.sign)
def test_every_sign_is_found_and_explained(trouble: object) -> None:
    found = trouble_in(f"ERR: {trouble.sign}")  # type: ignore[attr-defined]
    assert found == trouble
    assert found.message
    assert found.hint


@pytest.mark.parametrize(
    "line",
    ["", "  ERR: 0.5", "    TIMEOUT: 0.5", "Taking photo...", "ERR: Failed to encode frame as JPEG (3)", "OK 6 "],
)
def test_results_and_ordinary_lines_are_no_trouble(line: str) -> None:
    assert trouble_in(line) is None


def test_labels_of_other_languages_are_not_garbled() -> None:
    assert not is_garbled("  Kühe: 0.5\n  rote Blutkörperchen: 0.5\n".encode())
    assert not is_garbled(b"\xff")
    assert is_garbled(bytes(range(0x80, 0xC0)))


def test_a_running_firmware_is_told_from_another() -> None:
    assert "goes on" in why_no_prompt(b"Taking photo...\n").message
    assert "not Edge Impulse's firmware" in why_no_prompt(b"$GPGGA,1\r\n").message


@pytest.mark.parametrize(("usb_id", "expected"), [("", True), ("10C4:EA60", True), ("2341:025F", False)])
def test_the_card_of_a_spresense_is_no_matter_of_other_boards(usb_id: str, expected: bool) -> None:
    assert ("SD card" in why_no_prompt(b"", usb_id).hint) == expected
