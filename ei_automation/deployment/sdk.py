"""Edge Impulse's inferencing SDK, which the user brings: put it beside our library, and see that it runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ei_automation.compiler.toolchain import CCompiler, build, has_zig, host_compiler, zig
from ei_automation.deployment.edge_impulse import (
    COMPILED_NAME,
    EXAMPLE_NAME,
    LABELS_NAME,
    SDK_FOLDER,
    SDK_VERSION,
)
from ei_automation.deployment.model_facts import ModelFacts, TensorFacts, read_model_facts, reference_output
from ei_automation.errors import JobFailedError, NotFoundError, UsageError, VerificationError
from ei_automation.files import storage_errors, write_atomically

DOING = "putting Edge Impulse's SDK and the library together"
LANDMARK = "classifier/ei_run_classifier.h"
INTERFACES = (
    "classifier/ei_classifier_config.h",
    "classifier/ei_classifier_types.h",
    "classifier/ei_constants.h",
    "classifier/ei_model_types.h",
    "classifier/ei_run_dsp.h",
    "classifier/inferencing_engines/tflite_eon.h",
    "classifier/inferencing_engines/tflite_helper.h",
    "classifier/postprocessing/ei_postprocessing.h",
    "classifier/postprocessing/ei_postprocessing_common.h",
    "classifier/postprocessing/ei_postprocessing_types.h",
    LANDMARK,
)
"""What our files are written for. The SDK states its version nowhere: it is known by the content of these."""
PINNED_SHA256 = "d5ac909b9dc4f944e5d7778f8e76fd61e84ba3094642625a8d1e3cba259ff616"
"""Of these files in release 1.93.20, one behind the other, lines ending in LF."""
NEEDED = ("porting/posix/*.cpp", "dsp/memory.cpp", "dsp/kissfft/*.cpp")
"""All of the SDK that a program on a computer needs beside a compiled network."""
ARGUMENTS = ("-std=c++17", "-O2", "-w")
TOLERANCES = {"int8": 1e-6, "float32": 1e-5}
"""Largest difference of two equal scores: of how they are printed; of float32, exp() of another C library too."""
RUN_TIMEOUT_S = 120.0
LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601-2, as the SDK's image block has it."""
IMAGE_SEED = 3
MARGIN = 0.001
"""How far the threshold of a check lies under the scores that it must let pass."""


@dataclass(frozen=True)
class SdkCheck:
    """What run_classifier() gave.

    Attributes:
        compiler: That built the example, with its version.
        images: How many were classified.
        scores: How many scores were compared with LiteRT's reference kernels.
        difference: The largest one between them.
    """

    compiler: str
    images: int
    scores: int
    difference: float


def find_sdk(path: Path) -> Path:
    """The SDK's folder: the one given, or one inside it.

    Raises:
        NotFoundError: It is neither.
    """
    for folder in (path, path / SDK_FOLDER):
        if (folder / LANDMARK).is_file():
            return folder
    raise NotFoundError(
        f"{path} is not Edge Impulse's inferencing SDK: it has no {LANDMARK}",
        hint=f"give a checkout of https://github.com/edgeimpulse/inferencing-sdk-cpp, version v{SDK_VERSION}",
    )


def is_pinned(sdk: Path) -> bool:
    """Whether it is the release that our files are written for."""
    digest = sha256()
    for name in INTERFACES:
        path = sdk / name
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") if path.is_file() else b"")
    return digest.hexdigest() == PINNED_SHA256


