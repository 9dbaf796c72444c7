"""The same verbs with --backend studio, against the local Studio: what a person does, and what must come out."""

import io
import json
import shutil

import pytest
import requests

from ei_automation.studio_server.sample_filter import Filter
from ei_automation.testing import start_studio
from ei_automation.workflow.manifest import load_manifest
from tests.helpers import Cli, make_data, make_project, noisy


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with start_studio(tmp_path_factory.mktemp("studio")) as running:
        yield running


@pytest.fixture
def account(served, monkeypatch):
    """Our settings for the project; it is emptied first."""
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    reply = requests.post(
        f"{served.api_endpoint}/api/{served.project_id}/raw-data/delete-all",
        headers={"x-api-key": served.api_key},
        timeout=10,
    )
    assert reply.json()["success"], reply.text
    return served


def changes(cli):
    return [json.loads(line) for line in cli.out.splitlines()][:-1]


def put(served, name, label, category="training", seed=1):
    """A sample that somebody else uploads."""
    requests.post(
        f"{served.ingestion_endpoint}/api/{category}/files",
        headers={"x-api-key": served.api_key, "x-label": label},
        files=[("data", (name, io.BytesIO(noisy((9, 9, 9), seed)), "image/png"))],
        timeout=10,
    ).raise_for_status()


def test_reproduce_gives_the_bytes_of_the_local_backend(cli: Cli, account, project, trained):
    assert cli("reproduce", project, "--backend", "studio") == 0, cli.err
    lock = json.loads((project / "project.lock.json").read_text())
    local = json.loads((trained / "project.lock.json").read_text())
    record, expected = lock["splits"]["main"], local["splits"]["main"]
    assert record["training"]["models"] == expected["training"]["models"]
    assert record["training"]["samples_sha256"] == expected["training"]["samples_sha256"]
    assert record["training"]["curves"]["validation_loss"] == pytest.approx(
        expected["training"]["curves"]["validation_loss"], abs=1e-6
    )
    theirs = {(m["variant"], m["category"]): (m["accuracy"], m["sample_count"]) for m in record["metrics"]}
    ours = {(m["variant"], m["category"]): (m["accuracy"], m["sample_count"]) for m in expected["metrics"]}
    assert theirs == {key: pytest.approx(value, abs=1e-4) for key, value in ours.items()}
    assert record["backend"]["name"] == "studio"
    assert record["backend"]["project_id"] == account.project_id
    assert {item["format"] for item in record["deployments"]} == {"openmv", "bundle"}
    assert lock["dataset"]["samples_sha256"] == local["dataset"]["samples_sha256"]

    assert cli("verify", project, "--backend", "studio") == 0, cli.out
    assert cli("plan", project, "--backend", "studio", "--detailed-exitcode") == 0, cli.out
    assert cli("sync", project, "--backend", "studio") == 0
    assert "unchanged" in cli.out
    assert cli("reproduce", project, "--backend", "studio") == 0, cli.err
    assert json.loads((project / "project.lock.json").read_text())["splits"] == lock["splits"]
    assert_no_key(project, account.api_key)


def test_a_firmware_version_gets_a_script_of_its_own(cli, account, project):
    with (project / "project.toml").open("a") as stream:
        stream.write('\n[[deployments]]\nformat = "openmv"\nfirmware_version = "4.5.5"\n')
    assert cli("reproduce", project, "--backend", "studio") == 0, cli.err
    deployments = json.loads((project / "project.lock.json").read_text())["splits"]["main"]["deployments"]
    openmv = {item["firmware_version"]: item for item in deployments if item["format"] == "openmv"}
    assert set(openmv) == {"", "4.5.5"}
    assert len({item["sha256"] for item in openmv.values()}) == 2
    assert len({item["version"] for item in openmv.values()}) == 2
    assert cli("deploy", project, "--backend", "studio") == 0, cli.err
    again = json.loads((project / "project.lock.json").read_text())["splits"]["main"]["deployments"]
    assert again == deployments


