from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import pytest

from ei_automation.deployment import openmv
from ei_automation.deployment.contents import BuildContents
from ei_automation.deployment.targets import build
from ei_automation.errors import NotFoundError, UsageError
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import ResizeMode
from tests.deployment.camera import Camera, CameraStopped, Picture

SCORES = [0.125, 0.75, 0.125]
LINES = ["no person = 0.125000", "person = 0.750000", "dög = 0.125000", "12.5 fps"]


def drive(tmp_path: Path, contents: BuildContents, firmware: str = "") -> str:
    """Unpack a build onto the camera's drive; its script."""
    data = build(BuildRequest("openmv", firmware_version=firmware), contents)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
        assert archive.namelist() == ["ei_image_classification.py", "labels.txt", "trained.tflite"]
    return (tmp_path / "ei_image_classification.py").read_text()


@pytest.mark.parametrize(("firmware", "api"), [("", "ml"), ("4.5.6", "ml"), ("5.0.0", "ml"), ("4.5.5", "tf")])
def test_the_script_prints_what_consoles_read(
    tmp_path: Path,
    contents: BuildContents,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    firmware: str,
    api: str,
) -> None:
    camera = Camera(tmp_path, api, SCORES)
    with pytest.raises(CameraStopped):
        camera.run(drive(tmp_path, contents, firmware), monkeypatch)
    assert capsys.readouterr().out.splitlines() == LINES * 2
    assert camera.calls == [
        ("load", "trained.tflite", False),
        ("reset",),
        ("framesize", "qvga"),
        ("window", (320, 240)),
        ("skip", 2000),
    ]
    assert [picture.pixel_format for picture in camera.seen] == ["rgb565"] * 2


