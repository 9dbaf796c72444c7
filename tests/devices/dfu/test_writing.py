"""What speaks DFU, which device is meant, proving what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ei_automation.devices.dfu.target import DfuAlt, Progress
from ei_automation.devices.dfu.writing import (
    DfuSpeaker,
    choose_device,
    choose_tool,
    compare,
    dfu_target,
    wait_for_dfu,
    write_and_verify,
)
from ei_automation.devices.flasher import Job
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.devices.transport import Deadline
from ei_automation.errors import (
    DeviceError,
    InterruptedRunError,
    SettingsError,
    UsageError,
    VerificationError,
)
from ei_automation.schema.board import DfuTarget, find_board
from ei_automation.schema.firmware import Firmware
from tests.devices.dfu_board import NICLA, DfuBoard


class Machine(SimulatedHost):
    """A machine that has libusb, or not, and a simulated board where a URL is given."""

    def __init__(self, url: str = "", backend: Any = None) -> None:
        super().__init__(url)
        self._backend = backend

    def usb_backend(self) -> Any:
        return self._backend


@dataclass
class Loader:
    """A boot loader that does what it is told to."""

    serial_number: str = "A1"
    place: str = "1-1"
    usb_id: str = "2341:035F"
    held: bytes | None = None
    alts: tuple[DfuAlt, ...] = ()
    fails: BaseException | None = None
    written: list[bytes] = field(default_factory=list)

    def download(self, content: bytes, target: DfuTarget, on_progress: Progress) -> None:
        self.written.append(content)
        if self.fails:
            raise self.fails

    def read_back(self, size: int, target: DfuTarget, on_progress: Progress) -> bytes | None:
        return self.held

    def leave(self, target: DfuTarget) -> None:
        raise AssertionError("nobody may start it")


def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program called dfu-util, the only one on PATH."""
    path = folder / "dfu-util"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return str(path)


def job_for(host: SimulatedHost, board: str = "arduino-nicla-vision") -> Job:
    return Job(host, find_board(board), Firmware("arduino", "x.zip"))


class TestTool:
    def test_pyusb_where_there_is_libusb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path, monkeypatch)
        assert choose_tool(Machine(backend=object()), "auto").name == "pyusb"
        assert choose_tool(Machine(backend=object()), "dfu-util").name == "dfu-util"

    def test_dfu_util_where_there_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path, monkeypatch)
        speaker = choose_tool(Machine(), "auto")
        assert speaker.name == "dfu-util"
        assert speaker.find(["2341:035F"]) == []

    @pytest.mark.parametrize(
        ("wanted", "words", "hint"),
        [
            ("auto", "neither libusb nor dfu-util is installed", "apt install libusb-1.0-0"),
            ("pyusb", "libusb is not installed", "brew install libusb"),
            ("dfu-util", "dfu-util is not on PATH", "apt install dfu-util"),
        ],
    )
    def test_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Any, words: str, hint: str
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SettingsError, match=words) as caught:
            choose_tool(Machine(), wanted)
        assert hint in caught.value.hint
        assert caught.value.exit_code == 3

    def test_pyusb_is_not_replaced_where_it_is_wanted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program(tmp_path, monkeypatch)
        with pytest.raises(SettingsError):
            choose_tool(Machine(), "pyusb")

    def test_dfu_util_is_never_sent_to_a_simulated_board(self, tmp_path: Path) -> None:
        with serving(DfuBoard(tmp_path)) as url, pytest.raises(UsageError, match="cannot see a simulated board"):
            choose_tool(SimulatedHost(url), "dfu-util")


