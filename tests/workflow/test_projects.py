"""The published projects' manifests on data with the layout of their sources."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.dataset.kaggle_server import Kaggle, serve
from tests.helpers import COLOURS, noisy

PROJECTS = Path(__file__).resolve().parents[2] / "projects"


def copy_project(name: str, folder: Path, **changes: str) -> Path:
    """A project's manifest and tables, with some of its text changed."""
    target = folder / name
    target.mkdir()
    for path in (PROJECTS / name).iterdir():
        if path.is_file() and path.suffix in (".toml", ".csv"):
            shutil.copy(path, target / path.name)
    text = (target / "project.toml").read_text()
    for before, after in changes.items():
        wanted = before.replace("__", " ")
        assert wanted in text
        text = text.replace(wanted, after)
    (target / "project.toml").write_text(text)
    return target


@pytest.fixture
def colon(tmp_path) -> Path:
    """A small set in the layout of the Kaggle colon set, spaces and parentheses included."""
    colours = [*COLOURS.values(), (120, 120, 120)]
    folders = ("0_normal", "1_ulcerative_colitis", "2_polyps", "3_esophagitis")
    for part, count in (("train", 10), ("val", 6), ("test", 5)):
        for place, (name, colour) in enumerate(zip(folders, colours, strict=True)):
            folder = tmp_path / "colon" / part / name
            folder.mkdir(parents=True)
            for number in range(1, count + 1):
                seed = 10_000 * len(part) + 100 * place + number + (50 if part == "val" else 0)
                (folder / f"{part}_{name[2:]}_ ({number}).jpg").write_bytes(noisy(colour, seed, 100))
    return tmp_path / "colon"


def test_gastroscopy_takes_three_of_four_classes_and_the_sources_categories(cli, tmp_path, colon):
    project = copy_project("gastroscopy", tmp_path)
    assert cli("sync", project, "--from", colon, "--json") == 0
    counts = cli.json()["dataset"]["counts"]["main"]
    labels = ("esophagitis", "normal", "polyps")
    assert counts == {
        "training": dict.fromkeys(labels, 10),
        "validation": dict.fromkeys(labels, 6),
        "testing": dict.fromkeys(labels, 5),
    }
    assert cli.json()["dataset"]["origin"]["overridden"] is True


def test_gastroscopy_from_kaggle_through_a_bad_line_then_offline(cli, tmp_path, colon, monkeypatch):
    """The real Kaggle client against a loopback server that drops the line and is busy once."""
    archive = Path(shutil.make_archive(str(tmp_path / "served"), "zip", colon)).read_bytes()
    state = Kaggle(archive=archive, version=7, slug="francismon/curated-colon-dataset-for-deep-learning")
    state.storage_faults = [("drop", 20_000), 503]
    server = serve(state)
    try:
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{state.port}")
        monkeypatch.setenv("NO_PROXY", "")
        project = copy_project("gastroscopy", tmp_path)
        assert cli("sync", project, "--json") == 0
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
    origin = cli.json()["dataset"]["origin"]
    assert origin["reference"] == "francismon/curated-colon-dataset-for-deep-learning/7"
    assert origin["archive_sha256"] == hashlib.sha256(archive).hexdigest()
    assert len(state.ranges) == 3
    shutil.rmtree(project / ".eiauto")
    monkeypatch.setenv("EIAUTO_OFFLINE", "1")
    assert cli("sync", project) == 0


def test_gastroscopy_says_the_three_ways_on_where_the_weights_are_missing(cli, tmp_path, colon, monkeypatch):
    monkeypatch.setenv("EIAUTO_OFFLINE", "1")
    project = copy_project("gastroscopy", tmp_path)
    assert cli("reproduce", project, "--from", colon) in (4, 5)
    for way in ("--weights PATH", "(2) put mobilenet_v2", 'weights = "none"'):
        assert way in cli.err


@pytest.mark.slow
@pytest.mark.ci
def test_gastroscopy_from_scratch_says_so_everywhere(cli, tmp_path, colon):
    block = 'type = "keras-transfer-image"\nweights = "none"'
    project = copy_project(
        "gastroscopy",
        tmp_path,
        **{'type = "keras-transfer-image"': block, "training_cycles = 35": "training_cycles = 2"},
    )
    assert cli("reproduce", project, "--from", colon) == 0
    assert "trained from scratch" in cli.out
    assert cli("report", project) == 0
    assert "trained from scratch" in (project / "report.html").read_text()
    lock = json.loads((project / "project.lock.json").read_text())
    assert lock["splits"]["main"]["training"]["weights"] == {"sha256": None, "source": "none"}
    assert lock["splits"]["main"]["training"]["validation_count"] == 18


def test_nicla_fruit_reads_an_openmv_data_set(cli, tmp_path):
    project = copy_project("nicla-fruit", tmp_path)
    colours = {**COLOURS, "unknown": (90, 90, 90)}
    for place, (label, colour) in enumerate(colours.items()):
        folder = project / "data" / f"{label}.class"
        folder.mkdir(parents=True)
        for number in range(6):
            (folder / f"{number:05}.jpg").write_bytes(noisy(colour, 100 * place + number, 60))
    (project / "data" / "labels.txt").write_text("\n".join(colours) + "\n")
    assert cli("sync", project, "--json") == 0
    assert cli.json()["dataset"]["labels"] == ["blue", "green", "red", "unknown"]


def test_blood_cells_says_that_the_published_split_leaks(cli, tmp_path, shared_data):
    small = shared_data / "blood-cells"
    project = copy_project("blood-cells", tmp_path, **{'leave_out = ["TEST_SIMPLE"]': ""})
    assert (
        cli("sync", project, "--from", small / "blood-cells.zip", "--groups", small / "groups.csv", "--json") == 0
    )
    dataset = cli.json()["dataset"]
    messages = [finding["message"] for finding in dataset["findings"]]
    assert any("1,120 files were made of" in message for message in messages)
    leak = next(f for f in dataset["findings"] if f["code"] == "group-leak" and "`main`" in f["message"])
    assert leak["count"] > 150
    for split in ("grouped", "official"):
        assert any(f"split `{split}`: none of" in message for message in messages)
    assert dataset["counts"]["official"]["testing"] == dict.fromkeys(dataset["labels"], 60)
