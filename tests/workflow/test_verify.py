"""`verify` finds every edit of lock, manifest, samples, models and deployments; nothing old passes as current."""

import hashlib
import json
import shutil

import pytest


def edit_lock(project, change):
    """Change the lock's content by hand."""
    path = project / "project.lock.json"
    lock = json.loads(path.read_text())
    change(lock)
    path.write_text(json.dumps(lock))


def edit_manifest(project, before, after):
    path = project / "project.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1))


def failed(cli) -> dict[str, str]:
    """Checks that differ, with their words."""
    return {check["name"]: check["detail"] for check in cli.json()["checks"] if not check["ok"]}


def main_split(lock):
    return lock["splits"]["main"]


EDITS = {
    "counts": (lambda lock: lock["dataset"]["counts"]["main"]["testing"].update(red=5), "lock, dataset"),
    "labels": (lambda lock: lock["dataset"]["labels"].append("pink"), "lock, dataset"),
    "origin": (lambda lock: lock["dataset"]["origin"].update(reference="other"), "lock, dataset"),
    "set aside": (lambda lock: lock["dataset"].update(set_aside={"a": "tiny"}), "lock, dataset"),
    "a label": (lambda lock: lock["samples"][0].update(label="red"), "lock, samples"),
    "a category": (lambda lock: lock["samples"][0]["categories"].update(main="validation"), "lock, samples"),
    "no category": (lambda lock: lock["samples"][0].update(categories={}), "lock, samples"),
    "a sample": (lambda lock: lock["samples"].pop(), "lock, samples"),
    "curves": (lambda lock: main_split(lock)["training"]["curves"]["loss"].append(0.0), "training on split main"),
    "seed": (lambda lock: main_split(lock)["training"].update(seed=4), "training on split main"),
    "threads": (lambda lock: main_split(lock)["training"].update(threads=99), "training on split main"),
    "size": (
        lambda lock: main_split(lock)["training"]["models"]["int8"].update(size_bytes=1),
        "training on split main",
    ),
    "a model": (lambda lock: main_split(lock)["training"]["models"].pop("int8"), "training on split main"),
    "no training": (lambda lock: main_split(lock).update(training=None), "training on split main"),
    "metrics": (lambda lock: main_split(lock)["metrics"][0].update(loss=9.0), "metrics, split main"),
    "no metrics": (lambda lock: main_split(lock).update(metrics=[]), "metrics, split main"),
    "firmware": (
        lambda lock: main_split(lock)["deployments"][0].update(firmware_version="4.5.5"),
        "lock, split main",
    ),
    "no deployments": (lambda lock: main_split(lock).update(deployments=[]), "lock, split main"),
    "no splits": (lambda lock: lock.update(splits={}), "split main"),
    "project": (lambda lock: lock.update(project="other"), "lock, whose it is"),
}


@pytest.mark.parametrize("name", sorted(EDITS))
def test_an_edited_lock_is_found(cli, copy, name):
    change, check = EDITS[name]
    edit_lock(copy, change)
    assert cli("verify", copy, "--json") == 8
    assert check in failed(cli)


@pytest.mark.parametrize(
    "change",
    [
        lambda lock: lock["samples"][0]["categories"].update(main="foo"),
        lambda lock: lock.update(schema=7),
        lambda lock: lock.pop("project"),
        lambda lock: lock.update(more=1),
    ],
)
def test_a_lock_that_is_none_is_refused_by_name(cli, copy, change):
    edit_lock(copy, change)
    assert cli("verify", copy) == 8
    assert "is damaged, or of another version" in cli.err


def test_an_untouched_record_passes(cli, copy):
    assert cli("verify", copy, "--json") == 0
    assert cli.json()["ok"] is True
    assert len(cli.json()["checks"]) > 12


