"""pyusb's door to the USB devices of a simulated board: `usb.core.find(backend=SimulatedUsb(host.ask))`."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from usb.backend import IBackend
from usb.core import USBError, USBTimeoutError

Ask = Callable[[dict[str, Any] | None], dict[str, Any]]
"""Puts a question to a simulated board: `sim.client.SimulatedHost.ask`."""
MANUFACTURER, PRODUCT, SERIAL_NUMBER, FIRST_ALT = 1, 2, 3, 4
"""Indexes of the string descriptors; those of the alternate settings follow."""
GET_DESCRIPTOR_IN, GET_DESCRIPTOR, STRING = 0x80, 6, 3
ENGLISH = 0x0409
ERROR_IO, ERROR_NO_DEVICE, ERROR_TIMEOUT, ERROR_PIPE = -1, -4, -7, -9
"""libusb's own codes."""


class SimulatedUsb(IBackend):  # type: ignore[misc]
    """A USB bus with a simulated board on it.

    Args:
        ask: Puts a question to the board.

    Attributes:
        is_simulated: True: no other program sees what is plugged in here.
    """

    is_simulated = True

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def enumerate_devices(self) -> Iterator[SimpleNamespace]:
        """What is plugged in now."""
        for place, described in enumerate(self._ask(None).get("usb", [])):
            yield SimpleNamespace(place=place, **described)

    def get_parent(self, dev: SimpleNamespace) -> None:
        """There is no hub."""

    def get_device_descriptor(self, dev: SimpleNamespace) -> SimpleNamespace:
        """The device descriptor, and where it is plugged in."""
        return SimpleNamespace(
            bLength=18,
            bDescriptorType=1,
            bcdUSB=0x0200,
            bDeviceClass=0,
            bDeviceSubClass=0,
            bDeviceProtocol=0,
            bMaxPacketSize0=64,
            idVendor=dev.vid,
            idProduct=dev.pid,
            bcdDevice=dev.bcd_device,
            iManufacturer=MANUFACTURER,
            iProduct=PRODUCT,
            iSerialNumber=SERIAL_NUMBER,
            bNumConfigurations=1,
            bus=1,
            address=dev.place + 1,
            port_number=dev.place + 1,
            port_numbers=(dev.place + 1,),
            speed=2,
        )

    def get_configuration_descriptor(self, dev: SimpleNamespace, config: int) -> SimpleNamespace:
        """Its only configuration.

        Raises:
            IndexError: Another one was asked for.
        """
        del dev
        if config:
            raise IndexError(config)
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=2,
            wTotalLength=0,
            bNumInterfaces=1,
            bConfigurationValue=1,
            iConfiguration=0,
            bmAttributes=0x80,
            bMaxPower=50,
            extra_descriptors=b"",
        )

    def get_interface_descriptor(self, dev: SimpleNamespace, intf: int, alt: int, config: int) -> SimpleNamespace:
        """An alternate setting of its DFU interface.

        Raises:
            IndexError: There is none.
        """
        if intf or config or alt >= len(dev.alts):
            raise IndexError(alt)
        # The functional descriptor follows the last setting, as real devices have it.
        extra = bytes.fromhex(dev.functional) if alt == len(dev.alts) - 1 else b""
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=4,
            bInterfaceNumber=0,
            bAlternateSetting=alt,
            bNumEndpoints=0,
            bInterfaceClass=0xFE,
            bInterfaceSubClass=1,
            bInterfaceProtocol=2,
            iInterface=FIRST_ALT + alt,
            extra_descriptors=list(extra),
        )

    def open_device(self, dev: SimpleNamespace) -> SimpleNamespace:
        """The handle is the device."""
        return dev

    def close_device(self, dev_handle: SimpleNamespace) -> None:
        """Nothing is held."""

    def get_configuration(self, dev_handle: SimpleNamespace) -> int:
        """The only one is always set."""
        del dev_handle
        return 1

    def set_configuration(self, dev_handle: SimpleNamespace, config_value: int) -> None:
        """The only one is always set."""

    def claim_interface(self, dev_handle: SimpleNamespace, intf: int) -> None:
        """Nobody else wants it."""

    def release_interface(self, dev_handle: SimpleNamespace, intf: int) -> None:
        """Nobody else wants it."""

    def is_kernel_driver_active(self, dev_handle: SimpleNamespace, intf: int) -> bool:
        """There is no kernel."""
        del dev_handle, intf
        return False

    def set_interface_altsetting(self, dev_handle: SimpleNamespace, intf: int, altsetting: int) -> None:
        """SET_INTERFACE."""
        self._transfer(dev_handle, 0x01, 11, altsetting, intf, b"", 0)

    def ctrl_transfer(
        self,
        dev_handle: SimpleNamespace,
        bmRequestType: int,  # noqa: N803  (names of pyusb)
        bRequest: int,  # noqa: N803
        wValue: int,  # noqa: N803
        wIndex: int,  # noqa: N803
        data: array[int],
        timeout: int,
    ) -> int:
        """A control transfer: how many bytes went or came; those that came are in `data`.

        Raises:
            USBTimeoutError: The board says nothing; at once, without waiting for the timeout.
            USBError: It refuses, or is gone.
        """
        del timeout
        is_in, sent = bmRequestType & 0x80, data.tobytes()
        if (bmRequestType, bRequest, wValue >> 8) == (GET_DESCRIPTOR_IN, GET_DESCRIPTOR, STRING):
            came = _string_descriptor(dev_handle, wValue & 0xFF)
        else:
            out = b"" if is_in else sent
            came = self._transfer(dev_handle, bmRequestType, bRequest, wValue, wIndex, out, len(sent))
        if not is_in:
            return len(sent)
        came = came[: len(sent)]
        data[: len(came)] = array("B", came)
        return len(came)

    def _transfer(
        self, device: SimpleNamespace, kind: int, request: int, value: int, index: int, data: bytes, length: int
    ) -> bytes:
        answer = self._ask(
            {
                "control": device.place,
                "request_type": kind,
                "request": request,
                "value": value,
                "index": index,
                "data": data.hex(),
                "length": length,
            }
        )
        if answer.get("gone"):
            raise USBError("No such device (it may have been disconnected)", ERROR_NO_DEVICE, errno.ENODEV)
        if answer.get("silent"):
            raise USBTimeoutError("Operation timed out", ERROR_TIMEOUT, errno.ETIMEDOUT)
        if "data" not in answer:
            raise USBError("Pipe error", ERROR_PIPE, errno.EPIPE)
        return bytes.fromhex(answer["data"])


def _string_descriptor(device: SimpleNamespace, index: int) -> bytes:
    """A string descriptor; index 0 lists the languages."""
    named = {MANUFACTURER: device.manufacturer, PRODUCT: device.product, SERIAL_NUMBER: device.serial_number}
    if index == 0:
        content = ENGLISH.to_bytes(2, "little")
    elif index in named:
        content = str(named[index]).encode("utf-16-le")
    elif index - FIRST_ALT in range(len(device.alts)):
        content = device.alts[index - FIRST_ALT].encode("utf-16-le")
    else:
        raise USBError("Pipe error", ERROR_PIPE, errno.EPIPE)
    return bytes([2 + len(content), STRING]) + content
