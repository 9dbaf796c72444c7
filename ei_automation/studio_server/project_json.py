"""Projects, users and devices in Studio's JSON."""

from __future__ import annotations

import calendar
import html
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ei_automation.studio_server.call import iso
from ei_automation.studio_server.devices import DeviceRow
from ei_automation.studio_server.impulses import TRAINING
from ei_automation.studio_server.project_rows import ProjectRow
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.versions import SNAPSHOT, versions

if TYPE_CHECKING:
    from ei_automation.studio_server.studio import Studio

USER_ID = 1
NO_LIMIT = 10**9
"""What stands where Studio tells a quota: minutes, MB or seconds that no job of ours comes near."""
CATEGORIES = {
    "training": "training",
    "testing": "testing",
    "validation": "validation",
    "postProcessing": "post-processing",
}
VIEW = {
    "defaultPageSize": ("dataAcquisitionPageSize", 12),
    "viewType": ("dataAcquisitionViewType", "list"),
    "gridColumnCount": ("dataAcquisitionGridColumnCount", 4),
    "gridColumnCountDetailed": ("dataAcquisitionGridColumnCountDetailed", 2),
    "showExactSampleLength": ("showExactSampleLength", False),
    "inlineEditBoundingBoxes": ("inlineEditBoundingBoxes", False),
}
"""Of acquisitionSettings: the setting's name in an update, and what holds before one."""
TOLD_AS_SET = (
    "csvImportConfig",
    "dspPageSize",
    "windowJobConcurrency",
    "targetConstraints",
    "lastShownModelEngine",
    "versioningStorageSizeMib",
    "explicitValidationEnabled",
)
"""Optional values that stand in a project's information once somebody has set them."""


def project_json(studio: Studio, row: ProjectRow) -> dict[str, Any]:
    """A project as schema Project has it."""
    settings = studio.projects.settings(row.project_id)
    return {
        "id": row.project_id,
        "name": row.name,
        "description": row.description,
        "created": iso(row.created),
        "lastModified": iso(row.modified),
        "owner": row.owner,
        "ownerUserId": USER_ID,
        "ownerIsDeveloperProfile": False,
        "collaborators": [{**user_json(studio), "isOwner": True}],
        "labelingMethod": settings.get("labelingMethod", "single_label"),
        "metadata": settings.get("metadata", {}),
        "isEnterpriseProject": False,
        "whitelabelId": None,
        "tags": settings.get("tags", []),
        "tier": "free",
        "hasPublicVersion": any(item.public for item in versions(studio, row.project_id)),
        "isPublic": row.public and SNAPSHOT in settings,
        "allowsLivePublicAccess": row.public and SNAPSHOT not in settings,
        "indPauseProcessingSamples": settings.get("indPauseProcessingSamples", False),
        "publicProjectListed": row.public and settings.get("publicProjectListed", True),
        **({"logo": settings["logo"]} if "logo" in settings else {}),
    }


def projects_of_user(studio: Studio) -> list[ProjectRow]:
    """The projects that somebody works in: without the copies that versions are."""
    return [row for row in studio.projects.all() if studio.projects.get(row.project_id, SNAPSHOT) is None]


def user_json(studio: Studio) -> dict[str, Any]:
    """The one user, as schema User has it."""
    name = studio.options.username
    rows = studio.projects.all()
    return {
        "id": USER_ID,
        "username": name,
        "name": name,
        "email": name if "@" in name else f"{name}@localhost",
        "created": iso(min([row.created for row in rows], default=time.time())),
        "staffInfo": {"isStaff": False, "hasSudoRights": False},
        "pending": False,
        "activated": True,
        "mfaConfigured": False,
        "tier": "free",
        "idps": [],
    }


def device_json(row: DeviceRow) -> dict[str, Any]:
    """A device as schema Device has it. None is connected: the local Studio has no remote management."""
    return {
        "id": row.row_id,
        "deviceId": row.device_id,
        "created": iso(row.created),
        "lastSeen": iso(row.seen),
        "name": row.name,
        "deviceType": row.device_type,
        "sensors": [],
        "remote_mgmt_connected": False,
        "supportsSnapshotStreaming": False,
        "remoteMgmtMode": "disconnected",
    }


