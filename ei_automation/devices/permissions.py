"""What a user needs so that a board's port may be opened, and how to get it."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ei_automation.schema.board import BoardKind, UsbId, known_boards

RULES_NAME = "70-eiauto.rules"
"""The number must be below that of systemd's 73-seat-late.rules, which acts on the tag `uaccess`."""
RULES_FOLDER = "/etc/udev/rules.d"
INSTALL_RULES = (
    f"eiauto boards --udev | sudo tee {RULES_FOLDER}/{RULES_NAME}; "
    "sudo udevadm control --reload-rules && sudo udevadm trigger"
)


def port_hints(names: Iterable[str], system: str = sys.platform) -> list[str]:
    """What to do so that ports may be opened.

    Args:
        names: Paths of the ports that may not.
        system: As `sys.platform` says it.

    Returns:
        A sentence for each thing to do; the last one is about rules, where there are any.
    """
    if not system.startswith("linux"):
        return [
            f"{name}: this user may not open it; close what uses it, or run as administrator" for name in names
        ]
    hints = dict.fromkeys(_group_hint(Path(name)) for name in names)
    if not hints:
        return []
    return [*hints, f"or, for the boards of this table alone, without a group: {INSTALL_RULES}"]


def _group_hint(path: Path) -> str:
    """Which group may open a port, and how to become one of it."""
    import grp

    try:
        status = path.stat()
        group = grp.getgrgid(status.st_gid)
    except (OSError, KeyError) as error:
        return f"{path}: this user may not open it, and its group is not known: {error}"
    user = getpass.getuser()
    if group.gr_gid == 0 or not status.st_mode & 0o060:
        return f"{path} is root's alone: install the rules below"
    if user in group.gr_mem and group.gr_gid not in os.getgroups():
        return f"{path} belongs to group {group.gr_name}, and {user} is in it since the last login: log out and in"
    return (
        f"{path} belongs to group {group.gr_name}: run `sudo usermod -aG {group.gr_name} $USER`, "
        "then log out and in again"
    )


def udev_rules(boards: Sequence[BoardKind] = ()) -> str:
    """A rules file for udev: who sits at the machine may use the boards, and no modem program talks to them.

    Args:
        boards: Those to write rules for; all that are known where empty.

    Returns:
        The text of RULES_NAME.
    """
    lines = [
        f"# Boards that eiauto flashes and runs. Save as {RULES_FOLDER}/{RULES_NAME}, then run",
        "# sudo udevadm control --reload-rules && sudo udevadm trigger, and plug the board in again.",
        "# uaccess: who sits at this machine may open it.",
        "# ID_MM_DEVICE_IGNORE: ModemManager takes it for no modem and sends it nothing.",
    ]
    rows: dict[str, tuple[UsbId, list[str]]] = {}
    for board in boards or known_boards():
        for usb in board.usb:
            _, names = rows.setdefault(usb.id, (usb, []))
            names.extend([board.name] if board.name not in names else [])
    grouped: dict[str, list[str]] = {}
    for usb, names in rows.values():
        grouped.setdefault(", ".join(names), []).extend(_rules(usb))
    for title, rules in grouped.items():
        lines += ["", f"# {title}", *rules]
    return "\n".join(lines) + "\n"


def _rules(usb: UsbId) -> list[str]:
    """The lines of one USB id. ModemManager's tag goes onto the whole device, and not onto a chip's own id."""
    vendor, product = usb.id.lower().split(":")
    device = f'ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}"'
    whole = f'SUBSYSTEM=="usb", ENV{{DEVTYPE}}=="usb_device", {device}'
    if usb.mode == "dfu":
        return [f'{whole}, MODE="0660", TAG+="uaccess"']
    port = f'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{product}"'
    lines = [f'{port}, MODE="0660", TAG+="uaccess"']
    return lines if usb.is_generic else [*lines, f'{whole}, ENV{{ID_MM_DEVICE_IGNORE}}="1"']
