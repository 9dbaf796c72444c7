"""What runs on a board after flashing: the firmware is asked, and held against the deployment."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ei_automation.devices.at.console import AtConsole, AtInfo
from ei_automation.devices.flasher import Job
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError, VerificationError
from ei_automation.schema.firmware import Firmware, FlashResult

PORT_S, ANSWER_S = 15.0, 10.0
"""By when a port must be there after a restart, and by when the firmware must answer."""
POLL_S = 0.1


@dataclass(frozen=True)
class Proof:
    """What is known of the firmware that runs.

    Attributes:
        text: In words; empty where it was not asked.
        project: Its project, as the firmware says; empty where it does not.
        deploy_version: Studio's number of the build; None where it does not say.
    """

    text: str = ""
    project: str = ""
    deploy_version: int | None = None


def prove(job: Job, result: FlashResult, answer_s: float = ANSWER_S) -> Proof:
    """Ask the firmware what it is.

    A library's files were compared on the drive, and OpenMV's firmware has said its version: only Edge Impulse's
    own firmware is asked here, by AT+INFO.

    Args:
        job: What was flashed.
        result: What came of it.
        answer_s: By when the firmware must answer.

    Raises:
        VerificationError: It says that it is another project or another version than was flashed.
        DeviceError: It does not answer.
    """
    if job.firmware.kind in ("openmv-library", "openmv-firmware"):
        version = result.firmware_version
        return Proof(f"OpenMV firmware {version} answers" if version else "")
    info = _ask(job, result, answer_s)
    _compare(job.firmware, info)
    return Proof(
        f"AT+INFO: project {info.project_name}, deploy version {info.deploy_version}",
        info.project_name,
        info.deploy_version,
    )


def _ask(job: Job, result: FlashResult, answer_s: float) -> AtInfo:
    """AT+INFO of the board that was flashed, once its port is back."""
    name = result.port or (job.port.name if job.port else "")
    ports = {usb.id for usb in job.board.usb}
    end = Deadline(PORT_S)
    while True:
        found = [port for port in job.host.ports() if port.name == name or (not name and port.usb_id in ports)]
        if found:
            break
        if end.passed:
            raise DeviceError(
                f"{job.board.name} was flashed, and its serial port did not come back within {PORT_S:g} s",
                hint="press its reset button, then ask it with `eiauto run`",
            )
        time.sleep(POLL_S)
    with job.host.open(found[0], 115_200) as port:
        console = AtConsole(port)
        console.connect(Deadline(answer_s))
        return console.info(Deadline(answer_s))


def _compare(firmware: Firmware, info: AtInfo) -> None:
    """Refuse a firmware that is another one than the deployment's name says."""
    if firmware.deploy_version is not None and info.deploy_version != firmware.deploy_version:
        raise VerificationError(
            f"the board runs deploy version {info.deploy_version} of project {info.project_name}, "
            f"{firmware.source} is version {firmware.deploy_version}",
            hint="press the board's reset button and ask again with `eiauto run`; if it stays so, flash it again",
        )


__all__ = ["Proof", "prove"]
