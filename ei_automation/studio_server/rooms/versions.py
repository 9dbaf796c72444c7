"""Tags projects and jobs: versions, published ones, restoring, and taking over data of another project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ei_automation.studio_server import versions
from ei_automation.studio_server.call import Call, RefusalError, iso, ok
from ei_automation.studio_server.impulses import TRAINING
from ei_automation.studio_server.learning import test
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.workshop import JobTalk

if TYPE_CHECKING:
    from collections.abc import Callable

    from ei_automation.studio_server.studio import Studio
    from ei_automation.studio_server.versions import Version

WITH_TESTING = "runModelTestingWhileVersioning"
NOT_PUBLIC = "This project has no public version"
NO_JWT = "This is only available through a JWT token"


@serves("list_versions")
def list_versions(call: Call) -> dict[str, Any]:
    """A project's versions."""
    studio, project_id = call.studio, call.project_id
    return ok(
        nextVersion=versions.next_number(studio, project_id),
        versions=[_version_json(studio, project_id, item) for item in versions.versions(studio, project_id)],
        customLearnBlocks=[],
        runModelTestingWhileVersioning=studio.projects.get(project_id, WITH_TESTING, True),
    )


@serves("list_public_versions")
def list_public_versions(call: Call) -> dict[str, Any]:
    """What everybody may read of a project."""
    call.studio.projects.info(call.project_id)
    found = [item for item in versions.versions(call.studio, call.project_id) if item.public]
    return ok(
        versions=[
            {
                "version": item.number,
                "publicProjectId": item.snapshot_id,
                "publicProjectUrl": _public_url(call.studio, call.project_id, item),
            }
            for item in found
        ]
    )


@serves("start_version_job")
def start_version_job(call: Call) -> dict[str, Any]:
    """Start keeping the project as it is."""
    description, public = call.wanted("description"), call.wanted("makePublic", bool)
    testing = call.body.get(WITH_TESTING)
    if testing is not None:
        call.studio.projects.set(call.project_id, WITH_TESTING, bool(testing))
    wants_testing = call.studio.projects.get(call.project_id, WITH_TESTING, True)

    def work(talk: JobTalk) -> None:
        if wants_testing and (learn_id := _trained_block(call.studio, call.project_id)) is not None:
            test(call.studio.workshop, talk, learn_id)
        made = versions.make(call.studio, call.project_id, description, public=public)
        talk.line(f"Stored version {made.number} with {made.samples} samples as project {made.snapshot_id}")

    return ok(id=_start(call, "Versioning project", "version", work))


@serves("start_make_version_public_job")
def start_make_version_public_job(call: Call) -> dict[str, Any]:
    """Let everybody read a version."""
    number = versions.version(call.studio, call.project_id, call.number("versionId")).number

    def work(talk: JobTalk) -> None:
        versions.change(call.studio, call.project_id, number, {"public": True})
        talk.line(f"Version {number} is public")

    return ok(id=_start(call, "Making version public", "make-version-public", work))


@serves("make_version_private")
def make_version_private(call: Call) -> dict[str, Any]:
    """Let nobody else read a version."""
    versions.change(call.studio, call.project_id, call.number("versionId"), {"public": False})
    return ok()


@serves("update_version")
def update_version(call: Call) -> dict[str, Any]:
    """Change a version's description."""
    given = call.body.get("description") is not None
    changes = {"description": call.wanted("description")} if given else {}
    versions.change(call.studio, call.project_id, call.number("versionId"), changes)
    return ok()


@serves("delete_version")
def delete_version(call: Call) -> dict[str, Any]:
    """Forget a version."""
    versions.delete(call.studio, call.project_id, call.number("versionId"))
    return ok()


@serves("start_restore_job")
def start_restore_job(call: Call) -> dict[str, Any]:
    """Start making this project what a version of one's own is."""
    source = call.wanted("projectId", int)
    _require_admin(call, source, call.body.get("projectApiKey"))
    kept = versions.version(call.studio, source, call.wanted("versionId", int))
    return _restore(call, kept.snapshot_id)


@serves("start_restore_job_from_public")
def start_restore_job_from_public(call: Call) -> dict[str, Any]:
    """Start making this project what a public version is."""
    source = call.wanted("projectId", int)
    if call.studio.projects.info(source).public:
        return _restore(call, source)
    kept = versions.newest_public(call.studio, source)
    if kept is None:
        raise RefusalError(NOT_PUBLIC)
    return _restore(call, kept.snapshot_id)


@serves("start_import_data_from_project_job")
def start_import_data_from_project_job(call: Call) -> dict[str, Any]:
    """Start adding all samples of another project to this one."""
    if call.key is None or call.key.project_id is not None:
        raise RefusalError(NO_JWT)
    source = call.studio.projects.info(call.wanted("projectId", int)).project_id

    def work(talk: JobTalk) -> None:
        count = call.studio.samples.copy(source, call.project_id)
        talk.line(f"Added {count} samples of project {source}")

    return ok(id=_start(call, "Importing data", "import-data", work))


