"""Simulated OpenMV Cam H7 and H7 Plus: firmware with debug protocol and drive, and both kinds of boot loader."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ei_automation.devices.openmv.drives import MARKER
from ei_automation.devices.sim.board import SimulatedBoard, Surroundings, UsbDevice
from ei_automation.devices.sim.dfu_device import DfuEvents, DfuFacts, DfuMemory, SimulatedDfu
from ei_automation.devices.sim.drive import taken_bytes
from ei_automation.devices.sim.flashed_model import with_model_in
from ei_automation.devices.sim.openmv.debug import CameraFacts, DebugFirmware
from ei_automation.devices.sim.openmv.loader import LoaderEvents, PacketUart, SimulatedLoader
from ei_automation.devices.sim.uart import Uart

FIRST_DFU_FIRMWARE, FIRST_ROMFS_FIRMWARE = (4, 6, 0), (4, 7, 0)
OLD_USB_ID, LOADER_SERIAL_NUMBER = (0x1209, 0xABD1), "000000000010"
"""Of all cameras before 4.6.0: usbd_desc.c of v4.5.5."""
FIRMWARE_UART, LOADER_UART = "ttyACM0", "ttyACM1"
KIB = 1 << 10
DRIVE = "drive"
FACTORY_FILES = {
    MARKER: b"",
    "main.py": (
        b'import time\nfrom machine import LED\n\nled = LED("LED_BLUE")\n\nwhile True:\n    led.on()\n'
        b"    time.sleep_ms(150)\n    led.off()\n    time.sleep_ms(100)\n    led.on()\n    time.sleep_ms(150)\n"
        b"    led.off()\n    time.sleep_ms(600)\n"
    ),
    "README.txt": b"A simulated OpenMV camera.\r\n",
}
"""What a fresh drive holds; main.py as scripts/libraries/_boot.py of v5.0.0 writes it."""
RESTART_S = 0.1
"""How long the camera is gone from USB when it restarts."""
WINDOW_S = 0.3
"""How long its boot loader waits at each start; real ones 1.0 s and 1.5 s."""
POLL_S = 0.01
ERASED = b"\xff"
FLASH_BYTES, LOADER_BYTES, DRIVE_BYTES, ROMFS_BYTES = 2048 * KIB, 128 * KIB, 128 * KIB, 128 * KIB
"""Of an STM32H7's flash: boot/, boards/OPENMV4/boot_config.h of v5.0.0."""
SHOWN_SPI_BYTES = 64 * KIB
"""Of the 32 MB on the other chip of an H7 Plus: nothing here writes to it."""
READ_ONLY = range(-2, -1)
"""No offset may be written."""


@dataclass(frozen=True)
class Model:
    """What tells one camera from the other.

    Attributes:
        arch: That the firmware gives.
        product_id: Of the firmware from 4.6.0 on; the vendor is 37C5.
        drive_bytes: Of its own chip.
        has_flash_romfs: Whether ROMFS takes some of the firmware's flash, from 4.7.0 on.
    """

    arch: str
    product_id: int
    drive_bytes: int
    has_flash_romfs: bool


MODELS = {
    "openmv-cam-h7": Model("OMV4 H7 1024", 0x1204, DRIVE_BYTES, True),
    "openmv-cam-h7-plus": Model("OMV4P H7 32768 SDRAM", 0x124A, 32 << 20, False),
}
LOADER_BIT = 0x8000
"""What the product id of a boot loader has more than that of its firmware."""


