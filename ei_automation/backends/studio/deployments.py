"""Deployments of a project: targets, builds, and the download of exactly what a build made."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ei_automation.backends.studio.archive import MAX_BYTES, clean_package
from ei_automation.backends.studio.client import StudioClient, StudioError
from ei_automation.errors import NotFoundError, UsageError, VerificationError
from ei_automation.files import ensure_folder, sha256_bytes, write_atomically
from ei_automation.schema.deployment import BuildRequest, BuiltDeployment, DeploymentTarget, artifact_stem
from ei_automation.schema.metrics import VARIANTS
from ei_automation.studio_api.deployment import FIRMWARE_PARAMETER

PAGE = 100
HISTORY_LIMIT = 10_000
"""Deployments of one project that are looked at; a listing that goes on after that does not end."""
BUILD_SLACK = timedelta(seconds=120)
"""How long before its job's start or after its end a deployment may be listed as created."""
DOING = "storing a deployment"


@dataclass(frozen=True)
class LiveTarget:
    """A deployment target as the project offers it.

    Attributes:
        format: Its name in the API, e.g. `openmv`.
        name: For people.
        description: What one does with it.
        latency_device: The device that its estimates are for; empty where it has none.
        engines: Engines that it can be built with; empty where it does not say.
        variants: Model variants that it takes; empty where it does not say.
        variant_hints: Variant to why it is not taken.
        disabled: Why it cannot be built for this project; empty when it can.
        parameters: Names of its custom parameters.
    """

    format: str
    name: str
    description: str
    latency_device: str = ""
    engines: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    variant_hints: Mapping[str, str] | None = None
    disabled: str = ""
    parameters: tuple[str, ...] = ()

    @property
    def target(self) -> DeploymentTarget:
        """As the contract lists it."""
        return DeploymentTarget(self.format, self.name, self.description)


@dataclass(frozen=True)
class HistoricBuild:
    """A build that Studio lists.

    Attributes:
        version: Its number.
        format: The target's.
        engine: As built.
        variant: As built; empty where Studio does not say.
        created: When; None where Studio does not say.
        stale: Whether model, impulse or thresholds changed since.
        by_public: Whether somebody else asked for it, as everybody may of a public project.
        firmware_version: Of the board that its script is for; only a job tells it, and only of the local Studio.
    """

    version: int
    format: str
    engine: str
    variant: str
    created: datetime | None
    stale: bool
    by_public: bool
    firmware_version: str = ""


@dataclass(frozen=True)
class Fetched:
    """A deployment that was downloaded and stored.

    Attributes:
        path: The file.
        sha256: Of its bytes.
        model_sha256: Of the .tflite file inside; empty where there is none.
        version: Studio's number of the build.
        format: The target's format in the API.
        keys_removed: How many API keys were taken out before it was stored.
    """

    path: Path
    sha256: str
    model_sha256: str
    version: int
    format: str
    keys_removed: int = 0


# Targets


def targets(client: StudioClient, project_id: int) -> list[LiveTarget]:
    """What can be built of the project, in Studio's order; those that are disabled say why."""
    rows = client.get(f"/api/{project_id}/deployment/targets").get("targets")
    return [_target(row) for row in rows if row.get("format")] if isinstance(rows, list) else []


def resolve_target(found: Sequence[LiveTarget], request: BuildRequest) -> LiveTarget:
    """The target that a request means: by format, else by name, else by latency device, in any case.

    Args:
        found: From `targets`.
        request: What is to be built; engine and variant are checked too.

    Raises:
        NotFoundError: There is no such target.
        UsageError: Several are meant, or it cannot be built so.
    """
    wanted = request.format.strip().casefold()
    for attribute in ("format", "name", "latency_device"):
        named = [item for item in found if str(getattr(item, attribute)).casefold() == wanted]
        matching = [item for item in named if not item.disabled] or named
        if len({item.format for item in matching}) > 1:
            formats = ", ".join(sorted(item.format for item in matching))
            raise UsageError(
                f"deployment target {request.format!r} may be several: {formats}",
                hint="write one of these formats",
            )
        if matching:
            _check_buildable(matching[0], request)
            return matching[0]
    known = "; ".join(f"{item.format} ({item.name})" for item in found if not item.disabled)
    raise NotFoundError(
        f"no deployment target {request.format!r} in this project", hint=f"it offers {known or 'none'}"
    )