def assert_no_key(folder, key):
    """No file of a project holds the key, in a zip or out of it."""
    for path in folder.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
            if path.suffix == ".zip":
                unpacked = folder / "unpacked"
                shutil.unpack_archive(path, unpacked)
                assert not [
                    one for one in unpacked.rglob("*") if one.is_file() and key.encode() in one.read_bytes()
                ]
                shutil.rmtree(unpacked)


def test_what_others_put_there_stays_until_it_is_pruned(cli, account, project):
    assert cli("sync", project, "--backend", "studio") == 0, cli.err
    put(account, "foreign.png", "strange")
    assert cli("plan", project, "--backend", "studio", "--json") == 0
    assert [(c["action"], c["before"]) for c in changes(cli) if c["kind"] == "sample"] == [
        ("extra", "training: strange")
    ]
    assert cli("sync", project, "--backend", "studio") == 0
    assert "stay" in cli.err
    assert cli("train", project, "--backend", "studio") == 4
    assert "--prune" in cli.err
    assert cli("sync", project, "--backend", "studio", "--prune") == 0
    assert cli("plan", project, "--backend", "studio", "--detailed-exitcode", "--json") in (0, 2)
    assert not [c for c in changes(cli) if c["kind"] == "sample"]


def test_a_second_copy_and_a_disabled_sample_are_seen(cli, account, project):
    assert cli("sync", project, "--backend", "studio") == 0, cli.err
    first = sorted((project / "data" / "red").iterdir())[0]
    reply = requests.post(
        f"{account.ingestion_endpoint}/api/testing/files",
        headers={"x-api-key": account.api_key, "x-label": "strange"},
        files=[("data", (first.name, first.read_bytes(), "image/png"))],
        timeout=10,
    ).json()
    copy = reply["files"][0]["sampleId"]
    disabled = next(row.sample_id for row in account.studio.samples.find(account.project_id, Filter()))
    disabled = disabled if disabled != copy else disabled - 1
    post(account, f"{account.project_id}/raw-data/{disabled}/disable", {})
    assert cli("plan", project, "--backend", "studio", "--json") == 0
    assert sorted(c["action"] for c in changes(cli) if c["kind"] == "sample") == ["enable", "extra"]
    assert cli("train", project, "--backend", "studio") == 4
    assert cli("sync", project, "--backend", "studio", "--prune") == 0, cli.err
    assert cli("plan", project, "--backend", "studio", "--json") == 0
    assert not [c for c in changes(cli) if c["kind"] == "sample"]


def test_a_sync_leaves_a_record_of_its_own_backend(cli, account, copy):
    make_data(copy / "data", count=1, first=99)
    assert cli("sync", copy, "--backend", "studio") == 0, cli.err
    assert cli("verify", copy, "--backend", "studio") == 8
    assert "nothing was trained yet" in cli.out


def test_labels_and_categories_follow_the_manifest_in_any_script(cli, account, tmp_path):
    folder = make_project(tmp_path / "words", dataset='labels = { red = "красный", green = "绿 & #1%" }')
    make_data(folder / "data", count=4)
    assert cli("sync", folder, "--backend", "studio") == 0, cli.err
    (folder / "project.toml").write_text((folder / "project.toml").read_text().replace("красный", "rouge"))
    assert cli("plan", folder, "--backend", "studio", "--json") == 0
    relabelled = [c for c in changes(cli) if c["action"] == "relabel"]
    assert {(c["before"], c["after"]) for c in relabelled} == {("красный", "rouge")}
    assert len(relabelled) == 4
    assert cli("sync", folder, "--backend", "studio") == 0, cli.err
    assert cli("plan", folder, "--backend", "studio", "--json") == 0
    assert not [c for c in changes(cli) if c["kind"] == "sample"]


