"""What goes wrong with Edge Impulse's firmware, told from what the board says, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ei_automation.errors import DeviceError
from ei_automation.schema.board import known_boards

TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\r\n\t\x1b")
GARBLED_RATIO = 0.2
"""Above this share of bytes that are no text, the two ends run at different speeds. Labels may hold a few."""
LOADER_HINT = (
    "update the boot loader (Sony's flash_writer with the boot loader package, or the Arduino IDE's "
    "`Burn Bootloader`), flash the firmware again, and see that an SD card is in the board"
)


@dataclass(frozen=True)
class Trouble:
    """Something that a board says and that ends what it was asked for.

    Attributes:
        sign: What the line holds.
        message: What it means.
        hint: What to do.
    """

    sign: str
    message: str
    hint: str


RESET_HINT = "press the board's reset button and run the same command again"
SMALLER_HINT = "use a smaller network or smaller images, or the int8 variant, and flash it again"
TROUBLES = (
    Trouble("camera is missing", "the firmware finds no camera", f"push the camera's cable in, then {RESET_HINT}"),
    Trouble("Failed to init camera", "the firmware finds no camera", f"check the camera, then {RESET_HINT}"),
    Trouble("snapshot buffer", "the firmware has no memory left for a photo", SMALLER_HINT),
    Trouble("Failed to allocate TFLite arena", "the board has too little memory for the network", SMALLER_HINT),
    Trouble("Image resolution too small", "the board's camera gives no image as small as the network takes",
            "use images of at least 96 by 64 pixels in the impulse"),
    Trouble("Failed to run impulse", "the firmware could not run its network",
            "flash the firmware again; if it stays, try the other variant (int8, float32) of the model"),
    Trouble("Could not determine how to print", "the firmware does not know how to print its results",
            "build the deployment again with today's Studio"),
    Trouble("TIMEOUT", "the board waited in vain for the next piece of the features",
            "plug the board into the machine itself instead of a hub, close what keeps it busy, and try again"),
    Trouble("data buffer failed", "the board has no memory for the features of one image", SMALLER_HINT),
    Trouble("Command not found!", "the firmware does not know the command",
            "its command set is older: build the deployment again and flash it"),
    Trouble("No handler for command!", "the firmware does not know this form of the command",
            "its command set is older: build the deployment again and flash it"),
    Trouble("Not a valid AT command", "a character of the command was lost or garbled",
            "run the same command again; try another cable or a direct USB port"),
    Trouble("Error in starting stream", "the firmware cannot start its camera", RESET_HINT),
    Trouble("Hello from Edge Impulse", "the board started anew in the middle",
            "its supply may be too weak: try another cable, or a port that gives more current"),
    Trouble("Mismatched version", "the Spresense's boot loader is older than the firmware", LOADER_HINT),
    Trouble("Welcome to nash", "the Spresense started anew, into its boot loader's shell", LOADER_HINT),
)  # fmt: skip
"""The first that fits counts."""
HARMLESS = ("Failed to encode frame",)


def trouble_in(line: str) -> Trouble | None:
    """What a line says that ends the work; None for any other line."""
    if not line or line[0] in " \t" or any(sign in line for sign in HARMLESS):
        return None  # indented lines are results: their labels may say anything
    for trouble in TROUBLES:
        if trouble.sign in line:
            return trouble
    if line.startswith(("ERR:", "ERROR:")):
        return Trouble("ERR:", "the firmware reports an error", RESET_HINT)
    return None


def error_for(name: str, doing: str, line: str, trouble: Trouble, seen: bytes) -> DeviceError:
    """The error for a line.

    Args:
        name: The port.
        doing: What the board was asked for.
        line: What it said.
        trouble: What that means.
        seen: The last bytes.
    """
    said = line.strip()[:120]
    return DeviceError(f"{name}: {doing}: {trouble.message} (it says {said!r})", seen=seen, hint=trouble.hint)


def is_garbled(heard: bytes) -> bool:
    """Whether what came is no text."""
    return len(heard) >= 4 and sum(byte not in TEXT for byte in heard) > GARBLED_RATIO * len(heard)


def why_no_prompt(heard: bytes, usb_id: str = "") -> Trouble:
    """Why no AT firmware answers.

    Args:
        heard: What came instead.
        usb_id: Of the port, as `10C4:EA60`; empty where it is not known.
    """
    for sign, message, hint in _OTHERS:
        if re.search(sign, heard):
            return Trouble("", message, hint)
    if is_garbled(heard):
        return Trouble("", "what comes is no text: the board runs at another speed", _SPEED_HINT)
    if not heard.strip():
        card = _CARD_HINT if _may_be_spresense(usb_id) else ""
        return Trouble("", "the board says nothing", _SILENCE_HINT + card)
    return Trouble("", "what comes is not Edge Impulse's firmware, or it does not stop", RESET_HINT)


def _may_be_spresense(usb_id: str) -> bool:
    """Whether a port may be a Spresense's: its USB id is that of a common bridge, or is not known."""
    boards = [board for board in known_boards() if board.flasher == "spresense"]
    return not usb_id or any(usb.id == usb_id for board in boards for usb in board.usb)


_SPEED_HINT = (
    "press the board's reset button, so that it starts at 115200 baud again; if it stays, the port is not that of "
    "Edge Impulse's firmware: see `eiauto boards`"
)
_SILENCE_HINT = (
    "press the board's reset button, check that the port is the right one (`eiauto boards`), and flash Edge "
    "Impulse's firmware if it is not there (`eiauto flash`)"
)
_CARD_HINT = "; a Spresense may need its SD card to start"
_OTHERS = (
    (rb">>> |MicroPython", "MicroPython answers, not Edge Impulse's firmware",
     "the board runs OpenMV's firmware: name it with `--board`, so that its script is run instead"),
    (rb"Mismatched version", "the Spresense's boot loader is older than the firmware", LOADER_HINT),
    (rb"updater#", "the Spresense waits in its updater, which is in its boot loader: no firmware runs",
     "press its reset button to start its firmware; if it comes back to the updater, it has none that is whole: "
     "flash it (`eiauto flash`)"),
    (rb"Welcome to nash|nsh> ", "the Spresense is in its boot loader's shell: the firmware did not start",
     LOADER_HINT),
    (rb"Taking photo|Predictions \(DSP|Timing: DSP|Starting inferencing",
     "the firmware goes on with its inference though it was told to stop", RESET_HINT),
)  # fmt: skip
