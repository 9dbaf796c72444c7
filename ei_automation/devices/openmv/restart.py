"""What both ways of flashing an OpenMV camera ask of its firmware: its version, its kind, a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from ei_automation.devices.flasher import Job
from ei_automation.devices.host import Host, SerialPort
from ei_automation.devices.openmv.debug import CameraInfo, connect_camera
from ei_automation.devices.transport import Deadline
from ei_automation.errors import UsageError
from ei_automation.schema.board import BoardKind, UsbMode, known_boards

POLL_S = 0.02
Found = TypeVar("Found")


@dataclass(frozen=True)
class Waits:
    """By when things must have happened, seconds.

    Attributes:
        answer: The firmware answers.
        gone: A port is away after a restart; some systems are too quick for that to be seen.
        back: The firmware is up again: USB and MicroPython need some seconds.
        drive: The system has mounted the drive again; one without an automounter never does.
        loader: The boot loader is there after a restart.
        plug: The user has plugged in a camera that has no firmware to answer.
    """

    answer: float = 5.0
    gone: float = 2.0
    back: float = 20.0
    drive: float = 15.0
    loader: float = 10.0
    plug: float = 15.0


def wait_for(look: Callable[[], Found], seconds: float) -> Found:
    """Look until something is there, and give the last that was seen: None where it does not come in time."""
    deadline = Deadline(seconds)
    while (found := look()) is None and not deadline.passed:
        time.sleep(POLL_S)
    return found


def port_mode(board: BoardKind, port: SerialPort) -> UsbMode | None:
    """What answers at a port, by its USB id and serial number; None where it is no port of this kind of board."""
    modes = [usb for usb in board.usb if usb.id == port.usb_id]
    exact = [usb.mode for usb in modes if port.serial_number in usb.serial_numbers]
    others = [usb.mode for usb in modes if not usb.serial_numbers]
    return next(iter([*exact, *others]), None)


def ports_in_mode(job: Job, mode: UsbMode) -> list[SerialPort]:
    """Ports of the job's kind of board; not those that the system has just made and given to nobody yet."""
    return [port for port in job.host.ports() if port_mode(job.board, port) == mode and port.permitted]


def camera_info(job: Job, port: SerialPort, seconds: float) -> CameraInfo:
    """What a camera's firmware says of itself.

    Raises:
        DeviceError: It does not answer.
        UsageError: It is another kind of board.
    """
    with connect_camera(job.host, port, Deadline(seconds)) as camera:
        info = camera.info(Deadline(seconds))
    require_kind(job.board, info, port)
    return info


def require_kind(board: BoardKind, info: CameraInfo, port: SerialPort) -> None:
    """Refuse a camera that is of another kind than the one that was named."""
    if not board.openmv_arch:
        raise UsageError(
            f"OpenMV's firmware does not run on {board.name}",
            hint="`eiauto boards` lists the boards that it runs on",
        )
    if info.arch:
        suits = info.arch.startswith(board.openmv_arch)
    else:  # version 2 of the protocol gives no such text, but the USB id
        suits = info.usb_id.upper() in {usb.id for usb in board.usb}
    if not suits:
        raise UsageError(
            f"{port.name} is no {board.name}: it says that it is {info.arch or info.usb_id}",
            hint="nothing was written; name the board that is plugged in with --board, or another port with "
            "--port: `eiauto boards` lists what is there",
        )


def version_text(info: CameraInfo) -> str:
    """Firmware version as people write it."""
    return ".".join(map(str, info.firmware_version))


def restart(job: Job, port: SerialPort, seconds: float, *, into_loader: bool = False) -> None:
    """Restart a camera, by its firmware.

    Raises:
        DeviceError: It does not answer.
    """
    with connect_camera(job.host, port, Deadline(seconds)) as camera:
        if into_loader:
            camera.reset_to_bootloader()
        else:
            camera.reset()


def camera_ports(host: Host) -> list[SerialPort]:
    """Ports of all cameras with OpenMV's firmware, whatever their kind."""
    boards = known_boards()
    return [port for port in host.ports() if any(port_mode(board, port) == "openmv" for board in boards)]


def firmware_port(job: Job, before: SerialPort | None, others: Collection[SerialPort]) -> SerialPort | None:
    """The port of the camera's firmware, as far as it is there now.

    Args:
        job: Names the board.
        before: Its port before a restart: told from others by its serial number, else by its name.
        others: Ports of other cameras, which were there before.
    """
    ports = [port for port in ports_in_mode(job, "openmv") if port not in others]
    if before is None:
        return next(iter(ports), None)
    same = [port for port in ports if before.serial_number and port.serial_number == before.serial_number]
    named = [port for port in ports if port.name == before.name]
    return next(iter([*same, *named, *ports]), None)  # another release may write the serial number differently


def wait_gone(job: Job, port: SerialPort, seconds: float) -> None:
    """Wait until a port has vanished, so that it is not taken for the one that comes back."""
    wait_for(lambda: None if port in job.host.ports() else True, seconds)
