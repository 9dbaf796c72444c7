"""The smallest simulated board with a boot loader: nothing but its DFU device, or several of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ei_automation.devices.sim.board import SimulatedBoard, UsbDevice
from ei_automation.devices.sim.dfu_device import DfuEvents, DfuFacts, DfuMemory, SimulatedDfu
from ei_automation.devices.sim.uart import Uart
from ei_automation.schema.board import DfuTarget
from tests.devices.surroundings import surroundings

LAYOUT = "@Internal Flash   /0x08000000/01*128Ka,15*128Kg"
FLASH = 0x0800_0000
NICLA = DfuTarget(
    usb_id="2341:035F",
    alt=0,
    address=FLASH + 0x4_0000,
    first=FLASH + 0x4_0000,
    size_bytes=1_835_008,
    protected=(FLASH, FLASH + 0x4_0000),
)
CAMERA = DfuTarget(
    usb_id="37C5:9204",
    alt="FIRMWARE",
    first=FLASH + 0x4_0000,
    size_bytes=1_703_936,
    protected=(FLASH, FLASH + 0x2_0000),
)


class DfuBoard(SimulatedBoard):
    """Always in its boot loader.

    Args:
        folder: Of the test.
        faults: Of the boot loader.
        dfuse: Like a Nicla Vision; else like an OpenMV Cam H7.
        can_upload: Whether its memory can be read back.
        devices: How many are plugged in.
        layout: Name of the Nicla's memory.
    """

    board = "dfu"

    def __init__(
        self,
        folder: Path,
        *faults: str,
        dfuse: bool = True,
        can_upload: bool = True,
        devices: int = 1,
        layout: str = LAYOUT,
    ) -> None:
        super().__init__(surroundings(folder, *faults))
        self.left = 0
        self.flash = bytearray(b"\xb0" * (2 << 20))
        self._line = Uart("none")
        facts = DfuFacts(
            "2341:035F" if dfuse else "37C5:9204", "a boot loader", dfuse=dfuse, can_upload=can_upload, poll_ms=1
        )
        self.dfu = self._device(facts, self._memories(layout) if dfuse else self._partitions())
        self._devices: list[UsbDevice] = [self.dfu] * devices

    def _memories(self, layout: str) -> list[DfuMemory]:
        return [DfuMemory(layout, self.flash, FLASH)]

    def _partitions(self) -> list[DfuMemory]:
        self.firmware = bytearray(b"\xff" * 1_703_936)
        return [
            DfuMemory("BOOTLOADER", bytearray(b"\xb0" * 131_072), writable=range(0)),
            DfuMemory("FILESYSTEM", bytearray(131_072)),
            DfuMemory("FIRMWARE", self.firmware),
            DfuMemory("ROMFS0", bytearray(131_072)),
        ]

    def _device(self, facts: DfuFacts, memories: list[DfuMemory]) -> SimulatedDfu:
        return SimulatedDfu(facts, memories, self.around, DfuEvents(self._leave, self.unplug, self.unplug))

    def _leave(self) -> None:
        self.left += 1

    def uarts(self) -> Mapping[str, Uart]:
        return {}

    def all_uarts(self) -> list[Uart]:
        return [self._line]

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        raise KeyError(uart)

    def usb_devices(self) -> list[UsbDevice]:
        return self._devices if self.is_plugged else []

    def boot(self) -> None:
        while True:
            self._line.sleep(60)


MakeBoard = Callable[..., DfuBoard]