class TestWhichDevice:
    def test_the_only_one(self) -> None:
        loader = Loader()
        assert choose_device([loader], "another number") is loader
        assert choose_device([]) is None

    def test_by_serial_number(self) -> None:
        loaders = [Loader("A1", "1-1"), Loader("B2", "1-2")]
        assert choose_device(loaders, "B2") is loaders[1]

    def test_several_are_listed(self) -> None:
        with pytest.raises(DeviceError, match=r"2 boards are in DFU mode: .* A1 at USB 1-1, .* B2 at USB 1-2"):
            choose_device([Loader("A1", "1-1"), Loader("B2", "1-2")], "C3")

    def test_two_that_are_plugged_in(self, tmp_path: Path) -> None:
        with serving(DfuBoard(tmp_path, devices=2)) as url:
            speaker = choose_tool(SimulatedHost(url), "auto")
            with pytest.raises(DeviceError, match="2 boards are in DFU mode") as caught:
                wait_for_dfu(speaker, NICLA.usb_id, Deadline(0))
            assert "unplug all but the one" in caught.value.hint
            assert wait_for_dfu(speaker, NICLA.usb_id, Deadline(0), known=["1-1"]).place == "1-2"

    def test_none_comes(self, tmp_path: Path) -> None:
        with pytest.raises(
            DeviceError, match=r"no board came into DFU mode \(2341:035F\) within 0.02 s"
        ) as caught:
            wait_for_dfu(DfuSpeaker("none", lambda _: []), NICLA.usb_id, Deadline(0.02), hint="press RESET twice")
        assert caught.value.hint == "press RESET twice"

    def test_one_that_is_not_yet_permitted_is_waited_for(self) -> None:
        """udev gives the permission some milliseconds after the device is there."""
        loader = Loader()
        answers: list[Callable[[], Sequence[Loader]]] = [lambda: [], _refused, lambda: [loader]]
        speaker = DfuSpeaker("slow", lambda _: answers.pop(0)())
        assert wait_for_dfu(speaker, NICLA.usb_id, Deadline(5)) is loader

    def test_one_that_is_never_permitted(self) -> None:
        with pytest.raises(DeviceError, match="may not be opened"):
            wait_for_dfu(DfuSpeaker("slow", lambda _: _refused()), NICLA.usb_id, Deadline(0.02))


def _refused() -> Sequence[Loader]:
    raise DeviceError("it may not be opened")


class TestVerifying:
    def test_what_was_read_back(self) -> None:
        verified = write_and_verify(job_for(Machine()), Loader(held=b"code"), "a.bin", b"code", recovery="again")
        assert verified == "read back by DFU: the 4 bytes are those of a.bin"

    def test_what_cannot_be_read_back_is_said(self) -> None:
        verified = write_and_verify(job_for(Machine()), Loader(), "a.bin", b"code", recovery="again")
        assert "does not let its memory be read back" in verified

    def test_what_differs(self) -> None:
        with pytest.raises(
            VerificationError, match=r"at 0x08040002 it has 0x78 instead of 0x64 \(2 of 4"
        ) as caught:
            write_and_verify(job_for(Machine()), Loader(held=b"coxx"), "a.bin", b"code", recovery="again")
        assert caught.value.hint == "again"
        assert caught.value.exit_code == 8

    def test_what_is_cut_short(self) -> None:
        with pytest.raises(VerificationError, match=r"at 0x08040003 it has nothing \(1 of 4 bytes differ\)"):
            compare(b"code", b"cod", NICLA, "again")

    def test_a_failure_says_how_to_recover(self) -> None:
        with pytest.raises(DeviceError) as caught:
            write_and_verify(
                job_for(Machine()), Loader(fails=DeviceError("gone")), "a.bin", b"code", recovery="again"
            )
        assert caught.value.hint == "again"

    def test_a_hint_that_is_there_is_kept(self) -> None:
        failure = DeviceError("may not be opened", hint="udev")
        with pytest.raises(DeviceError) as caught:
            write_and_verify(job_for(Machine()), Loader(fails=failure), "a.bin", b"code", recovery="again")
        assert caught.value.hint == "udev"

    def test_an_interruption_says_how_to_recover(self) -> None:
        with pytest.raises(InterruptedRunError, match="interrupted") as caught:
            write_and_verify(
                job_for(Machine()), Loader(fails=KeyboardInterrupt()), "a.bin", b"code", recovery="again"
            )
        assert (caught.value.hint, caught.value.exit_code) == ("again", 130)

    def test_a_board_without_dfu(self) -> None:
        with pytest.raises(UsageError, match="no boot loader that speaks DFU"):
            dfu_target(job_for(Machine(), "sony-spresense"))
