from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from usb.core import USBError

from ei_automation.devices.flasher import Job
from ei_automation.devices.openmv.drives import MountedDrive
from ei_automation.devices.openmv.flasher import OpenMvFlasher, Waits
from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.usb_backend import SimulatedUsb
from ei_automation.errors import (
    DeviceError,
    DoesNotFitError,
    InterruptedRunError,
    UsageError,
    VerificationError,
)
from ei_automation.schema.board import find_board
from ei_automation.schema.firmware import Firmware
from tests.devices.cameras import (
    IMAGE,
    OLD,
    SCRIPT,
    SCRIPT_NAME,
    WAITS,
    Plugged,
    TwoDrives,
    camera,
    image,
    library,
)
from tests.devices.surroundings import CLASSIFIER, surroundings

NEWEST = (5, 0, 0)
HASTY = OpenMvFlasher(replace(WAITS, answer=0.1, plug=0.1))
"""For cameras that will not answer."""


@pytest.mark.parametrize(
    ("version", "api", "window_s"), [((4, 8, 1), "ml", 0.01), (NEWEST, "ml", 0.01), (OLD, "tf", 0.1)]
)
def test_a_library(tmp_path, version, api, window_s):
    with camera(tmp_path, version=version, window_s=window_s) as plugged:
        plan = plugged.flasher().plan(plugged.job(library(api=api)))
        names = ["trained.tflite", "labels.txt", SCRIPT_NAME, "main.py"]
        assert [write.what for write in plan.writes] == names
        drive = plugged.board.drive
        assert [write.where for write in plan.writes] == [str(drive)] * 4
        assert plan.steps == (
            "write each file under a temporary name, compare it, then give it its name",
            f"eject {drive}",
            "restart the camera, which then runs main.py: the script",
            "read the files back",
        )
        assert plan.serial_number == "SIM0001"
        assert plan.notes == ()
        assert not (plugged.board.drive / "trained.tflite").exists()  # nothing is written by a plan

        result = plugged.flasher().flash(plugged.job(library(api=api)))
        assert result.verified == "4 files read back from the drive after the restart: SHA-256 as sent"
        assert result.firmware_version == ".".join(map(str, version))
        assert result.port == plugged.port().name
        held = {name: (plugged.board.drive / name).read_bytes() for name in names}
        assert held == {
            "trained.tflite": CLASSIFIER,
            "labels.txt": b"a\nb\nc\n",
            SCRIPT_NAME: SCRIPT,
            "main.py": SCRIPT,
        }
        assert not list(plugged.board.drive.glob("*.bak*"))
        size = len(CLASSIFIER) + 6 + 2 * len(SCRIPT)
        assert plugged.progress[-1] == ("main.py", size, size)


def test_a_library_for_the_second_time(tmp_path):
    with camera(tmp_path) as plugged:
        plugged.flasher().flash(plugged.job(library()))
        (plugged.board.drive / "labels.txt").write_bytes(b"other\n")
        times = {path.name: path.stat().st_mtime_ns for path in plugged.board.drive.iterdir()}
        plan = plugged.flasher().plan(plugged.job(library()))
        assert [write.what for write in plan.writes if "already there" not in write.where] == ["labels.txt"]
        plugged.flasher().flash(plugged.job(library()))
        changed = {
            path.name for path in plugged.board.drive.iterdir() if times[path.name] != path.stat().st_mtime_ns
        }
        assert changed == {"labels.txt"}


def test_somebodys_main_is_kept(tmp_path):
    with camera(tmp_path) as plugged:
        (plugged.board.drive / "main.py").write_bytes(b"import mine\n")
        plan = plugged.flasher().plan(plugged.job(library()))
        assert plan.steps[0] == "keep main.py as main.py.bak"
        assert "is kept as main.py.bak" in plan.notes[0]
        plugged.flasher().flash(plugged.job(library()))
        assert (plugged.board.drive / "main.py.bak").read_bytes() == b"import mine\n"
        assert (plugged.board.drive / "main.py").read_bytes() == SCRIPT


