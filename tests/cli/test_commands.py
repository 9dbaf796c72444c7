"""Every command, as its user types it."""

import json
import re
import shutil
import zipfile

import pytest

from tests.helpers import COLOURS, make_data, make_project


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A reproduced project that the tests of this module only read."""
    from ei_automation.settings import Settings
    from ei_automation.workflow.project import open_session
    from ei_automation.workflow.reproduce import reproduce

    folder = make_project(tmp_path_factory.mktemp("trained") / "colours")
    make_data(folder / "data")
    settings = Settings.from_env({"EIAUTO_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))})
    reproduce(open_session(folder, settings))
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    """A copy to change."""
    return shutil.copytree(trained, tmp_path / "colours")


def test_the_verbs_work_one_by_one(cli, project):
    assert cli("sync", project) == 0
    assert "48 samples, 3 labels" in cli.out
    assert cli("train", project, "--json") == 0
    training = cli.json()
    assert training["unchanged"] is False
    assert training["training"]["training_count"] == 28
    assert "Epoch 3/3" in cli.err
    assert cli("test", project, "--json") == 0
    metrics = cli.json()["metrics"]
    assert {(m["variant"], m["category"]) for m in metrics} == {
        (v, c) for v in ("float32", "int8") for c in ("validation", "testing")
    }
    assert cli("deploy", project) == 0
    assert {path.name for path in (project / "deployments").iterdir()} == {
        "ei-colours-openmv.zip",
        "ei-colours-bundle.zip",
    }
    assert cli("verify", project) == 0


def test_reproduce_does_again_only_what_changed(cli, copy):
    lock = (copy / "project.lock.json").read_bytes()
    assert cli("reproduce", copy) == 0
    assert "Epoch" not in cli.err
    assert "Training" not in cli.err
    assert (copy / "project.lock.json").read_bytes() == lock
    assert cli("runs", "list", copy, "--json") == 0
    assert len(cli.json()["runs"]) == 1


def test_reproduce_prints_one_json_document(cli, copy):
    assert cli("reproduce", copy, "--json") == 0
    result = cli.json()
    assert result["project"] == "colours"
    assert result["splits"][0]["metrics"][0]["sample_count"] == 8
    assert len(result["deployments"]) == 2


def test_runs_show_and_diff_name_what_changed(cli, copy):
    manifest = copy / "project.toml"
    manifest.write_text(manifest.read_text().replace("training_cycles = 3", "training_cycles = 2"))
    assert cli("train", copy) == 0
    assert cli("test", copy) == 0
    assert cli("runs", "list", copy, "--json") == 0
    first, second = (run["run_id"] for run in cli.json()["runs"])
    assert cli("runs", "diff", copy, first, second, "--json") == 0
    changed = {item["key"]: (item["before"], item["after"]) for item in cli.json()["differences"]}
    assert changed["parameters.training_cycles"] == (3, 2)
    assert "models.int8.sha256" in changed
    assert cli("runs", "show", copy, first.split("-")[1]) == 0
    assert "training_cycles = 3" in cli.out
    assert cli("runs", "show", copy, "nothing") == 4
    assert "no run is called 'nothing'" in cli.err


def test_the_report_is_one_file_that_asks_for_nothing(cli, copy):
    assert cli("report", copy) == 0
    page = (copy / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["']https?://[^"']*\.(?:js|css|png|jpe?g|woff2?)""", page)
    for words in ("Confusion matrices", "Feature explorer", "Sample images", "training_cycles"):
        assert words in page


def test_the_openmv_library_has_studios_layout(trained):
    with zipfile.ZipFile(trained / "deployments" / "ei-colours-openmv.zip") as archive:
        assert set(archive.namelist()) == {"trained.tflite", "labels.txt", "ei_image_classification.py"}
        assert archive.read("labels.txt") == b"blue\ngreen\nred"


def test_verify_names_what_no_longer_matches(cli, copy):
    lock = json.loads((copy / "project.lock.json").read_text())
    broken, gone = lock["samples"][0], lock["samples"][1]
    contents = copy / ".eiauto" / "samples"
    (contents / broken["sha256"][:2] / broken["sha256"]).write_bytes(b"other")
    (contents / gone["sha256"][:2] / gone["sha256"]).unlink()
    (copy / "deployments" / "ei-colours-bundle.zip").write_bytes(b"other")
    model = next((copy / ".eiauto" / "local" / "main" / "trainings").glob("*/int8.tflite"))
    model.write_bytes(model.read_bytes()[:-1] + b"\0\0")
    assert cli("verify", copy, "--json") == 8
    checks = {check["name"]: check for check in cli.json()["checks"]}
    assert broken["name"] in checks["samples unaltered"]["detail"]
    assert gone["name"] in checks["samples present"]["detail"]
    failed = {name for name, check in checks.items() if not check["ok"]}
    assert failed == {
        "samples unaltered",
        "samples present",
        "int8 model, split main",
        "deployments/ei-colours-bundle.zip",
    }
    assert cli("verify", copy) == 8
    assert "checks differ from the record" in cli.err


