"""Which board, which deployment, which script."""

import struct
import time
import zipfile

import pytest

from ei_automation.devices.sim.arduino import SimulatedNicla
from ei_automation.devices.sim.server import serving
from ei_automation.errors import DeviceError, NotFoundError, UsageError, VerificationError
from ei_automation.schema.board import find_board
from ei_automation.settings import Settings
from ei_automation.workflow.board_session import (
    as_typed,
    deployment_for,
    given_deployment,
    plugged_board,
    suits,
    wanted_board,
    with_model,
)
from ei_automation.workflow.camera_script import ScriptWish, camera_script, fitting_deployment
from ei_automation.workflow.project import open_session
from tests.devices.camera_scripts import BUILT_IN_TF
from tests.devices.surroundings import CLASSIFIER, LABELS, surroundings
from tests.helpers import make_project
from tests.workflow.board_projects import SCRIPTS, library, project_with

H7, SPRESENSE = find_board("openmv-cam-h7"), find_board("sony-spresense")
NICLA = find_board("arduino-nicla-vision")


def boards_in(*names):
    return "".join(f'\n[[boards]]\nname = "{name}"\n' for name in names)


def test_the_board_is_the_one_that_is_named_or_the_manifests_only_one(tmp_path):
    session = project_with(tmp_path / "one", extra=boards_in("OpenMV Cam H7", "Raspberry Pi 4"))
    assert wanted_board(session, None) is H7
    assert wanted_board(session, "Spresense") is SPRESENSE
    assert wanted_board(None, None) is None
    two = project_with(tmp_path / "two", extra=boards_in("OpenMV Cam H7", "Nicla Vision"))
    with pytest.raises(UsageError, match="names 2 boards: openmv-cam-h7, arduino-nicla-vision"):
        wanted_board(two, None)


def test_a_recorded_deployment_goes_before_one_that_only_lies_there(tmp_path):
    session = project_with(tmp_path, "ei-a-openmv.zip")
    library(tmp_path / "deployments" / "downloaded.zip")
    found = deployment_for(session, H7)
    assert found.path == session.folder / "deployments" / "ei-a-openmv.zip"
    assert found.firmware.model == CLASSIFIER
    assert suits(found.firmware, NICLA)
    assert not suits(found.firmware, SPRESENSE)


def test_without_a_record_the_one_that_lies_there_is_taken(tmp_path):
    session = project_with(tmp_path)
    library(tmp_path / "deployments" / "downloaded.zip")
    (tmp_path / "deployments" / "notes.zip").write_bytes(b"no zip")
    assert deployment_for(session, H7).path.name == "downloaded.zip"


def test_several_are_an_error_that_lists_them_unless_the_script_decides(tmp_path):
    session = project_with(tmp_path, "ei-tf.zip", "ei-ml.zip")
    with pytest.raises(UsageError, match="2 deployments") as told:
        deployment_for(session, H7)
    folder = tmp_path / "deployments"
    assert told.value.message.endswith(f"H7: {folder / 'ei-tf.zip'}, {folder / 'ei-ml.zip'}")
    assert deployment_for(session, H7, script_api="tf").path.name == "ei-tf.zip"


def test_nothing_for_a_board_says_what_was_looked_for(tmp_path):
    session = project_with(tmp_path, "ei-ml.zip")
    with pytest.raises(NotFoundError, match=r"nothing for Sony Spresense \(spresense was looked for\)"):
        deployment_for(session, SPRESENSE)
    (tmp_path / "deployments" / "ei-ml.zip").unlink()
    with pytest.raises(NotFoundError, match=r"recorded and not there: deployments/ei-ml\.zip"):
        deployment_for(session, H7)


def test_a_damaged_download_is_named(tmp_path):
    session = project_with(tmp_path)
    whole = library(tmp_path / "deployments" / "half.zip")
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(NotFoundError, match=r"half\.zip is no zip, or a damaged one"):
        deployment_for(session, H7)


def test_what_only_studio_builds_is_said(tmp_path):
    with pytest.raises(NotFoundError) as caught:
        deployment_for(project_with(tmp_path / "p"), SPRESENSE)
    assert caught.value.hint.startswith("Studio builds it: wish it under [[deployments]]")
    assert f"`eiauto deploy {tmp_path / 'p'} --backend studio`" in caught.value.hint


