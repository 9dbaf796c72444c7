"""The C++ library: its example gives what LiteRT's reference kernels give, with every memory and compiler."""

from __future__ import annotations

import dataclasses
import io
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.toolchain import build as compile_c
from ei_automation.compiler.toolchain import host_compiler
from ei_automation.deployment import cpp
from ei_automation.deployment.contents import BuildContents
from ei_automation.deployment.model_facts import read_model_facts, reference_output
from ei_automation.deployment.recognise import recognise
from ei_automation.deployment.targets import build
from ei_automation.errors import NotFoundError, UsageError, VerificationError
from ei_automation.schema.deployment import MEMORY_MODES, BuildRequest, Memory
from tests.deployment.kinds import MODELS, contents_of, pictures

STRICT = ("-Wall", "-Wextra", "-Werror")
COMPILERS = [
    ("gcc", ("-std=c99", "-pedantic")),
    ("g++", ("-std=c++17", "-x", "c++")),
    ("clang", ("-std=c99", "-pedantic")),
    ("clang++", ("-std=c++17", "-x", "c++")),
]


def library(kind: str, memory: Memory = "streamed") -> dict[str, bytes]:
    variant, contents = contents_of(kind)
    with zipfile.ZipFile(
        io.BytesIO(build(BuildRequest("cpp", variant=variant, memory=memory), contents))
    ) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def program(kind: str, memory: Memory, folder: Path) -> Path:
    """The example, built by whatever C compiler there is."""
    compiler = host_compiler()
    if compiler is None:
        pytest.skip("this machine has no C compiler")
    place = folder / "classify"
    arguments = ["-std=c99", "-O1", *STRICT, "main.c", "model.c", "-lm"]
    place.write_bytes(compile_c(compiler, library(kind, memory), arguments, "classify"))
    place.chmod(0o755)
    return place


def said(place: Path, *paths: Path) -> str:
    return subprocess.run([place, *paths], capture_output=True, check=True).stdout.decode()


def expected(kind: str, images: np.ndarray) -> np.ndarray:
    """Scores, as real numbers, of images: uint8, (N, height, width, 3)."""
    variant, contents = contents_of(kind)
    model = contents.models[variant]
    facts = read_model_facts(model)
    colours = images.astype(np.int64)
    if facts.input.shape[-1] == 1:
        colours = (colours @ np.array([299, 587, 114]) + 500)[..., None] // 1000
    real = colours.astype(np.float32) / np.float32(255)
    if variant == "float32":
        return reference_output(model, real)
    stored = np.floor(real / np.float32(facts.input.scale) + np.float32(0.5)) + facts.input.zero_point
    output = reference_output(model, np.clip(stored, -128, 127).astype(np.int8))
    return (output.astype(np.float32) - facts.output.zero_point) * np.float32(facts.output.scale)


@pytest.mark.parametrize("memory", MEMORY_MODES)
@pytest.mark.parametrize("kind", [kind for kind in MODELS if not kind.startswith("fomo")])
def test_the_example_gives_the_reference_kernels_scores(kind: str, memory: Memory, tmp_path: Path) -> None:
    images, place = pictures(kind, 4), program(kind, memory, tmp_path)
    for image, scores in zip(images, expected(kind, images), strict=True):
        (tmp_path / "image.rgb").write_bytes(image.tobytes())
        lines = [line.rpartition(": ") for line in said(place, tmp_path / "image.rgb").splitlines()]
        assert [label for label, _, _ in lines] == list(contents_of(kind)[1].labels)
        assert [float(score) for _, _, score in lines] == pytest.approx(scores.tolist(), abs=1e-6)


