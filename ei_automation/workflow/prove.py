"""What runs on a board after flashing: the firmware is asked, and held against the deployment."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass

from ei_automation.devices.at.console import AtConsole, AtInfo
from ei_automation.devices.flasher import Job
from ei_automation.devices.host import SerialPort
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.firmware import Firmware, FlashResult

PORT_S, OPEN_S, ANSWER_S = 15.0, 5.0, 10.0
"""By when a port must be there after a restart, by when it must open, and by when the firmware must answer."""
POLL_S = 0.1


@dataclass(frozen=True)
class Proof:
    """What is known of the firmware that runs.

    Attributes:
        text: What it said, in words; empty where it was not asked.
        project: Its project, as the firmware says; empty where it does not.
        deploy_version: Studio's number of the build; None where it does not say.
        model: Which network was flashed, in words; empty where no .tflite file was found in the deployment.
    """

    text: str = ""
    project: str = ""
    deploy_version: int | None = None
    model: str = ""

    @property
    def words(self) -> str:
        """All of it in a line; empty where nothing is known."""
        return "; ".join(part for part in (self.text, self.model) if part)


def prove(
    job: Job, result: FlashResult, answer_s: float = ANSWER_S, *, trained: Collection[str] = frozenset()
) -> Proof:
    """Ask the firmware what it is.

    A library's files were compared on the drive, and OpenMV's firmware has said its version: only Edge Impulse's
    own firmware is asked here, by AT+INFO.

    Args:
        job: What was flashed.
        result: What came of it.
        answer_s: By when the firmware must answer.
        trained: SHA-256 of the project's trained models.

    Raises:
        VerificationError: It says that it is another project or another version than was flashed.
        DeviceError: It does not answer.
    """
    model = _model_words(job.firmware, trained)
    if job.firmware.kind in ("openmv-library", "openmv-firmware"):
        version = result.firmware_version
        return Proof(f"OpenMV firmware {version} answers" if version else "", model=model)
    info = _ask(job, result, answer_s)
    _compare(job, info)
    return Proof(
        f"AT+INFO: {_info_words(info)}",
        info.project_name,
        info.deploy_version,
        model,
    )


def _info_words(info: AtInfo) -> str:
    """What the firmware says of itself."""
    words = [f"project {info.project_name}"] if info.project_name else []
    words += [f"deploy version {info.deploy_version}"] if info.deploy_version else []
    return ", ".join(words) or "the firmware answers, and does not say of which project it is"


def _model_words(firmware: Firmware, trained: Collection[str]) -> str:
    """Which network was flashed; empty where it is not known, e.g. because it was compiled."""
    if firmware.model is None:
        return ""
    holder = "the library" if firmware.kind == "openmv-library" else "the image"
    sha256 = sha256_bytes(firmware.model)
    if sha256 in trained:
        return f"{holder} holds the trained .tflite of the project"
    return f"{holder} holds a .tflite of {len(firmware.model):,} bytes, SHA-256 {sha256}"


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
    with _opened(job, found[0]) as port:
        console = AtConsole(port)
        console.connect(Deadline(answer_s))
        return console.info(Deadline(answer_s))


def _opened(job: Job, port: SerialPort) -> Port:
    """The port, open. One that has just come back is listed before the system lets its user open it.

    Raises:
        DeviceError: It cannot be opened for so long that this is not the reason.
    """
    end = Deadline(OPEN_S)
    while True:
        try:
            return job.host.open(port, 115_200)
        except DeviceError as error:
            if end.passed:
                error.hint = f"the board was flashed; {error.hint}"
                raise
        time.sleep(POLL_S)


def _compare(job: Job, info: AtInfo) -> None:
    """Refuse a firmware of another version than was flashed; note one of a project that is called otherwise."""
    firmware = job.firmware
    if firmware.deploy_version and info.deploy_version and info.deploy_version != firmware.deploy_version:
        raise VerificationError(
            f"the board runs deploy version {info.deploy_version} of project {info.project_name}, "
            f"{firmware.source} is version {firmware.deploy_version}",
            hint="press the board's reset button and ask again with `eiauto run`; if it stays so, flash it again",
        )
    if firmware.project and info.project_name and not same_name(firmware.project, info.project_name):
        job.on_note(
            f"the board says that it runs project {info.project_name}, and the name of {firmware.source} says "
            f"{firmware.project}: check that it is the one you mean"
        )


def same_name(short: str, name: str) -> bool:
    """Whether a project's name, or that in a file's name, is one of Studio's; case and punctuation aside."""
    plain, whole = (re.sub(r"[\W_]+", "", each.casefold()) for each in (short, name))
    return plain in whole or whole in plain


__all__ = ["Proof", "prove", "same_name"]
