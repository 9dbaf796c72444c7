"""`eiauto compile`: a .tflite model as C files in a folder."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model
from ei_automation.deployment.cpp import arenas
from ei_automation.errors import NotFoundError, UsageError
from ei_automation.files import storage_errors, write_atomically
from ei_automation.schema.deployment import Memory
from ei_automation.workflow.manifest import FILE_NAME

DOING = "writing the compiled model"
TFLITE_MARK = b"TFL3"
"""At byte 4 of a .tflite file, the identifier of its flatbuffer."""
OUR_MARK = b"Made by eiauto"
"""In the first line of what the compiler writes."""
KERNEL_PREFIX = "nn_"
LONGEST_LABELS = 1_000_000
"""Bytes; what is longer is no labels file."""


@dataclass(frozen=True)
class Compiled:
    """C files that were written.

    Attributes:
        folder: Where.
        files: Their names, sorted.
        memory: How they keep tensors.
        arena_bytes: Static RAM.
        constant_bytes: Weights and tables in flash; the code comes on top.
        arenas: Static RAM with each kind of memory, bytes.
        operators: How many are left of the model's after folding.
    """

    folder: Path
    files: tuple[str, ...]
    memory: Memory
    arena_bytes: int
    constant_bytes: int
    arenas: Mapping[Memory, int]
    operators: int


def compile_file(
    source: Path,
    folder: Path,
    *,
    memory: Memory = "streamed",
    name: str = "model",
    labels: str = "",
    force: bool = False,
) -> Compiled:
    """Compile a model and write the C files.

    Args:
        source: A .tflite file, or a deployment (zip or folder) that holds one and its labels.
        folder: Where the files go.
        memory: How tensors are kept.
        name: Begins the names of files, functions and macros.
        labels: A file with one label a line, or the labels with commas between them; empty for the deployment's.
        force: Write into a folder that holds other files too.

    Raises:
        NotFoundError: There is no such model.
        UsageError: Labels or name do not fit, or the folder holds files of others.
        VerificationError: The model cannot be compiled; the sentence names the operator.
        StorageError: The folder cannot be written.
    """
    model, known = read_model(source)
    options = CompileOptions(memory, name, source.stem, read_labels(labels) if labels else known)
    compiled = compile_model(model, options)
    if not force:
        refuse_foreign_files(folder, compiled)
    for file in sorted(compiled.files):
        write_atomically(folder / file, compiled.files[file], doing=DOING)
    return Compiled(
        folder,
        tuple(sorted(compiled.files)),
        memory,
        compiled.arena_bytes,
        compiled.constant_bytes,
        arenas(compiled),
        len(compiled.calls),
    )


def read_model(source: Path) -> tuple[bytes, tuple[str, ...]]:
    """A model's bytes, and its labels where the source has some.

    Raises:
        NotFoundError: There is none.
        UsageError: The source is a project.
    """
    if (source / FILE_NAME).is_file():
        raise UsageError(
            f"{source} is a project, not a model",
            hint=f"use `eiauto deploy {source} --target cpp`, or name a .tflite file or a deployment",
        )
    if source.is_dir() or (source.is_file() and _is_zip(source)):
        from ei_automation.deployment.recognise import recognise

        found = recognise(source)
        return found.model, found.labels
    if not source.is_file():
        raise NotFoundError(
            f"there is no model {source}", hint="name a .tflite file, or a deployment's zip or folder"
        )
    with storage_errors(source, "reading a model"):
        return source.read_bytes(), ()


def _is_zip(path: Path) -> bool:
    """Whether a file is a zip; a .tflite file with metadata is one too at its end."""
    with storage_errors(path, "reading a model"), path.open("rb") as stream:
        return stream.read(8)[4:] != TFLITE_MARK and zipfile.is_zipfile(path)


def read_labels(text: str) -> tuple[str, ...]:
    """Labels from a file, one a line, or from the text itself, with commas between them.

    Raises:
        UsageError: The file is no text, or a label is empty.
    """
    path = Path(text)
    if path.is_file():
        with storage_errors(path, "reading labels"):
            content = path.read_bytes()[:LONGEST_LABELS]
        try:
            labels = content.decode("utf-8-sig").strip("\r\n").splitlines()
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is no UTF-8 text", hint="give a file with one label a line") from error
    elif text and path.is_dir():
        raise UsageError(f"{path} is a folder", hint="give a file with one label a line, or labels with commas")
    elif path.suffix == ".txt":
        raise NotFoundError(f"there is no labels file {path}", hint="check --labels")
    else:
        labels = text.split(",")
    found = tuple(label.strip() for label in labels)
    if "" in found:
        raise UsageError("a label is empty", hint="give one label a line, or labels with one comma between them")
    return found


def refuse_foreign_files(folder: Path, compiled: CompiledModel) -> None:
    """Refuse a folder with files that no compilation of ours made.

    Raises:
        UsageError: It has some.
    """
    if folder.is_file():
        raise UsageError(f"{folder} is a file", hint="name a folder with -o")
    if not folder.is_dir():
        return
    with storage_errors(folder, DOING):
        foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path, compiled))
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UsageError(
            f"{folder} holds what was not compiled by eiauto: {foreign[0]}{more}",
            hint="name a new folder, or add --force: it replaces files of the same name and leaves the others",
        )


def _is_ours(path: Path, compiled: CompiledModel) -> bool:
    """Whether a file was written by an earlier compilation: said by its content, not by its name."""
    if not path.is_file() or path.suffix not in (".h", ".c"):
        return False
    content = path.read_bytes().replace(b"\r\n", b"\n")
    first = content.partition(b"\n")[0]
    if not path.name.startswith(KERNEL_PREFIX):
        return OUR_MARK in first
    own = compiled.files.get(path.name)
    # One that is not written now may be another model's: nothing is lost where it is not.
    is_comment = first.startswith(b"/* ") if own is None else first == own.partition(b"\n")[0]
    guard = path.stem.upper().encode() + b"_H"
    return is_comment and b"\n#ifndef %b\n#define %b\n" % (guard, guard) in content


__all__ = ["Compiled", "compile_file", "read_labels", "read_model", "refuse_foreign_files"]
