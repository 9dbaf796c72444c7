"""The real dfu-util before a simulated boot loader: a library in front of libusb brings its transfers here."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ei_automation.devices.sim.dfu_device import SimulatedDfu

SOURCE = Path(__file__).with_name("fake_libusb.c")
ERROR_IO, ERROR_NO_DEVICE, ERROR_TIMEOUT, ERROR_PIPE = -1, -4, -7, -9
SETUP = struct.Struct("<BBHHH")


def build(folder: Path) -> Path:
    """The library; skips where it cannot be had."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None or shutil.which("dfu-util") is None:
        pytest.skip("the real dfu-util is tested on Linux, with dfu-util and a C compiler installed")
    library = folder / "fake_libusb.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the library in front of libusb cannot be built here: {built.stderr[-200:]}")
    return library


@contextmanager
def plugged_into_dfu_util(device: SimulatedDfu, folder: Path, library: Path) -> Iterator[str]:
    """A program that is dfu-util with the device plugged in.

    Yields:
        Its path.
    """
    path = folder / "usb"
    described = device.describe()
    words = f"{described['vid']:x} {described['pid']:x} {len(described['alts']):x} {described['functional']}"
    program = folder / "dfu-util"
    set_up = f"FAKE_USB={path} FAKE_DEVICE='{words}' LD_PRELOAD={library}"
    program.write_text(f'#!/bin/sh\n{set_up} exec {shutil.which("dfu-util")} "$@"\n')
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=_serve, args=(listening, device), daemon=True)
        thread.start()
        try:
            yield str(program)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def _serve(listening: socket.socket, device: SimulatedDfu) -> None:
    """Answer one call of dfu-util after the other."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # the test is over
            return
        with connection, connection.makefile("rwb") as wire:
            while len(setup := wire.read(SETUP.size)) == SETUP.size:
                kind, request, value, index, length = SETUP.unpack(setup)
                data = b"" if kind & 0x80 else wire.read(length)
                code, answer = _transfer(device, kind, request, value, index, data, length)
                wire.write(struct.pack("<i", code) + answer)
                wire.flush()


def _transfer(
    device: SimulatedDfu, kind: int, request: int, value: int, index: int, data: bytes, length: int
) -> tuple[int, bytes]:
    """libusb's number for a transfer, and what came."""
    if (kind, request, value >> 8) == (0x80, 6, 3):
        answer: bytes | None = _string(device, value & 0xFF)[:length]
    else:
        try:
            answer = device.control(kind, request, value, index, data, length)
        except TimeoutError:
            return ERROR_TIMEOUT, b""
        except ConnectionError:
            return ERROR_NO_DEVICE, b""
    if answer is None:
        return ERROR_PIPE, b""
    return (len(answer), answer) if kind & 0x80 else (length, b"")


def _string(device: SimulatedDfu, index: int) -> bytes:
    """A string descriptor: languages, names, then the alternate settings'."""
    described = device.describe()
    texts = ["\u0409", described["manufacturer"], described["product"], described["serial_number"]]
    content = [*texts, *described["alts"]][index].encode("utf-16-le")
    return bytes([2 + len(content), 3]) + content
