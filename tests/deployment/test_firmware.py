"""What a deployment holds for a board."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.deployment.contents import BuildContents, make_zip
from ei_automation.deployment.embedded import MOST_TRIES, find_model, find_models
from ei_automation.deployment.firmware import recognise_firmware
from ei_automation.deployment.model_facts import read_model_facts
from ei_automation.deployment.targets import build
from ei_automation.errors import EiautoError, NotFoundError, VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.deployment import BuildRequest
from tests.inference.tiny_models import float_model, int8_model

MODEL = int8_model((6, 8, 3), np.ones((2, 144)))
OTHER_MODEL = float_model((4, 4, 3), np.ones((3, 48), dtype=np.float32))
RANDOM = random.Random(5)
NOISE = RANDOM.randbytes(4096)
SPK = b"\xefMOD" + bytes(60) + NOISE
START = struct.pack("<II", 0x2001_0000, 0x0804_0401)
"""A vector table: where the stack is, and where the program begins."""
IMAGE = START + NOISE + MODEL + NOISE
SCRIPT = b"net = ml.Model('trained.tflite')"
LIBRARY = {"trained.tflite": MODEL, "labels.txt": b"a\nb", "ei_image_classification.py": SCRIPT}
BOTH_ARDUINOS = {"arduino-nicla-vision", "arduino-portenta-h7"}


def zipped(folder: Path, files: Mapping[str, bytes], name: str = "a.zip") -> Path:
    path = folder / name
    path.write_bytes(make_zip(files))
    return path


# Models inside images


DEPLOYMENTS = (
    "openmv_cls_2020_mask",
    "openmv_cls_2023_person",
    "openmv_cls_2025_speed_sign",
    "openmv_cls_2026_food",
    "openmv_fomo_2023_balloon",
)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_studios_models_are_found_whole_at_any_place(shared_data: Path, name: str) -> None:
    model = (shared_data / "studio_deployments" / name / "trained.tflite").read_bytes()
    decoys = b"ModelIdentifier TFL3\0" + struct.pack("<I", 0x1C) + b"TFL3" + bytes(64) + model[:5000]
    for place, behind in ((0, b""), (1, NOISE), (262_147, b"\xff" * 65_536), (4095, bytes(9))):
        image = (NOISE * 65)[:place] + decoys + model + behind
        found = find_model(image)
        assert found == model
        assert read_model_facts(found).input.dtype == "int8"


def test_a_two_megabyte_image_is_searched(shared_data: Path) -> None:
    model = (shared_data / "studio_deployments" / DEPLOYMENTS[0] / "trained.tflite").read_bytes()
    random_bytes = RANDOM.randbytes(1_300_000)
    assert find_models(random_bytes + model + b"tail") == (model,)
    assert find_model(random_bytes) is None


def test_every_model_is_found_once() -> None:
    assert find_models(NOISE + MODEL + b"x" + OTHER_MODEL + NOISE + MODEL) == (MODEL, OTHER_MODEL)
    assert find_models(MODEL[:-1]) == ()
    assert find_models(b"") == ()


def test_a_flood_of_decoys_ends_the_search() -> None:
    table = struct.pack(
        "<HHHHHHHi", 14, 8, 4, 4, 4, 4, 4, 14
    )  # a virtual table and a table that points back to it
    decoy = struct.pack("<I", 24) + b"TFL3" + b"\0\0" + table
    assert find_models(decoy * (MOST_TRIES - 1) + MODEL) == (MODEL,)
    assert find_models(decoy * MOST_TRIES + MODEL) == ()


@settings(max_examples=60, deadline=None)
@given(before=st.binary(max_size=40), root=st.integers(0, 2**32 - 1), behind=st.binary(max_size=80))
def test_no_bytes_stop_the_search(before: bytes, root: int, behind: bytes) -> None:
    decoy = before + struct.pack("<I", root) + b"TFL3" + behind
    assert find_models(decoy) == ()
    assert MODEL in find_models(decoy + MODEL)


# What is recognised


def test_a_spresense_zip(tmp_path: Path) -> None:
    package = SPK + MODEL + NOISE
    files = {"edge_impulse_firmware.spk": package, "flash_writer.py": b"#", "flash_linux.sh": b"#"}
    found = recognise_firmware(zipped(tmp_path, files, "blood-cells-sony-spresense-v12.zip"))
    assert (found.kind, set(found.images)) == ("spresense", {"sony-spresense"})
    image = found.images["sony-spresense"]
    assert (image.name, image.content, image.sha256) == (
        "edge_impulse_firmware.spk",
        package,
        sha256_bytes(package),
    )
    assert (found.project, found.deploy_version, found.model, found.notes) == ("blood-cells", 12, MODEL, ())


def test_a_bare_package_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "my.spk").write_bytes(SPK)
    for path in (tmp_path / "my.spk", tmp_path):
        found = recognise_firmware(path)
        assert (found.kind, found.images["sony-spresense"].content) == ("spresense", SPK)
        assert (found.model, found.deploy_version, found.project) == (None, None, "")


def test_of_packages_only_the_programs_count(tmp_path: Path) -> None:
    files = {"app.spk": SPK, "loader.spk": b"ESPKsys\0" + NOISE}
    assert recognise_firmware(zipped(tmp_path, files)).images["sony-spresense"].name == "app.spk"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.spk": SPK, "b.spk": SPK}, "holds 2 Spresense packages: a.spk, b.spk"),
        ({"a.spk": b"no package"}, "a.spk is no Spresense package: it begins with 6e 6f 20 70"),
        ({"a.spk": b""}, "it begins with nothing"),
    ],
)
def test_packages_that_are_wrong(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        recognise_firmware(zipped(tmp_path, files))


@pytest.mark.parametrize(
    "names",
    [
        {
            "edge_impulse_firmware_openmv_cam_h7.bin": "openmv-cam-h7",
            "edge_impulse_firmware_openmv_cam_h7plus.bin": "openmv-cam-h7-plus",
            "edge_impulse_firmware_openmv_pure_thermal.bin": "openmv-pure-thermal",
            "edge_impulse_firmware_arduino_nicla_vision.bin": "arduino-nicla-vision",
            "edge_impulse_firmware_arduino_portenta.bin": "arduino-portenta-h7",
        },
        {
            "edge_impulse_firmware_openmv4.bin": "openmv-cam-h7",
            "edge_impulse_firmware_openmv4P.bin": "openmv-cam-h7-plus",
            "edge_impulse_firmware_openmvPT.bin": "openmv-pure-thermal",
            "edge_impulse_firmware_niclav.bin": "arduino-nicla-vision",
            "edge_impulse_firmware_portenta.bin": "arduino-portenta-h7",
        },
    ],
)
def test_openmv_firmware_by_both_kinds_of_names(tmp_path: Path, names: dict[str, str]) -> None:
    images = {name: IMAGE + name.encode() for name in names}
    others = {"edge_impulse_firmware_openmv_rt1060.bin": b"x", "ei_image_classification.py": SCRIPT}
    found = recognise_firmware(zipped(tmp_path, {**images, **others, "labels.txt": b"a\nb"}))
    assert found.kind == "openmv-firmware"
    assert {image.name: board for board, image in found.images.items()} == names
    assert all(found.images[board].content == images[name] for name, board in names.items())
    assert (found.model, found.labels) == (MODEL, ("a", "b"))
    assert (found.script_api, found.script_name) == ("ml", "ei_image_classification.py")
    assert {name: file.content for name, file in found.files.items()} == {found.script_name: SCRIPT}
    assert found.notes == ("edge_impulse_firmware_openmv_rt1060.bin is for a board that is not known here",)


def test_an_arduino_zip(tmp_path: Path) -> None:
    files = {
        "firmware-arduino-nicla-vision.ino.bin": IMAGE,
        "firmware-arduino-nicla-vision.ino.with_bootloader.bin": b"not this one",
        "flash_linux.sh": b"#",
    }
    found = recognise_firmware(zipped(tmp_path, files, "cells-nicla-vision-v3-impulse-#1.zip"))
    assert (found.kind, set(found.images)) == ("arduino", {"arduino-nicla-vision"})
    assert found.images["arduino-nicla-vision"].content == IMAGE
    assert (found.project, found.deploy_version, found.model, found.notes) == ("cells", 3, MODEL, ())


@pytest.mark.parametrize("name", ["mine.bin", "sketch.ino.bin"])
def test_an_image_that_names_no_board_may_be_for_any_arduino(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(IMAGE)
    found = recognise_firmware(path)
    assert (found.kind, set(found.images)) == ("arduino", BOTH_ARDUINOS)
    assert found.notes == (
        f"{name} does not say for which board it is; Arduino Nicla Vision or Arduino Portenta H7 would take it",
    )


def test_a_bare_openmv_image(tmp_path: Path) -> None:
    path = tmp_path / "edge_impulse_firmware_openmv4.bin"
    path.write_bytes(IMAGE)
    found = recognise_firmware(path)
    assert (found.kind, set(found.images), found.notes) == ("openmv-firmware", {"openmv-cam-h7"}, ())


@pytest.mark.parametrize(
    "start", [b"", b"\xff" * 8, struct.pack("<II", 0x2001_0000, 0x0800_0401), struct.pack("<II", 0, 0x0804_0400)]
)
def test_an_image_that_is_no_program_is_a_problem(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "edge_impulse_firmware_openmv4.bin"
    path.write_bytes(start)
    problem = "does not begin as a program for OpenMV Cam H7 does" if start else "is empty"
    assert recognise_firmware(path).problems == (f"edge_impulse_firmware_openmv4.bin {problem}",)


def test_an_openmv_image_of_another_camera_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "edge_impulse_firmware_openmv4.bin"
    start = struct.pack("<II", 0x2001_0000, 0x0804_0401)
    path.write_bytes(start + bytes(100) + b"OMV4P H7 32768 SDRAM\0")
    (problem,) = recognise_firmware(path).problems
    assert problem.endswith("says that it is for OpenMV Cam H7 Plus, not for OpenMV Cam H7")
    path.write_bytes(start + bytes(100) + b"OMV4 H7 1024\0")
    assert recognise_firmware(path).problems == ()


def test_a_renamed_openmv_image_is_known_by_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.bin"
    path.write_bytes(struct.pack("<II", 0x2001_0000, 0x0804_0401) + bytes(100) + b"OMV4P H7 32768 SDRAM\0")
    found = recognise_firmware(path)
    assert (found.kind, set(found.images), found.problems) == ("openmv-firmware", {"openmv-cam-h7-plus"}, ())


def test_two_networks_in_one_image_are_not_guessed_between(tmp_path: Path) -> None:
    path = tmp_path / "edge_impulse_firmware_openmv4.bin"
    path.write_bytes(IMAGE + OTHER_MODEL)
    found = recognise_firmware(path)
    assert found.model is None
    assert found.notes == ("2 different .tflite files are inside; which one is the project's is not known",)


@pytest.mark.parametrize("prefix", ["", "ei-cells-openmv-v7/"])
def test_an_openmv_library(tmp_path: Path, prefix: str) -> None:
    files = {prefix + name: content for name, content in LIBRARY.items()}
    if prefix:
        files["__MACOSX/._labels.txt"] = b"what macOS puts into zips"
    found = recognise_firmware(zipped(tmp_path, files, "ei-cells-openmv-v7.zip"))
    assert (found.kind, found.images, found.problems) == ("openmv-library", {}, ())
    assert {name: file.content for name, file in found.files.items()} == LIBRARY
    assert (found.script_api, found.script_name) == ("ml", "ei_image_classification.py")
    assert (found.labels, found.model) == (("a", "b"), MODEL)
    assert (found.project, found.deploy_version) == ("cells", 7)


def test_our_own_openmv_library(contents: BuildContents, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(build(BuildRequest("openmv"), contents))
    found = recognise_firmware(path)
    assert (found.kind, found.script_api, found.problems) == ("openmv-library", "ml", ())
    assert found.model == contents.models["int8"]
    with zipfile.ZipFile(path) as archive:
        assert set(found.files) <= set(archive.namelist())


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_studios_libraries(shared_data: Path, name: str) -> None:
    found = recognise_firmware(shared_data / "studio_deployments" / name)
    assert (found.kind, found.problems, found.script_name) == ("openmv-library", (), "")
    assert set(found.files) == {"trained.tflite", "labels.txt"}


def test_a_library_with_a_problem_says_so(tmp_path: Path) -> None:
    found = recognise_firmware(zipped(tmp_path, {**LIBRARY, "labels.txt": b"a\nb\nc"}))
    assert found.problems == ("the model gives 2 scores, labels.txt has 3 labels",)


@pytest.mark.parametrize(
    ("name", "project", "version"),
    [
        ("ei-solar_pv-openmv-v4", "solar_pv", 4),
        ("EI-Task2-OpenMV-V10 (1).zip", "Task2", 10),
        ("fugas-y-consumo-portenta-h7-v4.zip", "fugas-y-consumo", 4),
        ("cells-openmv-v8-impulse-#4.zip", "cells", 8),
        ("cells-v2.zip", "", None),
        ("ei-cells-openmv.zip", "", None),
        ("openmv-v4.8.1.zip", "", None),
    ],
)
def test_what_a_name_tells(tmp_path: Path, name: str, project: str, version: int | None) -> None:
    path = tmp_path / name
    if path.suffix == ".zip":
        path.write_bytes(make_zip(LIBRARY))
    else:
        path.mkdir()
        for each, content in LIBRARY.items():
            (path / each).write_bytes(content)
    found = recognise_firmware(path)
    assert (found.project, found.deploy_version) == (project, version)


# What is refused


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model-parameters/model_metadata.h": b"", "edge-impulse-sdk/LICENSE": b""}, "a C\\+\\+ library"),
        ({"model.c": b""}, "a C\\+\\+ library"),
        (
            {"edge-impulse-standalone.wasm": b"", "edge-impulse-standalone.js": b""},
            "WebAssembly deployment, for ph",
        ),
        ({"model.wasm": b""}, "a WebAssembly deployment"),
        ({"cells_inferencing/library.properties": b""}, "an Arduino library"),
        ({"model_int8.tflite": MODEL, "labels.txt": b"a\nb"}, "a bundle"),
        ({"readme.txt": b""}, "holds nothing that goes onto a board"),
        ({"deep/er/firmware.spk": SPK}, "holds nothing that goes onto a board"),
        ({}, "holds nothing that goes onto a board"),
        ({"edge_impulse_firmware_openmv3.bin": b"x"}, "for boards that are not known here: edge_impulse_firmw"),
    ],
)
def test_what_goes_onto_no_board_says_what_to_ask_for(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(NotFoundError, match=words) as caught:
        recognise_firmware(zipped(tmp_path, files))
    assert 'ask Studio for "Sony Spresense", "OpenMV library"' in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cells.eim", b"\x7fELF" + NOISE, "a Linux program"),
        ("loader.espk", b"ESPKsys\0", "a package of the Spresense's boot loader"),
        ("trained.tflite", MODEL, "neither a zip nor an image"),
        ("notes.txt", b"hello", "neither a zip nor an image"),
    ],
)
def test_single_files_that_are_no_firmware(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotFoundError, match=words):
        recognise_firmware(tmp_path / name)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no deployment at"):
        recognise_firmware(tmp_path / "none.zip")
    with pytest.raises(NotFoundError, match="nothing that goes onto a board"):
        recognise_firmware(tmp_path)


def test_ambiguous_images_are_refused(tmp_path: Path) -> None:
    twice = {"edge_impulse_firmware_openmv4.bin": IMAGE, "edge_impulse_firmware_openmv_cam_h7.bin": IMAGE}
    with pytest.raises(VerificationError, match="two images for OpenMV Cam H7"):
        recognise_firmware(zipped(tmp_path, twice))
    both = {"edge_impulse_firmware_openmv4.bin": IMAGE, "firmware-arduino-nicla-vision.ino.bin": IMAGE}
    with pytest.raises(VerificationError, match="OpenMV's and Edge Impulse's firmware"):
        recognise_firmware(zipped(tmp_path, both))


def linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("edge_impulse_firmware.spk")
        entry.create_system, entry.external_attr = 3, 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def bomb() -> bytes:
    """Says of itself that it unpacks to 300 MB."""
    content = bytearray(make_zip({f"{number}.spk": b"" for number in range(5)}))
    entry = content.find(b"PK\x01\x02")
    while entry >= 0:
        content[entry + 24 : entry + 28] = (60 << 20).to_bytes(4, "little")
        entry = content.find(b"PK\x01\x02", entry + 1)
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_zip({"../../escape.sh": b"x", **LIBRARY}), "outside its folder"),
        (lambda: make_zip({"/etc/cron.d/x": b"x", **LIBRARY}), "outside its folder"),
        (linked, "a link or a device"),
        (lambda: make_zip({"a.spk": SPK, "A.SPK": SPK}), "twice"),
        (bomb, "would unpack to"),
        (lambda: make_zip(LIBRARY)[:-40], "damaged"),
        (lambda: b"no zip at all", "no zip"),
        (lambda: make_zip({**LIBRARY, "trained.tflite": b"no model" * 9}), "cannot be read"),
    ],
)
def test_hostile_and_damaged_zips_are_refused(tmp_path: Path, make: Callable[[], bytes], words: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(make())
    with pytest.raises(VerificationError, match=words):
        recognise_firmware(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.zip"]


def test_a_file_too_large_for_any_board_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.bin"
    with path.open("wb") as stream:
        stream.truncate(65 << 20)
    with pytest.raises(VerificationError, match="no board takes as much"):
        recognise_firmware(path)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_no_file_crashes_it(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "edge_impulse_firmware_openmv4.bin"
    path.write_bytes(content)
    with suppress(EiautoError):  # a sentence, as for any other file; no other exception
        assert recognise_firmware(path).images["openmv-cam-h7"].content == content
