from __future__ import annotations

import pytest

from ei_automation.devices.openmv.room import AUTOSTART, backup_name, plan_changes
from ei_automation.devices.sim.drive import CLUSTER_BYTES, SimulatedDrive
from ei_automation.errors import DoesNotFitError
from tests.devices.cameras import file

FACTORY_OLD = (
    b"# main.py -- put your code here!\nimport pyb, time\nled = pyb.LED(3)\nusb = pyb.USB_VCP()\n"
    b"while (usb.isconnected()==False):\n   led.on()\n   time.sleep_ms(150)\n   led.off()\n   time.sleep_ms(100)\n"
    b"   led.on()\n   time.sleep_ms(150)\n   led.off()\n   time.sleep_ms(600)\n"
)
"""v3.9.4 to v4.5.5, main.c and main_py.h."""
FACTORY_RT = FACTORY_OLD.replace(b"import pyb,", b"import machine,").replace(
    b"pyb.LED(3)", b'machine.LED("LED_BLUE")'
)
FACTORY_RT = FACTORY_RT.replace(b"usb = pyb.USB_VCP()\n", b"").replace(b"(usb.isconnected()==False)", b"(True)")
FACTORY_NEW = (
    b'import time\nfrom machine import LED\n\nled = LED("LED_BLUE")\n\nwhile True:\n    led.on()\n'
    b"    time.sleep_ms(150)\n    led.off()\n    time.sleep_ms(100)\n    led.on()\n    time.sleep_ms(150)\n"
    b"    led.off()\n    time.sleep_ms(600)\n"
)
"""v5.0.0, _boot.py."""


def drive(folder, clusters=10, **held: int) -> SimulatedDrive:
    """A drive with files of so many clusters each."""
    for name, size in held.items():
        (folder / name).write_bytes(b"o" * size * CLUSTER_BYTES)
    return SimulatedDrive(
        folder, clusters * CLUSTER_BYTES, {}, lambda _: {"drives": [{"path": str(folder)}], "kept": 1 << 30}
    )


def wanted(**sizes: int):
    return {name: file(name, b"n" * size * CLUSTER_BYTES) for name, size in sizes.items()}


def plan(found, keeps=False):
    return lambda **sizes: [
        (each.name, each.how) for each in plan_changes(found, wanted(**sizes), keeps_autostart=keeps)
    ]


def test_files_in_their_order(tmp_path):
    assert plan(drive(tmp_path))(model=3, labels=1, script=1) == [
        ("model", "new"),
        ("labels", "new"),
        ("script", "new"),
    ]


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "labels").write_bytes(b"n" * CLUSTER_BYTES)
    assert plan(drive(tmp_path))(model=3, labels=1) == [("model", "new"), ("labels", "same")]


def test_no_room_for_old_and_new(tmp_path):
    # 10 clusters: 6 of the old model, 4 free, 5 for the new one.
    assert plan(drive(tmp_path, model=6))(model=5, labels=1) == [("model", "in-place"), ("labels", "new")]


def test_what_shrinks_makes_room(tmp_path):
    assert plan(drive(tmp_path, model=6, labels=1))(labels=4, model=3) == [("model", "new"), ("labels", "new")]


def test_what_was_planned_can_be_done(tmp_path):
    """Whatever is there and wanted: a plan never needs more room than there is."""
    for old in range(1, 9):
        for new in range(1, 9):
            folder = tmp_path / f"{old} {new}"
            folder.mkdir()
            found = drive(folder, model=old)
            files = wanted(labels=2, model=new)
            for change in plan_changes(found, files, keeps_autostart=False):
                if change.how == "in-place":
                    found.remove(change.name)
                if change.how != "same":
                    found.write(change.name, change.file.content)
            assert {name: found.read(name) for name in files} == {n: f.content for n, f in files.items()}


def test_too_much(tmp_path):
    with pytest.raises(
        DoesNotFitError, match="lacks 512 bytes: the files take 5,120, of which model 4,608"
    ) as caught:
        plan(drive(tmp_path, other=1))(model=9, labels=1)
    assert caught.value.exit_code == 10
    for word in ("SD card", "firmware with the model inside", "smaller model"):
        assert word in caught.value.hint


def test_a_file_that_is_kept_takes_room(tmp_path):
    (tmp_path / AUTOSTART).write_bytes(b"mine" * 100)
    found = drive(tmp_path, clusters=5)
    assert plan(found, keeps=True)(model=3) == [("model", "new")]
    with pytest.raises(DoesNotFitError):
        plan(found, keeps=True)(model=4)


@pytest.mark.parametrize("content", [FACTORY_OLD, FACTORY_RT, FACTORY_NEW, FACTORY_OLD.replace(b"\n", b"\r\n")])
def test_the_factorys_main_is_not_kept(tmp_path, content):
    (tmp_path / AUTOSTART).write_bytes(content)
    assert backup_name(drive(tmp_path), b"new") == ""


def test_ours_is_not_kept(tmp_path):
    assert backup_name(drive(tmp_path), b"new") == ""
    (tmp_path / AUTOSTART).write_bytes(b"new")
    assert backup_name(drive(tmp_path), b"new") == ""
    (tmp_path / AUTOSTART).write_bytes(b"of the last deployment")
    (tmp_path / "ei_image_classification.py").write_bytes(b"of the last deployment")
    assert backup_name(drive(tmp_path), b"new") == ""


@pytest.mark.parametrize("content", [b"import mine\n", FACTORY_NEW + b"led.off()\n", b"\xff\xfe"])
def test_somebodys_main_is_kept(tmp_path, content):
    (tmp_path / AUTOSTART).write_bytes(content)
    assert backup_name(drive(tmp_path), b"new") == "main.py.bak"
    (tmp_path / "main.py.bak").write_bytes(content)
    assert backup_name(drive(tmp_path), b"new") == ""  # kept already
    (tmp_path / "main.py.bak").write_bytes(b"another one")
    assert backup_name(drive(tmp_path), b"new") == "main.py.bak2"