def test_a_key_that_is_wrong_or_may_not_write_is_said_before_anything_is_sent(cli, account, project, monkeypatch):
    reply = requests.post(
        f"{account.api_endpoint}/api/{account.project_id}/apikeys",
        headers={"x-api-key": account.api_key},
        json={"name": "reader", "role": "readonly", "isDevelopmentKey": False},
        timeout=10,
    )
    monkeypatch.setenv("EI_API_KEY", reply.json()["apiKey"])
    assert cli("plan", project, "--backend", "studio") == 0, cli.err
    assert cli("sync", project, "--backend", "studio") == 3
    assert "admin" in cli.err
    monkeypatch.setenv("EI_API_KEY", "ei_" + "0" * 64)
    assert cli("plan", project, "--backend", "studio") == 3
    assert "0000" not in cli.err + cli.out
    monkeypatch.delenv("EI_API_KEY")
    assert cli("sync", project, "--backend", "studio") == 3
    assert "EI_API_KEY" in cli.err
    count = requests.get(
        f"{account.api_endpoint}/api/{account.project_id}/raw-data/count?category=all",
        headers={"x-api-key": account.api_key},
        timeout=10,
    ).json()["count"]
    assert count == 0


def test_another_split_has_no_room_there(cli, account, tmp_path):
    extra = '\n[dataset.compare.other]\nmethod = "stratified"\ntesting_ratio = 0.5\n'
    folder = make_project(tmp_path / "two", extra=extra)
    make_data(folder / "data", count=4)
    assert cli("sync", folder, "--backend", "studio") == 0, cli.err
    assert "one split" in cli.err
    assert cli("train", folder, "--backend", "studio", "--split", "other") == 2


def test_a_local_record_is_not_taken_for_studios(cli, account, copy):
    assert cli("sync", copy, "--backend", "studio") == 0, cli.err
    assert cli("test", copy, "--backend", "studio") == 8
    assert "--backend local" in cli.err
    assert cli("verify", copy) == 0, cli.out
    assert cli("tune", copy, "--backend", "studio") == 2
    assert "[tuner]" in cli.err


def post(served, path, body, key=None):
    reply = requests.post(
        f"{served.api_endpoint}/api/{path}", headers={"x-api-key": key or served.api_key}, json=body, timeout=60
    ).json()
    assert reply["success"], reply
    return reply


def test_a_published_project_becomes_a_manifest_and_is_restored(cli, account, project, tmp_path, monkeypatch):
    assert cli("reproduce", project, "--backend", "studio") == 0, cli.err
    versions = f"{account.project_id}/jobs/version"
    post(account, versions, {"description": "first", "makePublic": True, "runModelTestingWhileVersioning": False})
    own = account.studio.projects.create("own", owner="me")
    _, key = account.studio.projects.add_key(own, "mine", "admin")
    monkeypatch.setenv("EI_API_KEY", key)
    address = f"{account.studio.url}/public/{account.project_id}/latest"
    theirs = tmp_path / "theirs"
    assert cli("import", address, theirs, "--with-data", "--to-project", "--json") == 0, cli.err
    assert cli.json()["restored_into"] == own
    assert any("dataset.groups" in line for line in cli.json()["assumptions"]), cli.out
    written = load_manifest(theirs)
    wanted = load_manifest(project)
    assert written.impulse == wanted.impulse
    assert written.training.learn_block.visual_layers == wanted.training.learn_block.visual_layers
    assert written.training.training_cycles == wanted.training.training_cycles
    assert written.published.studio_project == account.project_id
    assert written.published.sample_count == 48
    assert {m.metric for m in written.published.metrics} == {"accuracy", "loss", "accuracy_with_threshold"}
    assert len(list((theirs / "data").rglob("*.png"))) == 48
    assert cli("plan", theirs, "--backend", "studio", "--json") == 0, cli.err
    assert not [c for c in changes(cli) if c["kind"] in ("sample", "impulse")], (
        "the restored project is as imported"
    )
    assert cli("import", address, theirs) == 2
    assert cli("import", address, tmp_path / "again", "--to-project") == 2
    assert "without data" in cli.err


def test_a_project_that_is_not_there_or_not_ours_is_said(cli, account, tmp_path):
    assert cli("import", "https://example.org/what", tmp_path / "a") == 2
    assert cli("import", "https://studio.edgeimpulse.com/public/163127/latest", tmp_path / "a") == 2
    assert "EI_API_ENDPOINT points to 127.0.0.1" in cli.err
    assert cli("import", "999999", tmp_path / "a") in (3, 4)
    assert not (tmp_path / "a").exists()
