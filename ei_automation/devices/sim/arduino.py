"""Simulated Arduino Nicla Vision and Portenta H7: Edge Impulse's AT firmware, a boot loader that speaks DFU."""

from __future__ import annotations

from collections.abc import Mapping

from ei_automation.devices.sim.at.firmware import AtFacts, AtFirmware
from ei_automation.devices.sim.board import SimulatedBoard, Surroundings, UsbDevice
from ei_automation.devices.sim.dfu_device import DfuEvents, DfuFacts, DfuMemory, SimulatedDfu
from ei_automation.devices.sim.flashed_model import with_model_in
from ei_automation.devices.sim.uart import Uart

FLASH, FLASH_BYTES, PAGE_BYTES = 0x0800_0000, 2 << 20, 128 << 10
"""Of an STM32H747: DS12930."""
BOOT_LOADER_BYTES = 0x4_0000
"""In front of the firmware: ArduinoCore-mbed, boards.txt, upload.address."""
LAYOUT = "@Internal Flash   /0x08000000/01*128Ka,15*128Kg"
"""Of the boot loader's alternate setting 0; dfu-util's published logs show its title and that it is DfuSe."""
TRANSFER_BYTES = 4096
"""dfu-util's published logs: "Device returned transfer size 4096"."""
TOUCH_BAUD = 1200
REBOOT_S = 0.02
"""How long the board is gone from USB when it restarts."""
FOREVER_S = 3600.0
UART = "ttyACM0"
HELLO = "Hello from Edge Impulse running on {device_type}.\r\nType AT+HELP to see a list of commands.\r\n"


class SimulatedArduino(SimulatedBoard):
    """A board of the family.

    Starts with a firmware in its flash. Faults: `no-bootloader`; those of the firmware; of the boot loader
    `dfu-error`, `silence`, `unplug`, `power-cut` and `flipped-bit`.

    Args:
        surroundings: Its `model` is what the firmware classifies with until another one is flashed.

    Attributes:
        flash: What the flash holds, from FLASH on.
        dfu: The boot loader's USB device.
        mode: `sketch`, `dfu`, or `off` while it restarts.
    """

    device_type = ""
    product = ""
    pids: tuple[int, int] = (0, 0)
    """Of the firmware and of the boot loader; the vendor is 2341."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        self.flash = bytearray(b"\xff" * FLASH_BYTES)
        self.flash[:BOOT_LOADER_BYTES] = b"\xb0" * BOOT_LOADER_BYTES
        first = b"the firmware that the board came with"
        self.flash[BOOT_LOADER_BYTES : BOOT_LOADER_BYTES + len(first)] = first
        self.mode = "off"
        self._is_touched = self._is_broken = False
        self._uart = Uart(UART, is_usb=True, on_dtr=self._on_dtr)
        self.dfu = SimulatedDfu(
            DfuFacts(f"2341:{self.pids[1]:04X}", self.product, dfuse=True, transfer_bytes=TRANSFER_BYTES),
            [DfuMemory(LAYOUT, self.flash, FLASH, PAGE_BYTES, range(FLASH + PAGE_BYTES, FLASH + FLASH_BYTES))],
            surroundings,
            DfuEvents(self._left, self._lost_power, self.unplug, self._written),
        )

    def uarts(self) -> Mapping[str, Uart]:
        """The firmware's port; none while the boot loader runs."""
        return {UART: self._uart} if self.is_plugged and self.mode == "sketch" else {}

    def all_uarts(self) -> list[Uart]:
        """The only line there is."""
        return [self._uart]

    def usb_identity(self, uart: str) -> tuple[int, int, str]:
        """Vendor, product and description of the firmware's port."""
        del uart
        return 0x2341, self.pids[0], self.product

    def usb_devices(self) -> list[UsbDevice]:
        """The boot loader, while it runs."""
        return [self.dfu] if self.is_plugged and self.mode == "dfu" else []

    def boot(self) -> None:
        """Start what is in the flash, or stay in the boot loader.

        Raises:
            ResetError: The board was reset.
        """
        self.mode = "off"
        stays, self._is_touched = self._is_touched or not self._can_start(), False
        self._uart.sleep(REBOOT_S)
        if stays:
            self.dfu.restart()
            self.mode = "dfu"
            self.around.log("in DFU mode")
            while True:
                self._uart.sleep(FOREVER_S)
        around = self._flashed()
        self.mode = "sketch"
        facts = AtFacts(self.device_type, HELLO.format(device_type=self.device_type))
        AtFirmware(self._uart, around, facts).run()

    def unplug(self) -> None:
        """Pull the cable out."""
        self.mode = "off"
        super().unplug()

    def _can_start(self) -> bool:
        """Whether the flash holds a firmware, and all of it."""
        if self._is_broken:
            # A real one crashes; its user presses RESET twice.
            self.around.log("the firmware is not whole and crashes; RESET was pressed twice")
            return False
        return bytes(self.flash[BOOT_LOADER_BYTES : BOOT_LOADER_BYTES + 8]) != b"\xff" * 8

    def _flashed(self) -> Surroundings:
        """The surroundings with the network that is in the flash."""
        return with_model_in(bytes(self.flash[BOOT_LOADER_BYTES:]), self.around)

    def _on_dtr(self, active: bool, baud: int) -> None:
        """Who is plugged in lets go of the line: at 1200 baud that is a touch."""
        if active or baud != TOUCH_BAUD or self.mode != "sketch":
            return
        if "no-bootloader" in self.faults:
            self.around.log("touched, and nothing happened")
            return
        self.around.log("touched: restarts in the boot loader")
        self._is_touched = True
        self.reset()

    def _left(self) -> None:
        self.around.log("the boot loader starts the firmware")
        self._is_broken = False
        self.mode = "off"
        self.reset()

    def _lost_power(self) -> None:
        self.around.log("the power failed")
        self.mode = "off"
        self.reset()

    def _written(self) -> None:
        self._is_broken = True


class SimulatedNicla(SimulatedArduino):
    """Arduino Nicla Vision."""

    board = "arduino-nicla-vision"
    device_type = "ARDUINO_NICLA_VISION"
    product = "Nicla Vision"
    pids = (0x025F, 0x035F)


class SimulatedPortenta(SimulatedArduino):
    """Arduino Portenta H7."""

    board = "arduino-portenta-h7"
    device_type = "ARDUINO_PORTENTA_H7"
    product = "Arduino Portenta H7"
    pids = (0x025B, 0x035B)