def _check_buildable(target: LiveTarget, request: BuildRequest) -> None:
    if target.disabled:
        raise UsageError(f"deployment target {target.format} cannot be built for this project: {target.disabled}")
    if target.engines and request.engine not in target.engines:
        raise UsageError(
            f"deployment target {target.format} cannot be built with engine {request.engine!r}",
            hint=f"use {', '.join(target.engines)}",
        )
    if target.variants and request.variant not in target.variants:
        hint = (target.variant_hints or {}).get(request.variant, "")
        raise UsageError(
            f"deployment target {target.format} does not take a {request.variant} model"
            + (f": {hint}" if hint else ""),
            hint=f"use {', '.join(target.variants)}",
        )
    if request.firmware_version and FIRMWARE_PARAMETER not in target.parameters:
        raise UsageError(
            f"Studio chooses the script of {target.format} itself, not by the version {request.firmware_version}",
            hint='leave firmware_version out, or build it with backend = "local"',
        )


def _target(row: Mapping[str, Any]) -> LiveTarget:
    variants = [item for item in row.get("modelVariants") or () if isinstance(item, Mapping)]
    reason = str(row.get("reasonTargetDisabled") or "Studio gives no reason")
    return LiveTarget(
        format=str(row["format"]),
        name=str(row.get("name") or row["format"]),
        description=str(row.get("description") or ""),
        latency_device=str(row.get("latencyDevice") or ""),
        engines=tuple(str(engine) for engine in row.get("supportedEngines") or ()),
        variants=tuple(str(item.get("variant")) for item in variants if item.get("supported")),
        variant_hints={str(item.get("variant")): str(item["hint"]) for item in variants if item.get("hint")},
        disabled=reason if row.get("disabledForProject") else "",
        parameters=tuple(str(item.get("param")) for item in row.get("parameters") or ()),
    )


# Builds


def start_build(client: StudioClient, project_id: int, request: BuildRequest) -> tuple[int, int]:
    """Start a build of the project's impulse.

    Returns:
        The job id, and the deployment version that it will have if it succeeds.

    Raises:
        NotFoundError: There is no such target.
        UsageError: It cannot be built so.
        EiautoError: As the client's.
    """
    target = resolve_target(targets(client, project_id), request)
    body: dict[str, object] = {"engine": request.engine, "modelType": request.variant}
    if request.firmware_version:
        body["parameters"] = {FIRMWARE_PARAMETER: request.firmware_version}
    reply = client.post(
        f"/api/{project_id}/jobs/build-ondevice-model",
        body,
        type=target.format,
    )
    return int(reply["id"]), int(reply["deploymentVersion"])


def history(
    client: StudioClient, project_id: int, deployment_format: str | None = None
) -> Iterator[HistoricBuild]:
    """Successful builds, newest first.

    Args:
        client: Of the project's endpoint.
        project_id: The project.
        deployment_format: Only of this format.
    """
    seen: set[int] = set()
    for offset in range(0, HISTORY_LIMIT, PAGE):
        reply = client.get(
            f"/api/{project_id}/deployment/history", deploymentFormat=deployment_format, limit=PAGE, offset=offset
        )
        rows = reply.get("deployments") or []
        page = [_historic(row) for row in rows]
        yield from (build for build in page if build.version not in seen)
        seen.update(build.version for build in page)
        if len(rows) < PAGE or offset + len(rows) >= int(reply.get("totalDeploymentCount") or 0):
            return


def built(client: StudioClient, project_id: int) -> list[BuiltDeployment]:
    """The project's own newest build of each format, sorted by format."""
    newest: dict[str, HistoricBuild] = {}
    for build in history(client, project_id):
        kept = newest.get(build.format)
        if not build.by_public and (kept is None or kept.version < build.version):
            newest[build.format] = build
    return [BuiltDeployment(name, newest[name].version, newest[name].stale) for name in sorted(newest)]


