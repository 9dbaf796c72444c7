import json

from tests.helpers import make_data


def lines(cli):
    return [json.loads(line) for line in cli.out.splitlines()]


def test_a_new_project_is_all_additions(cli, project):
    assert cli("plan", project, "--json") == 0
    *changes, summary = lines(cli)
    assert [c["action"] for c in changes if c["kind"] == "sample"] == ["add"] * 48
    assert {c["subject"] for c in changes if c["kind"] == "impulse"} >= {"input_block.image_width"}
    assert {(c["kind"], c["action"]) for c in changes} >= {("training", "train"), ("deployment", "build")}
    assert summary["changes"] == len(changes)
    assert not (project / "project.lock.json").exists()


def test_the_exit_code_tells_only_when_asked(cli, copy):
    assert cli("plan", copy, "--detailed-exitcode") == 0
    assert "no changes" in cli.out
    make_data(copy / "data", count=1, first=99)
    assert cli("plan", copy) == 0
    assert "3 samples to add" in cli.out
    assert cli("plan", copy, "--detailed-exitcode") == 2


def test_a_removed_and_a_relabelled_file_are_named(cli, copy):
    red = sorted((copy / "data" / "red").iterdir())
    red[0].rename(copy / "data" / "green" / "was-red.png")
    red[1].unlink()
    assert cli("plan", copy, "--json") == 0
    found = {(c["kind"], c["action"]): c for c in lines(cli)[:-1]}
    assert set(found) == {("sample", "relabel"), ("sample", "delete")}, (
        "the model is still that of the live samples"
    )
    assert (found["sample", "relabel"]["before"], found["sample", "relabel"]["after"]) == ("red", "green")


def test_another_impulse_and_other_parameters_are_drift(cli, copy):
    manifest = copy / "project.toml"
    text = manifest.read_text().replace("image_width = 12", "image_width = 16")
    manifest.write_text(text.replace("learning_rate = 0.01", "learning_rate = 0.02"))
    assert cli("plan", copy, "--json") == 0
    found = {c["subject"]: (c["before"], c["after"]) for c in lines(cli)[:-1]}
    assert found["input_block.image_width"] == ("12", "16")
    assert found["learning_rate"] == ("0.01", "0.02")


def test_a_dry_run_of_sync_is_the_plan(cli, copy):
    make_data(copy / "data", count=1, first=99)
    before = (copy / "project.lock.json").read_bytes()
    assert cli("sync", copy, "--dry-run") == 0
    assert "3 samples to add" in cli.out
    assert (copy / "project.lock.json").read_bytes() == before
    assert cli("sync", copy) == 0
    assert cli("plan", copy, "--json", "--detailed-exitcode") == 2
    assert {c["action"] for c in lines(cli)[:-1]} == {"train", "build"}, "the model is of other samples now"


def test_what_is_set_aside_is_said(cli, copy):
    (copy / "data" / "red" / "broken.png").write_bytes(b"no image")
    assert cli("plan", copy) == 0
    assert "set aside, and wanted nowhere: red/broken.png" in cli.err
