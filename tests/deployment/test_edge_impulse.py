"""The C++ library for Edge Impulse's SDK: run_classifier() gives what LiteRT's reference kernels give."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.compiling import compile_model
from ei_automation.deployment import edge_impulse, sdk
from ei_automation.deployment.model_facts import TensorFacts, read_model_facts, reference_output
from ei_automation.errors import JobFailedError, NotFoundError, UsageError, VerificationError
from ei_automation.schema.deployment import BuildRequest, Memory
from ei_automation.schema.impulse import ResizeMode
from tests.compiler.networks import Network
from tests.deployment.kinds import DETECTOR, MODELS, STUDIO, contents_of

SDK_VARIABLE = "EIAUTO_TEST_EI_SDK"
SDK_PATH = os.environ.get(SDK_VARIABLE, "")
"""Read before the tests' clean world takes it away."""
NEEDED_FILES = {
    "README.md",
    "labels.txt",
    "example/CMakeLists.txt",
    "example/main.cpp",
    "model-parameters/model_metadata.h",
    "model-parameters/model_variables.h",
    "tflite-model/tflite_learn_1_3_compiled.cpp",
    "tflite-model/tflite_learn_1_3_compiled.h",
    "tflite-model/tflite_learn_1_3_model.h",
    "tflite-model/nn_types.h",
    "tflite-model/trained_model_ops_define.h",
}


def library(kind: str, memory: Memory = "streamed") -> dict[str, bytes]:
    variant, contents = contents_of(kind)
    return edge_impulse.files(BuildRequest("cpp", variant=variant, flavor="edge-impulse", memory=memory), contents)


def macros(files: dict[str, bytes]) -> dict[str, str]:
    """Macros of model_metadata.h, without their comments."""
    text = files["model-parameters/model_metadata.h"].decode()
    found = re.findall(r"^#define (\w+) (.*?)(?: /\*.*)?$", text, re.MULTILINE)
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.fixture(scope="session")
def real_sdk() -> Path:
    """A checkout of the SDK, which is the user's to bring."""
    if not SDK_PATH:
        pytest.skip(
            f"{SDK_VARIABLE} names no checkout of Edge Impulse's inferencing SDK {edge_impulse.SDK_VERSION}"
        )
    return sdk.find_sdk(Path(SDK_PATH))


@pytest.mark.parametrize(
    ("kind", "memory"),
    [*((kind, "streamed") for kind in MODELS), ("int8", "planned"), ("fomo-float32", "planned")],
)
def test_run_classifier_of_the_real_sdk(kind: str, memory: Memory, real_sdk: Path, tmp_path: Path) -> None:
    variant, contents = contents_of(kind)
    folder = sdk.assemble(library(kind, memory), real_sdk, tmp_path / "library")
    assert sdk.is_pinned(folder / "edge-impulse-sdk")
    found = sdk.check(folder, contents.models[variant], images=20)
    assert found is not None, "there is no C++ compiler here"
    assert (found.images, found.scores) == (20, 20 * (2 if kind.startswith("fomo") else 3))
    assert found.difference < (1e-6 if variant == "int8" else 1e-5)


def test_the_check_finds_another_model(real_sdk: Path, tmp_path: Path) -> None:
    _, contents = contents_of("int8")
    folder = sdk.assemble(library("int8"), real_sdk, tmp_path)
    other = dataclasses.replace(MODELS["int8"][1], seed=1).model()
    assert other != contents.models["int8"]
    with pytest.raises(VerificationError, match=r"run_classifier\(\) gives .* LiteRT's reference kernels give"):
        sdk.check(folder, other)


def test_another_sdk_is_said(real_sdk: Path, tmp_path: Path) -> None:
    _, contents = contents_of("int8")
    folder = sdk.assemble(library("int8"), real_sdk, tmp_path)
    header = folder / "edge-impulse-sdk" / "classifier" / "ei_model_types.h"
    header.write_bytes(header.read_bytes().replace(b"\n", b"\r\n"))
    assert sdk.is_pinned(folder / "edge-impulse-sdk")
    header.write_text("#error older")
    assert not sdk.is_pinned(folder / "edge-impulse-sdk")
    with pytest.raises(JobFailedError, match=r"the SDK is not 1\.93\.20, for which the library is written"):
        sdk.check(folder, contents.models["int8"])


