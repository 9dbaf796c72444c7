"""The local backend keeps the contract, and survives its process."""

from pathlib import Path

from ei_automation.backends import BackendOptions, ProjectFacts, open_backend
from ei_automation.backends.base import Backend
from ei_automation.backends.local.store import Store
from ei_automation.schema.job import JobStatus
from tests.backends.contract import BackendContract


def options(folder: Path) -> BackendOptions:
    return BackendOptions(
        project="colours",
        state_folder=folder,
        split="main",
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


def test_jobs_of_a_killed_process_have_failed(tmp_path):
    folder = tmp_path / "local" / "main"
    store = Store(folder, tmp_path / "samples")
    job_id = store.new_job("training", "x")
    store.set_status(job_id, JobStatus.RUNNING)
    store.close()
    with open_backend("local", options(tmp_path)) as backend:
        job = backend.get_job(job_id)
        assert (job.status, job.error) == (JobStatus.FAILED, "its process ended before it did")
