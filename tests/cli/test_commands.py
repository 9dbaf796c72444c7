"""Every command, as its user types it."""

import json
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.helpers import COLOURS, make_data, make_project


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


def test_a_lost_model_is_trained_again_with_the_same_bytes(cli, copy):
    before = (copy / "project.lock.json").read_text().split('"environment"')
    shutil.rmtree(copy / ".eiauto")
    shutil.rmtree(copy / "deployments")
    assert cli("reproduce", copy) == 0
    after = (copy / "project.lock.json").read_text().split('"environment"')
    assert after[0] == before[0]
    assert after[1].split('"samples"')[1] == before[1].split('"samples"')[1]
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
    assert cli("deploy", copy) == 4
    assert "no trained model of today's samples" in cli.err


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


def test_two_splits_are_shown_side_by_side(cli, tmp_path):
    project = make_project(tmp_path / "colours", dataset='groups = { pattern = "(\\\\d)\\\\)" }')
    make_data(project / "data")
    text = (project / "project.toml").read_text()
    (project / "project.toml").write_text(
        text.replace("[impulse.input_block]", '[dataset.compare.whole]\nmethod = "group"\n\n[impulse.input_block]')
    )
    assert cli("reproduce", project) == 0
    assert "Accuracy, the splits side by side" in cli.out
    assert "whole (group)" in cli.out
    assert "none of 10 originals stands on both sides" in cli.out
    assert cli("test", project, "--split", "whole", "--json") == 0
    assert cli("verify", project) == 0


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "", "main", "Upper", "a\\u0000b"])
def test_a_splits_name_cannot_lead_out_of_the_project(cli, project, name):
    text = (project / "project.toml").read_text()
    (project / "project.toml").write_text(text + f'\n[dataset.compare."{name}"]\nmethod = "stratified"\n')
    assert cli("sync", project) == 2
    assert "dataset.compare" in cli.err
    assert not (project / ".eiauto").exists()


@pytest.mark.parametrize("label", ["", " ", "two\\nlines", "uncertain", "weighted avg"])
def test_a_label_that_no_file_can_hold_is_refused(cli, tmp_path, label):
    project = make_project(tmp_path / "colours", dataset=f'labels = {{ red = "{label}" }}')
    make_data(project / "data")
    assert cli("sync", project) == 2
    assert "cannot be a label" in cli.err
    assert not (project / "project.lock.json").exists()


def test_json_documents_for_wrong_calls_too(cli, project):
    for arguments in (
        ("train", "--json"),
        ("train", "--json", project, "--bogus"),
        ("completion", "tcsh", "--json"),
    ):
        assert cli(*arguments) == 2
        assert cli.json()["error"]["exit_code"] == 2


def test_a_format_that_the_manifest_does_not_wish_is_a_wrong_call(cli, copy):
    assert cli("deploy", copy, "--format", "toaster") == 2
    assert "wishes no deployment 'toaster'" in cli.err


def test_a_training_that_the_history_missed_is_added(cli, copy):
    shutil.rmtree(copy / ".eiauto" / "runs")
    assert cli("reproduce", copy) == 0
    (log,) = (copy / ".eiauto" / "runs").glob("*/log.txt")
    assert "Epoch 3/3" in log.read_text()


def test_a_readme_that_somebody_else_wrote_is_kept(cli, copy):
    assert cli("report", copy, "--readme") == 0
    assert cli("report", copy, "--readme") == 0
    (copy / "README.md").write_text("mine")
    assert cli("report", copy, "--readme") == 2
    assert (copy / "README.md").read_text() == "mine"


@pytest.mark.parametrize(("target", "code"), [("| head -c 0", 141), ("> /dev/full", 3)])
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_closed_pipe_and_a_full_disk_on_stdout(trained, target, code, form):
    command = f"{sys.executable} -m ei_automation.cli.main schema"
    if not form:
        command = f"{sys.executable} -m ei_automation.cli.main runs list {trained}"
    done = subprocess.run(
        ["bash", "-c", f"sleep 0.2; {command} {target}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_that_cannot_be_read_is_named_and_stops_nothing(cli, copy):
    (path,) = (copy / ".eiauto" / "runs").glob("*/run.json")
    path.write_text("{")
    assert cli("runs", "list", copy, "--json") == 0
    assert cli.json()["runs"] == []
    assert str(path) in cli.err
    assert cli("reproduce", copy) == 0


def test_a_copied_project_is_as_good_as_the_first(cli, copy, tmp_path):
    for path in (copy / ".eiauto" / "samples").rglob("*"):
        path.touch()
    assert cli("verify", copy) == 0


def test_state_made_anew_leaves_the_lock_as_it_is(cli, copy):
    before = (copy / "project.lock.json").read_bytes()
    shutil.rmtree(copy / ".eiauto")
    assert cli("verify", copy) == 4
    assert "nothing to hold against it" in cli.err
    assert cli("reproduce", copy) == 0
    assert (copy / "project.lock.json").read_bytes() == before


def test_a_groups_csv_that_is_not_there(cli, project):
    assert cli("sync", project, "--groups", "/nowhere.csv") == 4
    assert "check --groups" in cli.err
