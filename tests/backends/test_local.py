"""The local backend keeps the contract, and survives its process, a full disk and lost files."""

import os
import resource
import shutil
from pathlib import Path

import pytest

from ei_automation.backends import BackendOptions, ProjectFacts, open_backend
from ei_automation.backends.base import Backend, wait
from ei_automation.backends.local.jobs import JobHandle, JobRunner
from ei_automation.backends.local.store import Store
from ei_automation.errors import NotFoundError, StorageError, VerificationError
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.job import JobStatus
from tests.backends.contract import DEADLINE_S, IMPULSE, BackendContract, make_samples, parameters, quiet


def options(folder: Path, split: str = "main") -> BackendOptions:
    return BackendOptions(
        project="colours",
        state_folder=folder,
        split=split,
        cache_folder=folder / "user-cache",
        project_folder=folder,
        weights=None,
        offline=True,
        facts=ProjectFacts(),
    )


class TestLocalBackend(BackendContract):
    """The contract over a folder."""

    def open(self, folder: Path) -> Backend:
        return open_backend("local", options(folder))

    def test_the_numbers_do_not_depend_on_the_order_of_the_upload(self, tmp_path):
        samples = make_samples(tmp_path)
        with self.open(tmp_path / "one") as one, self.open(tmp_path / "two") as two:
            one.upload(samples, quiet)
            two.upload(samples[::-1], quiet)
            assert one.list_samples() == two.list_samples()


def test_jobs_of_a_killed_process_have_failed(tmp_path):
    folder = tmp_path / "local" / "main"
    store = Store(folder, tmp_path / "samples")
    job_id = store.new_job("training", "x")
    store.set_status(job_id, JobStatus.RUNNING)
    store.close()
    with open_backend("local", options(tmp_path)) as backend:
        job = backend.get_job(job_id)
        assert (job.status, job.error) == (JobStatus.FAILED, "its process ended before it did")


@pytest.fixture
def backend(tmp_path):
    with open_backend("local", options(tmp_path / "project")) as backend:
        yield backend


@pytest.fixture
def filled(backend, tmp_path):
    """With samples and an impulse."""
    backend.upload(make_samples(tmp_path), quiet)
    backend.set_impulse(IMPULSE)
    return backend


@pytest.fixture(scope="module")
def tested_project(tmp_path_factory):
    """The folder of a project that was trained and tested."""
    folder = tmp_path_factory.mktemp("tested")
    with open_backend("local", options(folder / "project")) as backend:
        backend.upload(make_samples(folder), quiet)
        backend.set_impulse(IMPULSE)
        wait(backend, backend.start_training(parameters()), deadline_s=DEADLINE_S)
        wait(backend, backend.start_testing(0.6), deadline_s=DEADLINE_S)
    return folder / "project"


