"""The EON Tuner of a project: start or continue a run, read its trials, make one primary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ei_automation.backends.studio.client import StudioClient, StudioError
from ei_automation.errors import NotFoundError
from ei_automation.schema.tuner import Trial, TunerConfig
from ei_automation.studio_api.tuner import optimize_config, trial_from


def start_tuning(client: StudioClient, project_id: int, config: TunerConfig, *, extend: bool = False) -> int:
    """Start a run, or continue the project's last one.

    A run that is going on with the same configuration is not started a second time: its job is returned.

    Args:
        client: Of the project's endpoint.
        project_id: The project.
        config: What is searched.
        extend: Continue the last run.

    Returns:
        The coordinator's job id, whose log is the run's.

    Raises:
        UsageError: The configuration names no search space.
        NotFoundError: There is no run to continue.
        EiautoError: As the client's.
    """
    wanted = optimize_config(config)
    if (running := _running(client, project_id, wanted)) is not None:
        return running
    extended_from = _last_run(client, project_id) if extend else None
    client.post_again(f"/api/{project_id}/optimize/config", wanted)
    reply = client.post(f"/api/{project_id}/jobs/optimize", extendedFromJobId=extended_from)
    return int(reply["id"])


def trials(client: StudioClient, project_id: int, job_id: int) -> list[Trial]:
    """The trials of a run as they are now, in Studio's order; none while the run is being created.

    Args:
        client: Of the project's endpoint.
        project_id: The project.
        job_id: What `start_tuning` returned.
    """
    rows = _state(client, project_id, job_id).get("trials")
    found = rows if isinstance(rows, list) else []
    return [trial_from(row) for row in found if isinstance(row, Mapping) and row.get("id")]


def start_making_primary(client: StudioClient, project_id: int, trial_id: str, name: str = "") -> int:
    """Start making a trial the project's impulse.

    Args:
        client: Of the project's endpoint.
        project_id: The project.
        trial_id: The trial's.
        name: Of the impulse; empty for the trial's.

    Returns:
        The job id.
    """
    body = {"name": name} if name else {}
    reply = client.post(f"/api/{project_id}/jobs/set-tuner-primary-job", body, trialId=trial_id)
    return int(reply["id"])


def _state(client: StudioClient, project_id: int, job_id: int) -> Mapping[str, Any]:
    """A run's state. The newest run's stands at a second address, where it may appear first; empty before that."""
    own = _read(client, f"/api/{project_id}/optimize/{job_id}/state")
    if own.get("trials"):
        return own
    newest = _read(client, f"/api/{project_id}/optimize/state")
    return newest if job_id in (newest.get("tunerCoordinatorJobId"), newest.get("tunerJobId")) else {}


def _read(client: StudioClient, path: str) -> Mapping[str, Any]:
    """A state; empty where Studio says that there is none."""
    try:
        return client.get(path)
    except (NotFoundError, StudioError):
        return {}


def _running(client: StudioClient, project_id: int, wanted: Mapping[str, Any]) -> int | None:
    """The job of a run that is going on and was asked for the same."""
    state = _read(client, f"/api/{project_id}/optimize/state")
    job_id = state.get("tunerCoordinatorJobId")
    if not state.get("tunerJobIsRunning") or not isinstance(job_id, int):
        return None
    return job_id if _says(state.get("config"), wanted) else None


def _says(told: Any, wanted: Any) -> bool:
    """Whether a configuration holds what was wanted; Studio may add what it decided itself."""
    if isinstance(wanted, Mapping):
        return isinstance(told, Mapping) and all(_says(told.get(key), value) for key, value in wanted.items())
    return bool(told == wanted)


def _last_run(client: StudioClient, project_id: int) -> int:
    """The coordinator's job of the project's last run."""
    rows = client.get(f"/api/{project_id}/optimize/runs").get("runs")
    runs = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    known = [run for run in runs if isinstance(run.get("tunerCoordinatorJobId"), int)]
    if not known:
        raise NotFoundError(
            "there is no run of the tuner to continue", hint="run `eiauto tune` without --extend first"
        )
    newest = max(known, key=lambda run: (str(run.get("created") or ""), run["tunerCoordinatorJobId"]))
    return int(newest["tunerCoordinatorJobId"])