@pytest.mark.parametrize("api", ["ml", "tf"])
def test_a_script_for_the_other_firmware_fails_at_once(
    tmp_path: Path, contents: BuildContents, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    camera = Camera(tmp_path, "tf" if api == "ml" else "ml", SCORES)
    script = drive(tmp_path, contents, "4.5.9" if api == "ml" else "4.4.0")
    with pytest.raises(ModuleNotFoundError, match=api):
        camera.run(script, monkeypatch)


def seen_with(
    contents: BuildContents,
    resize_mode: ResizeMode,
    shape: tuple[int, int, int],
    folder: Path,
    patch: pytest.MonkeyPatch,
) -> tuple[Camera, Picture]:
    """What the network sees of a frame."""
    changed = dataclasses.replace(
        contents, resize_mode=resize_mode, input_shape=shape, channels="RGB" if shape[2] == 3 else "Grayscale"
    )
    (folder / "trained.tflite").write_bytes(b"m" * 1000)
    (folder / "labels.txt").write_text("a\nb\nc")
    camera = Camera(folder, "ml", SCORES, frames=1)
    with pytest.raises(CameraStopped):
        camera.run(openmv.script("ml", changed), patch)
    return camera, camera.seen[0]


@pytest.mark.parametrize(
    ("shape", "window"), [((96, 96, 1), (240, 240)), ((96, 160, 3), (320, 192)), ((160, 96, 3), (144, 240))]
)
def test_fit_short_is_a_window_in_the_models_shape(
    contents: BuildContents,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    window: object,
) -> None:
    camera, picture = seen_with(contents, "fit-short", shape, tmp_path, monkeypatch)
    assert ("window", window) in camera.calls
    assert (picture.width, picture.height) == window
    assert picture.pixel_format == ("grayscale" if shape[2] == 1 else "rgb565")
    assert picture.drawn == []


def test_squash_draws_the_whole_frame_over_the_whole_input(
    contents: BuildContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera, picture = seen_with(contents, "squash", (96, 96, 3), tmp_path, monkeypatch)
    assert not any(call[0] == "window" for call in camera.calls)
    assert (picture.width, picture.height) == (96, 96)
    ((frame, x, y, x_scale, y_scale),) = picture.drawn
    assert (frame.width, frame.height) == (320, 240)
    assert (x, y, x_scale * 320, y_scale * 240) == (0, 0, pytest.approx(96), pytest.approx(96))


@pytest.mark.parametrize(("shape", "expected"), [((96, 96, 3), (0, 12, 96, 72)), ((96, 160, 3), (16, 0, 128, 96))])
def test_fit_long_keeps_the_shape_between_black_bars(
    contents: BuildContents,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int],
    expected: object,
) -> None:
    _, picture = seen_with(contents, "fit-long", shape, tmp_path, monkeypatch)
    ((_, x, y, x_scale, y_scale),) = picture.drawn
    assert (x, y, round(x_scale * 320, 6), round(y_scale * 240, 6)) == expected


@pytest.mark.parametrize(("free", "in_frame_buffer"), [(10_000_000, False), (64 * 1024, True)])
def test_a_model_that_the_heap_cannot_hold_goes_to_the_frame_buffer(
    tmp_path: Path, contents: BuildContents, monkeypatch: pytest.MonkeyPatch, free: int, in_frame_buffer: bool
) -> None:
    camera = Camera(tmp_path, "ml", SCORES, frames=0)
    camera.free = free
    with pytest.raises(CameraStopped):
        camera.run(drive(tmp_path, contents), monkeypatch)
    assert camera.calls[0] == ("load", "trained.tflite", in_frame_buffer)


@pytest.mark.parametrize("name", ["trained.tflite", "labels.txt"])
@pytest.mark.parametrize("firmware", ["4.5.5", "4.5.6"])
def test_a_missing_file_is_named(
    tmp_path: Path, contents: BuildContents, monkeypatch: pytest.MonkeyPatch, name: str, firmware: str
) -> None:
    script = drive(tmp_path, contents, firmware)
    (tmp_path / name).unlink()
    with pytest.raises(Exception, match=f"^{name} .*copy it onto the camera's drive"):
        Camera(tmp_path, "tf" if firmware == "4.5.5" else "ml", SCORES).run(script, monkeypatch)


def test_a_model_that_is_too_big_is_explained(
    tmp_path: Path, contents: BuildContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = Camera(tmp_path, "ml", SCORES)
    camera.load_error = MemoryError("memory allocation failed")
    script = drive(tmp_path, contents)
    size = (tmp_path / "trained.tflite").stat().st_size
    with pytest.raises(Exception, match=rf"{size} bytes\) cannot be loaded with 200000 bytes .*too big") as caught:
        camera.run(script, monkeypatch)
    assert "memory allocation failed" in str(caught.value)


def test_labels_of_another_model_are_refused_on_the_camera(
    tmp_path: Path, contents: BuildContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = drive(tmp_path, contents)
    with pytest.raises(Exception, match=r"gives 2 scores but labels.txt has 3 labels"):
        Camera(tmp_path, "ml", [0.5, 0.5]).run(script, monkeypatch)


def test_labels_have_no_last_newline(contents: BuildContents) -> None:
    files = openmv.files(BuildRequest("openmv"), contents)
    assert files["labels.txt"] == "no person\nperson\ndög".encode()
    assert files["trained.tflite"] == contents.models["int8"]


def test_a_project_name_cannot_leave_its_comment(contents: BuildContents) -> None:
    script = openmv.script("ml", dataclasses.replace(contents, project="x\nimport os"))
    assert script.splitlines()[0] == "# x import os: image classification on an OpenMV camera."


def test_float32_is_refused(contents: BuildContents) -> None:
    with pytest.raises(UsageError, match="holds the int8 model, float32 was asked for") as caught:
        build(BuildRequest("openmv", variant="float32"), contents)
    assert "bundle" in caught.value.hint


def test_without_an_int8_model(contents: BuildContents) -> None:
    only = dataclasses.replace(contents, models={"float32": contents.models["float32"]})
    with pytest.raises(NotFoundError, match="no int8 model"):
        build(BuildRequest("openmv"), only)


@pytest.mark.parametrize(
    ("version", "api"),
    [
        ("", "ml"),
        ("4.5.5", "tf"),
        ("v4.5.6", "ml"),
        ("4.10.0", "ml"),
        ("4.5", "tf"),
        ("3.9.9", "tf"),
        ("5.0", "ml"),
    ],
)
def test_firmware_version_chooses_the_module(version: str, api: str) -> None:
    assert openmv.script_api(version) == api


@pytest.mark.parametrize("version", ["new", "4", "4.5.6.7", "4.5.x", "-"])
def test_a_firmware_version_that_is_none(version: str) -> None:
    with pytest.raises(UsageError, match="is no OpenMV firmware version"):
        openmv.script_api(version)