@pytest.fixture
def tested(tested_project, tmp_path):
    """A backend on a copy of it."""
    shutil.copytree(tested_project, tmp_path / "project")
    with open_backend("local", options(tmp_path / "project")) as backend:
        yield backend


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def flip(path: Path) -> None:
    """Alter a byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


# Jobs


def test_a_full_disk_fails_the_job_at_once_and_says_so(tmp_path):
    store = Store(tmp_path / "state", tmp_path / "samples")
    runner = JobRunner(store)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def work(handle: JobHandle) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # from here on no file of this process can grow
        handle.log("too much for the disk")

    try:
        job_id = runner.start("training", "x", work)
        runner.close()
        job, error = runner.get(job_id), runner.error(job_id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert job.status is JobStatus.FAILED
    assert isinstance(error, StorageError)
    assert job.error == error.message
    assert f"writing the project's state failed at {tmp_path / 'state' / 'state.sqlite'}: " in error.message
    assert "free space" in error.hint
    assert store.job(job_id).status is JobStatus.RUNNING, "it could not be stored"
    JobRunner(store)
    assert store.job(job_id).status is JobStatus.FAILED
    store.close()


def test_a_job_is_not_begun_on_a_full_disk(tmp_path):
    sample = make_samples(tmp_path, 1)[0]
    store = Store(tmp_path / "state", tmp_path / "samples")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StorageError, match="writing the project's state failed"):
            store.new_job("training", "x")
        with pytest.raises(StorageError, match="writing the project's state failed"):
            store.put_samples([sample])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is what this is about
def test_a_job_whose_thread_just_ends_has_failed(tmp_path):
    store = Store(tmp_path / "state", tmp_path / "samples")
    runner = JobRunner(store)

    def work(_handle: JobHandle) -> None:
        raise SystemExit

    job_id = runner.start("features", "x", work)
    runner.close()
    job = runner.get(job_id)
    assert (job.status, job.error) == (JobStatus.FAILED, "its thread ended before it did")
    assert store.job(job_id) == job
    store.close()


def test_a_build_says_how_large_it_is(tested):
    job_id = tested.start_build(BuildRequest("openmv"))
    lines = []
    wait(tested, job_id, deadline_s=DEADLINE_S, on_line=lines.append)
    size = only(tested._store.folder, "*.zip").stat().st_size
    assert lines == [f"openmv: {size:,} bytes"]


def test_an_error_of_ours_leaves_its_trace_in_the_log(tmp_path):
    store = Store(tmp_path / "state", tmp_path / "samples")
    runner = JobRunner(store)
    job_id = runner.start("features", "x", lambda handle: 1 / 0)
    runner.close()
    job = runner.get(job_id)
    assert (job.status, job.error) == (JobStatus.FAILED, "ZeroDivisionError: division by zero")
    assert runner.error(job_id) is None
    lines = [line.text for line in store.log(job_id, -1)]
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", job.error)
    assert store.job(job_id) == job
    store.close()


# Lost and damaged files


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b""), flip])
def test_a_lost_content_is_stored_again_under_its_number(filled, tmp_path, damage):
    before = filled.list_samples()
    record = wait(filled, filled.start_training(parameters()), deadline_s=DEADLINE_S) and filled.training_record()
    content = tmp_path / "project" / "samples" / before[4].sha256[:2] / before[4].sha256
    whole = content.read_bytes()
    os.utime(content, ns=(1, 1))
    damage(content)
    filled.close()
    with open_backend("local", options(tmp_path / "project")) as again:
        assert again.list_samples() == [sample for sample in before if sample != before[4]]
        report = again.upload(make_samples(tmp_path), quiet)
        assert report.added == (before[4].name,)
        assert again.list_samples() == before
        assert again.training_record() == record
    assert content.read_bytes() == whole
    with open_backend("local", options(tmp_path / "project")) as once_more:
        assert once_more.list_samples() == before


def test_a_lost_content_that_does_not_come_back_is_forgotten(filled, tmp_path):
    before = filled.list_samples()
    (tmp_path / "project" / "samples" / before[0].sha256[:2] / before[0].sha256).unlink()
    filled.close()
    with open_backend("local", options(tmp_path / "project")) as again:
        rest = [sample for sample in make_samples(tmp_path) if sample.sha256 != before[0].sha256]
        again.upload(rest, quiet)
        assert again.list_samples() == before[1:]
        wait(again, again.start_training(parameters()), deadline_s=DEADLINE_S)


def test_a_content_of_another_split_is_mended_for_both(filled, tmp_path):
    samples = make_samples(tmp_path)
    with open_backend("local", options(tmp_path / "project", "other")) as other:
        other.upload(samples, quiet)
        flip(tmp_path / "project" / "samples" / samples[0].sha256[:2] / samples[0].sha256)
    filled.close()
    with open_backend("local", options(tmp_path / "project", "main")) as again:
        assert len(again.list_samples()) == len(samples) - 1
        assert again.upload(samples, quiet).added == (samples[0].name,)
    with open_backend("local", options(tmp_path / "project", "other")) as mended:
        assert len(mended.list_samples()) == len(samples)


def test_a_file_that_is_gone_is_one_failed_sample(backend, tmp_path):
    first, *rest = make_samples(tmp_path)
    first.path.unlink()
    report = backend.upload([first, *rest], quiet)
    assert report.failed == {first.name: "the file cannot be read: No such file or directory"}
    assert len(report.added) == len(rest)


def test_features_that_are_lost_are_made_again_or_their_contents_asked_for(filled, tmp_path):
    job_id = filled.start_features()
    wait(filled, job_id, deadline_s=DEADLINE_S)
    assert filled.start_features() == job_id
    shutil.rmtree(tmp_path / "project" / "cache")
    again = filled.start_features()
    assert again != job_id
    wait(filled, again, deadline_s=DEADLINE_S)
    assert only(tmp_path / "project" / "cache", "pixels.u8").stat().st_size == 36 * 12 * 12 * 3
    shutil.rmtree(tmp_path / "project" / "cache")
    shutil.rmtree(tmp_path / "project" / "samples")
    filled.close()
    with open_backend("local", options(tmp_path / "project")) as opened:
        with pytest.raises(VerificationError, match="contents of 36 of 36 samples are missing") as caught:
            wait(opened, opened.start_features(), deadline_s=DEADLINE_S)
        assert "eiauto sync" in caught.value.hint


@pytest.mark.parametrize("pattern", ["testing-*.npz", "testing-*.json"])
@pytest.mark.parametrize("damage", [Path.unlink, flip, lambda path: path.write_bytes(path.read_bytes()[:100])])
def test_a_lost_or_damaged_test_is_made_again(tested, pattern, damage):
    metrics, predictions = tested.metrics(), tested.predictions()
    place = only(tested._store.folder, pattern)
    if damage is flip and place.suffix == ".json":
        place.write_bytes(b"\xff")
    else:
        damage(place)
    assert (tested.metrics(), tested.predictions()) == ([], [])
    wait(tested, tested.start_testing(0.6), deadline_s=DEADLINE_S)
    assert (tested.metrics(), tested.predictions()) == (metrics, predictions)


@pytest.mark.parametrize("damage", [Path.unlink, flip])
def test_a_lost_or_damaged_model_asks_for_another_training_which_mends_it(tested, damage):
    whole = tested.download_model("int8")
    damage(only(tested._store.folder, "int8.tflite"))
    with pytest.raises((NotFoundError, VerificationError), match=r"int8 model .*int8\.tflite is ") as caught:
        tested.download_model("int8")
    assert caught.value.hint == "run `eiauto train` again"
    with pytest.raises(NotFoundError, match="is missing or altered") as caught:
        tested.start_testing(0.7)
    assert caught.value.hint == "run `eiauto train` again"
    wait(tested, tested.start_training(parameters()), deadline_s=DEADLINE_S)
    assert tested.download_model("int8") == whole
    wait(tested, tested.start_testing(0.7), deadline_s=DEADLINE_S)


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"[]", b"{}"])
def test_a_lost_or_damaged_training_is_made_again(tested, content):
    record = tested.training_record()
    place = only(tested._store.folder, "training.json")
    place.unlink() if content is None else place.write_bytes(content)
    assert tested.training_record() is None
    with pytest.raises(NotFoundError, match="no trained model"):
        tested.start_testing(0.6)
    wait(tested, tested.start_training(parameters()), deadline_s=DEADLINE_S)
    assert tested.training_record() == record


@pytest.mark.parametrize("damage", [Path.unlink, flip])
def test_a_lost_or_damaged_artifact_is_built_again(tested, tmp_path, damage):
    job_id = tested.start_build(BuildRequest("openmv"))
    wait(tested, job_id, deadline_s=DEADLINE_S)
    damage(only(tested._store.folder, "*.zip"))
    with pytest.raises(VerificationError, match="is not what job"):
        tested.download(job_id, tmp_path / "out")
    again = tested.start_build(BuildRequest("openmv"))
    wait(tested, again, deadline_s=DEADLINE_S)
    assert tested.download(again, tmp_path / "out").path.is_file()


def damage_pages(path: Path) -> None:
    """Leave the header, and nothing behind it that makes sense."""
    data = path.read_bytes()
    path.write_bytes(data[:1000] + b"\x5a" * (len(data) - 1000))


def look_at(folder: Path) -> None:
    """Read what every command reads."""
    with open_backend("local", options(folder)) as backend:
        backend.list_samples()
        backend.get_impulse()


def damage_word(before: bytes, after: bytes):
    """Alter some bytes in the middle of a value."""

    def damage(path: Path) -> None:
        data = path.read_bytes()
        assert before in data
        path.write_bytes(data.replace(before, after.ljust(len(before))))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database" * 1000),
        damage_pages,
        damage_word(b"CREATE TABLE jobs", b"CREATE \xff"),
        damage_word(b"bluetraining", b"blue\xff"),
        damage_word(b"redtraining", b"redtrainink"),
        damage_word(b"input_block", b'"input'),
    ],
)
def test_a_damaged_state_is_said_and_can_be_deleted(filled, tmp_path, damage):
    before = filled.list_samples()
    filled.close()
    place = only(tmp_path / "project", "state.sqlite")
    damage(place)
    with pytest.raises(StorageError, match=r"state\.sqlite is damaged: ") as caught:
        look_at(tmp_path / "project")
    assert f"delete {place}, then run the same command again" in caught.value.hint
    place.unlink()
    with open_backend("local", options(tmp_path / "project")) as again:
        assert len(again.upload(make_samples(tmp_path), quiet).added) == len(before)
        assert again.list_samples() == before