def test_in_place_where_there_is_no_room_for_both(tmp_path):
    with camera(tmp_path) as plugged:
        (plugged.board.drive / "trained.tflite").write_bytes(bytes(100_000))
        new = {"trained.tflite": b"TFL3" * 25_000, SCRIPT_NAME: SCRIPT}
        plan = plugged.flasher().plan(plugged.job(library(new)))
        assert "the old trained.tflite is deleted before" in plan.notes[0]
        where = {write.what: write.where for write in plan.writes}
        assert where["trained.tflite"] == f"{plugged.board.drive}: the old one is deleted first"
        plugged.flasher().flash(plugged.job(library(new)))
        assert (plugged.board.drive / "trained.tflite").read_bytes() == new["trained.tflite"]
        plugged.board.faults.numbers["truncated-write"] = 1000
        with pytest.raises(DeviceError) as caught:
            plugged.flasher().flash(plugged.job(library({**new, "trained.tflite": bytes(100_000)})))
        assert "trained.tflite had to be deleted before" in caught.value.hint


@pytest.mark.parametrize("version", [(4, 8, 1), NEWEST])
def test_another_camera(tmp_path, version):
    with camera(tmp_path, board="openmv-cam-h7-plus", version=version) as plugged:
        with pytest.raises(
            UsageError, match=r"is no OpenMV Cam H7: it says that it is (OMV4P|37C5:124A)"
        ) as caught:
            plugged.flasher().plan(plugged.job(library(), board="openmv-cam-h7"))
        assert caught.value.exit_code == 2
        assert "--board" in caught.value.hint
        with pytest.raises(UsageError, match="does not run on Sony Spresense"):
            plugged.flasher().plan(plugged.job(library(), board="sony-spresense"))


@pytest.mark.parametrize(
    ("version", "api", "words", "hint"),
    [
        (
            (4, 8, 1),
            "tf",
            "uses the module tf, which needs firmware 4.5.5 or older; the camera has 4.8.1",
            "4.8.1",
        ),
        (
            OLD,
            "ml",
            "uses the module ml, which needs firmware 4.5.6 or newer; the camera has 4.5.5",
            "or update the",
        ),
    ],
)
def test_a_script_for_another_firmware(tmp_path, version, api, words, hint):
    with camera(tmp_path, version=version, window_s=0.05) as plugged:
        with pytest.raises(UsageError, match=words) as caught:
            plugged.flasher().flash(plugged.job(library(api=api)))
        assert 'firmware_version = "' in caught.value.hint
        assert hint in caught.value.hint
        assert not (plugged.board.drive / "trained.tflite").exists()


def test_no_serial_port(tmp_path):
    with camera(tmp_path) as plugged:
        job = plugged.job(library(), port=None)
        assert "was not checked" in plugged.flasher().plan(job).notes[0]
        result = plugged.flasher().flash(job)
        assert result.verified.endswith("from the drive before it was ejected: SHA-256 as sent")
        assert "press the camera's reset button" in result.notes[0]
        assert plugged.host.drives() == []  # ejected, and nobody restarted it


class Neighbours:
    """A machine with two cameras, one of which cannot be told from the other by its drive.

    Args:
        other: That nobody means.
        meant: That is flashed.
    """

    def __init__(self, other: Plugged, meant: Plugged) -> None:
        object.__setattr__(other.board.around, "serial_number", "OTHER")
        self._hosts = (other.host, meant.host)
        self.open = meant.host.open

    def ports(self):
        return [port for host in self._hosts for port in host.ports()]

    def drives(self):
        return [drive for host in self._hosts for drive in host.drives()]

    def usb_backend(self):
        return SimulatedUsb(self._ask)

    def _ask(self, question):
        devices = [(host, place) for host in self._hosts for place, _ in enumerate(host.ask()["usb"])]
        if question is None:
            return {"usb": [described for host in self._hosts for described in host.ask()["usb"]]}
        host, place = devices[question["control"]]
        return host.ask({**question, "control": place})


@pytest.mark.parametrize(("version", "window_s"), [(OLD, 0.1), ((4, 8, 1), 0.01)])
def test_another_camera_that_is_in_its_boot_loader_is_never_flashed(tmp_path, version, window_s):
    with (
        camera(tmp_path / "other", version=version, starts=False) as other,
        camera(tmp_path / "meant", version=version, window_s=window_s) as meant,
    ):
        before = bytes(other.board.firmware)
        job = replace(meant.job(image()), host=Neighbours(other, meant))
        result = meant.flasher().flash(job)
        assert result.serial_number == "SIM0001"
        assert meant.board.firmware[: len(IMAGE)] == IMAGE
        assert bytes(other.board.firmware) == before