def test_altered_samples_models_and_deployments_are_named(cli, copy):
    lock = json.loads((copy / "project.lock.json").read_text())
    broken, gone = lock["samples"][0], lock["samples"][1]
    contents = copy / ".eiauto" / "samples"
    path = contents / broken["sha256"][:2] / broken["sha256"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (contents / gone["sha256"][:2] / gone["sha256"]).unlink()
    (copy / "deployments" / "ei-colours-bundle.zip").write_bytes(b"other")
    model = next((copy / ".eiauto" / "local" / "main" / "trainings").glob("*/int8.tflite"))
    model.write_bytes(model.read_bytes()[:-1] + b"\0\0")
    assert cli("verify", copy, "--json") == 8
    found = failed(cli)
    assert broken["name"] in found["samples unaltered"]
    assert gone["name"] in found["samples present"]
    assert "int8 model, split main" in found
    assert "float32 model, split main" not in found
    assert found["deployments/ei-colours-bundle.zip"].startswith("altered")
    assert cli("verify", copy) == 8
    assert "checks differ from the record" in cli.err


def test_a_zip_that_is_none_and_one_with_another_model(cli, copy):
    path = copy / "deployments" / "ei-colours-openmv.zip"
    path.write_bytes(b"no zip")
    digest = hashlib.sha256(b"no zip").hexdigest()

    def change(lock):
        for record in main_split(lock)["deployments"]:
            if record["file"].endswith("openmv.zip"):
                record["sha256"] = digest

    edit_lock(copy, change)
    assert cli("verify", copy, "--json") == 8
    assert "cannot be read" in failed(cli)["deployments/ei-colours-openmv.zip"]


@pytest.mark.parametrize(
    ("before", "after", "check"),
    [
        (
            'reader = "image-folder"',
            'reader = "image-folder"\nlabels = { red = "crimson" }',
            "manifest, dataset and impulse",
        ),
        ("testing_ratio = 0.25", "testing_ratio = 0.3", "manifest, dataset and impulse"),
        ("image_width = 12", "image_width = 16", "manifest, dataset and impulse"),
        ("learning_rate = 0.01", "learning_rate = 0.02", "training on split main"),
        ("[[deployments]]", "[testing]\nminimum_confidence = 0.9\n\n[[deployments]]", "metrics, split main"),
    ],
)
def test_a_changed_manifest_is_found_and_other_commands_do_not_hide_it(cli, copy, before, after, check):
    edit_manifest(copy, before, after)
    assert cli("verify", copy, "--json") == 8
    assert check in failed(cli)
    cli("deploy", copy)
    assert cli("verify", copy, "--json") == 8
    assert check in failed(cli)


@pytest.mark.parametrize("verb", ["train", "test", "deploy", "report"])
def test_no_verb_goes_on_with_samples_that_the_manifest_no_longer_asks_for(cli, copy, verb):
    edit_manifest(copy, "image_width = 12", "image_width = 16")
    assert cli(verb, copy) == 8
    assert "samples are older than the manifest" in cli.err
    assert "eiauto sync" in cli.err
    assert cli("sync", copy) == 0
    assert cli("train" if verb == "train" else verb, copy) == (0 if verb == "train" else 4)


def test_a_new_training_takes_metrics_and_deployments_of_the_old_one_out_of_the_lock(cli, copy):
    edit_manifest(copy, "training_cycles = 3", "training_cycles = 2")
    assert cli("train", copy) == 0
    record = main_split(json.loads((copy / "project.lock.json").read_text()))
    assert (record["metrics"], record["deployments"]) == ([], [])
    assert cli("report", copy) == 4
    assert "nothing was tested yet" in cli.err
    assert cli("test", copy) == 0
    assert cli("report", copy) == 0
    assert cli("deploy", copy) == 0
    assert cli("verify", copy) == 0


def test_without_a_lock_every_verb_says_what_to_run(cli, copy):
    (copy / "project.lock.json").unlink()
    for verb in ("train", "test", "deploy", "report", "verify"):
        assert cli(verb, copy) == 4, verb
        assert "eiauto sync" in cli.err or "eiauto reproduce" in cli.err


@pytest.mark.parametrize(
    "lose",
    [
        "samples",
        "cache",
        "runs",
        "local/main/builds",
        "local/main/trainings",
        "local/main/state.sqlite",
        "synced",
    ],
)
def test_what_is_lost_of_the_state_is_made_again(cli, copy, lose):
    lock = (copy / "project.lock.json").read_text().split('"environment"')[0]
    path = copy / ".eiauto" / lose
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert cli("reproduce", copy) == 0
    assert cli("verify", copy) == 0
    assert cli("report", copy) == 0
    assert (copy / "project.lock.json").read_text().split('"environment"')[0] == lock
    assert cli("runs", "list", copy, "--json") == 0
    assert len(cli.json()["runs"]) == 1
