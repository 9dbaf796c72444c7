"""The backend contract: where an impulse lives, trains and is built. The docstrings are the contract.

Two implementations are meant: `local` (state in the project's folder, the trainer in this process) and
Edge Impulse Studio. Rules for both:

* Every method may be repeated: uploading what is there, setting what is set and starting what is done with
  the same inputs are successes that change nothing.
* `start_*` returns a job id at once; only `wait` blocks, and only until its deadline.
* Returned objects are snapshots; they never change.
* Sample ids are stable for as long as the sample is there.
* A model, its metrics and its builds belong to the training job that made them; nothing older is returned.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from ei_automation.errors import EiautoError, InterruptedRunError, JobFailedError, UsageError
from ei_automation.schema.deployment import Artifact, BuildRequest, BuiltDeployment, DeploymentTarget
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.job import Job, JobLogLine
from ei_automation.schema.lock import BackendRecord, TrainingRecord
from ei_automation.schema.metrics import Metrics, ModelVariant, Prediction
from ei_automation.schema.sample import Category, Sample, StoredSample, UploadReport
from ei_automation.schema.training import TrainingParameters
from ei_automation.schema.tuner import Trial, TunerConfig

POLL_S = 0.05
LOG_TAIL_LINES = 20
CANCEL_DEADLINE_S = 30.0


class Backend(AbstractContextManager["Backend"], ABC):
    """One project on one backend. Use as a context manager; not shared between threads."""

    name = "local"
    """As `--backend` takes it."""
    mirrors = True
    """Whether the project holds the manifest's samples and no others: what is not in the manifest is deleted.
    Where others work in it too, that happens only when it is asked for (`--prune`)."""

    has_tuner = False
    """Whether `start_tuning` works."""

    def check_access(self) -> None:
        """Refuse at once where nothing can be read.

        Raises:
            SettingsError: No key, or one that is refused or of another project.
        """

    def check_ready(self) -> None:
        """Refuse to begin what cannot end, before anything is written.

        Raises:
            SettingsError: No key, a wrong one, or one that may not do what is asked for.
        """

    def provenance(self) -> BackendRecord:
        """Which project on which backend this is, and its newest job of each step."""
        return BackendRecord(name=self.name)

    @abstractmethod
    def list_samples(self, category: Category | None = None) -> list[StoredSample]:
        """Samples of a category, or all, ordered by id."""

    def unknown_samples(self) -> list[tuple[int, str]]:
        """Number and name of samples whose content cannot be told; `list_samples` leaves them out."""
        return []

    @abstractmethod
    def upload(self, samples: Sequence[Sample], on_progress: Callable[[int, int], None]) -> UploadReport:
        """Store samples: each content once.

        Content that is there counts as present; its label, category, group and bounding boxes are corrected
        where they differ. One failed sample does not stop the others.

        Args:
            samples: What to store.
            on_progress: Called with samples done and in all.

        Returns:
            The verdict of every sample.
        """

    @abstractmethod
    def delete_samples(self, sample_ids: Sequence[int]) -> None:
        """Delete samples; ids that are not there are ignored."""

    @abstractmethod
    def get_impulse(self) -> Impulse | None:
        """The impulse, or None before the first `set_impulse`."""

    @abstractmethod
    def set_impulse(self, impulse: Impulse) -> None:
        """Set input and DSP block. Models and features of another impulse no longer count."""

    def training_drift(self, parameters: TrainingParameters) -> dict[str, tuple[str, str]]:
        """What the learn block would be set to by a training with these parameters.

        Returns:
            Key to (value now, value wanted); empty where nothing differs or no block is there yet.
        """
        record = self.training_record()
        wanted = parameters.model_dump(mode="json")
        now = record.parameters if record else wanted
        return {key: (str(now.get(key)), str(wanted[key])) for key in wanted if now.get(key) != wanted[key]}

    @abstractmethod
    def start_features(self) -> int:
        """Start generating the features of all samples; returns the job id."""

    @abstractmethod
    def start_training(self, parameters: TrainingParameters) -> int:
        """Start a training on the training category; returns the job id.

        The same samples, impulse and parameters as a successful training give that training's job id.
        """

    @abstractmethod
    def start_testing(self, minimum_confidence: float) -> int:
        """Start running every model variant over validation and testing samples; returns the job id.

        Args:
            minimum_confidence: A best score under it is uncertain, 0..1.
        """

    @abstractmethod
    def start_build(self, request: BuildRequest) -> int:
        """Start building a deployment of the last training's model; returns the job id.

        Raises:
            VerificationError: The model is older than the last training or than the samples or impulse.
            NotFoundError: There is no model, or no such target.
        """

    def start_tuning(self, config: TunerConfig, *, extend: bool = False) -> int:  # noqa: ARG002
        """Start a run of the tuner, or continue the last one; returns the job id.

        Args:
            config: What is searched.
            extend: Continue the project's last run instead of starting a new one.

        Raises:
            UsageError: The backend has no tuner.
        """
        raise UsageError(f"the {self.name} backend has no tuner", hint="use --backend studio")

    def tuning_trials(self, job_id: int) -> list[Trial]:  # noqa: ARG002
        """The trials of a run as they are now, in the backend's order."""
        raise UsageError(f"the {self.name} backend has no tuner", hint="use --backend studio")

    def start_making_primary(self, trial_id: str, name: str = "") -> int:  # noqa: ARG002
        """Start making a trial the project's impulse; returns the job id."""
        raise UsageError(f"the {self.name} backend has no tuner", hint="use --backend studio")

    @abstractmethod
    def get_job(self, job_id: int) -> Job:
        """A job's state now. Raises NotFoundError for an unknown id."""

    def job_error(self, job_id: int) -> EiautoError | None:  # noqa: ARG002 - for implementations that know more
        """The error behind a failed job where the backend knows it exactly; None where only its text is known."""
        return None

    @abstractmethod
    def job_log(self, job_id: int, after: int = -1) -> list[JobLogLine]:
        """Lines of a job's log with an index greater than `after`."""

    @abstractmethod
    def cancel_job(self, job_id: int) -> None:
        """Ask a job to stop; it ends as cancelled. A finished job is left as it is."""

    def model_problem(self) -> str:
        """Why there is no model of today's samples and impulse; empty when there is one."""
        return "" if self.training_record() else "there is no trained model of these samples and impulse"

    @abstractmethod
    def training_record(self) -> TrainingRecord | None:
        """The last successful training, or None when there is none for today's samples and impulse."""

    @abstractmethod
    def metrics(self) -> list[Metrics]:
        """Metrics of the last successful training's models; empty before testing."""

    @abstractmethod
    def predictions(self) -> list[Prediction]:
        """Scores behind `metrics`, sample by sample; empty before testing."""

    @abstractmethod
    def download_model(self, variant: ModelVariant) -> bytes:
        """The last training's .tflite file. Raises NotFoundError when there is none."""

    @abstractmethod
    def deployment_targets(self) -> list[DeploymentTarget]:
        """What `start_build` accepts."""

    def built_deployments(self) -> list[BuiltDeployment]:
        """The newest build of each format that the backend keeps; empty where it keeps none to be compared."""
        return []

    @abstractmethod
    def download(self, build_job_id: int, folder: Path) -> Artifact:
        """Put the artifact that this build made, and no other, into a folder.

        Raises:
            NotFoundError: The job is no build, or did not succeed.
            VerificationError: What is stored is not what was built.
        """

    def pause(self) -> None:
        """Wait until a job may have something new to say; never longer than a moment."""
        time.sleep(POLL_S)

    @abstractmethod
    def close(self) -> None:
        """Free what the backend holds."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def wait(
    backend: Backend,
    job_id: int,
    *,
    deadline_s: float,
    on_line: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[Job], None] = lambda _: None,
) -> Job:
    """Wait until a job has ended; the one function that waits.

    Args:
        backend: Whose job it is.
        job_id: Which.
        deadline_s: Seconds after which the job is cancelled and counts as failed.
        on_line: Gets every log line once, in order.
        on_progress: Gets the job after each look at it.

    Raises:
        JobFailedError: It failed, was cancelled elsewhere, or the deadline passed; carries the log's end.
        EiautoError: The exact error, where the backend knows it.
        InterruptedRunError: Ctrl-C; the job was cancelled first.
    """
    tail: list[str] = []
    try:
        job = _follow(backend, job_id, time.monotonic() + deadline_s, tail, on_line, on_progress)
    except KeyboardInterrupt:
        _cancel(backend, job_id)
        raise InterruptedRunError(
            f"interrupted; job {job_id} was cancelled", hint="run the same command again; it continues"
        ) from None
    if not job.finished:
        _cancel(backend, job_id)
        raise JobFailedError(
            f"{job.kind} job {job_id} did not end within {deadline_s:.0f} s and was cancelled",
            log_tail=tuple(tail),
            hint="look at the log's end; raise EIAUTO_JOB_DEADLINE_S if it was still making progress",
        )
    if not job.finished_successful:
        if error := backend.job_error(job_id):
            raise error
        raise JobFailedError(
            f"{job.kind} job {job_id} {job.status.value}: {job.error}".rstrip(": "), log_tail=tuple(tail)
        )
    return job


def _follow(
    backend: Backend,
    job_id: int,
    deadline: float,
    tail: list[str],
    on_line: Callable[[str], None],
    on_progress: Callable[[Job], None],
) -> Job:
    """Poll until the job has ended or the deadline has passed."""
    seen = -1
    while True:
        job = backend.get_job(job_id)
        for line in backend.job_log(job_id, after=seen):
            seen = line.index
            tail[:] = [*tail, line.text][-LOG_TAIL_LINES:]
            on_line(line.text)
        on_progress(job)
        if job.finished or time.monotonic() > deadline:
            return job
        backend.pause()


def _cancel(backend: Backend, job_id: int) -> None:
    """Cancel, and give the job a bounded time to stop."""
    backend.cancel_job(job_id)
    end = time.monotonic() + CANCEL_DEADLINE_S
    while not backend.get_job(job_id).finished and time.monotonic() < end:
        backend.pause()


__all__ = ["Backend", "wait"]