def assemble(library: Mapping[str, bytes], sdk: Path, folder: Path) -> Path:
    """Put a library and a copy of the SDK into one folder, as Studio's C++ library is laid out.

    Args:
        library: Name in the library, with `/`, to content.
        sdk: The user's, from `find_sdk`.
        folder: Where; what is there of an earlier assembly is replaced.

    Returns:
        The folder.

    Raises:
        UsageError: The copy would lie inside the SDK, or replace a folder with the SDK in it.
        StorageError: It cannot be written.
    """
    place = folder / SDK_FOLDER
    _refuse_nested(place, sdk)
    with storage_errors(folder, DOING):
        folder.mkdir(parents=True, exist_ok=True)
        if not (place.exists() and place.samefile(sdk)):
            part = Path(tempfile.mkdtemp(dir=folder, prefix=f".{SDK_FOLDER}."))
            try:
                shutil.copytree(sdk, part, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True)
                shutil.rmtree(place, ignore_errors=True)
                part.chmod(0o755)
                part.replace(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    for name, content in library.items():
        write_atomically(folder / name, content, doing=DOING)
    return folder


def _refuse_nested(place: Path, sdk: Path) -> None:
    """Refuse a copy that would hold itself, or in whose place the SDK lies."""
    target, source = place.resolve(), sdk.resolve()
    if target != source and (target.is_relative_to(source) or source.is_relative_to(target)):
        raise UsageError(
            "the library and Edge Impulse's SDK lie one inside the other",
            hint=f"move the project out of {sdk}, or give another copy of the SDK",
        )


def cpp_compiler() -> CCompiler | None:
    """A C++ compiler for this machine: its own, or zig's; None where there is neither."""
    host = host_compiler()
    path = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if host is not None and path is not None:
        return replace(host, name=Path(path).name, command=(path,))
    if has_zig():
        found = zig()
        return replace(found, name="zig c++", command=(*found.command[:-1], "c++"))
    return None


def check(folder: Path, model: bytes, *, images: int = 1) -> SdkCheck | None:
    """Build the example of an assembled folder, and hold its scores against LiteRT's reference kernels.

    Args:
        folder: From `assemble`.
        model: Bytes of the .tflite file that was compiled.
        images: How many images of noise are classified.

    Returns:
        What was found; None where there is no C++ compiler.

    Raises:
        JobFailedError: It does not compile, or the program fails.
        VerificationError: The scores are others.
    """
    compiler = cpp_compiler()
    if compiler is None:
        return None
    program = _build(compiler, folder)
    facts, labels = read_model_facts(model), (folder / LABELS_NAME).read_text(encoding="utf-8").split("\n")
    pictures = noise(facts, images)
    outputs = scores(reference_output(model, network_input(pictures, facts.input)), facts.output)
    wanted = [_label_scores(output, labels, facts) for output in outputs]
    said = _run(program, pictures, wanted, is_fomo=facts.is_fomo)
    found = [_label_boxes(text) if facts.is_fomo else _label_lines(text) for text in said]
    difference = _compare(found, wanted, TOLERANCES[facts.output.dtype])
    called = f"{compiler.name} ({compiler.version})"
    return SdkCheck(called, images, sum(map(len, wanted)), difference)


def noise(facts: ModelFacts, count: int) -> NDArray[np.uint8]:
    """Images of any brightness and contrast: uint8, (count, height, width, 3), the same on every machine."""
    _, height, width, _ = facts.input.shape
    random = np.random.default_rng(IMAGE_SEED)
    contrast = random.uniform(20, 120, (count, 1, 1, 1))
    coarse = random.normal(128, 50, (count, 4, 4, 3)).repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)
    pixels = coarse[:, :height, :width] + random.normal(0, 1, (count, height, width, 3)) * contrast
    found: NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)
    return found


def network_input(pictures: NDArray[np.uint8], tensor: TensorFacts) -> NDArray[np.int8] | NDArray[np.float32]:
    """What the SDK's image block makes of pictures, value by value.

    Its integer path, for Studio's quantization, rounds gray down; with every other it goes through real numbers.

    Args:
        pictures: uint8, (N, height, width, 3).
        tensor: The network's input.
    """
    gray = tensor.shape[-1] == 1
    if tensor.dtype == "int8" and np.float32(tensor.scale) == np.float32(1 / 255) and tensor.zero_point == -128:
        levels = pictures.astype(np.int32)
        if gray:
            factors = np.array([int(np.float32(factor) * np.float32(65536)) for factor in LUMA], np.int32)
            levels = (levels @ factors >> 16)[..., None]
        return (levels - 128).astype(np.int8)
    real = pictures.astype(np.float32) / np.float32(255)
    if gray:
        red, green, blue = (np.float32(factor) * real[..., place] for place, factor in enumerate(LUMA))
        real = (red + green + blue)[..., None]
    if tensor.dtype == "float32":
        return real
    stored: NDArray[np.int8] = (np.floor(real / np.float32(tensor.scale) + 0.5) + tensor.zero_point).astype(
        np.int8
    )
    return stored


