"""Jobs of the local backend: one thread each, with a log, progress and a way to stop."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ei_automation.backends.local.store import Store
from ei_automation.errors import EiautoError, InterruptedRunError, NotFoundError, StorageError
from ei_automation.schema.job import Job, JobStatus


class JobHandle:
    """What a job's work sees of its job, and how it stands: in memory, where a full disk cannot lose it.

    Args:
        store: Where the log goes.
        job_id: The job's number.
    """

    def __init__(self, store: Store, job_id: int) -> None:
        self.job_id = job_id
        self._store = store
        self._cancelled = threading.Event()
        self.step, self.done, self.total = "", 0, 0
        self.status, self.message = JobStatus.PENDING, ""
        self.error: EiautoError | None = None

    def seen(self, job: Job) -> Job:
        """A stored job as it stands now."""
        return replace(
            job, status=self.status, error=self.message, step=self.step, done=self.done, total=self.total
        )

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
        status, message, trace = JobStatus.FAILED, "its thread ended before it did", ""
        try:
            self._store.set_status(handle.job_id, JobStatus.RUNNING)
            handle.status = JobStatus.RUNNING
            work(handle)
            self._store.set_status(handle.job_id, JobStatus.SUCCESS)
            status, message = JobStatus.SUCCESS, ""
        except InterruptedRunError as error:
            status, message = JobStatus.CANCELLED, error.message
        except EiautoError as error:
            handle.error, message = error, error.message
        except Exception as error:  # noqa: BLE001 - the thread's last frame: the job must end as failed, with the trace
            message, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        finally:
            try:
                if status is not JobStatus.SUCCESS:
                    self._store_end(handle.job_id, status, message, trace)
            finally:
                handle.message, handle.status = message, status

    def _store_end(self, job_id: int, status: JobStatus, message: str, trace: str) -> None:
        """Store how a job ended, as far as that can be stored.

        Where it cannot, what the user must know is the first error, which the handle has; and the next process
        finds the job unfinished, and says that it failed.
        """
        with suppress(StorageError):
            self._store.add_log(job_id, trace)
        with suppress(StorageError):
            self._store.set_status(job_id, status, message)

    def get(self, job_id: int) -> Job:
        """A job's state now.

        Raises:
            NotFoundError: No such job.
        """
        job = self._store.job(job_id)
        if job is None:
            raise NotFoundError(f"there is no job {job_id}")
        handle = self._handles.get(job_id)
        return job if handle is None else handle.seen(job)

    def error(self, job_id: int) -> EiautoError | None:
        """What a job of this process failed with, if it is an error of ours."""
        return self._handles[job_id].error if job_id in self._handles else None

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
