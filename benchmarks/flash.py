"""Send a package of 200 kB to the simulated Spresense: our sender against the Python package xmodem.

    python benchmarks/flash.py

The board runs in a process of its own and is reached through `sim://`, as `eiauto flash` does. The time is that of
the transfer, from the first packet to the answer to the last one; the speed of a real line comes on top (2.2 s at
921,600 baud), so this is what the protocol itself costs. The fastest of a few runs counts. Ends with exit code 1
where ours takes more than 2 s.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ei_automation.devices.spresense import xmodem1k
from ei_automation.devices.transport import Deadline, Port, open_port

SIZE_BYTES, REPEATS, LIMIT_S = 200_000, 5, 2.0
BAUD, CONSOLE_BAUD = 921_600, 115_200
PROMPT = b"updater# "


def serve() -> None:
    """A board in its updater until stdin ends; its address on stdout."""
    import numpy as np

    from ei_automation.devices.sim.board import SimulatedModel, Surroundings
    from ei_automation.devices.sim.faults import Faults
    from ei_automation.devices.sim.server import serving
    from ei_automation.devices.sim.spresense import SimulatedSpresense

    def no_model(content: bytes) -> SimulatedModel:
        raise AssertionError(f"{len(content)} bytes are no model")

    image = np.zeros((8, 8, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        board = SimulatedSpresense(Surroundings(no_model, (image,), Path(folder), Faults()), request_s=1.0)
        with serving(board) as url:
            print(url, flush=True)
            sys.stdin.read()


@contextmanager
def simulated_board() -> Iterator[str]:
    """A board in a process of its own; its serial line."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"{process.stdout.readline().strip()}/ttyUSB0"
        finally:
            process.stdin.close()
            process.wait(30)


def ours(port: Port, content: bytes) -> None:
    """Our sender."""
    xmodem1k.send(port, content)


def package(port: Port, content: bytes) -> None:
    """The Python package xmodem, in the mode with packets of 1024 bytes."""
    from xmodem import XMODEM

    def read(size: int, timeout: float = 1) -> bytes:
        return port.read_exactly(size, Deadline(timeout), "waiting for an answer")

    def write(data: bytes, timeout: float = 1) -> int:
        del timeout
        port.write(data)
        return len(data)

    modem = XMODEM(read, write, "xmodem1k")  # over the same port, so that only the senders differ
    assert modem.send(io.BytesIO(content))


def transfer_s(address: str, send: Callable[[Port, bytes], None], content: bytes) -> float:
    """Seconds of one transfer; before it the updater is made to wait for it, after it the prompt is awaited."""
    with open_port(address, CONSOLE_BAUD) as port:
        port.write(b"\n")
        port.read_until(PROMPT, deadline=Deadline(10), doing="waiting for the updater")
        port.write(f"install -b {BAUD}\n".encode())
        port.read_until(b"Ctrl-X to cancel.\r\n", deadline=Deadline(5), doing="waiting for install")
        port.set_baud(BAUD)
        port.drain(0.2, Deadline(0.2))
        xmodem1k.wait_for_receiver(port, Deadline(5))
        start = time.perf_counter()
        send(port, content)
        seconds = time.perf_counter() - start
        port.set_baud(CONSOLE_BAUD)
        said = port.read_until(PROMPT, deadline=Deadline(5), doing="waiting for the prompt")
    assert f"{len(content)} bytes loaded.".encode() in said, said
    return seconds


def main() -> int:
    """Measure and print; 1 where ours is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().serve:
        serve()
        return 0
    content = bytes(range(1, 201)) * (SIZE_BYTES // 200)
    with simulated_board() as address:
        found = {
            name: min(transfer_s(address, send, content) for _ in range(REPEATS))
            for name, send in (("ours", ours), ("Python package xmodem", package))
        }
    print(f"{len(content):,} bytes to the simulated Spresense, best of {REPEATS}")
    for name, seconds in found.items():
        print(f"{name:<24}{seconds:>8.3f} s{len(content) / seconds / 1e6:>8.2f} MB/s")
    print(f"ours is {found['Python package xmodem'] / found['ours']:.2f} x as fast; it may take {LIMIT_S:g} s")
    return int(found["ours"] > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