@serves("get_project_info_summary")
def get_project_info_summary(call: Call) -> dict[str, Any]:
    """What is public of a public project."""
    row = call.studio.projects.info(call.project_id)
    return ok(
        id=row.project_id,
        owner=row.owner,
        name=row.name,
        studioUrl=f"{call.studio.url}/studio/{row.project_id}",
        viewCount=0,
        cloneCount=0,
    )


@serves("list_public_projects")
def list_public_projects(call: Call) -> dict[str, Any]:
    """Projects that have a public version."""
    name, first, most = (
        call.query.get("project", "").lower(),
        call.asked_number("offset", 0),
        call.asked_number("limit"),
    )
    kinds = [kind for kind in call.query.get("projectTypes", "").split(",") if kind]
    found = [
        _public_json(call.studio, row.project_id, kept)
        for row in call.studio.projects.all()
        if (kept := versions.newest_public(call.studio, row.project_id)) and name in row.name.lower()
    ]
    found = [item for item in found if not kinds or item["projectType"] in kinds]
    page = found[max(first or 0, 0) :][: most if most is None else max(most, 0)]
    return ok(projects=page, totalProjectCount=len(found))


@serves("list_public_project_types")
def list_public_project_types(_: Call) -> dict[str, Any]:
    """Kinds of projects that a local Studio has."""
    kinds = (("image", "Images"), ("object-detection", "Object detection"))
    return ok(projectTypes=[{"value": value, "label": label} for value, label in kinds])


def _start(call: Call, category: str, key: str, work: Callable[[JobTalk], None]) -> int:
    return call.studio.workshop.start(call.project_id, category=category, category_key=key, key=key, work=work)


def _restore(call: Call, source: int) -> dict[str, Any]:
    versions.require_empty(call.studio, call.project_id)

    def work(talk: JobTalk) -> None:
        versions.restore(call.studio, source, call.project_id, talk.line)

    _start(call, "Restoring project", "restore", work)
    return ok()


def _require_admin(call: Call, project_id: int, api_key: str | None) -> None:
    """Refuse to copy a project that the caller has no admin key of."""
    call.studio.projects.info(project_id)
    asking = call.key
    if asking is not None and asking.project_id in (None, project_id):
        return
    other = call.studio.projects.find_key(api_key) if isinstance(api_key, str) else None
    if other is None or other.project_id != project_id or other.role != "admin":
        raise RefusalError("Invalid API key for the source project")


def _trained_block(studio: Studio, project_id: int) -> int | None:
    """The learn block that has a model; None for none."""
    blocks = (studio.impulses.get(project_id) or {}).get("learnBlocks", ())
    trained = (int(block["id"]) for block in blocks if studio.impulses.value(project_id, block["id"], TRAINING))
    return next(trained, None)


def _version_json(studio: Studio, project_id: int, item: Version) -> dict[str, Any]:
    """A version, of schema ListVersionsResponseAllOfVersions."""
    public = {
        "publicProjectId": item.snapshot_id,
        "publicProjectUrl": _public_url(studio, project_id, item),
    }
    return {
        "id": item.number,
        "version": item.number,
        "description": item.description,
        "bucket": {"path": f"projects/{item.snapshot_id}"},
        "created": iso(item.created),
        "userName": studio.projects.info(project_id).owner,
        "totalSamplesCount": str(item.samples),
        **(public if item.public else {}),
        **({} if item.accuracy is None else {"trainingAccuracy": item.accuracy}),
    }


def _public_json(studio: Studio, project_id: int, item: Version) -> dict[str, Any]:
    """A published project, of schema ProjectPublicData."""
    row = studio.projects.info(project_id)
    detects = studio.projects.get(project_id, "labelingMethod") == "object_detection"
    return {
        "id": item.snapshot_id,
        "name": row.name,
        "description": row.description,
        "created": iso(item.created),
        "owner": row.owner,
        "publicUrl": _public_url(studio, project_id, item),
        "projectType": "object-detection" if detects else "image",
        "pageViewCount": 0,
        "cloneCount": 0,
        "totalSamplesCount": str(item.samples),
        "tags": studio.projects.get(project_id, "tags", []),
        **({} if item.accuracy is None else {"trainingAccuracy": item.accuracy}),
    }


def _public_url(studio: Studio, project_id: int, item: Version) -> str:
    """As Studio's: the newest version of a project is `latest`."""
    newest = versions.newest_public(studio, project_id)
    last = "latest" if newest is not None and newest.number == item.number else f"v{item.number}"
    return f"{studio.url}/public/{project_id}/{last}"
