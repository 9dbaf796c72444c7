"""The contract, kept over Edge Impulse Studio's API; nothing is remembered on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ei_automation.backends import BackendOptions
from ei_automation.backends.base import Backend, wait
from ei_automation.backends.studio import deployments, results, samples, testing, training, tuner
from ei_automation.backends.studio import impulse as impulses
from ei_automation.backends.studio.account import read_access, require_admin
from ei_automation.backends.studio.client import StudioClient, StudioError, is_near
from ei_automation.backends.studio.jobs import JobLog, Kind, list_jobs, newest, read_job, start_once, why_it_ended
from ei_automation.backends.studio.public import restore_into
from ei_automation.backends.studio.record import read_record
from ei_automation.backends.studio.sockets import JobNews
from ei_automation.backends.studio.upload import upload
from ei_automation.errors import NotFoundError, SettingsError, UsageError, VerificationError
from ei_automation.schema.deployment import Artifact, BuildRequest, BuiltDeployment, DeploymentTarget
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.job import Job, JobLogLine, JobStatus
from ei_automation.schema.lock import BackendRecord, TrainingRecord
from ei_automation.schema.metrics import Metrics, ModelVariant, Prediction
from ei_automation.schema.sample import Category, Sample, StoredSample, UploadReport
from ei_automation.schema.training import TrainingParameters
from ei_automation.schema.tuner import Trial, TunerConfig

FEATURES_WITHIN_S = 6 * 3600.0
"""For the features that a training needs first."""
STEPS: tuple[Kind, ...] = ("features", "training", "testing", "build", "tuning")


class StudioBackend(Backend):
    """A project in Studio.

    Args:
        options: With `studio`, how to reach it.

    Raises:
        SettingsError: There are no settings for Studio, no key, or nothing may leave this machine.
    """

    name = "studio"
    mirrors = False
    has_tuner = True

    def __init__(self, options: BackendOptions) -> None:
        if options.studio is None:
            raise SettingsError("there are no settings for Edge Impulse Studio", hint="set EI_API_KEY")
        far = [
            place
            for place in (options.studio.api_endpoint, options.studio.ingestion_endpoint)
            if not is_near(place)
        ]
        if options.offline and far:
            raise SettingsError(
                f"nothing may leave this machine, and {far[0]} is another one",
                hint="unset EIAUTO_OFFLINE, or start a local Studio: eiauto studio serve",
            )
        self._options = options
        self._client = StudioClient(options.studio)
        self._logs: dict[int, JobLog] = {}
        self._news: JobNews | None = None
        self._watched = 0
        self._asked: TrainingParameters | None = None
        self._unknown: list[tuple[int, str]] | None = None
        self._cancelled: set[int] = set()
        self._just_tested: set[int] = set()
        self._builds: dict[int, tuple[int, BuildRequest]] = {}
        self._models: dict[tuple[int, ModelVariant], bytes] = {}

    @property
    def _project_id(self) -> int:
        return self._access[0]

    @cached_property
    def _access(self) -> tuple[int, str]:
        """Project and role of the key; asked once."""
        return read_access(self._client)

    def check_access(self) -> None:
        """See the contract."""
        self._access  # noqa: B018 - reading it asks

    def check_ready(self) -> None:
        """See the contract."""
        require_admin(self._access[1])

    def provenance(self) -> BackendRecord:
        """See the contract."""
        jobs = list_jobs(self._client, self._project_id)
        found = {step: newest(jobs, step) for step in STEPS}
        return BackendRecord(
            name=self.name,
            endpoint=self._client.settings.api_endpoint,
            project_id=self._project_id,
            jobs={step: job.job_id for step, job in found.items() if job is not None},
        )

    def close(self) -> None:
        """Close the connections; what runs in Studio goes on."""
        if self._news is not None:
            self._news.close()
        self._client.close()

    # Samples

    def list_samples(self, category: Category | None = None) -> list[StoredSample]:
        """See the contract. Samples whose content cannot be told are left out."""
        listing = samples.list_all(self._client, self._project_id, category)
        if category is None:
            self._unknown = [(one.sample_id, one.filename) for one in listing.unknown]
        return listing.samples

    def unknown_samples(self) -> list[tuple[int, str]]:
        """See the contract; as the last listing of all samples had them, since each takes many requests."""
        if self._unknown is None:
            self.list_samples()
        return list(self._unknown or ())

    def upload(self, samples: Sequence[Sample], on_progress: Callable[[int, int], None]) -> UploadReport:
        """See the contract."""
        self._unknown = None
        return upload(self._client, self._project_id, samples, on_progress)

    def delete_samples(self, sample_ids: Sequence[int]) -> None:
        """See the contract."""
        self._unknown = None
        samples.delete(self._client, self._project_id, sample_ids)

    # Impulse

    def get_impulse(self) -> Impulse | None:
        """See the contract. None too where the live impulse is none that a manifest can describe."""
        live = impulses.read_impulse(self._client, self._project_id)
        return live.impulse if live else None

    def set_impulse(self, impulse: Impulse) -> None:
        """See the contract."""
        impulses.write_impulse(self._client, self._project_id, impulse)

    def training_drift(self, parameters: TrainingParameters) -> dict[str, tuple[str, str]]:
        """See the contract; the keys are Studio's."""
        return training.training_drift(self._client, self._project_id, parameters)

    # Work

    def start_features(self) -> int:
        """See the contract."""
        return impulses.start_features(self._client, self._project_id)

    def start_training(self, parameters: TrainingParameters) -> int:
        """See the contract. Features that are missing or older than the samples are made first, and waited for."""
        self._asked = parameters
        return training.start_training(self._client, self._project_id, parameters, self._make_features)

    def _make_features(self) -> None:
        wait(self, self.start_features(), deadline_s=FEATURES_WITHIN_S)

    def start_testing(self, minimum_confidence: float) -> int:
        """See the contract."""
        job_id = testing.start_testing(self._client, self._project_id, self._current(), minimum_confidence)
        self._just_tested.add(job_id)
        return job_id

    def start_build(self, request: BuildRequest) -> int:
        """See the contract."""
        current = self._current()
        if (done := self._same_build(request, current)) is not None:
            return done

        def start() -> int:
            job_id, version = deployments.start_build(self._client, self._project_id, request)
            self._builds[job_id] = (version, request)
            return job_id

        return start_once(self._client, self._project_id, "build", start)

    def _same_build(self, request: BuildRequest, current: training.CurrentTraining) -> int | None:
        """The job of a build of the current model that is what is asked for."""
        target = deployments.resolve_target(deployments.targets(self._client, self._project_id), request)
        wanted = (request.engine, request.variant, False, False)
        fitting = {
            build.version
            for build in deployments.history(self._client, self._project_id, target.format)
            if (build.engine, build.variant, build.stale, build.by_public) == wanted
        }
        jobs = [job for job in current.jobs if job.kind == "build" and job.successful]
        for job in jobs if fitting else ():
            if job.job_id < current.job_id:
                break
            try:
                made = deployments.build_of_job(self._client, self._project_id, job.job_id)
            except (NotFoundError, VerificationError):
                continue
            if made.version in fitting and made.firmware_version == request.firmware_version:
                self._builds[job.job_id] = (made.version, request)
                return job.job_id
        return None

    def start_tuning(self, config: TunerConfig, *, extend: bool = False) -> int:
        """See the contract."""
        return start_once(
            self._client,
            self._project_id,
            "tuning",
            lambda: tuner.start_tuning(self._client, self._project_id, config, extend=extend),
        )

    def tuning_trials(self, job_id: int) -> list[Trial]:
        """See the contract."""
        return tuner.trials(self._client, self._project_id, job_id)

    def start_making_primary(self, trial_id: str, name: str = "") -> int:
        """See the contract."""
        return start_once(
            self._client,
            self._project_id,
            "tuning",
            lambda: tuner.start_making_primary(self._client, self._project_id, trial_id, name),
        )

    def start_restoring(self, public_id: int) -> int:
        """Start copying a published version into this project, which must be empty; returns the job id.

        Raises:
            UsageError: The project has data.
        """
        return restore_into(self._client, self._project_id, public_id)

    # Jobs

    def get_job(self, job_id: int) -> Job:
        """See the contract."""
        job = read_job(self._client, self._project_id, job_id)
        if not job.finished:
            self._watched = job_id
        if job.status is not JobStatus.FAILED:
            return job
        reason, cancelled = why_it_ended(self._client, self._project_id, job_id)
        if cancelled or job_id in self._cancelled:
            return replace(job, status=JobStatus.CANCELLED)
        return replace(job, error=reason)

    def job_log(self, job_id: int, after: int = -1) -> list[JobLogLine]:
        """See the contract."""
        if job_id not in self._logs:
            self._logs[job_id] = JobLog(self._client, self._project_id, job_id)
        return self._logs[job_id].after(after)

    def cancel_job(self, job_id: int) -> None:
        """See the contract."""
        if self.get_job(job_id).finished:
            return
        try:
            self._client.post_again(f"/api/{self._project_id}/jobs/{job_id}/cancel")
        except StudioError:
            if not self.get_job(job_id).finished:
                raise
        self._cancelled.add(job_id)

    def pause(self) -> None:
        """See the contract: until the socket has news, or for the time between two looks."""
        if self._news is None:
            self._news = JobNews(self._client, self._project_id)
        self._news.wait(self._watched)

    # Results

    def model_problem(self) -> str:
        """See the contract."""
        try:
            self._current()
        except (NotFoundError, VerificationError) as error:
            return error.message
        return ""

    def training_record(self) -> TrainingRecord | None:
        """See the contract. What Studio does not tell is left empty; None for what no manifest can describe."""
        try:
            current = self._current()
            return read_record(
                self._client,
                self._project_id,
                current,
                lambda variant: self._model(current, variant),
                asked=self._asked,
            )
        except (NotFoundError, VerificationError, UsageError):
            return None

    def metrics(self) -> list[Metrics]:
        """See the contract. Those of the validation samples are Studio's own, without scores."""
        tested = self._tested()
        if tested is None:
            return []
        counted = results.testing_metrics(
            tested.scores, tested.samples, tested.metadata.labels, tested.minimum_confidence
        )
        return [*results.validation_metrics(tested.metadata), *counted]

    def predictions(self) -> list[Prediction]:
        """See the contract. Studio tells no scores of validation samples."""
        tested = self._tested()
        return results.testing_predictions(tested.scores, tested.samples) if tested else []

    def download_model(self, variant: ModelVariant) -> bytes:
        """See the contract."""
        return self._model(self._current(), variant)

    def deployment_targets(self) -> list[DeploymentTarget]:
        """See the contract."""
        found = deployments.targets(self._client, self._project_id)
        return [target.target for target in found if not target.disabled]

    def built_deployments(self) -> list[BuiltDeployment]:
        """See the contract."""
        return deployments.built(self._client, self._project_id)

    def download(self, build_job_id: int, folder: Path) -> Artifact:
        """See the contract. The project's API key, which Studio puts into a deployment, is taken out."""
        job = self.get_job(build_job_id)
        if job.kind != "build" or not job.finished_successful:
            raise NotFoundError(f"job {build_job_id} is no successful build")
        if build_job_id not in self._builds:
            made = deployments.build_of_job(self._client, self._project_id, build_job_id)
            variant: ModelVariant = "float32" if made.variant == "float32" else "int8"
            wanted = BuildRequest(made.format, made.engine, variant, made.firmware_version)
            self._builds[build_job_id] = (made.version, wanted)
        version, request = self._builds[build_job_id]
        fetched = deployments.fetch_build(
            self._client, self._project_id, version, request, folder, project_name=self._options.project
        )
        before = [job for job in list_jobs(self._client, self._project_id) if job.job_id < build_job_id]
        trained = newest(before, "training", successful=True)
        return Artifact(
            fetched.path,
            fetched.sha256,
            fetched.format,
            request.engine,
            request.variant,
            version,
            fetched.model_sha256,
            trained.job_id if trained else 0,
        )

    # Inside

    def _current(self) -> training.CurrentTraining:
        return training.current_training(self._client, self._project_id)

    def _tested(self) -> testing.Tested | None:
        try:
            current = self._current()
        except (NotFoundError, VerificationError):
            return None
        last = newest(current.jobs, "testing")
        just_ended = last is not None and last.job_id in self._just_tested
        return testing.read_test(self._client, self._project_id, current, just_ended=just_ended)

    def _model(self, current: training.CurrentTraining, variant: ModelVariant) -> bytes:
        key = (current.job_id, variant)
        if key not in self._models:
            self._models[key] = results.download_model(self._client, self._project_id, current.learn_id, variant)
        return self._models[key]
