"""Jobs: their rows, logs and watchers, the threads they run in, and the local backend that does their work."""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ei_automation.errors import EiautoError, InterruptedRunError, StorageError
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.job_rows import COLUMNS, JobFailure, JobRow, LogLine, Watcher, job_row

if TYPE_CHECKING:
    from ei_automation.backends.base import Backend
    from ei_automation.studio_server.impulses import Impulses
    from ei_automation.studio_server.projects import Projects
    from ei_automation.studio_server.samples import Samples
    from ei_automation.studio_server.studio import StudioOptions

TABLES = """
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL,
  category TEXT NOT NULL, category_key TEXT NOT NULL, key TEXT NOT NULL, created REAL NOT NULL, started REAL,
  finished REAL, successful INTEGER, info TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS jobs_of_project ON jobs (project_id, id);
CREATE TABLE IF NOT EXISTS job_log (job_id INTEGER NOT NULL, line INTEGER NOT NULL, created REAL NOT NULL,
  level TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (job_id, line)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS log_of_no_job AFTER DELETE ON jobs
  BEGIN DELETE FROM job_log WHERE job_id = OLD.id; END;
"""

SAVE_EVERY_S = 0.5
"""How old a running job's unsaved log lines may get: each saving waits for the disk."""


class JobTalk:
    """What a job's work sees of its job.

    Args:
        workshop: Where it runs.
        row: The job as it began.
        epoch: Of the project's impulse when the job was asked for.
    """

    def __init__(self, workshop: Workshop, row: JobRow, epoch: int) -> None:
        self.job_id, self.project_id = row.job_id, row.project_id
        self.epoch, self._workshop = epoch, workshop
        self._stop = threading.Event()
        self.lines: list[LogLine] = []
        self.watchers: list[Watcher] = []
        self.saved, self.saved_at = 0, time.monotonic()
        self.future: Future[None] | None = None

    def line(self, text: str, level: str = "info") -> None:
        """Add to the job's log; text of several lines becomes several."""
        self._workshop.add_lines(self, text, level)

    def stop(self) -> None:
        """Ask the work to stop."""
        self._stop.set()

    def should_stop(self) -> bool:
        """Whether the work has been asked to stop."""
        return self._stop.is_set()


Work = Callable[[JobTalk], None]


