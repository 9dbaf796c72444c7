"""Tag deployment: targets, what was built, and its download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ei_automation.studio_server import build
from ei_automation.studio_server import deployment_targets as offers
from ei_automation.studio_server.call import Call, File, RefusalError, iso, ok
from ei_automation.studio_server.operations import serves

if TYPE_CHECKING:
    from ei_automation.studio_server.deployments import Deployment

NO_DEPLOYMENT = "No deployment of this version"
LOG_LINES = 1000
ZIP_SUFFIX = ".zip"


@serves("list_all_deployment_targets")
def list_all_deployment_targets(_: Call) -> dict[str, Any]:
    """Every target."""
    return ok(targets=[offers.target_json(target) for target in offers.TARGETS.values()])


@serves("list_deployment_targets_for_project")
@serves("list_deployment_targets_for_project_data_sources")
def list_deployment_targets_for_project(call: Call) -> dict[str, Any]:
    """Every target, and whether this project can use it."""
    call.studio.projects.info(call.project_id)
    return ok(
        targets=[
            offers.project_target_json(call.studio, call.project_id, target) for target in offers.TARGETS.values()
        ]
    )


@serves("get_deployment")
def get_deployment(call: Call) -> dict[str, Any]:
    """Whether what is asked for is built, of today's model, impulse and thresholds."""
    state = build.made_of(call.studio, call.project_id)
    found = next((row for row in _asked(call) if row.made_of == state), None)
    return ok(hasDeployment=found is not None, version=found.version if found else None)


@serves("download_build")
def download_build(call: Call) -> File:
    """The newest build of what is asked for, of today's model or not: Studio's deprecated way."""
    found = _asked(call)
    if not found:
        raise RefusalError("No deployment was built of this type, engine and model type")
    return _file(call, found[0])


@serves("list_deployment_history")
def list_deployment_history(call: Call) -> dict[str, Any]:
    """Every build that succeeded, newest first."""
    rows = call.studio.deployments.history(call.project_id, call.query.get("deploymentFormat") or None)
    state, first, most = build.made_of(call.studio, call.project_id), *_page(call)
    page = rows[first : first + most]
    return ok(deployments=[_history(call, row, state) for row in page], totalDeploymentCount=len(rows))


@serves("get_historic_deployment")
def get_historic_deployment(call: Call) -> dict[str, Any]:
    """One build."""
    return ok(deployment=_history(call, _version(call), build.made_of(call.studio, call.project_id)))


@serves("download_historic_deployment")
def download_historic_deployment(call: Call) -> File:
    """The file of a build."""
    return _file(call, _version(call))


@serves("get_last_deployment_build")
def get_last_deployment_build(call: Call) -> dict[str, Any]:
    """The newest build, while the project is still what it was built from."""
    rows = call.studio.deployments.history(call.project_id)
    if not rows or rows[0].made_of != build.made_of(call.studio, call.project_id):
        return ok(hasBuild=False)
    row = rows[0]
    last = {
        "version": row.version,
        "deploymentType": row.format,
        "engine": row.engine,
        "modelType": row.variant,
        "created": iso(row.created),
    }
    target = offers.project_target_json(call.studio, call.project_id, offers.TARGETS[row.format])
    return ok(hasBuild=True, lastBuild=last, lastDeploymentTarget=target)


@serves("build_public_deployment_job")
def build_public_deployment_job(call: Call) -> dict[str, Any]:
    """Build from a public project, or give the build that is there."""
    if not call.studio.projects.info(call.project_id).public:
        raise RefusalError("This is no public project")
    body = {"engine": "tflite", "modelType": call.wanted("modelType")}
    request = offers.build_request(body, call.wanted("deploymentType"))
    state = build.made_of(call.studio, call.project_id)
    for row in call.studio.deployments.history(call.project_id, request.format):
        if row.made_of == state and (row.variant, row.engine) == (request.variant, request.engine):
            return ok(deploymentVersion=row.version)
    job_id, version = build.start(call.studio, call.project_id, request, by_public=True)
    return ok(jobId=job_id, deploymentVersion=version)


@serves("get_public_deployment_status")
def get_public_deployment_status(call: Call) -> dict[str, Any]:
    """A public build's job with its log."""
    job = call.studio.workshop.job(call.number("jobId"))
    if job is None or job.project_id != call.project_id or job.category_key != build.CATEGORY_KEY:
        raise RefusalError("No job with this ID found")
    facts = job.to_json()
    names = ("created", "started", "finished", "finishedSuccessful")
    lines = call.studio.workshop.log(job.job_id)[-LOG_LINES:]
    logs = [{"created": iso(line.created), "data": f"{line.text}\n", "logLevel": line.level} for line in lines]
    return ok(job={name: facts[name] for name in names if name in facts}, logs=logs[::-1])


def _asked(call: Call) -> list[Deployment]:
    """Builds of the type, engine and variant in the query, newest first; an engine or variant not named is any."""
    wanted = call.query.get("type", "")
    if wanted not in offers.TARGETS:
        raise RefusalError(f"No deployment target {wanted!r}. There are {', '.join(offers.TARGETS)}")
    engine, variant = call.query.get("engine", ""), call.query.get("modelType", "")
    return [
        row
        for row in call.studio.deployments.history(call.project_id, wanted)
        if engine in ("", row.engine) and variant in ("", row.variant)
    ]


def _version(call: Call) -> Deployment:
    row = call.studio.deployments.get(call.project_id, call.number("deploymentVersion"))
    if row is None:
        raise RefusalError(NO_DEPLOYMENT)
    return row


def _page(call: Call) -> tuple[int, int]:
    """First row and number of rows."""
    first, most = call.asked_number("offset", 0) or 0, call.asked_number("limit")
    if first < 0 or (most is not None and most < 0):
        raise RefusalError("Invalid value for limit or offset")
    return first, most if most is not None else LOG_LINES


def _file(call: Call, row: Deployment) -> File:
    """A build; the project's key, which Studio puts inside a zip, is for those only who may do what it may."""
    content, key = call.studio.deployments.read(row), call.key
    if not row.filename.endswith(ZIP_SUFFIX):
        return File(content, "application/octet-stream", row.filename)
    is_theirs = key is not None and key.role == "admin" and key.project_id in (None, row.project_id)
    return File(content if is_theirs else build.without_key(content), "application/zip", row.filename)


def _history(call: Call, row: Deployment, state: str) -> dict[str, Any]:
    """A build, of schema DeploymentHistory."""
    path = f"/v1/api/{row.project_id}/deployment/history/{row.version}/download"
    return {
        "created": iso(row.created),
        "deploymentVersion": row.version,
        "deploymentFormat": row.format,
        "deploymentTarget": offers.project_target_json(call.studio, row.project_id, offers.TARGETS[row.format]),
        "engine": row.engine,
        "modelType": row.variant,
        "impulseId": row.impulse_id,
        "impulseName": row.impulse_name,
        "impulseIsDeleted": call.studio.impulses.get(row.project_id) is None,
        "impulseHasChangedSinceDeployment": row.made_of != state,
        "downloadUrl": path,
        "createdByBuildPublicDeploymentJob": row.by_public,
    }
