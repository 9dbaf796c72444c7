"""Bad input and bad luck: an exit code, a sentence that says what, where and what to do, nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers import make_data, make_project

EIAUTO = (sys.executable, "-m", "ei_automation.cli.main")


def edit(project: Path, before: str, after: str) -> None:
    path = project / "project.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize(
    ("before", "after", "where", "words"),
    [
        (
            "learning_rate",
            "learning_rte",
            "learning_rte",
            "training.learning_rte: unknown key; did you mean 'learning_rate'?",
        ),
        ("[training]", "[trainin]", "[trainin]", "trainin: unknown key; did you mean 'training'?"),
        (
            "cycles = 3",
            'cycles = "3"',
            'cycles = "3"',
            "training.training_cycles: input should be a valid integer",
        ),
        ("cycles = 3", "cycles = 0", "cycles = 0", "greater than or equal to 1; found 0"),
        ('"stratified"', '"stratifed"', '"stratifed"', "did you mean 'stratified'?"),
        ('type = "keras"', 'type = "kears"', "[training.learn_block]", "did you mean 'keras'?"),
        ("filters = 4", "filtres = 4", "filtres = 4", "did you mean 'filters'?"),
        ("ratio = 0.1", "ratio = 1.1", "ratio = 1.1", "less than 1; found 1.1"),
        ("image_width = 12", "", "[impulse.input_block]", "impulse.input_block.image_width: this key is missing"),
        ("schema = 1", "schema = 2", "schema = 2", "schema: found 2, expected one of: 1"),
        ("cycles = 3", "cycles = = 3", "cycles = = 3", "not valid TOML"),
    ],
)
def test_a_wrong_manifest_is_refused_with_file_line_and_nearest_name(cli, project, before, after, where, words):
    edit(project, before, after)
    assert cli("reproduce", project) == 2
    assert words in cli.err
    lines = (project / "project.toml").read_text().splitlines()
    wanted = next(number for number, line in enumerate(lines, 1) if where in line)
    assert f"project.toml:{wanted}:" in cli.err
    assert not (project / ".eiauto").exists()
    assert not (project / "project.lock.json").exists()


def test_an_array_of_tables_is_counted_to_the_right_line(cli, project):
    with (project / "project.toml").open("a") as stream:
        stream.write('\n[[deployments]]\nformat = "opnmv"\n')
    assert cli("sync", project) == 2
    lines = (project / "project.toml").read_text().splitlines()
    wanted = lines.index('format = "opnmv"') + 1
    assert f"project.toml:{wanted}" in cli.err
    assert "did you mean 'openmv'?" in cli.err


def test_no_project_no_manifest(cli, tmp_path):
    assert cli("reproduce", tmp_path / "nowhere") == 4
    assert "there is no project.toml" in cli.err
    assert "eiauto init" in cli.err


def test_a_missing_data_set(cli, tmp_path):
    project = make_project(tmp_path / "colours")
    assert cli("reproduce", project) == 4
    assert "data" in cli.err
    assert not (project / "project.lock.json").exists()
    assert cli("reproduce", project, "--from", tmp_path / "nothing") == 4


def test_a_folder_with_no_images(cli, tmp_path):
    project = make_project(tmp_path / "colours")
    (project / "data" / "red").mkdir(parents=True)
    (project / "data" / "red" / "notes.txt").write_text("no image")
    assert cli("reproduce", project) == 6
    assert "no labelled images" in cli.err
    assert not (project / "project.lock.json").exists()


def test_one_class_only(cli, tmp_path):
    project = make_project(tmp_path / "colours")
    make_data(project / "data", labels=("red",))
    assert cli("sync", project) == 6
    assert "the one label 'red'" in cli.err


def test_a_class_with_one_sample(cli, project):
    for path in sorted((project / "data" / "red").iterdir())[1:]:
        path.unlink()
    assert cli("sync", project) == 6
    assert "'red' has one sample" in cli.err


def test_a_label_in_the_mapping_that_is_not_there(cli, tmp_path):
    project = make_project(tmp_path / "colours", dataset='labels = { rod = "crimson" }')
    make_data(project / "data")
    assert cli("sync", project) == 2
    assert "project.toml:7: dataset.labels: " in cli.err
    assert "'rod'" in cli.err
    assert "red" in cli.err


def test_a_corrupt_zip_and_one_that_climbs_out(cli, tmp_path):
    project = make_project(tmp_path / "colours")
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "zip", make_data(tmp_path / "images")))
    damaged = bytearray(archive.read_bytes())
    damaged[200:260] = b"\0" * 60
    (tmp_path / "damaged.zip").write_bytes(damaged)
    assert cli("sync", project, "--from", tmp_path / "damaged.zip") == 6
    assert "damaged.zip is corrupt at its member" in cli.err
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as evil:
        evil.writestr("../../red/outside.png", b"x")
    assert cli("sync", project, "--from", tmp_path / "evil.zip") == 6
    assert "../../red/outside.png" in cli.err
    assert not list(tmp_path.rglob("outside.png"))
    assert cli("sync", project, "--from", archive) == 0


def test_bad_images_are_set_aside_and_listed(cli, project):
    data = project / "data" / "red"
    good = (data / "red (1).png").read_bytes()
    (data / "cut.png").write_bytes(good[:300])
    (data / "empty.png").write_bytes(b"")
    (data / "text.jpg").write_text("no image")
    (data / "twice.png").write_bytes(good)
    assert cli("sync", project) == 0
    assert "48 samples, 3 labels; 4 set aside" in cli.out
    for name, code in (("cut", "truncated"), ("empty", "empty"), ("text", "unreadable"), ("twice", "duplicate")):
        assert f"red/{name}." in cli.out
        assert f"({code})" in cli.out


def test_no_usable_image_is_fatal(cli, tmp_path):
    project = make_project(tmp_path / "colours")
    for label in ("red", "blue"):
        (project / "data" / label).mkdir(parents=True)
        (project / "data" / label / "a.png").write_bytes(b"")
    assert cli("sync", project) == 6
    assert "none of 2 files can be used" in cli.err


def test_a_full_disk_while_writing_the_cache(cli, project):
    cache = project / ".eiauto" / "cache" / "images" / "12x12-squash-v1"
    cache.mkdir(parents=True)
    (cache / "pixels.u8").symlink_to("/dev/full")
    assert cli("reproduce", project) == 3
    assert "writing the image cache failed" in cli.err
    assert "No space left" in cli.err
    assert not (project / "project.lock.json").exists()
    (cache / "pixels.u8").unlink()
    assert cli("reproduce", project) == 0


def test_two_runs_at_once(cli, project, monkeypatch):
    monkeypatch.setenv("EIAUTO_LOCK_TIMEOUT_S", "0.3")
    (project / ".eiauto").mkdir()
    with FileLock(project / ".eiauto" / "run.lock"):
        assert cli("reproduce", project) == 3
    assert "is working in" in cli.err
    assert "waiting up to" in cli.err
    assert "still working" in cli.err
    assert cli("sync", project) == 0


def test_the_second_run_waits_for_the_first(cli, project):
    first = subprocess.Popen([*EIAUTO, "sync", str(project)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert cli("sync", project) == 0
    first.communicate(timeout=60)
    assert first.returncode == 0


@pytest.mark.skipif(
    not shutil.which("unshare") and os.geteuid() == 0, reason="root needs unshare for a read-only mount"
)
def test_a_read_only_project_folder(project):
    command = [*EIAUTO, "reproduce", str(project)]
    if os.geteuid() == 0:
        mount = f"mount --bind {project} {project} && mount -o remount,ro,bind {project} && exec "
        command = ["unshare", "-m", "sh", "-c", mount + " ".join(command)]
    else:
        project.chmod(0o555)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    project.chmod(0o755)
    if "unshare failed" in done.stderr or "permission denied" in done.stderr.lower().split("error:")[0]:
        pytest.skip(f"this machine allows no mount: {done.stderr.strip()}")
    assert done.returncode == 3, done.stderr
    assert "keeping the project's state failed" in done.stderr
    assert "make the folder writable" in done.stderr


def start_until(project: Path, line: str) -> subprocess.Popen[str]:
    """Start `reproduce` and return when it has said a line."""
    process = subprocess.Popen(
        [*EIAUTO, "reproduce", str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a script inherits an ignored Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    for said in process.stderr:
        if line in said:
            return process
    raise AssertionError(f"{line!r} was never said; exit code {process.wait()}")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_training_continues_to_the_same_bytes(cli, tmp_path, how, code):
    whole, stopped = (make_project(tmp_path / name / "colours", cycles=30) for name in ("whole", "stopped"))
    for project in (whole, stopped):
        make_data(project / "data")
    process = start_until(stopped, "Epoch 3/30")
    process.send_signal(how)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == code
    if how is signal.SIGINT:
        assert "run the same command again; it continues" in rest
    assert not list(stopped.rglob("*.tflite"))
    assert cli("reproduce", stopped) == 0
    assert "Epoch 2/30" not in cli.err, "it started again instead of continuing"
    assert cli("reproduce", whole) == 0
    locks = [(project / "project.lock.json").read_text().split('"environment"')[0] for project in (whole, stopped)]
    models = [
        {path.name: path.read_bytes() for path in project.rglob("trainings/*/*.tflite")}
        for project in (whole, stopped)
    ]
    assert models[0] == models[1]
    assert locks[0] == locks[1]


def test_a_damaged_lock_is_said(cli, project):
    (project / "project.lock.json").write_text("{}")
    assert cli("sync", project) == 8
    assert "is damaged" in cli.err