class Workshop:
    """Runs the jobs of all projects: one at a time in a project, in the order they were asked for.

    Args:
        database: With `TABLES` in it.
        projects: Of the same server.
        samples: Of the same server.
        impulses: Of the same server.
        options: `jobs` says whether `start` waits for the end ("immediate") or returns at once ("real").

    Attributes:
        job_fails: A fault: asked with a job's category_key and key as it begins; words of its failure, or None.
    """

    def __init__(
        self,
        database: Database,
        projects: Projects,
        samples: Samples,
        impulses: Impulses,
        options: StudioOptions,
    ) -> None:
        self._database = database
        self.projects, self.samples, self.impulses, self.options = projects, samples, impulses, options
        self.job_fails: Callable[[str], str | None] = lambda _kind: None
        self._turn = threading.RLock()
        self._talks: dict[int, JobTalk] = {}
        self._unsaved: dict[int, JobRow] = {}
        self._queues: dict[int, ThreadPoolExecutor] = {}
        self._doors: dict[int, threading.RLock] = {}
        self._closed = False
        self._end_abandoned()

    # Starting and ending

    def start(
        self,
        project_id: int,
        *,
        category: str,
        category_key: str,
        key: str,
        work: Work,
        info: Mapping[str, Any] | None = None,
    ) -> int:
        """Start work as a job of a project.

        Args:
            project_id: Whose it is.
            category: For people, e.g. Training model.
            category_key: For machines.
            key: What it works on, e.g. keras-3.
            work: Does it. `JobFailure` and our own errors end it as failed, with their words in the log;
                `InterruptedRunError` as cancelled.
            info: More about it, JSON.

        Returns:
            Its number. With immediate jobs it has ended by then.
        """
        row = self._new_row(project_id, category, category_key, key, info or {})
        talk = JobTalk(self, row, self.impulses.epoch(project_id))
        with self._turn:
            if self._closed:
                raise RefusalError("The local Studio is being stopped", 503)
            self._talks[row.job_id] = talk
            if project_id not in self._queues:
                self._queues[project_id] = ThreadPoolExecutor(1, f"project-{project_id}")
            talk.future = self._queues[project_id].submit(self._run, talk, f"{category_key} {key}", work)
        if self.options.jobs == "immediate":
            with suppress(CancelledError):
                talk.future.result()
        return row.job_id

    def _new_row(
        self, project_id: int, category: str, category_key: str, key: str, info: Mapping[str, Any]
    ) -> JobRow:
        created = time.time()
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO jobs (project_id, category, category_key, key, created, info) VALUES (?,?,?,?,?,?)",
                (project_id, category, category_key, key, created, json.dumps(dict(info))),
            )
        assert cursor.lastrowid is not None
        return JobRow(cursor.lastrowid, project_id, category, category_key, key, created, info=info)

    def _run(self, talk: JobTalk, kind: str, work: Work) -> None:
        """A job from its beginning to its end; whatever happens, it ends."""
        successful = False
        try:
            self._database.query("UPDATE jobs SET started = ? WHERE id = ?", (time.time(), talk.job_id))
            talk.line(f"Creating job... OK (ID: {talk.job_id})")
            self._work(talk, kind, work)
            successful = True
            talk.line("Job completed")
        except (JobFailure, EiautoError) as error:
            _say_end(talk, error)
        except Exception as error:  # noqa: BLE001 - the thread's last frame: the job must end as failed, with the trace
            talk.line(traceback.format_exc(), "debug")
            talk.line(f"{type(error).__name__}: {error}", "error")
            talk.line("Job failed (see above)", "error")
        finally:
            self._end(talk, successful)

    def _work(self, talk: JobTalk, kind: str, work: Work) -> None:
        if talk.should_stop():
            raise InterruptedRunError("cancelled before it began")
        if reason := self.job_fails(kind):
            raise JobFailure(reason)
        work(talk)

    def _end(self, talk: JobTalk, successful: bool) -> None:
        """Save the rest of the log and the end together, then tell the watchers.

        Where the disk takes nothing any more, how it ended is known until the server does.
        """
        now = time.time()
        with self._turn:
            row = self.job(talk.job_id)
            assert row is not None
            row = replace(row, finished=now, successful=successful)
            try:
                with self._database.transaction() as connection:
                    connection.executemany("INSERT INTO job_log VALUES (?,?,?,?,?)", _rows(talk))
                    connection.execute(
                        "UPDATE jobs SET finished = ?, successful = ? WHERE id = ?", (now, successful, talk.job_id)
                    )
                del self._talks[talk.job_id]
            except StorageError:
                self._unsaved[talk.job_id] = row
            for watcher in talk.watchers:
                watcher(row)

    def _end_abandoned(self) -> None:
        """Jobs that a killed server left unfinished have failed."""
        for (job_id,) in self._database.query("SELECT id FROM jobs WHERE finished IS NULL"):
            with self._database.transaction() as connection:
                connection.execute(
                    "INSERT INTO job_log SELECT ?, coalesce(max(line), -1) + 1, ?, 'error', ?"
                    " FROM job_log WHERE job_id = ?",
                    (job_id, time.time(), "Job failed: the server ended before it did", job_id),
                )
                connection.execute(
                    "UPDATE jobs SET finished = ?, successful = 0 WHERE id = ?", (time.time(), job_id)
                )

    def cancel(self, job_id: int) -> None:
        """Ask a job to stop; one that has ended is left as it is."""
        with self._turn:
            if talk := self._talks.get(job_id):
                self._stop(talk)

    def _stop(self, talk: JobTalk) -> None:
        """Ask a job to stop; one that waits for its turn ends now."""
        talk.stop()
        if talk.future is not None and talk.future.cancel():
            _say_end(talk, InterruptedRunError("cancelled before it began"))
            self._end(talk, successful=False)

    def close(self) -> None:
        """Ask every job to stop and wait for it."""
        with self._turn:
            self._closed = True
            for talk in list(self._talks.values()):
                self._stop(talk)
            queues = list(self._queues.values())
        for queue in queues:
            queue.shutdown(wait=True)

    def forget(self, project_id: int) -> None:
        """Stop the jobs of a project that is to be deleted, and wait for them."""
        with self._turn:
            for talk in list(self._talks.values()):
                if talk.project_id == project_id:
                    self._stop(talk)
            queue = self._queues.pop(project_id, None)
        if queue is not None:
            queue.shutdown(wait=True)

    # Looking

    def job(self, job_id: int) -> JobRow | None:
        """A job; None where there is none."""
        if job_id in self._unsaved:
            return self._unsaved[job_id]
        rows = self._database.query(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,))
        return job_row(*rows[0]) if rows else None

    def jobs(self, project_id: int) -> list[JobRow]:
        """All jobs of a project, the newest first."""
        query = f"SELECT {COLUMNS} FROM jobs WHERE project_id = ? ORDER BY id DESC"
        rows = [job_row(*row) for row in self._database.query(query, (project_id,))]
        return [self._unsaved.get(row.job_id, row) for row in rows]

    def log(self, job_id: int, after: int = -1) -> list[LogLine]:
        """Lines of a job's log with an index greater than `after`, in order."""
        with self._turn:
            if talk := self._talks.get(job_id):
                return talk.lines[after + 1 :]
        query = "SELECT line, created, level, text FROM job_log WHERE job_id = ? AND line > ? ORDER BY line"
        return [LogLine(*row) for row in self._database.query(query, (job_id, after))]

    def subscribe(self, job_id: int, watcher: Watcher) -> Callable[[], None]:
        """Watch a job: what its log has so far, then what comes, then its end; nothing twice, nothing lost.

        Args:
            job_id: Which; of one that does not exist nothing ever comes.
            watcher: Called from the job's thread, and for what there is from this one; must return at once.

        Returns:
            A function that ends the watching.
        """
        with self._turn:
            talk = self._talks.get(job_id)
            for line in self.log(job_id):
                watcher(line)
            row = self.job(job_id)
            if row is not None and row.finished is not None:
                watcher(row)
            elif talk is not None:
                talk.watchers.append(watcher)

        def unsubscribe() -> None:
            with self._turn:
                if talk is not None and watcher in talk.watchers:
                    talk.watchers.remove(watcher)

        return unsubscribe

    def add_lines(self, talk: JobTalk, text: str, level: str) -> None:
        """Add to a running job's log and tell its watchers."""
        now = time.time()
        with self._turn:
            for part in text.splitlines():
                line = LogLine(len(talk.lines), now, level, part)
                talk.lines.append(line)
                for watcher in talk.watchers:
                    watcher(line)
            if time.monotonic() - talk.saved_at > SAVE_EVERY_S:
                with self._database.transaction() as connection:
                    connection.executemany("INSERT INTO job_log VALUES (?,?,?,?,?)", _rows(talk))
                talk.saved, talk.saved_at = len(talk.lines), time.monotonic()

    # The local backend

    @contextmanager
    def backend(self, project_id: int) -> Iterator[Backend]:
        """The local backend on a project's folder, with the project's enabled samples and impulse.

        One at a time in a project: another that asks for it waits.

        Raises:
            JobFailure: A sample's content is not what was stored.
        """
        from ei_automation.studio_server.learning import open_project

        with self._turn:
            door = self._doors.setdefault(project_id, threading.RLock())
        with door, open_project(self, project_id) as backend:
            yield backend


def _say_end(talk: JobTalk, error: JobFailure | EiautoError) -> None:
    """The end of the log of a job that did not do its work."""
    if isinstance(error, InterruptedRunError):
        talk.line("Job was cancelled", "warn")
        return
    talk.line(str(error), "error")
    if isinstance(error, EiautoError) and error.hint:
        talk.line(error.hint, "info")
    talk.line("Job failed (see above)", "error")


def _rows(talk: JobTalk) -> list[tuple[int, int, float, str, str]]:
    """Log lines of a running job that are not saved yet, as rows of the table."""
    return [(talk.job_id, line.index, line.created, line.level, line.text) for line in talk.lines[talk.saved :]]


__all__ = ["TABLES", "JobFailure", "JobRow", "JobTalk", "LogLine", "Watcher", "Workshop"]
