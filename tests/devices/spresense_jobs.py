"""What flashing a simulated Spresense takes in tests: short waits, a package, a job."""

from __future__ import annotations

from typing import Any

from ei_automation.devices.flasher import Job
from ei_automation.devices.host import Host
from ei_automation.devices.spresense.updater import Waits
from ei_automation.files import sha256_bytes
from ei_automation.schema.board import find_board
from ei_automation.schema.firmware import Firmware, FirmwareFile
from tests.devices.spresense.test_spk import make_spk

SPRESENSE = find_board("sony-spresense")
WAITS = Waits(
    key_s=0.01,
    quiet_s=0.02,
    reset_s=1.0,
    button_s=0.2,
    line_s=0.2,
    answer_s=1.0,
    settle_s=0.02,
    start_s=0.2,
    packet_s=0.25,
    save_s=2.0,
    boot_s=0.3,
    trouble_s=0.05,
)
"""The waits for what comes are long, those for what does not come in these tests are short."""
SPK = make_spk("nuttx", bytes(range(256)) * 55)
"""14,176 bytes: beyond the 10,000 at which faults strike."""


def firmware(content: bytes = SPK, name: str = "edge_impulse_firmware.spk") -> Firmware:
    """A deployment that holds a package."""
    image = FirmwareFile(name, content, sha256_bytes(content))
    return Firmware("spresense", "project-spresense-v3.zip", images={SPRESENSE.id: image})


def job(host: Host, content: bytes = SPK, **how: Any) -> Job:
    """Flash a package onto the only board of a host."""
    return Job(host, SPRESENSE, firmware(content), host.ports()[0], **how)