def test_verify_sees_an_edited_lock_and_an_edited_manifest(cli, copy):
    path = copy / "project.lock.json"
    path.write_text(path.read_text().replace('"main": "testing"', '"main": "training"', 1))
    (copy / "project.toml").write_text((copy / "project.toml").read_text().replace("0.01", "0.02"))
    assert cli("verify", copy, "--json") == 8
    failed = {check["name"] for check in cli.json()["checks"] if not check["ok"]}
    assert {"manifest", "sample list", "training on split main"} <= failed


def test_a_lost_model_is_trained_again_with_the_same_bytes(cli, copy):
    before = (copy / "project.lock.json").read_bytes()
    shutil.rmtree(copy / ".eiauto")
    shutil.rmtree(copy / "deployments")
    assert cli("reproduce", copy) == 0
    assert (copy / "project.lock.json").read_bytes() == before
    assert cli("verify", copy) == 0


def test_deploy_refuses_a_model_that_is_older_than_the_manifest(cli, copy):
    manifest = copy / "project.toml"
    manifest.write_text(manifest.read_text().replace("learning_rate = 0.01", "learning_rate = 0.02"))
    assert cli("deploy", copy) == 8
    assert "older than the manifest" in cli.err
    assert "eiauto train" in cli.err


def test_deploy_refuses_a_model_that_is_older_than_the_samples(cli, copy):
    make_data(copy / "data", count=2, first=500)
    assert cli("sync", copy) == 0
    assert cli("deploy", copy) == 8
    assert "older than the samples" in cli.err


def test_added_samples_move_no_other_sample(cli, copy):
    before = {
        s["sha256"]: s["categories"]["main"]
        for s in json.loads((copy / "project.lock.json").read_text())["samples"]
    }
    make_data(copy / "data", count=9, first=100)
    assert cli("sync", copy) == 0
    after = {
        s["sha256"]: s["categories"]["main"]
        for s in json.loads((copy / "project.lock.json").read_text())["samples"]
    }
    assert len(after) == len(before) + 9 * len(COLOURS)
    assert {sha: after[sha] for sha in before} == before


def test_a_removed_sample_leaves_the_project(cli, copy):
    (copy / "data" / "red" / "red (0).png").unlink()
    assert cli("sync", copy) == 0
    assert "47 samples" in cli.out


def test_init_schema_doctor_config_completion(cli, tmp_path):
    assert cli("init", tmp_path / "My Project", "--from", make_data(tmp_path / "images")) == 0
    assert 'name = "my-project"' in (tmp_path / "My Project" / "project.toml").read_text()
    assert cli("sync", tmp_path / "My Project") == 0
    assert cli("init", tmp_path / "My Project") == 2
    assert "is there already" in cli.err
    assert cli("schema") == 0
    assert "training" in cli.json()["properties"]
    assert cli("doctor", "--json") == 0
    assert {"python", "tensorflow", "cache", "weights"} <= {check["name"] for check in cli.json()["checks"]}
    for shell in ("bash", "zsh", "fish"):
        assert cli("completion", shell) == 0
        assert "_EIAUTO_COMPLETE" in cli.out


def test_config_show_names_origins_and_hides_secrets(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("EI_API_KEY", "ei_0123456789abcdef")
    monkeypatch.setenv("EIAUTO_OFFLINE", "1")
    config = tmp_path / "config.toml"
    config.write_text('cache_dir = "/data/cache"\n')
    monkeypatch.setenv("EIAUTO_CONFIG", str(config))
    assert cli("config", "show", "--json") == 0
    assert "0123456789abcdef" not in cli.out
    shown = {item["name"]: (item["value"], item["origin"]) for item in cli.json()["settings"]}
    assert shown["EIAUTO_CACHE_DIR"] == ("/data/cache", "file")
    assert shown["EIAUTO_OFFLINE"] == ("1", "environment")
    assert shown["EI_API_KEY"] == ("(set)", "environment")
    config.write_text("cash_dir = 1\n")
    assert cli("config", "show") == 3
    assert "unknown key 'cash_dir'" in cli.err


def test_usage_errors_exit_with_2(cli, project):
    assert cli("reproduce") == 2
    assert cli("reproduce", project, "--no-such-flag") == 2
    assert cli("train", project, "--split", "other") == 2
    assert "no split 'other'" in cli.err
