from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from ei_automation.deployment import openmv
from ei_automation.devices.openmv.camera import Camera
from ei_automation.devices.openmv.debug import connect_camera, script_error, wait_for_end
from ei_automation.devices.openmv.results import ScriptResultParser
from ei_automation.devices.sim.client import SimulatedHost
from ei_automation.devices.sim.server import serving
from ei_automation.devices.sim.uart import wait_until
from ei_automation.devices.transport import Deadline
from ei_automation.schema.inference_result import InferenceResult
from ei_automation.workflow.simulated_model import load_model
from tests.deployment.picture_models import PictureModel, contents_of
from tests.devices import camera_scripts as scripts
from tests.devices.camera_board import V1, V1_OLD, V2, DebugBoard, camera, drive
from tests.devices.surroundings import CLASSIFIER, FOMO, FOMO_LABELS, IMAGES, LABELS, surroundings

SECONDS = Deadline


def results(connected: Camera, script: str, count: int) -> list[InferenceResult]:
    """Run a script until it has printed so many results; it is stopped then."""
    parser, found, printed, deadline = ScriptResultParser(), [], "", Deadline(10)
    connected.run_script(script, deadline)
    while len(found) < count:
        text = connected.output(deadline)
        printed += text
        found += parser.feed(text)
        assert not script_error(printed), printed
        assert not deadline.passed
        time.sleep(0.002)
    connected.stop_script(deadline)
    return found


def ends_with(connected: Camera, script: str) -> str:
    """What ends a script that ends by itself."""
    connected.run_script(script, Deadline(5))
    return script_error(wait_for_end(connected, Deadline(5)))


@pytest.mark.parametrize(
    ("version", "script"),
    [(V1_OLD, scripts.Y2020), (V1_OLD, scripts.Y2022), (V1, scripts.Y2024), (V2, scripts.Y2024)],
    ids=["2020", "2022", "2024", "2024 on 5.0"],
)
def test_each_generation_classifies_what_the_camera_sees(
    tmp_path: Path, version: tuple[int, int, int], script: str
) -> None:
    model = load_model(CLASSIFIER)
    with camera(drive(tmp_path), version) as connected:
        found = results(connected, script, len(IMAGES) + 1)
    for result, image in zip(found, [*IMAGES, IMAGES[0]], strict=False):
        assert tuple(result.classification) == LABELS
        np.testing.assert_allclose(list(result.classification.values()), model.run(image), atol=1e-6)
        assert result.fps == 1000.0


@pytest.mark.parametrize(("version", "script"), [(V1_OLD, scripts.FOMO_2022), (V2, scripts.FOMO_2024)])
def test_fomo_scripts_print_the_centres_of_what_was_found(
    tmp_path: Path, version: tuple[int, int, int], script: str
) -> None:
    with camera(drive(tmp_path, FOMO, FOMO_LABELS), version) as connected:
        found = results(connected, script, len(IMAGES))
    assert all(result.boxes is not None for result in found)
    boxes = [box for result in found for box in result.boxes or ()]
    assert boxes
    assert {box.label for box in boxes} <= set(FOMO_LABELS[1:])
    assert all(0 <= box.x < 240 and 0 <= box.y < 240 for box in boxes)
    assert all((box.score is None) == (script == scripts.FOMO_2022) for box in boxes)


@pytest.mark.parametrize(("version", "script"), [(V1_OLD, scripts.BUILT_IN_TF), (V1, scripts.BUILT_IN_ML)])
def test_a_network_in_the_firmware(tmp_path: Path, version: tuple[int, int, int], script: str) -> None:
    drive(tmp_path, None)
    with camera(tmp_path, version, model=CLASSIFIER) as connected:
        (first, *_) = results(connected, script, 1)
    assert tuple(first.classification) == LABELS