def test_another_camera_that_runs_is_not_asked_in_place_of_the_new_firmware(tmp_path):
    with camera(tmp_path / "other", version=(4, 9, 0)) as other, camera(tmp_path / "meant") as meant:
        job = replace(meant.job(image()), host=Neighbours(other, meant))
        assert meant.flasher().flash(job).firmware_version == "4.8.1"
        (meant.board.drive / ".openmv_disk").touch()
        host = Neighbours(other, meant)
        host.drives = lambda: [Named(meant.board.drive, serial_number="SIM0001")]
        result = OpenMvFlasher(replace(WAITS, drive=0.1)).flash(replace(meant.job(library()), host=host))
        assert (result.port, result.serial_number) == (job.port.name, "SIM0001")


def test_a_drive_that_may_be_of_another_camera(tmp_path):
    with camera(tmp_path / "other", board="openmv-cam-h7-plus") as other, camera(tmp_path / "meant") as meant:
        host = Neighbours(other, meant)
        for port in (meant.port(), None):
            job = replace(meant.job(library(), port=port), host=host)
            host.drives = other.host.drives
            with pytest.raises(
                UsageError, match="may be that of another camera, which is plugged in too"
            ) as caught:
                meant.flasher().plan(job)
            assert "unplug all cameras but the one" in caught.value.hint
            host.drives = lambda: [MountedDrive(other.board.drive, serial_number="OTHER")]
            with pytest.raises(DeviceError, match="is of the camera OTHER, "):
                meant.flasher().plan(job)


class LateUsb:
    """A bus whose devices this user may open only at the third look: udev needs a moment."""

    def __init__(self, backend) -> None:
        self._backend, self.refused = backend, 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def open_device(self, dev):
        if self.refused < 2:
            self.refused += 1
            raise USBError("Access denied (insufficient permissions)", -3, errno.EACCES)
        return self._backend.open_device(dev)


def test_a_boot_loader_that_is_not_yet_permitted(tmp_path):
    with camera(tmp_path) as plugged:
        host = TwoDrives(plugged.host, [])
        late = LateUsb(plugged.host.usb_backend())
        host.usb_backend = lambda: late
        assert plugged.flasher().flash(replace(plugged.job(image()), host=host)).firmware_version == "4.8.1"
        assert late.refused == 2


@pytest.mark.parametrize("firmware", [image(), library(api="tf")])
def test_ctrl_c_says_in_what_state_the_camera_is(tmp_path, firmware):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with camera(tmp_path, version=OLD, starts=not firmware.images) as plugged:
        job = replace(plugged.job(firmware), on_progress=stop)
        with pytest.raises(InterruptedRunError, match="the writing was interrupted") as caught:
            plugged.flasher().flash(job)
        assert "run the same" in caught.value.hint


class Named(MountedDrive):
    """A drive whose board is known, and which does not come back once it was ejected."""

    def eject(self) -> None:
        (self.path / ".openmv_disk").unlink()


