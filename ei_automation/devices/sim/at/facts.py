"""What tells one board's Edge Impulse firmware from another's, and how it prints it."""

from __future__ import annotations

from dataclasses import dataclass

from ei_automation.devices.sim.at.results import Dialect

DEFAULT_BAUD = 115_200


@dataclass(frozen=True)
class AtFacts:
    """What tells one board's firmware from another's.

    Attributes:
        device_type: e.g. `SONY_SPRESENSE`.
        hello: What it says when it starts, before the prompt.
        at_version: Of the command set.
        max_baud: That it changes to for debug output.
        chunk: Characters of a piece of static data.
        dialect: That it prints results in.
        prompt_in_debug: Whether AT+RUNIMPULSEDEBUG gives a prompt at once, while it runs: Spresense.
        blocks: Whether it takes no command while it runs, and says nothing when it is stopped: Nicla.
        project_author: Its owner.
        project_id: Studio's number.
        studio_version: Of the inferencing SDK.
        resolutions: Of the camera, pixels.
        smallest: (width, height) of a network that it runs; Spresense refuses those below 96 by 64.
        pause_s: Between turns unless it runs continuously; the real ones wait 2 seconds.
        turn_s: What a turn takes at least.
        baud_pause_s: Before and after it changes its speed.
        piece_s: By when a piece of static data must have come. The real ones give 0.1 seconds; a machine that
            simulates both ends under load needs more.
        heap_bytes: What static data may take.
    """

    device_type: str
    hello: str
    at_version: str = "1.8.0"
    max_baud: int = DEFAULT_BAUD
    chunk: int = 128
    dialect: Dialect = "G5"
    prompt_in_debug: bool = False
    blocks: bool = True
    project_author: str = "eiauto"
    project_id: int = 1
    studio_version: str = "v1.86.0"
    resolutions: tuple[tuple[int, int], ...] = ((64, 64), (96, 96), (160, 120), (320, 240))
    smallest: tuple[int, int] = (1, 1)
    pause_s: float = 0.2
    turn_s: float = 0.03
    baud_pause_s: float = 0.1
    piece_s: float = 2.0
    heap_bytes: int = 1 << 20


def info_text(facts: AtFacts, project: str, deploy_version: int) -> str:
    """The answer to AT+INFO.

    Args:
        facts: Of the board.
        project: Its name in Studio.
        deploy_version: Studio's number of the build.
    """
    values = {
        "Firmware build date": "Jan  1 2026",
        "Firmware build time": "12:00:00",
        "ML model author": facts.project_author,
        "ML model name": project,
        "ML model ID": facts.project_id,
        "Model deploy version": deploy_version,
        "Edge Impulse version": facts.studio_version,
        "Used sensor": "camera",
    }
    border = "*" * 25
    lines = "".join(f"{name:<21}: {value}\n" for name, value in values.items())
    return f"{border}\n* Edge Impulse firmware *\n{border}\n{lines}"


def snapshot_text(facts: AtFacts) -> str:
    """The answer to AT+SNAPSHOT?."""
    sizes = ", ".join(f"{width}x{height}" for width, height in facts.resolutions)
    return (
        "Has snapshot:         1\nSupports stream:      1\nColor depth:          RGB\n"
        f"Resolutions:          [ {sizes} ]\n"
    )


def config_text(facts: AtFacts, device_id: str, model_type: str) -> str:
    """The answer to AT+CONFIG?."""
    return (
        f"===== Device info =====\nID:         {device_id}\nType:       {facts.device_type}\n"
        f"AT Version: {facts.at_version}\nData Transfer Baudrate: {facts.max_baud}\n\n"
        "===== Sensors ======\nName: Camera, Max sample length: 10s, Frequencies: []\n\n"
        f"===== Snapshot ======\n{snapshot_text(facts)}\n"
        f"===== Inference ======\nSensor:           3\r\nModel type:       {model_type}\r\n\n"
        "===== WIFI =====\nSSID:      \nPassword:  \nSecurity:  0\nConnected: 0\nPresent:   0\n\n"
        "===== Sampling parameters =====\nLabel:     \nInterval:  10.00 ms.\nLength:    10000 ms.\n"
        "HMAC key:  \n\n"
        "===== Upload settings =====\nApi Key:   \nHost:      \nPath:      \n\n"
        "===== Remote management =====\nURL:        \nConnected:  0\nLast error: \n\n"
    )
