"""A machine whose only board is a simulated one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ei_automation.devices.host import SIMULATED, Drive, SerialPort
from ei_automation.devices.sim.wire import WireClosedError, connect
from ei_automation.devices.transport import Port, open_port
from ei_automation.errors import DeviceError

if TYPE_CHECKING:
    from ei_automation.devices.sim.usb_backend import SimulatedUsb


class SimulatedHost:
    """What is plugged in is what the simulated board says.

    Args:
        url: `sim://127.0.0.1:4750`; a name of a line behind it does not matter.
    """

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix(SIMULATED).partition("/")[0]

    def ask(self, question: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the board says of itself now; or the answer to another question.

        Raises:
            DeviceError: Nobody answers.
        """
        try:
            wire = connect(self._address)
            try:
                wire.send(question or {"what": "all"})
                answer = wire.receive(5)
            finally:
                wire.close()
        except (OSError, ValueError, WireClosedError) as error:
            raise DeviceError(
                f"there is no simulated board at {SIMULATED}{self._address}: {error}",
                hint="start one in another terminal: `eiauto sim BOARD`; it prints its address",
            ) from error
        if not isinstance(answer, dict):
            raise DeviceError(
                f"what listens at {SIMULATED}{self._address} does not answer as a simulated board does",
                hint="check the address: `eiauto sim BOARD` prints it",
            )
        return answer

    def ports(self) -> list[SerialPort]:
        """Its serial lines."""
        return [
            SerialPort(
                f"{SIMULATED}{self._address}/{port['name']}",
                port["vid"],
                port["pid"],
                port["serial_number"],
                port["description"],
            )
            for port in self.ask()["ports"]
        ]

    def open(self, port: SerialPort, baud: int) -> Port:
        """Open one of its lines."""
        return open_port(port.name, baud, port.usb_id)

    def drives(self) -> list[Drive]:
        """Its drives."""
        from ei_automation.devices.sim.drive import SimulatedDrive

        answer = self.ask()
        return [
            SimulatedDrive(Path(drive["path"]), drive["capacity_bytes"], answer["faults"], self.ask)
            for drive in answer["drives"]
        ]

    def usb_backend(self) -> SimulatedUsb:
        """A backend of pyusb that sees the board's USB devices."""
        from ei_automation.devices.sim.usb_backend import SimulatedUsb

        return SimulatedUsb(self.ask)