def test_the_files_are_those_that_the_sdk_looks_for() -> None:
    files = library("int8")
    assert set(files) >= NEEDED_FILES
    assert not any(name.endswith(".c") for name in files), "a firmware's build would compile it a second time"
    for name, content in files.items():
        assert name == "labels.txt" or content.decode("ascii" if name.endswith((".h", ".cpp")) else "utf-8")
    variables = files["model-parameters/model_variables.h"].decode()
    assert r'"d\303\266g \042x\042 \077\077/",' in variables
    assert "process_classification_i8" in variables
    assert "watch * / dog" in variables


@pytest.mark.parametrize(
    ("resize_mode", "macro"),
    [("squash", "SQUASH"), ("fit-short", "FIT_SHORTEST"), ("fit-long", "FIT_LONGEST")],
)
def test_the_metadata_is_the_impulses(resize_mode: ResizeMode, macro: str) -> None:
    variant, contents = contents_of("gray")
    changed = dataclasses.replace(contents, resize_mode=resize_mode)
    found = macros(edge_impulse.files(BuildRequest("cpp", variant=variant, flavor="edge-impulse"), changed))
    assert found["EI_CLASSIFIER_RESIZE_MODE"] == f"EI_CLASSIFIER_RESIZE_{macro}"
    wanted = {
        "INPUT_WIDTH": "10",
        "INPUT_HEIGHT": "12",
        "RAW_SAMPLE_COUNT": "120",
        "NN_INPUT_FRAME_SIZE": "120",
        "NN_OUTPUT_COUNT": "3",
        "LABEL_COUNT": "3",
        "TFLITE_INPUT_DATATYPE": "9",
        "QUANTIZATION_ENABLED": "1",
        "COMPILED": "1",
        "INFERENCING_ENGINE": "2",
        "OBJECT_DETECTION": "0",
        "THRESHOLD": "0.6f",
        "TFLITE_LARGEST_ARENA_SIZE": str(compile_model(contents.models[variant]).arena_bytes),
    }
    assert {key: found[f"EI_CLASSIFIER_{key}"] for key in wanted} == wanted
    versions = [found[f"EI_STUDIO_VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(versions) == edge_impulse.SDK_VERSION


def test_object_detection_has_no_background_among_its_labels() -> None:
    found, variables = macros(library("fomo")), library("fomo")["model-parameters/model_variables.h"].decode()
    assert (found["EI_CLASSIFIER_LABEL_COUNT"], found["EI_CLASSIFIER_NN_OUTPUT_COUNT"]) == ("2", "192")
    assert (found["EI_HAS_FOMO"], found["EI_CLASSIFIER_OBJECT_DETECTION_LAST_LAYER"]) == ("1", "2")
    assert "background" not in variables
    assert "ei_fill_result_fomo_i8_config_t" in variables
    assert (
        "ei_fill_result_fomo_f32_config_t"
        in library("fomo-float32")["model-parameters/model_variables.h"].decode()
    )


def test_what_the_sdk_cannot_run_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot pull rows"):
        library("int8", "streamed-input")
    wide = Network((16, 24, 3), DETECTOR, **STUDIO)
    _, contents = contents_of("fomo")
    changed = dataclasses.replace(contents, models={"int8": wide.model()}, input_shape=wide.shape)
    with pytest.raises(UsageError, match="as a square, this one has 8 x 12 cells"):
        edge_impulse.files(BuildRequest("cpp", flavor="edge-impulse"), changed)
    unsigned = dataclasses.replace(
        contents, models={"int8": Network((16, 16, 3), DETECTOR, edges="uint8").model()}
    )
    with pytest.raises(UsageError, match="whose input is uint8"):
        edge_impulse.files(BuildRequest("cpp", flavor="edge-impulse"), unsigned)


def test_a_folder_that_is_no_sdk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not Edge Impulse's inferencing SDK") as caught:
        sdk.find_sdk(tmp_path)
    assert edge_impulse.SDK_VERSION in caught.value.hint


def made_up_sdk(folder: Path) -> Path:
    """As much of an SDK as is looked for before anything is compiled."""
    for name in (sdk.LANDMARK, ".git/config", "dsp/memory.cpp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_an_assembly_replaces_an_earlier_one_and_leaves_what_is_the_users(tmp_path: Path) -> None:
    source, folder = made_up_sdk(tmp_path / "mine"), tmp_path / "library"
    assert sdk.find_sdk(source) == source
    sdk.assemble({"a/b.h": b"old"}, source, folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "edge-impulse-sdk" / "stale.h").write_text("of another version")
    (source / "dsp" / "memory.cpp").write_text("new")
    sdk.assemble({"a/b.h": b"new"}, source, folder)
    assert (folder / "a" / "b.h").read_bytes() == b"new"
    assert (folder / "notes.txt").read_text() == "mine"
    found = {path.name for path in (folder / "edge-impulse-sdk").rglob("*") if path.is_file()}
    assert found == {"ei_run_classifier.h", "memory.cpp"}
    assert (folder / "edge-impulse-sdk" / "dsp" / "memory.cpp").read_text() == "new"
    assert {path.name for path in folder.iterdir()} == {"a", "edge-impulse-sdk", "notes.txt"}
    assert sdk.find_sdk(folder) == folder / "edge-impulse-sdk"
    sdk.assemble({"a/b.h": b"again"}, folder / "edge-impulse-sdk", folder)
    assert (folder / "edge-impulse-sdk" / "dsp" / "memory.cpp").read_text() == "new"
    assert not sdk.is_pinned(source)


def test_an_assembly_inside_the_sdk_is_refused(tmp_path: Path) -> None:
    source = made_up_sdk(tmp_path / "edge-impulse-sdk")
    before = sorted(source.rglob("*"))
    for folder in (source, source / "projects" / "door", tmp_path / "link" / "door"):
        if not (tmp_path / "link").exists():
            (tmp_path / "link").symlink_to(source)
        with pytest.raises(UsageError, match="lie one inside the other") as caught:
            sdk.assemble({"a.h": b""}, source, folder)
        assert "move the project out of" in caught.value.hint
    assert sorted(source.rglob("*")) == before
    nested = made_up_sdk(source / "nested")
    with pytest.raises(UsageError, match="lie one inside the other"):
        sdk.assemble({"a.h": b""}, nested, tmp_path)
    assert (nested / sdk.LANDMARK).is_file()


def test_the_image_block_in_integers_and_in_real_numbers() -> None:
    colours = np.array([[[[0, 0, 0], [255, 255, 255]], [[255, 0, 0], [10, 20, 30]]]], np.uint8)
    studio, other = TensorFacts((1, 2, 2, 3), "int8", 1 / 255, -128), TensorFacts((1, 2, 2, 1), "int8", 0.01, -100)
    assert np.array_equal(sdk.network_input(colours, studio), colours.astype(np.int16) - 128)
    gray = dataclasses.replace(studio, shape=(1, 2, 2, 1))
    # (19595 r + 38469 g + 7471 b) >> 16: white is 254.
    assert sdk.network_input(colours, gray).reshape(-1).tolist() == [-128, 126, 76 - 128, 18 - 128]
    assert sdk.network_input(colours, other).reshape(-1).tolist() == [-100, 0, -70, -93]
    real = sdk.network_input(colours, TensorFacts((1, 2, 2, 3), "float32", 0.0, 0))
    assert real.max() == 1.0
    assert real.dtype == np.float32


def test_reference_output_is_what_litert_gives() -> None:
    variant, contents = contents_of("int8")
    model = contents.models[variant]
    pictures = sdk.noise(read_model_facts(model), 3)
    assert pictures.shape == (3, 12, 10, 3)
    output = reference_output(model, sdk.network_input(pictures, read_model_facts(model).input))
    assert (output.shape, output.dtype) == ((3, 3), np.int8)
    assert len({row.tobytes() for row in output}) > 1
