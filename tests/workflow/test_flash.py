"""Flashing from end to end: a project or a zip, a simulated board, the lock."""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from ei_automation.devices.host import SerialPort
from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.board import SimulatedBoard
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.openmv.board import SimulatedOpenMv
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.spresense import SimulatedSpresense
from ei_automation.devices.transport import Port
from ei_automation.errors import DeviceError, DoesNotFitError, NotFoundError, UsageError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.settings import Settings
from ei_automation.workflow.board_session import alone_with
from ei_automation.workflow.flash import Flashed, FlashRequest, flash, prepare
from ei_automation.workflow.project import Event, Session, open_session
from ei_automation.workflow.verify import verify
from tests.devices.spresense.test_spk import make_spk
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings
from tests.workflow.board_projects import project_with

NICLA, CAMERA, SPRESENSE = "arduino-nicla-vision", "openmv-cam-h7-plus", "sony-spresense"
START = b"\x00\x00\x05\x24\x01\x04\x04\x08"
"""How a program for the Nicla Vision begins: its stack, and its first instruction."""


@pytest.fixture
def session(trained: Path, tmp_path: Path) -> Session:
    """A copy of a reproduced project."""
    shutil.copytree(trained, tmp_path / "project")
    return open_session(tmp_path / "project", Settings.from_env({"EIAUTO_CACHE_DIR": str(tmp_path / "cache")}))


def nicla_zip(folder: Path, size: int = 20_000, *, model: bytes = CLASSIFIER) -> Path:
    """What Studio builds for a Nicla Vision, with a network in it."""
    image = START + random.Random(1).randbytes(1_000) + model
    path = folder / "doors-nicla-vision-v1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("firmware-arduino-nicla-vision.ino.bin", image + bytes(max(0, size - len(image))))
    return path


def spresense_zip(folder: Path) -> Path:
    """What Studio builds for a Spresense."""
    path = folder / "doors-spresense-v1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("edge_impulse_firmware.spk", make_spk("nuttx", random.Random(2).randbytes(14_000)))
        archive.writestr("flash_linux.sh", "#!/bin/sh\n")
    return path


@contextmanager
def plugged_in(board: SimulatedBoard, source: Path | None = None) -> Iterator[FlashRequest]:
    """A request for a simulated board."""
    with serving(board) as url:
        yield FlashRequest(board.board, source, url)


def flashed(session: Session | None, request: FlashRequest, events: list[Event] | None = None) -> Flashed:
    """Prepare and flash."""
    tell = (events if events is not None else []).append
    return flash(session, prepare(session, request, tell))


def test_a_nicla_runs_the_network_that_was_flashed(session: Session, tmp_path: Path) -> None:
    board = SimulatedNicla(surroundings(tmp_path, labels=LABELS))
    events: list[Event] = []
    with plugged_in(board, nicla_zip(tmp_path)) as request:
        done = flashed(session, request, events)
    (write,) = done.plan.writes
    assert bytes(board.flash[0x40000 : 0x40000 + write.size_bytes])[:8] == START
    assert "read back" in done.result.verified
    assert done.proof.deploy_version == 1
    (record,) = session.read_lock().flashed
    assert (record.board, record.serial_number, record.file) == (NICLA, "SIM0001", "doors-nicla-vision-v1.zip")
    assert (record.image_sha256, record.model_sha256) == (write.sha256, sha256_bytes(CLASSIFIER))
    assert record.proof.startswith("AT+INFO: project")
    bytes_and_hash = f"{len(CLASSIFIER):,} bytes, SHA-256 {sha256_bytes(CLASSIFIER)}"
    assert done.proof.words == f"{record.proof}; the image holds a .tflite of {bytes_and_hash}"
    assert any("runs project Simulated project, and the name" in event.text for event in events)
    assert any(event.kind == "progress" and event.total == write.size_bytes for event in events)


def test_a_spresense_gets_its_package(session: Session, tmp_path: Path) -> None:
    with plugged_in(SimulatedSpresense(surroundings(tmp_path)), spresense_zip(tmp_path)) as request:
        done = flashed(session, request)
        assert flashed(None, request).plan == done.plan, "again, and with no project"
    assert done.plan.writes[0].what == "edge_impulse_firmware.spk"
    assert [record.board for record in session.read_lock().flashed] == [SPRESENSE]


def test_a_camera_gets_the_projects_library(session: Session, tmp_path: Path) -> None:
    board = SimulatedOpenMv(surroundings(tmp_path), CAMERA)
    with plugged_in(board) as request:
        done = flashed(session, request)
    assert (board.drive / "trained.tflite").is_file()
    lock = session.read_lock()
    (record,) = lock.flashed
    openmv = next(each for each in lock.splits["main"].deployments if each.format == "openmv")
    assert (record.file, record.model_sha256) == (openmv.file, openmv.model_sha256)
    assert "4.8.1" in done.proof.text
    checks = {check.name: check for check in verify(session)}
    assert checks[f"device {CAMERA} SIM0001"].detail == (
        "a simulated board: its last flash from here was of the trained model"
    )
    assert all(check.ok for check in checks.values())