def test_which_drive(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with camera(tmp_path) as plugged:

        def plan(*serial_numbers: str):
            drives = [Named(path, serial_number=sn) for path, sn in zip(folders, serial_numbers, strict=False)]
            job = replace(plugged.job(library()), host=TwoDrives(plugged.host, drives))
            return plugged.flasher().plan(job).writes[0].where.partition(":")[0]

        assert plan("") == str(folders[0])
        assert plan("other", "SIM0001") == str(folders[1])
        assert plan("other", "") == str(folders[1])
        with pytest.raises(UsageError, match=r"2 drives could be meant: .*one, .*two") as caught:
            plan("", "")
        assert "eject all but the one" in caught.value.hint
        with pytest.raises(UsageError, match="2 drives could be meant"):
            plan("SIM0001", "SIM0001")
        with pytest.raises(DeviceError, match="is of the camera other, the serial port of another one, SIM0001"):
            plan("other")
        with pytest.raises(DeviceError, match="no drive of OpenMV Cam H7 is mounted") as none:
            plan()
        assert "udisksctl mount" in none.value.hint


def test_a_drive_that_nobody_mounts_again(tmp_path):
    place = tmp_path / "mounted"
    place.mkdir()
    (place / ".openmv_disk").touch()
    with camera(tmp_path) as plugged:
        host = TwoDrives(plugged.host, [])
        host.drives = lambda: [Named(place)] if (place / ".openmv_disk").exists() else []
        flasher = OpenMvFlasher(replace(WAITS, drive=0.1))
        result = flasher.flash(replace(plugged.job(library()), host=host))
    assert "before it was ejected" in result.verified
    assert "was not mounted again after the restart" in result.notes[0]


def test_a_library_for_a_board_with_other_firmware(tmp_path):
    with serving(SimulatedNicla(surroundings(tmp_path, model=CLASSIFIER))) as url:
        host = SimulatedHost(url)
        job = Job(host, find_board("arduino-nicla-vision"), library(), host.ports()[0])
        with pytest.raises(DeviceError, match="does not run OpenMV's firmware") as caught:
            OpenMvFlasher(WAITS).plan(job)
    assert "put OpenMV's firmware onto the board first" in caught.value.hint


@pytest.mark.parametrize(
    ("fault", "error", "words", "hint"),
    [
        ("full-drive=1500", DoesNotFitError, "lacks 1,060 bytes", "put an SD card into the camera"),
        ("truncated-write=1000", DeviceError, "of trained.tflite the drive kept 1000 of", "format it"),
        (
            "flipped-bit",
            VerificationError,
            "stored other bytes of trained.tflite",
            "there is no trained.tflite on it",
        ),
        ("busy-drive", DeviceError, "cannot be ejected: target is busy", "nothing is lost"),
        ("unplug=1000", DeviceError, "writing trained.tflite failed", "run the same command again"),
        ("power-cut=1000", DeviceError, "writing trained.tflite failed", "run the same command again"),
        ("mute-firmware", DeviceError, "nothing within", "plug"),
    ],
)
@pytest.mark.timeout(30)
def test_faults_of_a_library(tmp_path, fault, error, words, hint):
    with camera(tmp_path, fault) as plugged:
        (plugged.board.drive / "labels.txt").write_bytes(b"old\n")
        with pytest.raises(error, match=words) as caught:
            (HASTY if fault == "mute-firmware" else plugged.flasher()).flash(plugged.job(library()))
        assert caught.value.exit_code == {DoesNotFitError: 10, DeviceError: 9, VerificationError: 8}[error]
        assert hint in caught.value.hint
        assert (plugged.board.drive / "labels.txt").read_bytes() in (b"old\n", b"a\nb\nc\n")
        assert not (plugged.board.drive / "EIAUTO.TMP").exists()


def test_again_after_a_power_cut(tmp_path):
    with camera(tmp_path, "power-cut=1000") as plugged:
        with pytest.raises(DeviceError):
            plugged.flasher().flash(plugged.job(library()))
        plugged.wait()
        assert "after the restart" in plugged.flasher().flash(plugged.job(library())).verified


@pytest.mark.parametrize(("board", "version"), [("openmv-cam-h7", (4, 6, 0)), ("openmv-cam-h7-plus", NEWEST)])
def test_firmware_by_dfu(tmp_path, board, version):
    with camera(tmp_path, board=board, version=version) as plugged:
        firmware = image(board=board)
        plan = plugged.flasher().plan(plugged.job(firmware))
        assert plan.method == "DFU to the partition FIRMWARE"
        assert plan.writes[0].where == f"0x08040000..0x{0x0804_0000 + len(IMAGE):08X}, partition FIRMWARE"
        assert plugged.board.mode == "firmware"
        result = plugged.flasher().flash(plugged.job(firmware))
        assert result.verified.startswith(f"read back by DFU: the {len(IMAGE):,} bytes are those of edge.bin")
        assert (result.firmware_version, result.notes) == (".".join(map(str, version)), ())
        assert plugged.board.firmware[: len(IMAGE)] == IMAGE
        others = [each for each in plugged.board.dfu.memories if each.name != "FIRMWARE"]
        assert len(others) >= 2
        assert all(bytes(each.content) == bytes(len(each.content)) for each in others)


def test_firmware_by_the_older_boot_loader(tmp_path):
    with camera(tmp_path, version=OLD, window_s=0.3) as plugged:
        plan = plugged.flasher().plan(plugged.job(image()))
        assert "before 4.6.0" in plan.method
        assert "IDE offers to upgrade" in plan.notes[0]
        result = plugged.flasher().flash(plugged.job(image()))
        assert "cannot be read back" in result.verified
        assert (result.firmware_version, result.notes) == ("4.5.5", ())
        assert plugged.board.firmware[: len(IMAGE)] == IMAGE
        assert plugged.board.erased[:1] != [0]


@pytest.mark.parametrize("version", [OLD, NEWEST])
def test_a_camera_that_is_in_its_boot_loader(tmp_path, version):
    with camera(tmp_path, version=version, starts=False) as plugged:
        job = plugged.job(image())
        plan = plugged.flasher().plan(job)
        assert "restart the camera into its boot loader" not in plan.steps
        assert ("does not say which camera it is" in plan.notes[0]) == (version == OLD)
        assert plugged.flasher().flash(job).firmware_version == ".".join(map(str, version))


@pytest.mark.parametrize(
    ("firmware", "board", "error", "words"),
    [
        (image(bytes(1_703_937)), "", DoesNotFitError, "1,703,937 bytes, and the board has 1,703,936"),
        (
            image(board="openmv-cam-h7-plus"),
            "",
            UsageError,
            "no firmware for OpenMV Cam H7, only for openmv-cam-h7-p",
        ),
        (image(), "arduino-nicla-vision", UsageError, "goes through Arduino Nicla Vision's own boot loader"),
        (Firmware("spresense", "x.zip"), "", UsageError, "is for no OpenMV camera"),
        (library({"../x": b""}), "", UsageError, "holds no files for the top of a drive"),
        (Firmware("openmv-library", "x"), "", UsageError, "holds no files"),
    ],
)
def test_what_is_refused(firmware, board, error, words):
    nowhere = SimulatedHost("sim://127.0.0.1:1")  # it is not asked
    with pytest.raises(error, match=words) as caught:
        OpenMvFlasher(WAITS).plan(Job(nowhere, find_board(board or "openmv-cam-h7"), firmware))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("fault", "error", "words", "hint"),
    [
        ("no-bootloader", DeviceError, "did not enter its boot loader within", "nothing was written"),
        ("dfu-error", DeviceError, "the boot loader reports errWRITE", "boot loader itself is untouched"),
        ("silence=5000", DeviceError, "says nothing", "boot loader itself is untouched"),
        ("unplug=5000", DeviceError, "the boot loader is gone", "plug it in while the command waits"),
        ("power-cut=5000", DeviceError, "the boot loader is gone", "run the same command again"),
        ("flipped-bit", VerificationError, "does not hold what was sent", "boot loader itself is untouched"),
    ],
)
@pytest.mark.timeout(30)
def test_faults_of_a_boot_loader(tmp_path, fault, error, words, hint):
    hasty = OpenMvFlasher(replace(WAITS, loader=0.1)) if fault == "no-bootloader" else OpenMvFlasher(WAITS)
    with camera(tmp_path, fault) as plugged:
        with pytest.raises(error, match=words) as caught:
            hasty.flash(plugged.job(image()))
        assert caught.value.exit_code == (8 if error is VerificationError else 9)
        assert hint in caught.value.hint
        plugged.host.ask({"faults": {}})  # plugged in again
        if fault != "no-bootloader":
            plugged.wait("loader")  # what is half written cannot start: it stays there
            assert plugged.flasher().flash(plugged.job(image())).firmware_version == "4.8.1"


