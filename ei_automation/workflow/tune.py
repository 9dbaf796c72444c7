"""`eiauto tune`: run the EON Tuner with the manifest's `[tuner]`, and record every trial with its parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ei_automation.backends.base import Backend
from ei_automation.errors import ManifestError, NotFoundError, UsageError
from ei_automation.files import write_atomically
from ei_automation.schema.job import Job
from ei_automation.schema.tuner import Trial, TunerConfig, TunerRun
from ei_automation.workflow.project import Event, Session
from ei_automation.workflow.stale import require_data
from ei_automation.workflow.train import follow, require_samples

DOING = "recording a tuner run"


def tune(
    session: Session, *, extend: bool = False, on_trial: Callable[[Trial], None] = lambda _: None
) -> TunerRun:
    """Search for better parameters on the synced samples.

    Args:
        session: The project.
        extend: Continue the project's last run instead of starting a new one.
        on_trial: Gets every trial whenever something about it has changed.

    Returns:
        The run with every trial, as it is recorded in `.eiauto/tuner`, also when the job failed in the end.

    Raises:
        ManifestError: It has no `[tuner]`.
        UsageError: The backend has no tuner.
        JobFailedError: The run failed; the trials that it made are recorded.
    """
    config = session.manifest.tuner
    if config is None:
        raise ManifestError(
            "there is no [tuner] section", path=session.folder / "project.toml", key="tuner", hint=EXAMPLE
        )
    lock = session.read_lock()
    split = next(iter(session.active_splits))
    with session.open_backend(split) as backend:
        if not backend.has_tuner:
            raise UsageError(f"the {backend.name} backend has no tuner", hint="use --backend studio")
        require_data(session, lock)
        backend.check_ready()
        require_samples(session, backend, lock, split)
        session.step("Continuing the tuner's run" if extend else "Running the tuner")
        job_id = backend.start_tuning(config, extend=extend)
        watcher = _Watcher(session, backend, config, job_id, on_trial)
        try:
            follow(session, backend, job_id, watcher.look)
        finally:
            run = watcher.record()
    return run


EXAMPLE = 'for example: [tuner], then [[tuner.space]] with visual_layers = ["transfer_mobilenetv2_a35"]'


class _Watcher:
    """Looks at a run's trials while it goes on.

    Args:
        session: The project.
        backend: Where it runs.
        config: What is searched.
        job_id: Of the run.
        on_trial: Gets what has changed.
    """

    def __init__(
        self,
        session: Session,
        backend: Backend,
        config: TunerConfig,
        job_id: int,
        on_trial: Callable[[Trial], None],
    ) -> None:
        self._session, self._backend, self._job_id, self._on_trial = session, backend, job_id, on_trial
        self._config = config
        self._created = datetime.now(UTC)
        self._seen: dict[str, Trial] = {}

    def look(self, job: Job) -> None:
        """Tell what is new."""
        del job
        for trial in self._backend.tuning_trials(self._job_id):
            if self._seen.get(trial.trial_id) != trial:
                self._seen[trial.trial_id] = trial
                self._on_trial(trial)
        done = sum(trial.status in ("completed", "failed") for trial in self._seen.values())
        self._session.on_event(Event("progress", "Trials", done, max(self._config.max_trials, len(self._seen))))

    def record(self) -> TunerRun:
        """Write what is known of the run."""
        record = self._backend.provenance()
        run = TunerRun(
            run_id=f"{self._created:%Y%m%dT%H%M%SZ}-{self._job_id}",
            backend=record.name,
            job_id=self._job_id,
            created=self._created.isoformat(timespec="seconds"),
            config=self._config.model_dump(mode="json"),
            trials=tuple(self._seen.values()),
        )
        content = json.dumps(run.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False)
        write_atomically(tuner_folder(self._session) / f"{run.run_id}.json", content + "\n", doing=DOING)
        return run


def tuner_folder(session: Session) -> Path:
    """Where the runs of the tuner are recorded."""
    return session.state_folder / "tuner"


def recorded_runs(session: Session) -> list[TunerRun]:
    """Every recorded run, the oldest first; one that cannot be read is named and left out."""
    runs = []
    for path in sorted(tuner_folder(session).glob("*.json")):
        try:
            runs.append(TunerRun.model_validate_json(path.read_text(encoding="utf-8")))
        except ValueError:
            session.note(f"{path} is damaged, or of another version, and is left out; delete it")
    return runs


def make_primary(session: Session, trial_id: str) -> Trial:
    """Make a trial the project's impulse.

    Args:
        session: The project.
        trial_id: As the run's record names it, or the trial's name.

    Returns:
        The trial, with its parameters.

    Raises:
        NotFoundError: No recorded run has it.
    """
    runs = recorded_runs(session)
    trials = {trial.trial_id: trial for run in runs for trial in run.trials}
    trials |= {trial.name: trial for run in runs for trial in run.trials if trial.name not in trials}
    if trial_id not in trials:
        known = ", ".join(list(trials)[-5:]) or "none yet; `eiauto tune` makes some"
        raise NotFoundError(f"no recorded trial is called {trial_id!r}", hint=f"the newest: {known}")
    trial = trials[trial_id]
    with session.open_backend(next(iter(session.active_splits))) as backend:
        backend.check_ready()
        session.step(f"Making {trial.name} the primary model")
        follow(session, backend, backend.start_making_primary(trial.trial_id))
    return trial