def information(studio: Studio, project_id: int) -> dict[str, Any]:
    """Everything about a project, as schema ProjectInfoResponse has it, without the envelope."""
    row, settings = studio.projects.info(project_id), studio.projects.settings(project_id)
    summaries = {name: data_summary(studio, project_id, value) for name, value in CATEGORIES.items()}
    user = user_json(studio)
    return {
        "project": project_json(studio, row),
        "developmentKeys": {"hmacKey": studio.projects.hmac_key(project_id)},
        "impulse": impulse_state(studio, project_id),
        "devices": [device_json(device) for device in studio.devices.all(project_id)],
        "dataSummary": summaries["training"],
        "dataSummaryPerCategory": summaries,
        "computeTime": _compute_time(studio, project_id),
        "acquisitionSettings": _acquisition(settings),
        "collaborators": [user],
        "deploySettings": _deploy_settings(row, settings),
        "experiments": [],
        "latencyDevices": [],
        "urls": {},
        "showCreateFirstImpulse": settings.get("showCreateFirstImpulse", False),
        "showGettingStartedWizard": {"showWizard": False, "step": settings.get("gettingStartedStep", -1)},
        "performance": {
            "gpu": False,
            "jobLimitM": NO_LIMIT,
            "dspFileSizeMb": NO_LIMIT,
            "enterprisePerformance": False,
            "trainJobRamMb": NO_LIMIT,
        },
        **{f"{job}JobNotificationUids": [] for job in ("train", "dsp", "modelTesting", "export")},
        "hasNewTrainingData": has_new_training_data(studio, project_id),
        "studioUrl": f"{studio.url}/studio/{project_id}",
        "inPretrainedModelFlow": settings.get("inPretrainedModelFlow", False),
        "showSensorDataInAcquisitionGraph": settings.get("showSensorDataInAcquisitionGraph", False),
        "notifications": [],
        **{name: settings[name] for name in TOLD_AS_SET if name in settings},
        **_readme(settings.get("readme")),
    }


def data_summary(studio: Studio, project_id: int, category: str) -> dict[str, Any]:
    """What a category holds, as schema ProjectDataSummary has it; images have no length."""
    found = studio.samples.summary(project_id, Filter(category=category))
    labels = sorted(label for _, label in found if label)
    return {
        "totalLengthMs": 0,
        "labels": labels,
        "totalLabels": len(labels),
        "dataCount": sum(found.values()),
    }


def impulse_state(studio: Studio, project_id: int) -> dict[str, bool]:
    """Whether there is an impulse, and whether all its learn blocks are trained."""
    impulse = studio.impulses.get(project_id)
    learn = [block["id"] for block in impulse["learnBlocks"]] if impulse else []
    trained = [studio.impulses.value(project_id, number, TRAINING) is not None for number in learn]
    return {
        "created": impulse is not None,
        "configured": impulse is not None and bool(learn),
        "complete": bool(trained) and all(trained),
    }


def has_new_training_data(studio: Studio, project_id: int) -> bool:
    """Whether the samples are others than those that the model has seen."""
    impulse = studio.impulses.get(project_id)
    learn = [block["id"] for block in impulse["learnBlocks"]] if impulse else []
    made = [studio.impulses.value(project_id, number, TRAINING) for number in learn]
    seen = {result["fingerprint"] for result in made if result}
    return bool(seen) and seen != {studio.samples.learning_fingerprint(project_id)}


def _compute_time(studio: Studio, project_id: int) -> dict[str, Any]:
    """Time that this month's jobs took; none is ever used up."""
    now = datetime.now(UTC)
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    days = calendar.monthrange(now.year, now.month)[1]
    jobs = [job for job in studio.workshop.jobs(project_id) if job.started and job.started >= start]
    used = sum((job.finished or time.time()) - (job.started or 0.0) for job in jobs)
    return {
        "periodStartDate": iso(start),
        "periodEndDate": iso(start + days * 86400),
        "timeUsedMs": int(used * 1000),
        "timeLeftMs": NO_LIMIT * 1000,
    }


def _acquisition(settings: dict[str, Any]) -> dict[str, Any]:
    label = settings.get("lastAcquisitionLabel")
    return {
        "intervalMs": 0,
        "lengthMs": 0,
        "segmentShift": True,
        **({"label": label} if label else {}),
        **{name: settings.get(setting, default) for name, (setting, default) in VIEW.items()},
    }


def _deploy_settings(row: ProjectRow, settings: dict[str, Any]) -> dict[str, Any]:
    """What Studio proposes for a build; the libraries' names are made of the project's."""
    word = "".join(part for part in row.name.replace("-", " ").split() if part.isascii())
    name = "".join(character if character.isalnum() else "_" for character in word) or "project"
    return {
        "eonCompiler": settings.get("lastDeployEonCompiler", False),
        "sensor": "camera",
        "arduinoLibraryName": f"{name}_inferencing",
        "tinkergenLibraryName": f"{name}_inferencing",
        "particleLibraryName": f"{name}_inferencing",
        **{name: settings[name] for name in ("lastDeployModelEngine",) if name in settings},
    }


def _readme(markdown: str | None) -> dict[str, Any]:
    if markdown is None:
        return {}
    return {"readme": {"markdown": markdown, "html": f"<pre>{html.escape(markdown)}</pre>"}}
