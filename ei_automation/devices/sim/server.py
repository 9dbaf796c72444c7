"""A simulated board at a loopback address: every connection is a cable, or a question what is there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ei_automation.devices.host import SIMULATED
from ei_automation.devices.sim.board import SimulatedBoard
from ei_automation.devices.sim.uart import Uart, wait_until
from ei_automation.devices.sim.wire import SPEED, Wire, WireClosedError

APPEARS_S = 2.0
POLL_S = 0.02
"""How often a cable looks whether its port is still there."""
LET_GO_S = 0.2
"""How long a port that was closed may take to be free."""


class SimulationServer:
    """Serves one board until it is stopped.

    Args:
        board: Which; it is started and stopped with the server.
        port: TCP port on loopback; 0 for a free one.

    Attributes:
        url: What `--port` takes, e.g. `sim://127.0.0.1:4750`.

    Raises:
        OSError: The TCP port is in use.
    """

    def __init__(self, board: SimulatedBoard, port: int = 0) -> None:
        self.board = board
        self._listening = socket.create_server(("127.0.0.1", port))
        self.url = f"{SIMULATED}127.0.0.1:{self._listening.getsockname()[1]}"
        self._wires: set[Wire] = set()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name="simulated cables", daemon=True)

    def start(self) -> None:
        """Start the board, give it a moment to appear at its ports, and take connections."""
        self.board.start()
        wait_until(self.board.is_up, APPEARS_S)
        self._accepting.start()

    def stop(self) -> None:
        """End all connections and the board."""
        self.board.end()
        with suppress(OSError):  # systems where a listening socket has nothing to shut down
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join(5)
        for wire in list(self._wires):
            wire.close()
        self.board.stop()  # now: one that talks to who does not read was held up by that
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # stopped
                return
            wire = Wire(connection)
            self._wires.add(wire)  # here, so that `stop` knows it
            thread = threading.Thread(target=self._serve, args=(wire,), daemon=True)
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
            thread.start()

    def _serve(self, wire: Wire) -> None:
        """One connection: its first message says what it is."""
        try:
            # Else who was plugged in is gone, or speaks another language.
            with suppress(WireClosedError, KeyError, TypeError, ValueError):
                first = wire.receive(5)
                if isinstance(first, dict) and first.get("cable"):
                    self._cable(wire, str(first["cable"]), int(first["baud"]))
                elif isinstance(first, dict):
                    self._questions(wire, first)
        finally:
            self._wires.discard(wire)
            wire.close()

    def _cable(self, wire: Wire, name: str, baud: int) -> None:
        """A serial line that somebody opened."""
        uart = self.board.uarts().get(name)
        if uart is None:
            wire.send({"refused": f"there is no {name} now"})
            return
        # Who has just closed it may not be through with that: on a real system close() waits for it.
        if not wait_until(lambda: uart.open(lambda data, speed: _send(wire, data, speed, uart)), LET_GO_S):
            wire.send({"refused": f"{name} is in use", "busy": True})
            return
        uart.host_baud = baud
        try:
            wire.send({"opened": name})
            while self.board.uarts().get(name) is uart:
                message = wire.receive(POLL_S)
                if isinstance(message, bytes):
                    uart.feed(message)
                elif message is not None:
                    _control(uart, message)
        finally:
            uart.close()

    def _questions(self, wire: Wire, message: dict[str, Any] | bytes | None) -> None:
        while isinstance(message, dict):
            wire.send(self._answer(message))
            message = wire.receive()

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """What is there now, or a control transfer."""
        if "control" in message:
            return self._control_transfer(message)
        if "stored" in message:
            return {"kept": self.board.stored(int(message["stored"]))}
        if "eject" in message:
            self.board.ejected(str(message["eject"]))
            return {}
        if "faults" in message:
            self.board.faults.numbers = dict(message["faults"])
            self.board.is_plugged = True
            return {}
        ports = []
        for name in self.board.uarts():
            vid, pid, description = self.board.usb_identity(name)
            serial_number = self.board.serial_number(name)
            ports.append(
                {"name": name, "vid": vid, "pid": pid, "description": description, "serial_number": serial_number}
            )
        return {
            "board": self.board.board,
            "ports": ports,
            "drives": self.board.drives(),
            "usb": [device.describe() for device in self.board.usb_devices()],
            "faults": self.board.faults.numbers,
        }

    def _control_transfer(self, message: dict[str, Any]) -> dict[str, Any]:
        place = int(message["control"])
        devices = self.board.usb_devices()
        if place >= len(devices):
            return {"gone": True}
        try:
            reply = devices[place].control(
                message["request_type"],
                message["request"],
                message["value"],
                message["index"],
                bytes.fromhex(message["data"]),
                message["length"],
            )
        except TimeoutError:
            return {"silent": True}
        except ConnectionError:
            return {"gone": True}
        return {"stall": True} if reply is None else {"data": reply.hex()}


def _send(wire: Wire, data: bytes, baud: int, uart: Uart) -> None:
    """Bytes to who is plugged in, with the speed they were sent at."""
    with suppress(WireClosedError):  # nobody listens; a serial line does not mind
        wire.send(SPEED.pack(0 if uart.is_usb else baud) + data)


def _control(uart: Uart, message: dict[str, Any]) -> None:
    """What the host does with the line."""
    if "baud" in message:
        uart.host_baud = int(message["baud"])
    if "dtr" in message:
        uart.set_dtr(bool(message["dtr"]))


@contextmanager
def serving(board: SimulatedBoard, port: int = 0) -> Iterator[str]:
    """A board that is there for a while.

    Yields:
        Its address, as `--port` takes it.
    """
    server = SimulationServer(board, port)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