def edit_lock(session: Session, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the lock's content by hand."""
    path = session.folder / "project.lock.json"
    lock = json.loads(path.read_text())
    change(lock)
    path.write_text(json.dumps(lock))


def trained_model(session: Session) -> bytes:
    """The int8 model of the project."""
    with session.open_backend() as backend:
        return backend.download_model("int8")


def test_an_image_with_the_projects_model_is_said(session: Session, tmp_path: Path) -> None:
    with plugged_in(SimulatedNicla(surroundings(tmp_path)), None) as request:
        source = nicla_zip(tmp_path, model=trained_model(session))
        done = flashed(session, replace(request, source=source))
    assert done.proof.model == "the image holds the trained .tflite of the project"
    assert done.proof.text == done.record.proof


def test_a_deployment_that_is_older_than_the_model_is_refused(session: Session, tmp_path: Path) -> None:
    def train_again(lock: dict[str, Any]) -> None:
        for model in lock["splits"]["main"]["training"]["models"].values():
            model["sha256"] = "0" * 64

    edit_lock(session, train_again)
    with plugged_in(SimulatedOpenMv(surroundings(tmp_path), CAMERA)) as request:
        with pytest.raises(VerificationError, match="was built from an older model") as caught:
            prepare(session, request, lambda _: None)
        given = session.folder / "deployments" / "ei-colours-openmv.zip"
        assert prepare(session, replace(request, source=given), lambda _: None).plan.writes
    assert "first, or give the older one with --from" in caught.value.hint


def test_a_manifest_that_is_newer_than_the_model_is_noted(session: Session, tmp_path: Path) -> None:
    manifest = session.folder / "project.toml"
    manifest.write_text(manifest.read_text().replace("training_cycles = 3", "training_cycles = 4"))
    newer = open_session(session.folder, session.settings)
    events: list[Event] = []
    with plugged_in(SimulatedOpenMv(surroundings(tmp_path), CAMERA)) as request:
        prepare(newer, request, events.append)
    assert any("the model is older than the manifest" in event.text for event in events)


def test_an_interrupted_flash_leaves_no_claim_in_the_lock(session: Session, tmp_path: Path) -> None:
    with plugged_in(SimulatedNicla(surroundings(tmp_path)), nicla_zip(tmp_path)) as request:
        flashed(session, request)
        assert "interrupted" not in device_check(session)
    with (
        plugged_in(SimulatedNicla(surroundings(tmp_path, "unplug=10000")), nicla_zip(tmp_path, 40_000)) as request,
        pytest.raises(DeviceError, match="the boot loader is gone"),
    ):
        flashed(session, request)
    (record,) = session.read_lock().flashed
    assert (record.verified, record.proof) == ("", "")
    assert "interrupted: what it holds is not known" in device_check(session)


def device_check(session: Session) -> str:
    """What `verify` says of the only device."""
    (check,) = [check for check in verify(session) if check.name.startswith("device ")]
    return check.detail


def test_a_device_is_flashed_by_one_run_at_a_time(session: Session, tmp_path: Path) -> None:
    with plugged_in(SimulatedNicla(surroundings(tmp_path)), nicla_zip(tmp_path)) as request:
        prepared = prepare(session, request, lambda _: None)
        with (
            alone_with(prepared.device, session.settings),
            pytest.raises(DeviceError, match=r"another run of eiauto is flashing sim://.* arduino-nicla-vision"),
        ):
            flash(session, prepared)
        assert session.read_lock().flashed == []
        flash(session, prepared)


class LateHost(SimulatedHost):
    """A machine that lets its user open a port a while after it is listed, as udev does."""

    late = 2

    def open(self, port: SerialPort, baud: int) -> Port:
        """Refuse the first ones that want to talk to the firmware."""
        if baud == 115_200 and self.late:
            self.late -= 1
            raise DeviceError(f"{port.name} cannot be opened: Permission denied", hint="wait")
        return super().open(port, baud)


def test_a_port_that_may_not_be_opened_at_once_is_tried_again(tmp_path: Path) -> None:
    with plugged_in(SimulatedNicla(surroundings(tmp_path)), nicla_zip(tmp_path)) as request:
        prepared = prepare(None, request, lambda _: None)
        late = LateHost(request.port or "")
        done = flash(None, replace(prepared, job=replace(prepared.job, host=late)))
    assert late.late == 0
    assert done.proof.deploy_version == 1


def test_what_fails_before_the_first_write_changes_no_record(session: Session, tmp_path: Path) -> None:
    source = nicla_zip(tmp_path)
    with plugged_in(SimulatedNicla(surroundings(tmp_path)), source) as request:
        flashed(session, request)
        before = (session.folder / "project.lock.json").read_bytes()
        prepared = prepare(session, request, lambda _: None)
    with pytest.raises(DeviceError):  # its machine is gone
        flash(session, prepared)
    assert (session.folder / "project.lock.json").read_bytes() == before


def test_a_device_is_recorded_once_and_others_stay(session: Session, tmp_path: Path) -> None:
    with plugged_in(SimulatedNicla(surroundings(tmp_path)), nicla_zip(tmp_path)) as request:
        flashed(session, request)
        first = session.read_lock()
        flashed(session, request)
    assert session.read_lock().flashed == first.flashed
    with plugged_in(SimulatedSpresense(surroundings(tmp_path)), spresense_zip(tmp_path)) as request:
        flashed(session, request)
    assert [record.board for record in session.read_lock().flashed] == [NICLA, SPRESENSE]
    assert session.read_lock().splits == first.splits


def test_planning_writes_nothing(session: Session, tmp_path: Path) -> None:
    board = SimulatedNicla(surroundings(tmp_path))
    before = bytes(board.flash)
    with plugged_in(board, nicla_zip(tmp_path)) as request:
        plan = prepare(session, request, lambda _: None).plan
    assert [write.where for write in plan.writes] == ["0x08040000, by DFU"]
    assert bytes(board.flash) == before
    assert session.read_lock().flashed == []


def test_firmware_for_another_board_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    request = FlashRequest(SPRESENSE, nicla_zip(tmp_path), "sim://127.0.0.1:9")
    with pytest.raises(UsageError, match="and not for Sony Spresense") as caught:
        prepare(None, request, lambda _: None)
    assert "build the deployment for Sony Spresense" in caught.value.hint


def test_firmware_that_is_too_large_is_refused(tmp_path: Path) -> None:
    board = SimulatedNicla(surroundings(tmp_path))
    before = bytes(board.flash)
    with (
        plugged_in(board, nicla_zip(tmp_path, 1_900_000)) as request,
        pytest.raises(DoesNotFitError, match="1,900,000 bytes"),
    ):
        prepare(None, request, lambda _: None)
    assert bytes(board.flash) == before


def test_a_firmware_that_stays_silent_is_an_error_and_is_recorded(session: Session, tmp_path: Path) -> None:
    board = SimulatedNicla(surroundings(tmp_path, "mute-firmware"))
    with plugged_in(board, nicla_zip(tmp_path)) as request:
        prepared = prepare(session, request, lambda _: None)
        with pytest.raises(DeviceError, match="the board says nothing") as caught:
            flash(session, prepared, answer_s=0.5)
    assert "what was sent is on the board (read back by DFU" in caught.value.hint
    (record,) = session.read_lock().flashed
    assert (record.board, record.proof) == (NICLA, "")


def test_another_version_than_was_flashed_is_an_error(tmp_path: Path) -> None:
    source = nicla_zip(tmp_path).rename(tmp_path / "doors-nicla-vision-v12.zip")
    with (
        plugged_in(SimulatedNicla(surroundings(tmp_path)), source) as request,
        pytest.raises(VerificationError, match=r"runs deploy version 1 .* is version 12"),
    ):
        flashed(None, request)


def test_what_is_not_said_is_asked_for(session: Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which board"):
        prepare(None, FlashRequest(), lambda _: None)
    with pytest.raises(UsageError, match="nothing to flash"):
        prepare(None, FlashRequest(NICLA), lambda _: None)
    with pytest.raises(NotFoundError, match="no board is called 'toaster'"):
        prepare(session, FlashRequest("toaster"), lambda _: None)
    with pytest.raises(NotFoundError, match="holds nothing for Sony Spresense"):
        prepare(session, FlashRequest(SPRESENSE), lambda _: None)
    with pytest.raises(UsageError, match="cannot be flashed"):
        prepare(None, FlashRequest("arduino-nano-33-ble-sense", nicla_zip(tmp_path)), lambda _: None)


@pytest.mark.parametrize(("firmware_version", "script"), [((4, 5, 5), "tf"), ((4, 8, 1), "ml")])
def test_the_camera_decides_between_two_libraries(
    tmp_path: Path, firmware_version: tuple[int, int, int], script: Literal["ml", "tf"]
) -> None:
    session = project_with(tmp_path / "project", "doors-ml.zip", "doors-tf.zip")
    (tmp_path / "board").mkdir()
    board = SimulatedOpenMv(surroundings(tmp_path / "board"), CAMERA, firmware_version=firmware_version)
    with plugged_in(board) as request:
        prepared = prepare(session, request, lambda _: None)
    assert prepared.job.firmware.script_api == script
