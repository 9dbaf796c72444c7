"""Which port is meant, and which board is at it."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ei_automation.devices.dfu.target import DfuDevice
from ei_automation.devices.dfu.writing import choose_tool
from ei_automation.devices.host import SIMULATED, Drive, Host, SerialPort
from ei_automation.devices.local_host import LocalHost, is_permitted
from ei_automation.errors import DeviceError, SettingsError, UsageError
from ei_automation.schema.board import BoardKind, UsbId, UsbMode, known_boards

USB_ID = re.compile(r"(?:0x)?([0-9a-f]{4}):(?:0x)?([0-9a-f]{4})", re.IGNORECASE)
"""VID:PID, as people write it."""
GLOB_MARKS = frozenset("*?[")
LOADER_MODES: frozenset[UsbMode] = frozenset({"loader", "dfu"})
"""What answers there is the boot loader: no firmware runs."""
NO_BOARD_HINT = (
    "plug the board in, or start a simulated one with `eiauto sim BOARD` and give its address to --port"
)


@dataclass(frozen=True)
class PluggedIn:
    """Something that is plugged in.

    Attributes:
        boards: Ids of the boards that it may be: one where it is known, several where they share the USB id, none
            where the id is in no row of the table.
        mode: What answers; None where the id is in no row, or it is a drive alone.
        port: Path or URL of its serial port; empty where it has none now.
        usb_id: As `37C5:1204`; empty where it is not known.
        serial_number: Of the USB device; empty where it has none.
        description: Of the system.
        drive: Where its drive is mounted; empty where it has none.
        is_generic: Whether things that are no board have the same USB id: any CP210x, any STM32 in its ROM.
        permitted: Whether this user may open it.
    """

    boards: tuple[str, ...] = ()
    mode: UsbMode | None = None
    port: str = ""
    usb_id: str = ""
    serial_number: str = ""
    description: str = ""
    drive: str = ""
    is_generic: bool = False
    permitted: bool = True

    @property
    def is_certain(self) -> bool:
        """Whether the USB id alone says which board it is."""
        return len(self.boards) == 1 and not self.is_generic

    @property
    def words(self) -> str:
        """Which board it is, as far as that is known."""
        names = {board.id: board.name for board in known_boards()}
        listed = " or ".join(names[board] for board in self.boards)
        return f"perhaps {listed}" if self.is_generic else listed


def open_host(port: str | None) -> Host:
    """The machine that a port is at.

    Args:
        port: As `--port` takes it; None for this machine.
    """
    if port is not None and port.startswith(SIMULATED):
        from ei_automation.devices.sim.client import SimulatedHost

        return SimulatedHost(port)
    return LocalHost()


def find_ports(host: Host, wanted: str) -> list[SerialPort]:
    """The ports that are meant, by name.

    Args:
        host: The machine.
        wanted: A path or its glob, a VID:PID, a serial number, a URL; case does not matter but in paths. Of a
            simulated board its address is enough: all its lines.
    """
    ports = host.ports()
    if wanted.startswith(SIMULATED):
        return [port for port in ports if port.name == wanted or port.name.startswith(wanted.rstrip("/") + "/")]
    if "://" in wanted:
        return [SerialPort(wanted)]
    if usb_id := USB_ID.fullmatch(wanted):
        meant = f"{usb_id[1]}:{usb_id[2]}".upper()
        return [port for port in ports if port.usb_id == meant]
    named = [port for port in ports if port.name == wanted or _is_windows_name(port.name, wanted)]
    if not named and wanted:
        named = [port for port in ports if port.serial_number.casefold() == wanted.casefold()]
    return named or _by_path(ports, wanted)


def choose_port(host: Host, *, wanted: str | None = None, board: BoardKind | None = None) -> SerialPort:
    """The one port to talk to.

    Args:
        host: The machine.
        wanted: As `find_ports` takes it; None for the only one whose USB id is the board's.
        board: Its kind; None for any.

    Raises:
        UsageError: Several match; or the one that was named is another board.
        DeviceError: None does; the hint says what is plugged in.
    """
    if wanted is None:
        found = _of_board(host.ports(), board)
    else:
        found = find_ports(host, wanted)
        if board is not None and len(found) > 1:
            found = _of_board(found, board) or found
    if not found:
        raise _nothing(host, wanted, board)
    if len(found) > 1:
        raise _several(found, wanted, board)
    _require_same_board(found[0], board)
    return found[0]


def boards_plugged_in(
    host: Host, boards: Sequence[BoardKind] = (), *, on_hint: Callable[[str], None] = lambda _: None
) -> list[PluggedIn]:
    """What is plugged in by USB: ports, drives, boards in a boot loader that speaks DFU.

    Args:
        host: The machine.
        boards: Those to look for; all that are known where empty.
        on_hint: Gets a sentence where something cannot be looked for, e.g. because libusb is not installed.
    """
    boards = boards or known_boards()
    ports = [board_at(port, boards) for port in host.ports() if port.usb_id or "://" in port.name]
    return [*_with_drives(ports, host.drives()), *_in_dfu(host, boards, on_hint)]


def describe(found: PluggedIn) -> str:
    """One line for a person."""
    parts = [found.words or found.description or "unknown", found.usb_id]
    parts += [f"serial number {found.serial_number}" if found.serial_number else ""]
    parts += ["in its boot loader" if found.mode in LOADER_MODES else ""]
    return f"{found.port or found.drive or 'no port'} ({', '.join(part for part in parts if part)})"


def board_at(port: SerialPort, boards: Sequence[BoardKind] = ()) -> PluggedIn:
    """Which board a port's USB id says it is.

    Args:
        port: The port.
        boards: Those that it may be; all that are known where empty.
    """
    rows = {board.id: row for board in boards or known_boards() if (row := _row(board, port)) is not None}
    return PluggedIn(
        boards=tuple(rows),
        mode=next((row.mode for row in rows.values()), None),
        port=port.name,
        usb_id=port.usb_id,
        serial_number=port.serial_number,
        description=port.description,
        is_generic=any(row.is_generic for row in rows.values()),
        permitted=port.permitted,
    )


# Ports


def _is_windows_name(name: str, wanted: str) -> bool:
    """`com3` is COM3."""
    return name.upper().startswith("COM") and name.casefold() == wanted.casefold()


def _by_path(ports: Sequence[SerialPort], wanted: str) -> list[SerialPort]:
    """Ports by a glob over their names and over links to them, or by a path of the file system."""
    by_name = {port.name: port for port in ports}
    if GLOB_MARKS & set(wanted):
        links = glob.glob(wanted)  # noqa: PTH207 - patterns from the root
        meant = {*fnmatch.filter(by_name, wanted), *map(os.path.realpath, links)}
        return [port for port in ports if port.name in meant]
    if "\0" in wanted:
        return []
    target = os.path.realpath(wanted)
    if target in by_name:
        return [by_name[target]]
    # A port that no list has: a pseudo terminal, a virtual port.
    return [SerialPort(wanted, permitted=is_permitted(wanted))] if _is_device(wanted) else []


def _is_device(path: str) -> bool:
    """Whether there is a character device."""
    try:
        return stat.S_ISCHR(Path(path).stat().st_mode)
    except OSError:
        return False


def _of_board(ports: Iterable[SerialPort], board: BoardKind | None) -> list[SerialPort]:
    """Those whose USB id is the board's, or any board's."""
    boards = known_boards() if board is None else (board,)
    return [port for port in ports if any(_row(each, port) is not None for each in boards)]


def _row(board: BoardKind, port: SerialPort) -> UsbId | None:
    return board.usb_as(port.usb_id, port.serial_number)


# Drives and boot loaders


def _with_drives(ports: Sequence[PluggedIn], drives: Sequence[Drive]) -> list[PluggedIn]:
    """Ports with the drives that belong to them; drives that belong to none follow."""
    cameras = [port for port in ports if port.mode == "openmv"]
    places: dict[str, str] = {}
    alone = []
    for drive in drives:
        serial = drive.serial_number
        owners = [port for port in cameras if serial and port.serial_number.casefold() == serial.casefold()]
        if not owners and len(cameras) == len(drives) == 1:
            owners = cameras  # nothing else there could it belong to
        if len(owners) == 1:
            places[owners[0].port] = drive.name
        else:
            alone.append(
                PluggedIn(drive=drive.name, serial_number=serial, description="a drive of OpenMV's firmware")
            )
    return [replace(port, drive=places.get(port.port, "")) for port in ports] + alone


def _in_dfu(host: Host, boards: Sequence[BoardKind], on_hint: Callable[[str], None]) -> list[PluggedIn]:
    """Boards that are in a boot loader that speaks DFU."""
    ids = list(dict.fromkeys(row.id for board in boards for row in board.usb if row.mode == "dfu"))
    try:
        devices = choose_tool(host, "auto").find(ids)
    except (SettingsError, DeviceError) as error:  # no libusb, or no permission: the ports are there all the same
        on_hint(f"boards in a boot loader that speaks DFU are not listed: {error}; {error.hint}")
        return []
    return [_dfu_device(device, boards) for device in devices]


def _dfu_device(device: DfuDevice, boards: Sequence[BoardKind]) -> PluggedIn:
    """A board that has no port now."""
    vendor, product = (int(part, 16) for part in device.usb_id.split(":"))
    return board_at(SerialPort("", vendor, product, device.serial_number), boards)


# Errors


def _nothing(host: Host, wanted: str | None, board: BoardKind | None) -> DeviceError:
    """The error where no port matches."""
    what = f"no port matches {wanted!r}" if wanted else f"no {board.name if board else 'board'} is plugged in"
    there = boards_plugged_in(host)
    listed = "; ".join(describe(each) for each in there)
    plugged = f"plugged in: {listed}; choose with --port" if there else NO_BOARD_HINT
    return DeviceError(what, hint=plugged)


def _several(found: Sequence[SerialPort], wanted: str | None, board: BoardKind | None) -> UsageError:
    """The error where more than one port matches."""
    what = f"match {wanted!r}" if wanted else f"may be {board.name}" if board else "are of boards that are known"
    listed = "; ".join(describe(board_at(port)) for port in found)
    return UsageError(
        f"{len(found)} ports {what}: {listed}",
        hint="name one by its path or serial number: --port, or EIAUTO_PORT",
    )


def _require_same_board(port: SerialPort, board: BoardKind | None) -> None:
    """Refuse a port whose USB id says that another board is there.

    Raises:
        UsageError: It says so. An id that is in no row of the table, or a chip's own, says nothing.
    """
    found = board_at(port)
    if board is None or not found.boards or found.is_generic or board.id in found.boards:
        return
    raise UsageError(
        f"{describe(found)} is not {board.name}",
        hint=f"give its kind with --board {found.boards[0]}, or another port with --port",
    )
