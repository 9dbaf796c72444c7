"""Jobs of the local backend: one thread each, with a log, progress and a way to stop."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import replace

from ei_automation.backends.local.store import Store
from ei_automation.errors import EiautoError, InterruptedRunError, NotFoundError
from ei_automation.schema.job import Job, JobStatus


class JobHandle:
    """What a job's work sees of its job.

    Args:
        store: Where the log goes.
        job_id: The job's number.
    """

    def __init__(self, store: Store, job_id: int) -> None:
        self.job_id = job_id
        self._store = store
        self._cancelled = threading.Event()
        self.step, self.done, self.total = "", 0, 0

    def log(self, text: str) -> None:
        """Add to the job's log."""
        self._store.add_log(self.job_id, text)

    def progress(self, step: str, done: int, total: int) -> None:
        """Say how far the work is."""
        self.step, self.done, self.total = step, done, total

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._cancelled.set()

    def should_stop(self) -> bool:
        """Whether the work has been asked to stop."""
        return self._cancelled.is_set()


class JobRunner:
    """Runs jobs in threads and keeps their state in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handles: dict[int, JobHandle] = {}
        self._threads: list[threading.Thread] = []
        self._errors: dict[int, EiautoError] = {}
        store.abandon_jobs()

    def start(self, kind: str, inputs: str, work: Callable[[JobHandle], None]) -> int:
        """Start work as a job; returns its number at once."""
        job_id = self._store.new_job(kind, inputs)
        handle = self._handles[job_id] = JobHandle(self._store, job_id)
        thread = threading.Thread(target=self._run, args=(handle, work), name=f"{kind}-{job_id}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return job_id

    def _run(self, handle: JobHandle, work: Callable[[JobHandle], None]) -> None:
        self._store.set_status(handle.job_id, JobStatus.RUNNING)
        try:
            work(handle)
        except InterruptedRunError as error:
            self._store.set_status(handle.job_id, JobStatus.CANCELLED, error.message)
        except EiautoError as error:
            self._errors[handle.job_id] = error
            self._end_failed(handle, error.message)
        except Exception as error:  # noqa: BLE001 - the thread's last frame: the job must end as failed, with the trace
            handle.log(traceback.format_exc())
            self._end_failed(handle, f"{type(error).__name__}: {error}")
        else:
            self._store.set_status(handle.job_id, JobStatus.SUCCESS)

    def _end_failed(self, handle: JobHandle, message: str) -> None:
        handle.log(f"Job failed: {message}")
        self._store.set_status(handle.job_id, JobStatus.FAILED, message)

    def get(self, job_id: int) -> Job:
        """A job's state now.

        Raises:
            NotFoundError: No such job.
        """
        job = self._store.job(job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id}")
        handle = self._handles.get(job_id)
        if handle is None or job.finished:
            return job
        return replace(job, step=handle.step, done=handle.done, total=handle.total)

    def error(self, job_id: int) -> EiautoError | None:
        """What a job of this process failed with, if it is an error of ours."""
        return self._errors.get(job_id)

    def cancel(self, job_id: int) -> None:
        """Ask a job to stop."""
        if handle := self._handles.get(job_id):
            handle.cancel()

    def close(self) -> None:
        """Cancel what runs and wait for it."""
        for handle in self._handles.values():
            handle.cancel()
        for thread in self._threads:
            thread.join()