@pytest.mark.parametrize(("version", "api"), [(V1_OLD, "tf"), (V1, "ml")])
def test_our_own_scripts(tmp_path: Path, version: tuple[int, int, int], api: openmv.ScriptApi) -> None:
    script = openmv.script(api, contents_of(PictureModel("classifier", (12, 12, 3))))
    with camera(drive(tmp_path), version) as connected:
        (first, *_) = results(connected, script, 1)
        assert tuple(first.classification) == LABELS
        drive(tmp_path, labels=("one", "two"))
        assert "gives 3 scores but labels.txt has 2 labels" in ends_with(connected, script)
        drive(tmp_path, b"no model")
        assert "trained.tflite cannot be loaded: Failed to allocate" in ends_with(connected, script)
        (tmp_path / "trained.tflite").unlink()
        assert "trained.tflite is not there ([Errno 2] ENOENT)" in ends_with(connected, script)
        (tmp_path / "labels.txt").unlink()
        assert "labels.txt cannot be read ([Errno 2] ENOENT)" in ends_with(connected, script)


@pytest.mark.parametrize("name", ["openmv_cls_2020_mask", "openmv_fomo_2023_balloon"])
def test_real_deployments(tmp_path: Path, shared_data: Path, name: str) -> None:
    folder = shared_data / "studio_deployments" / name
    labels = tuple((folder / "labels.txt").read_text(encoding="utf-8").splitlines())
    drive(tmp_path, (folder / "trained.tflite").read_bytes(), labels)
    script = scripts.FOMO_2024 if "fomo" in name else scripts.Y2024
    with camera(tmp_path, V1) as connected:
        (first, *_) = results(connected, script, 1)
    assert tuple(first.classification) == (() if "fomo" in name else labels)


def test_errors_are_those_of_the_firmware(tmp_path: Path) -> None:
    with camera(drive(tmp_path), V1_OLD) as connected:
        assert ends_with(connected, scripts.Y2024) == "ImportError: no module named 'ml'"
        (tmp_path / "trained.tflite").unlink()
        assert ends_with(connected, scripts.Y2020) == "OSError: [Errno 2] ENOENT"
        assert ends_with(connected, "while") == "SyntaxError: invalid syntax"


def test_a_script_of_the_old_module_on_new_firmware(tmp_path: Path) -> None:
    with camera(drive(tmp_path), V1) as connected:
        said = ends_with(connected, scripts.Y2022)
        assert said.startswith('Exception: Failed to load "trained.tflite", did you copy')
        assert said.endswith("('module' object has no attribute 'load')")
        assert ends_with(connected, scripts.Y2020) == "AttributeError: 'module' object has no attribute 'classify'"
        (tmp_path / "labels.txt").unlink()
        assert '"labels.txt"' in ends_with(connected, scripts.Y2024)


def test_without_a_camera(tmp_path: Path) -> None:
    with camera(drive(tmp_path), V1, "no-camera") as connected:
        said = ends_with(connected, scripts.Y2024)
    assert said == "RuntimeError: Failed to detect the image sensor or image sensor is detached."


def test_other_scripts_may_only_print_constant_text(tmp_path: Path) -> None:
    with camera(tmp_path, V1) as connected:
        connected.run_script('"""Says it."""\nimport time\nprint("hällo", 3)\nprint()\n', Deadline(5))
        assert wait_for_end(connected, Deadline(5)) == "hällo 3\r\n\r\n"
        assert "runs Edge Impulse's scripts only" in ends_with(connected, "x = 1\n")


def test_output_that_nobody_reads_is_dropped(tmp_path: Path) -> None:
    script = "".join(f'print("{number:04}")\n' for number in range(100))
    said: list[str] = []
    board = DebugBoard(surroundings(tmp_path, log=said.append), V1, image_s=0.0, output_bytes=100)
    with serving(board) as url:
        host = SimulatedHost(url)
        with connect_camera(host, host.ports()[0], Deadline(5)) as connected:
            connected.run_script(script, Deadline(5))
            # Not asked: an answer of this firmware brings output along.
            assert wait_until(lambda: any("ended" in line for line in said), 5)
            assert 0 < len(connected.output(Deadline(5))) <= 100


def test_at_other_speeds_there_is_a_prompt(tmp_path: Path) -> None:
    board = DebugBoard(surroundings(tmp_path), V1)
    with serving(board) as url:
        host = SimulatedHost(url)
        with host.open(host.ports()[0], 115_200) as port:
            port.write(b"1 + 1\r\n")
            port.read_until(b">>> ", deadline=SECONDS(5), doing="waiting for the prompt")
            port.write(b"machine.bootloader()\r\n")
            port.read_until(b">>> ", deadline=SECONDS(5), doing="waiting for the prompt")
    assert board.left == ["bootloader"]