def build_of_job(client: StudioClient, project_id: int, job_id: int) -> HistoricBuild:
    """What a build job made, where the answer that started it is no longer known.

    By the version in the job's metadata where it has one, else by the times of job and deployment.

    Raises:
        NotFoundError: There is no such job, it did not succeed, or it made nothing.
        VerificationError: It cannot be told which build is its.
    """
    job = client.get(f"/api/{project_id}/jobs/{job_id}/status").get("job") or {}
    started, ended = _time(job.get("created")), _time(job.get("finished"))
    if not job.get("finishedSuccessful") or started is None or ended is None:
        raise NotFoundError(f"job {job_id} is no successful build")
    builds = [build for build in history(client, project_id) if build.created and not build.by_public]
    metadata = _mapping(job.get("metadata"))
    firmware = str(_mapping(metadata.get("parameters")).get(FIRMWARE_PARAMETER) or "")
    if told := [build for build in builds if build.version == metadata.get("deploymentVersion")]:
        return replace(told[0], firmware_version=firmware)
    during = [build for build in builds if build.created and started <= build.created <= ended]
    first, last = started - BUILD_SLACK, ended + BUILD_SLACK
    matching = during or [build for build in builds if build.created and first <= build.created <= last]
    if not matching:
        raise NotFoundError(f"job {job_id} made no deployment", hint="build again")
    if len(matching) > 1:
        versions = ", ".join(str(build.version) for build in matching)
        raise VerificationError(
            f"it cannot be told which of the deployments {versions} job {job_id} made", hint="build again"
        )
    return matching[0]


def _historic(row: Mapping[str, Any]) -> HistoricBuild:
    return HistoricBuild(
        version=int(row["deploymentVersion"]),
        format=str(row.get("deploymentFormat") or ""),
        engine=str(row.get("engine") or ""),
        variant=str(row.get("modelType") or ""),
        created=_time(row.get("created")),
        stale=bool(row.get("impulseHasChangedSinceDeployment") or row.get("impulseIsDeleted")),
        by_public=bool(row.get("createdByBuildPublicDeploymentJob")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _time(value: Any) -> datetime | None:
    """A time as Studio writes it; None where there is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Download


def fetch_build(
    client: StudioClient,
    project_id: int,
    version: int,
    request: BuildRequest,
    folder: Path,
    *,
    project_name: str,
) -> Fetched:
    """Download a build by its version, check it, take the API keys out, then store it.

    It is held in memory until it is clean; nothing else of it reaches the disk.

    Args:
        client: Of the project's endpoint.
        project_id: The project.
        version: What `start_build` returned.
        request: What was asked for; a build of another target, engine or variant is refused.
        folder: Where to put it.
        project_name: For the file's name.

    Raises:
        NotFoundError: There is no such build: its job failed, or has not ended.
        VerificationError: It is another build than asked for, or the file is damaged or harmful.
    """
    build = _listed(client, project_id, version)
    _check_is(build, client, project_id, request)
    buffer = io.BytesIO()
    client.download(f"/api/{project_id}/deployment/history/{version}/download", buffer, most_bytes=MAX_BYTES)
    own_key = client.session.headers.get("x-api-key", "")
    package = clean_package(
        buffer.getvalue(), f"deployment {version}", request.variant, [own_key if isinstance(own_key, str) else ""]
    )
    name = artifact_stem(project_name, build.format, request) + package.suffix
    place = ensure_folder(folder, DOING) / name
    write_atomically(place, package.content, doing=DOING)
    return Fetched(
        place, sha256_bytes(package.content), package.model_sha256, version, build.format, package.keys_removed
    )


def _listed(client: StudioClient, project_id: int, version: int) -> HistoricBuild:
    """What Studio says of one build."""
    try:
        row = client.get(f"/api/{project_id}/deployment/history/{version}").get("deployment")
    except (NotFoundError, StudioError) as error:
        raise NotFoundError(f"there is no deployment {version}: {error.message}", hint="build it again") from error
    if not isinstance(row, Mapping):
        raise NotFoundError(f"there is no deployment {version}", hint="build it again")
    return _historic(row)


def _check_is(build: HistoricBuild, client: StudioClient, project_id: int, request: BuildRequest) -> None:
    """Refuse a build that is not what was asked for."""
    wanted = request.format.strip()
    if build.format.casefold() != wanted.casefold():
        wanted = resolve_target(targets(client, project_id), request).format
    differences = [
        f"{name} {told}, not {asked}"
        for name, told, asked in _facts(build, wanted, request)
        if told and told.casefold() != asked.casefold()
    ]
    if differences:
        raise VerificationError(
            f"deployment {build.version} is not what was asked for: {'; '.join(differences)}",
            hint="build it again",
        )


def _facts(build: HistoricBuild, wanted: str, request: BuildRequest) -> Iterable[tuple[str, str, str]]:
    yield "format", build.format, wanted
    yield "engine", build.engine, request.engine
    if build.variant in VARIANTS:
        yield "variant", build.variant, request.variant