class SimulatedOpenMv(SimulatedBoard):
    """A camera. Faults: those of the firmware, of its drive, of the boot loaders, and `no-bootloader`.

    Args:
        surroundings: Its `model` is what the firmware has inside until another one is flashed.
        board: `openmv-cam-h7` or `openmv-cam-h7-plus`.
        firmware_version: Before 4.6.0 it has the serial boot loader, then DFU; from 5.0.0 on debug protocol V2.
        restart_s: How long it is gone when it restarts.
        window_s: How long its boot loader waits at each start.

    Attributes:
        drive: The folder that is its drive.
        firmware: What its flash holds from the firmware's first byte on.
        dfu: Its boot loader's USB device.
        erased: Sectors that the serial boot loader has erased.
        mode: What it is doing.
        starts: How often it has started.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        board: str = "openmv-cam-h7",
        *,
        firmware_version: tuple[int, int, int] = (4, 8, 1),
        restart_s: float = RESTART_S,
        window_s: float = WINDOW_S,
    ) -> None:
        self.board, self._kind = board, MODELS[board]
        super().__init__(surroundings)
        self._version, self._restart_s, self._window_s = firmware_version, restart_s, window_s
        self.mode: Literal["off", "loader", "firmware"] = "off"
        self._uart = self._active = Uart(FIRMWARE_UART, is_usb=True)
        self._loader_uart = PacketUart(LOADER_UART, is_usb=True)
        romfs = ROMFS_BYTES if firmware_version >= FIRST_ROMFS_FIRMWARE else 0
        in_flash = romfs if self._kind.has_flash_romfs else 0
        self.firmware = bytearray(FLASH_BYTES - LOADER_BYTES - DRIVE_BYTES - in_flash)
        self.dfu = self._make_dfu(romfs)
        self.starts = 0
        self.erased: list[int] = []
        self._is_forced = self._is_broken = self._is_ejected = False
        self._left = threading.Event()
        self._stored = 0
        self.drive = surroundings.folder / DRIVE
        self._factory_bytes = self._format()

    # What a host sees

    def uarts(self) -> Mapping[str, Uart]:
        """The firmware's port, or the serial boot loader's."""
        if not self.is_plugged or self.mode == "off" or (self.mode == "loader" and self._has_dfu):
            return {}
        return {self._active.name: self._active}

    def all_uarts(self) -> list[Uart]:
        """The one that the camera is waiting at."""
        return [self._active]

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        """Vendor, product and description."""
        if uart == LOADER_UART:
            return *OLD_USB_ID, "OpenMV Bootloader"
        if not self._has_dfu:
            return *OLD_USB_ID, "OpenMV Virtual Comm Port in FS Mode"
        return 0x37C5, self._kind.product_id, "OpenMV Camera"

    def serial_number(self, uart: str) -> str:
        """The serial boot loader has one of its own, the same on all cameras."""
        return LOADER_SERIAL_NUMBER if uart == LOADER_UART else self.around.serial_number

    def usb_devices(self) -> list[UsbDevice]:
        """The boot loader that speaks DFU, while it runs."""
        return [self.dfu] if self.is_plugged and self.mode == "loader" and self._has_dfu else []

    def is_up(self) -> bool:
        """Whether its firmware runs: the boot loader shows itself for a moment before."""
        stays = self._window_s > WINDOW_S or not self._can_start()
        return self.mode == "firmware" or (self.mode == "loader" and stays)

    def drives(self) -> list[dict[str, Any]]:
        """Its drive, while the firmware runs and nobody has ejected it."""
        if not self.is_plugged or self.mode != "firmware" or self._is_ejected:
            return []
        capacity = self._kind.drive_bytes
        if "full-drive" in self.faults:
            capacity = min(capacity, self._factory_bytes + self.faults.numbers["full-drive"])
        return [{"path": str(self.drive), "capacity_bytes": capacity}]

    def ejected(self, path: str) -> None:
        """The host has unmounted the drive; it comes back with the next restart."""
        super().ejected(path)
        self._is_ejected = True

    def stored(self, size: int) -> int:
        """The host writes so many bytes to the drive; faults unplug and power-cut strike in the middle."""
        before, self._stored = self._stored, self._stored + size
        for fault in ("unplug", "power-cut"):
            if self.faults.at(fault, self._stored):
                kept = max(0, self.faults.numbers[fault] - before)
                if fault == "unplug":
                    self.unplug()
                else:
                    del self.faults.numbers[fault]  # it comes back
                    self._power_cut()
                return kept
        return size

    def unplug(self) -> None:
        """Pull the cable out."""
        self.mode = "off"
        super().unplug()

    # What it does

    def boot(self) -> None:
        """Boot loader, then firmware, as long as nobody resets it.

        Raises:
            ResetError: Somebody has.
        """
        self.mode, self._is_ejected, self._stored = "off", False, 0
        self.starts += 1
        forced, self._is_forced = self._is_forced, False
        self._active.sleep(self._restart_s)
        if "no-bootloader" not in self.faults:
            self._load(forced=forced or not self._can_start())
        self.mode, self._active = "firmware", self._uart
        vid, pid, _ = self.usb_identity(FIRMWARE_UART)
        facts = CameraFacts(self._version, self._kind.arch, usb_id=f"{vid:04X}:{pid:04X}")
        leaving = DebugFirmware(self._uart, self._flashed(), facts, self.drive).run()
        self._is_forced = leaving == "bootloader" and self._has_dfu

    @property
    def _has_dfu(self) -> bool:
        return self._version >= FIRST_DFU_FIRMWARE

    def _load(self, *, forced: bool) -> None:
        """The boot loader: waits a while, longer where it was asked for or has nothing to start."""
        if self._has_dfu:
            self.dfu.restart()
            self._left.clear()
            self.mode = "loader"
            end = time.monotonic() + self._window_s
            while not self._left.is_set() and (forced or self._is_broken or time.monotonic() < end):
                self._active.sleep(POLL_S)
        else:
            events = LoaderEvents(self._changed, self._power_cut, self.unplug)
            loader = SimulatedLoader(self._loader_uart, self.firmware, self.around, events)
            self.erased, self._active, self.mode = loader.erased, self._loader_uart, "loader"
            loader.run(self._window_s, forced=forced)
            self._is_broken = self._is_broken and not loader.erased
        self.mode = "off"
        self._active.sleep(self._restart_s)

    def _can_start(self) -> bool:
        """Whether the flash holds a firmware, and all of it."""
        return not self._is_broken and bytes(self.firmware[:8]) != ERASED * 8

    def _flashed(self) -> Surroundings:
        """The surroundings with the network that is in the flash; unchanged where there is none."""
        return with_model_in(bytes(self.firmware), self.around)

    def _make_dfu(self, romfs_bytes: int) -> SimulatedDfu:
        """The boot loader's USB device; H7 Plus has its file system on another chip, and ROMFS too."""
        loader = DfuMemory("BOOTLOADER", bytearray(LOADER_BYTES), writable=READ_ONLY)
        memories = [loader, DfuMemory("FILESYSTEM", bytearray(DRIVE_BYTES)), DfuMemory("FIRMWARE", self.firmware)]
        if not self._kind.has_flash_romfs:
            memories.append(DfuMemory("SPI_FLASH", bytearray(SHOWN_SPI_BYTES)))
        memories += [DfuMemory("ROMFS0", bytearray(romfs_bytes))] if romfs_bytes else []
        usb_id = f"37C5:{self._kind.product_id | LOADER_BIT:04X}"
        return SimulatedDfu(
            DfuFacts(usb_id, "OpenMV Camera (DFU Mode)"),
            memories,
            self.around,
            DfuEvents(self._leave, self._power_cut, self.unplug, self._changed),
        )

    def _leave(self) -> None:
        self._is_broken = False
        self._left.set()

    def _changed(self) -> None:
        self._is_broken = True

    def _power_cut(self) -> None:
        self.around.log("the power failed")
        self.mode = "off"
        self.reset()

    def _format(self) -> int:
        """Make the drive, unless there is one; bytes that a fresh one takes."""
        if not self.drive.exists():
            self.drive.mkdir(parents=True)
            for name, content in FACTORY_FILES.items():
                Path(self.drive / name).write_bytes(content)
        return taken_bytes(self.drive)