@pytest.mark.timeout(30)
def test_firmware_that_does_not_answer(tmp_path):
    with camera(tmp_path, "mute-firmware", starts=False) as plugged:
        with pytest.raises(
            DeviceError, match=r"edge\.bin is written, and its firmware does not answer as it should"
        ) as caught:
            HASTY.flash(plugged.job(image()))
        assert "the boot loader is untouched" in caught.value.hint
        plugged.wait()
        # Now it runs, and is mute: who flashes it is asked to plug it in again, which nobody does here.
        job = plugged.job(image())
        assert "does not answer" in HASTY.plan(job).notes[0]
        with pytest.raises(DeviceError, match="did not enter its boot loader"):
            HASTY.flash(job)
        assert any("unplug the camera and plug it in again now" in said for said in plugged.said)


def test_an_image_that_is_of_another_camera(tmp_path):
    with camera(tmp_path, version=OLD, board="openmv-cam-h7-plus", starts=False) as plugged:
        with pytest.raises(DeviceError, match=r"edge\.bin is written, .* is no OpenMV Cam H7: .* OMV4P") as caught:
            plugged.flasher().flash(plugged.job(image(), board="openmv-cam-h7"))
        assert "flash it again, or another image" in caught.value.hint


def test_no_camera(tmp_path):
    with camera(tmp_path) as plugged:
        plugged.board.unplug()
        with pytest.raises(
            DeviceError, match="is not there: neither its serial port nor its boot loader"
        ) as caught:
            HASTY.plan(plugged.job(image(), port=None))
        assert "plug it in" in caught.value.hint


def test_waits_have_ends():
    assert all(0 < seconds <= 60 for seconds in vars(Waits()).values())