def scores(output: NDArray[np.generic], tensor: TensorFacts) -> NDArray[np.float32]:
    """A network's output as real numbers."""
    if tensor.dtype == "float32":
        return output.astype(np.float32)
    return (output.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)


def _build(compiler: CCompiler, folder: Path) -> bytes:
    """The example program."""
    sdk = folder / SDK_FOLDER
    sources = [folder / EXAMPLE_NAME, folder / COMPILED_NAME]
    sources += [path for pattern in NEEDED for path in sorted(sdk.glob(pattern))]
    arguments = [*ARGUMENTS, f"-I{folder.resolve()}", *(str(path.resolve()) for path in sources)]
    try:
        return build(compiler, {}, arguments, "classify", doing="compiling run_classifier()")
    except JobFailedError as error:
        if is_pinned(sdk):
            raise
        raise JobFailedError(
            f"{error.message}; the SDK is not {SDK_VERSION}, for which the library is written",
            log_tail=error.log_tail,
            hint=f"give a checkout of v{SDK_VERSION}",
        ) from error


def _run(
    program: bytes, pictures: NDArray[np.uint8], wanted: Sequence[Mapping[str, float]], *, is_fomo: bool
) -> list[str]:
    """What the example program says of each picture; boxes with a threshold that every label passes."""
    with tempfile.TemporaryDirectory(prefix="eiauto-sdk-") as name:
        folder = Path(name)
        place, picture = folder / "classify", folder / "picture.rgb"
        said = []
        with storage_errors(folder, "running run_classifier()"):
            place.write_bytes(program)
            place.chmod(0o755)
            for pixels, expected in zip(pictures, wanted, strict=True):
                picture.write_bytes(pixels.tobytes())
                threshold = [f"{min(expected.values(), default=1.0) - MARGIN:.6f}"] if is_fomo else []
                said.append(_answer([place, picture, *threshold]))
    return said


def _answer(command: Sequence[str | Path]) -> str:
    """What the example program says of a picture."""
    try:
        ran = subprocess.run(command, capture_output=True, timeout=RUN_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise JobFailedError(f"run_classifier() did not end within {RUN_TIMEOUT_S:.0f} s") from error
    if ran.returncode != 0:
        lines = tuple((ran.stderr + ran.stdout).decode(errors="replace").splitlines())
        raise JobFailedError(f"run_classifier() ended with code {ran.returncode}", log_tail=lines[-20:])
    return ran.stdout.decode(errors="replace")


def _label_scores(output: NDArray[np.float32], labels: Sequence[str], facts: ModelFacts) -> dict[str, float]:
    """Label to score; of object detection to the best score of its cells where that is not 0, no background."""
    if not facts.is_fomo:
        return dict(zip(labels, output.tolist(), strict=True))
    best = output.reshape(-1, len(labels)).max(axis=0).tolist()
    return {label: score for label, score in zip(labels[1:], best[1:], strict=True) if score > 0}


def _label_lines(text: str) -> dict[str, float]:
    """Label to score, of a classification."""
    return {label: float(value) for label, _, value in (line.rpartition(": ") for line in text.splitlines())}


def _label_boxes(text: str) -> dict[str, float]:
    """Label to the best score of its boxes: the SDK joins neighbouring cells into one with the best of them."""
    found: dict[str, float] = {}
    for label, value in re.findall(r"^(.*): (\S+) at x \d+, y \d+, width \d+, height \d+$", text, re.MULTILINE):
        found[label] = max(float(value), found.get(label, 0.0))
    return found


def _compare(
    found: Sequence[Mapping[str, float]], wanted: Sequence[Mapping[str, float]], tolerance: float
) -> float:
    """The largest difference between two lists of scores.

    Raises:
        VerificationError: It is more than the tolerance, or there are others.
    """
    largest = 0.0
    for number, (ours, reference) in enumerate(zip(found, wanted, strict=True), 1):
        same = ours.keys() == reference.keys()
        difference = (
            max((abs(ours[label] - reference[label]) for label in reference), default=0.0) if same else 1.0
        )
        if not same or difference > tolerance:
            raise VerificationError(
                f"run_classifier() gives {ours} for image {number}, LiteRT's reference kernels give {reference}",
                hint=f"use the SDK's version {SDK_VERSION}, unchanged; if it is, please report this",
            )
        largest = max(largest, difference)
    return largest
