"""`eiauto boards`: which boards are known, what is plugged in, what stands in the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ei_automation.schema.board import CONSOLES, FLASHERS, MODES, WAYS, BoardKind, known_boards

if TYPE_CHECKING:
    from ei_automation.devices.choose import PluggedIn
    from ei_automation.devices.host import Host

KIB = 1024
MARKDOWN_COLUMNS = ("`--board`", "board", "core", "RAM, flash, KiB", "USB ids", "flashed by", "run by")


@dataclass(frozen=True)
class SupportedBoard:
    """A row of the table of boards, in words.

    Attributes:
        id: What `--board` takes.
        name: For people.
        core: Of its processor.
        flashed: How firmware gets onto it; empty where it does not.
        run: How its results are read; empty where they are not.
        ram_bytes: On the chip.
        flash_bytes: That programs are stored in.
        usb_ids: How it shows itself, in one state or another.
    """

    id: str
    name: str
    core: str
    flashed: str
    run: str
    ram_bytes: int
    flash_bytes: int
    usb_ids: tuple[str, ...]


@dataclass(frozen=True)
class PluggedRow:
    """A row of what is plugged in, in words.

    Attributes:
        port: Path or URL; empty where it has none now.
        usb_id: As `37C5:1204`; empty where it is not known.
        serial_number: Of the USB device; empty where it has none.
        boards: Ids of the boards that it may be; empty where it is in no row of the table.
        is_certain: Whether the USB id alone says which one it is.
        board: The same for people; else what the system calls it.
        mode: What answers, by its name; empty where that is not known.
        state: The same for people.
        drive: Where its drive is mounted; empty where it has none.
        permitted: Whether this user may open the port.
        is_simulated: Whether it is no real one.
    """

    port: str
    usb_id: str
    serial_number: str
    boards: tuple[str, ...]
    is_certain: bool
    board: str
    mode: str
    state: str
    drive: str
    permitted: bool
    is_simulated: bool = False


@dataclass(frozen=True)
class BoardsReport:
    """What the command shows.

    Attributes:
        supported: The boards that can be flashed or run.
        plugged_in: What is there now.
        hints: What to do about what cannot be seen or opened.
    """

    supported: tuple[SupportedBoard, ...]
    plugged_in: tuple[PluggedRow, ...]
    hints: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def supported_boards() -> tuple[SupportedBoard, ...]:
    """The boards that can be flashed or run; what is only a size to compare with is left out."""
    return tuple(_supported(board) for board in known_boards() if board.flasher or board.consoles)


def supported_markdown() -> str:
    """The table of supported boards, as the README has it."""
    rows = [MARKDOWN_COLUMNS, tuple("---" for _ in MARKDOWN_COLUMNS)]
    rows += [
        (
            f"`{each.id}`",
            each.name,
            each.core,
            f"{each.ram_bytes // KIB}, {each.flash_bytes // KIB}",
            ", ".join(each.usb_ids),
            each.flashed or "no",
            each.run or "no",
        )
        for each in supported_boards()
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{table}\n\n{ways_line()}"


def ways_line() -> str:
    """What the words of the table mean, in a line."""
    return "; ".join(f"{word}: {meaning}" for word, meaning in WAYS.items()) + "."


def udev_text() -> str:
    """A rules file for udev, for `--udev`."""
    from ei_automation.devices.permissions import udev_rules

    return udev_rules()


def look(port: str | None = None) -> BoardsReport:
    """See what is plugged in.

    Args:
        port: As `--port` takes it. The URL of a simulated board shows that board and nothing else; for anything
            else a hint says what it means here.

    Raises:
        SettingsError: The extra `devices` is not installed.
        DeviceError: No simulated board answers.
    """
    from ei_automation.devices.choose import boards_plugged_in, open_host
    from ei_automation.devices.host import SIMULATED
    from ei_automation.devices.permissions import port_hints

    host = open_host(port)
    hints = _meaning(host, port) if port else []
    found = boards_plugged_in(host, on_hint=hints.append)
    hints += port_hints(each.port for each in found if each.port and not each.permitted)
    if any(not each.is_certain and each.boards for each in found):
        hints.append(
            "a USB id that several kinds of boards have does not say which one it is: name it with --board"
        )
    is_simulated = (port or "").startswith(SIMULATED)
    return BoardsReport(supported_boards(), tuple(_plugged(each, is_simulated) for each in found), tuple(hints))


def _supported(board: BoardKind) -> SupportedBoard:
    """A row of the table."""
    flashed = FLASHERS[board.flasher] if board.flasher else ""
    run = ", ".join(CONSOLES[console] for console in board.consoles)
    ids = tuple(dict.fromkeys(usb.id for usb in board.usb))
    return SupportedBoard(board.id, board.name, board.core, flashed, run, board.ram_bytes, board.flash_bytes, ids)


def _plugged(found: PluggedIn, is_simulated: bool) -> PluggedRow:
    """A row of what is there."""
    return PluggedRow(
        port=found.port,
        usb_id=found.usb_id,
        serial_number=found.serial_number,
        boards=found.boards,
        is_certain=found.is_certain,
        board=found.words or found.description or "unknown",
        mode=found.mode or "",
        state=MODES[found.mode] if found.mode else "",
        drive=found.drive,
        permitted=found.permitted,
        is_simulated=is_simulated,
    )


def _meaning(host: Host, port: str) -> list[str]:
    """What `--port` means here; nothing to say of a URL."""
    from ei_automation.devices.choose import find_ports

    if "://" in port:
        return []
    names = [found.name for found in find_ports(host, port)]
    if names == [port]:
        return []
    return [
        f"--port {port} is {' or '.join(names)}" if names else f"--port {port} matches nothing that is plugged in"
    ]