def test_paths_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_typed(tmp_path / "projects" / "digits") == "projects/digits"
    assert as_typed(tmp_path / "a (1).zip") == "'a (1).zip'"
    assert as_typed(tmp_path) == "."
    assert as_typed(tmp_path.parent / "x") == str(tmp_path.parent / "x")


@pytest.mark.parametrize(("version", "name"), [("4.5.5", "ei-tf.zip"), ("4.8.1", "ei-ml.zip")])
def test_the_deployment_is_that_for_the_cameras_firmware(tmp_path, version, name):
    session = project_with(tmp_path / "both", "ei-tf.zip", "ei-ml.zip")
    assert fitting_deployment(session, H7, version).path.name == name
    with pytest.raises(UsageError, match="2 deployments"):
        fitting_deployment(session, H7, "")
    other = project_with(tmp_path / "other", "ei-tf.zip")
    assert fitting_deployment(other, H7, version).path.name == "ei-tf.zip"


@pytest.mark.timeout(30)
def test_a_board_in_its_boot_loader_is_told(tmp_path):
    board = SimulatedNicla(surroundings(tmp_path))
    board.flash[:] = b"\xff" * len(board.flash)  # no firmware that it could start
    with serving(board) as url:
        while board.mode != "dfu":
            time.sleep(0.01)
        with pytest.raises(DeviceError, match="Arduino Nicla Vision is in its boot loader") as told:
            plugged_board(url, NICLA)
    assert "RESET" in told.value.hint


def test_a_deployment_that_was_changed_is_refused(tmp_path):
    session = project_with(tmp_path, "ei-ml.zip")
    library(tmp_path / "deployments" / "ei-ml.zip", labels=("a", "b", "c"))
    with pytest.raises(VerificationError, match="is not the file that was built"):
        deployment_for(session, H7)


def test_the_model_is_any_deployments_but_not_two_different_ones(tmp_path):
    session = project_with(tmp_path, "ei-tf.zip", "ei-ml.zip")
    assert with_model(session, SPRESENSE).firmware.model == CLASSIFIER
    empty = open_session(make_project(tmp_path / "empty"), Settings.from_env())
    with pytest.raises(NotFoundError, match=r"holds a \.tflite file"):
        with_model(empty, None)


@pytest.mark.parametrize(("version", "name"), [("4.5.5", "ei-tf.zip"), ("4.8.1", "ei-ml.zip")])
def test_the_script_is_that_of_the_cameras_firmware(tmp_path, version, name):
    session = project_with(tmp_path, "ei-tf.zip", "ei-ml.zip")
    script = camera_script(ScriptWish(session=session), H7, version)
    assert script.text == SCRIPTS[name[3:5]]
    assert script.labels == LABELS


def test_a_script_for_other_firmware_is_refused(tmp_path):
    session = project_with(tmp_path, "ei-tf.zip")
    with pytest.raises(UsageError, match=r"uses the module tf, and the camera's firmware 4\.8\.1 has ml"):
        camera_script(ScriptWish(session=session), H7, "4.8.1")


def test_the_script_beside_openmv_firmware_is_run(tmp_path):
    image = struct.pack("<II", 0x2001_0000, 0x0804_0401) + CLASSIFIER
    with zipfile.ZipFile(tmp_path / "firmware.zip", "w") as archive:
        archive.writestr("edge_impulse_firmware_openmv_cam_h7.bin", image)
        archive.writestr("ei_image_classification.py", BUILT_IN_TF)
    wish = ScriptWish(given=tmp_path / "firmware.zip")
    assert camera_script(wish, H7, "4.5.5").text == BUILT_IN_TF
    with pytest.raises(UsageError, match="uses the module tf"):
        camera_script(wish, H7, "4.8.1")


def test_a_script_of_ones_own_and_the_lack_of_one(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("print(1)\n")
    assert camera_script(ScriptWish(file=file), None, "4.8.1").text == "print(1)\n"
    with pytest.raises(NotFoundError, match="there is no script"):
        camera_script(ScriptWish(file=tmp_path / "none.py"), None, "4.8.1")
    with pytest.raises(UsageError, match="none was named"):
        camera_script(ScriptWish(), H7, "4.8.1")
    given = library(tmp_path / "x.zip")
    assert camera_script(ScriptWish(given=given), None, "4.8.1").name == "ei_image_classification.py"
    assert given_deployment(given).firmware.labels == LABELS