@pytest.mark.parametrize("kind", ["fomo", "fomo-float32"])
def test_object_detection_names_the_cells_with_objects(kind: str, tmp_path: Path) -> None:
    images, place = pictures(kind, 2), program(kind, "streamed", tmp_path)
    labels, cells = contents_of(kind)[1].labels, 0
    for image, grid in zip(images, expected(kind, images), strict=True):
        (tmp_path / "image.rgb").write_bytes(image.tobytes())
        boxes = re.findall(
            r"(.*): (\S+) at x (\d+), y (\d+), width 2, height 2\n", said(place, tmp_path / "image.rgb")
        )
        best = grid.argmax(axis=-1)
        assert [(label, int(x) // 2, int(y) // 2) for label, _, x, y in boxes] == [
            (labels[best[y, x]], x, y) for y, x in np.argwhere(best > 0)
        ]
        assert [float(box[1]) for box in boxes] == pytest.approx(grid.max(axis=-1)[best > 0].tolist(), abs=1e-6)
        cells += len(boxes)
    assert cells > 0


@pytest.mark.parametrize("kind", ["int8", "gray"])
def test_the_example_reads_raw_ppm_and_pgm_and_refuses_the_rest(kind: str, tmp_path: Path) -> None:
    place = program(kind, "planned", tmp_path)
    gray = pictures(kind, 1)[0, ..., :1]
    raw = gray.tobytes()
    rgb = gray.repeat(3, axis=-1).tobytes()
    files = {
        "gray.raw": raw,
        "rgb.raw": rgb,
        "a.pgm": b"P5\n# made by hand\n10 12\n255\n" + raw,
        "a.ppm": b"P6 10 12 255\n" + rgb,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    answers = {said(place, tmp_path / name) for name in files}
    assert len(answers) == 1
    together = said(place, *(tmp_path / name for name in files))
    assert together.count(answers.pop()) == len(files)
    for wrong in (b"", b"P6 12 10 255\n" + rgb, raw[:-1], b"P5 10 12 65535\n" + raw, b"P6 # no end"):
        (tmp_path / "wrong").write_bytes(wrong)
        ran = subprocess.run([place, tmp_path / "wrong"], capture_output=True, check=False)
        assert ran.returncode == 1
        assert b"10 x 12 pixels" in ran.stderr
    assert subprocess.run([place, tmp_path / "absent"], capture_output=True, check=False).returncode == 1
    assert subprocess.run([place], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(("compiler", "language"), COMPILERS)
def test_no_compiler_warns(compiler: str, language: tuple[str, ...], tmp_path: Path) -> None:
    path = shutil.which(compiler)
    if path is None:
        pytest.skip(f"{compiler} is not installed")
    for kind, memory in (("int8", "streamed"), ("fomo", "streamed-input"), ("gray-float32", "planned")):
        folder = tmp_path / kind
        folder.mkdir()
        for name, content in library(kind, memory).items():
            (folder / name).write_bytes(content)
        command = [path, *language, *STRICT, "-c", "main.c", "model.c"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")


def test_the_cmake_project_builds(tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None or host_compiler() is None or not (shutil.which("make") or shutil.which("ninja")):
        pytest.skip("this machine has no cmake, or nothing to build with")
    for name, content in library("float32").items():
        (tmp_path / name).write_bytes(content)
    ninja = [] if shutil.which("make") else ["-G", "Ninja"]
    subprocess.run([cmake, *ninja, "-B", "build"], cwd=tmp_path, capture_output=True, check=True)
    subprocess.run([cmake, "--build", "build"], cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / "image.rgb").write_bytes(pictures("float32", 1)[0].tobytes())
    assert len(said(tmp_path / "build" / "classify", tmp_path / "image.rgb").splitlines()) == 3


def test_the_readme_says_how_to_call_each_kind_of_memory() -> None:
    streamed, pulled = (library("int8", memory)["README.md"].decode() for memory in ("streamed", "streamed-input"))
    assert "image[i] = (model_input_t)(pixels[i] - 128);" in streamed
    assert "static int camera_row(void *context, int row, model_input_t *destination)" in pulled
    assert "*pixel >> 11" in pulled
    assert (
        "destination[x] = (model_input_t)(pixel[x] - 128);"
        in library("gray", "streamed-input")["README.md"].decode()
    )
    rows = re.findall(r"^\| (planned|streamed|streamed-input) \| ([\d,]+) \|", streamed, re.MULTILINE)
    sizes = [int(size.replace(",", "")) for _, size in rows]
    assert [mode for mode, _ in rows] == list(MEMORY_MODES)
    assert sizes[0] >= sizes[1] > sizes[2] > 0
    assert "fit-short" in streamed


def test_the_readmes_examples_compile(tmp_path: Path) -> None:
    compiler = host_compiler()
    if compiler is None:
        pytest.skip("this machine has no C compiler")
    for kind, memory in (("int8", "streamed"), ("int8", "streamed-input"), ("gray", "streamed-input")):
        files = library(kind, memory)
        (example,) = re.findall(r"```c\n(.*?)```", files["README.md"].decode(), re.DOTALL)
        before, _, calls = example.partition("model_input_t *image") if memory == "streamed" else (example, "", "")
        if memory == "streamed":
            calls = f"model_input_t *image{calls}"
        else:
            before, _, calls = example.partition("\nmodel_output_t scores")
            calls = f"model_output_t scores{calls}"
        globals_ = "static unsigned char frame_buffer[1 << 16], *pixels = frame_buffer;\n"
        used = "(void)pixels; (void)frame_buffer;"
        files["readme.c"] = f"{before}{globals_}int main(void) {{ {used} {calls} return 0; }}".encode()
        assert compile_c(compiler, files, ["-std=c99", *STRICT, "readme.c", "model.c"], "readme")


def test_compiled_deployments_are_recognised_in_words(tmp_path: Path) -> None:
    variant, contents = contents_of("int8")
    path = tmp_path / "a.zip"
    for flavor, words in (("", "a C++ library"), ("edge-impulse", "for Edge Impulse's inferencing SDK")):
        path.write_bytes(build(BuildRequest("cpp", variant=variant, flavor=flavor), contents))
        with pytest.raises(NotFoundError, match=re.escape(words)) as caught:
            recognise(path)
        assert "compiled code" in caught.value.message
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / f"folder{flavor}")
        with pytest.raises(NotFoundError, match=re.escape(words)):
            recognise(tmp_path / f"folder{flavor}")
    (tmp_path / "a.eim").write_bytes(b"\x7fELF and so on")
    with pytest.raises(NotFoundError, match="a Linux program"):
        recognise(tmp_path / "a.eim")


def test_what_cannot_be_built_is_refused() -> None:
    variant, contents = contents_of("fomo")
    with pytest.raises(VerificationError, match="must be background, it is green"):
        build(BuildRequest("cpp"), dataclasses.replace(contents, labels=("green", "b", "c")))
    with pytest.raises(VerificationError, match=r"gives \(1, 8, 8, 3\), the project has 3 labels"):
        build(BuildRequest("openmv"), contents)
    with pytest.raises(NotFoundError, match="no float32 model"):
        build(BuildRequest("cpp", variant="float32"), contents)
    with pytest.raises(UsageError, match="cannot be built with engine"):
        build(BuildRequest("cpp", engine="tflite-eon"), contents)
    assert variant == "int8"


def test_a_big_library_of_the_trainer_has_labels_and_names(contents: BuildContents) -> None:
    files = cpp.files(BuildRequest("cpp"), contents)
    assert files["labels.txt"].decode().split("\n") == list(contents.labels)
    assert {"model.c", "model.h", "main.c", "CMakeLists.txt", "README.md", "nn_types.h"} <= set(files)
    assert b'#define MODEL_NAME "watch-dog"' in files["model.h"]
