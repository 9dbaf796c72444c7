"""`eiauto compile`: C files in a folder, and nobody else's files lost."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ei_automation.cli.options import MEMORY
from ei_automation.schema.deployment import MEMORY_MODES
from tests.helpers import Cli
from tests.inference.tiny_models import float_model, int8_model

SHAPE = (6, 8, 3)
INT8 = int8_model(SHAPE, np.arange(3 * 144).reshape(3, 144) % 7)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "door.tflite"
    path.write_bytes(INT8)
    return path


def test_the_command_line_knows_every_kind_of_memory() -> None:
    assert tuple(MEMORY.choices) == MEMORY_MODES


def test_a_model_becomes_c_files_and_the_sizes_are_said(cli: Cli, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert cli("compile", model, "-o", folder) == 0
    assert "model.c, model.h, nn_" in cli.out
    assert "streamed (this one)" in cli.out
    assert cli("compile", model, "-o", folder, "--memory", "streamed-input", "--json") == 0
    document = cli.json()
    assert set(document["files"]) == {path.name for path in folder.iterdir()}
    assert set(document["arenas"]) == set(MEMORY_MODES)
    assert document["arena_bytes"] == document["arenas"]["streamed-input"]
    assert document["constant_bytes"] >= 3 * 144
    assert f"#define MODEL_ARENA_BYTES {document['arena_bytes']}\n" in (folder / "model.h").read_text()
    assert '#define MODEL_MEMORY "streamed-input"' in (folder / "model.h").read_text()


def test_two_models_share_a_folder_and_equal_runs_give_equal_bytes(cli: Cli, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert cli("compile", model, "-o", folder) == 0
    other = tmp_path / "float.tflite"
    other.write_bytes(float_model(SHAPE, np.ones((3, 144), np.float32)))
    assert cli("compile", other, "-o", folder, "--name", "second") == 0
    assert {"model.c", "second.c"} <= {path.name for path in folder.iterdir()}
    before = (folder / "model.c").read_bytes()
    assert cli("compile", model, "-o", folder) == 0
    assert (folder / "model.c").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "int precious;\n",
        "#ifndef NN_TYPES_H\n#define NN_TYPES_H\nint precious;\n#endif\n",
        "/* Types of neurons. */\n#ifndef NN_TYPES_H\n#define NN_TYPES_H\nint precious;\n#endif\n",
    ],
)
def test_a_file_with_the_name_of_a_kernel_is_not_ours_for_that(
    cli: Cli, model: Path, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "nn_types.h").write_text(text)
    assert cli("compile", model, "-o", folder) == 2
    assert "not compiled by eiauto: nn_types.h" in cli.err
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("nn_types.h", text)]
    assert cli("compile", model, "-o", folder, "--force") == 0
    whole = (folder / "nn_types.h").read_bytes()
    (folder / "nn_types.h").write_bytes(whole.replace(b"\n", b"\r\n"))
    assert cli("compile", model, "-o", folder) == 0
    assert (folder / "nn_types.h").read_bytes() == whole


@pytest.mark.parametrize("name", ["main.c", "model.h", "nn_mine.h", "notes"])
def test_files_of_others_are_refused_and_kept(cli: Cli, model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text("int mine;\n")
    assert cli("compile", model, "-o", folder) == 2
    assert f"holds what was not compiled by eiauto: {name}" in cli.err
    assert "--force" in cli.err
    assert [path.name for path in folder.iterdir()] == [name]
    assert cli("compile", model, "-o", folder, "--force") == 0
    assert ((folder / name).read_text() == "int mine;\n") == (name != "model.h")
    assert (folder / "model.c").is_file()


def test_labels_from_a_file_a_list_and_a_deployment(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("no one\r\nperson\r\ndög\r\n".encode())
    expected = '"no one", "person", "d\\303\\266g"'
    for labels in (str(tmp_path / "labels.txt"), "no one, person,dög"):
        assert cli("compile", model, "-o", tmp_path / "out", "--labels", labels) == 0
        assert expected in (tmp_path / "out" / "model.c").read_text()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("trained.tflite", INT8)
        archive.writestr("labels.txt", "no one\nperson\ndög")
    assert cli("compile", tmp_path / "a.zip", "-o", tmp_path / "zipped") == 0
    assert expected in (tmp_path / "zipped" / "model.c").read_text()


@pytest.mark.parametrize(
    ("labels", "code", "words"),
    [
        ("a,b", 2, "2 labels for a model whose output has 3 channels"),
        ("a,,b", 2, "a label is empty"),
        ("absent.txt", 4, "no labels file absent.txt"),
        ("binary", 2, "is no UTF-8 text"),
    ],
)
def test_labels_that_are_wrong(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str, code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert cli("compile", model, "-o", tmp_path / "out", "--labels", labels) == code
    assert words in cli.err
    assert not (tmp_path / "out").exists()


def test_a_model_with_a_zip_behind_it_is_a_model(cli: Cli, tmp_path: Path) -> None:
    """TFLite's metadata puts labels behind the model as a zip."""
    path = tmp_path / "metadata.tflite"
    path.write_bytes(INT8)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "a\nb\nc")
    assert zipfile.is_zipfile(path)
    assert cli("compile", path, "-o", tmp_path / "out") == 0


def test_what_is_no_model_is_refused(cli: Cli, project: Path, tmp_path: Path) -> None:
    assert cli("compile", tmp_path / "absent.tflite", "-o", tmp_path / "out") == 4
    assert cli("compile", project, "-o", tmp_path / "out") == 2
    assert "is a project" in cli.err
    assert "eiauto deploy" in cli.err
    (tmp_path / "rubbish.tflite").write_bytes(os.urandom(500))
    assert cli("compile", tmp_path / "rubbish.tflite", "-o", tmp_path / "out") == 8
    assert cli("compile", tmp_path / "rubbish.tflite") == 2
    (tmp_path / "file").write_text("")
    (tmp_path / "good.tflite").write_bytes(INT8)
    assert cli("compile", tmp_path / "good.tflite", "-o", tmp_path / "file") == 2
    assert cli("compile", tmp_path / "good.tflite", "-o", tmp_path / "out", "--name", "int") == 2
    assert cli("compile", tmp_path / "good.tflite", "-o", tmp_path / "out", "--name", "string") == 2
    assert "would hide the C library's" in cli.err
    assert not (tmp_path / "out").exists()
