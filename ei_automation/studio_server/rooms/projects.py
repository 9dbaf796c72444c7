"""Projects: listing, making, describing, deleting."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server import versions
from ei_automation.studio_server.call import Call, RefusalError, iso, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.project_json import (
    data_summary,
    impulse_state,
    information,
    project_json,
    projects_of_user,
)
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.studio_server.target_constraints import target_constraints

FLAG, TEXT, NUMBER, LIST, OBJECT = (bool,), (str,), (int,), (list,), (dict,)
CHOICES = {
    "projectVisibility": ("public", "private"),
    "labelingMethod": ("single_label", "object_detection", "label_map"),
    "lastShownModelEngine": ("tflite-eon", "tflite-eon-ram-optimized", "tflite"),
    "defaultProfilingVariant": ("int8", "float32", "akida"),
    "dataAcquisitionViewType": ("list", "grid", "detailedGrid"),
}
UPDATES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(
        (
            "publicProjectListed",
            "lastDeployEonCompiler",
            "showCreateFirstImpulse",
            "inPretrainedModelFlow",
            "indPauseProcessingSamples",
            "showSensorDataInAcquisitionGraph",
            "showExactSampleLength",
            "inlineEditBoundingBoxes",
            "explicitValidationEnabled",
        ),
        FLAG,
    ),
    **dict.fromkeys(
        ("name", "description", "logo", "readme", "lastDeployModelEngine", "lastAcquisitionLabel", *CHOICES), TEXT
    ),
    **dict.fromkeys(
        (
            "gettingStartedStep",
            "dspPageSize",
            "windowJobConcurrency",
            "dataAcquisitionPageSize",
            "dataAcquisitionGridColumnCount",
            "dataAcquisitionGridColumnCountDetailed",
            "versioningStorageSizeMib",
        ),
        NUMBER,
    ),
    "enabledModelProfilingVariants": LIST,
    **dict.fromkeys(("metadata", "csvImportConfig"), OBJECT),
}
"""What an update may set, and of which kind. Others of the schema (compute limits, notifications, experiments,
latency device, anomalies) have no meaning here: they are accepted and forgotten."""
NEW_PROJECT_ROLE, NEW_PROJECT_KEY = "ingestion_deployment", "Ingestion & deployment"
"""Of the key that comes with a new project: as Studio's, it uploads and builds, and does not train."""
VARIANTS = ("float32", "int8")


@serves("list_projects")
def list_projects(call: Call) -> dict[str, Any]:
    """The key's project; all of them for a user."""
    assert call.key is not None
    own = call.key.project_id
    rows = projects_of_user(call.studio) if own is None else [call.studio.projects.info(own)]
    return ok(projects=[project_json(call.studio, row) for row in rows])


@serves("create_project")
def create_project(call: Call) -> dict[str, Any]:
    """A new project; only a user makes one."""
    if call.key is None or call.key.project_id is not None:
        raise RefusalError("A project's API key cannot create projects; log in", 403)
    public = call.body.get("projectVisibility") == "public"
    projects = call.studio.projects
    project_id = projects.create(call.wanted("projectName"), owner=call.studio.options.username, public=public)
    if call.body.get("createApiKey", True) is False:
        return ok(id=project_id, apiKey="")
    _, key = projects.add_key(project_id, NEW_PROJECT_KEY, NEW_PROJECT_ROLE, development=True)
    return ok(id=project_id, apiKey=key)


@serves("get_project_info")
def get_project_info(call: Call) -> dict[str, Any]:
    """Everything about a project."""
    found = information(call.studio, call.project_id)
    if call.key is not None and call.key.project_id is None:
        if key := call.studio.projects.development_key(call.project_id):
            found["developmentKeys"]["apiKey"] = key
    elif call.key is None or call.key.project_id != call.project_id:
        found["developmentKeys"] = {}
    return ok(**found)


@serves("update_project")
def update_project(call: Call) -> dict[str, Any]:
    """Change what the body names."""
    given = {name: value for name, value in call.body.items() if name in UPDATES and value is not None}
    for name, value in given.items():
        if not _fits(name, value):
            raise RefusalError(f"Missing or invalid value for '{name}'")
    visibility = given.pop("projectVisibility", None)
    call.studio.projects.update(
        call.project_id,
        name=given.pop("name", None),
        description=given.pop("description", None),
        public=None if visibility is None else visibility == "public",
    )
    call.studio.projects.set_many(call.project_id, given)
    return ok()


def _fits(name: str, value: Any) -> bool:
    """Whether a value is of its setting's kind, and one of its choices where it has some."""
    if isinstance(value, bool) and bool not in UPDATES[name]:
        return False
    return isinstance(value, UPDATES[name]) and (name not in CHOICES or value in CHOICES[name])


@serves("update_project_tags")
def update_project_tags(call: Call) -> dict[str, Any]:
    """Set the tags."""
    tags = call.wanted("tags", list)
    if not all(isinstance(tag, str) for tag in tags):
        raise RefusalError("Missing or invalid value for 'tags'")
    call.studio.projects.set(call.project_id, "tags", tags)
    return ok()


@serves("delete_project")
def delete_project(call: Call) -> dict[str, Any]:
    """Delete a project with everything in it, and its versions."""
    versions.delete_all(call.studio, call.project_id)
    call.studio.delete_project(call.project_id)
    return ok()


@serves("get_project_last_modification_date")
def get_project_last_modification_date(call: Call) -> dict[str, Any]:
    """When data or impulse were last changed."""
    return ok(lastModificationDate=iso(call.studio.projects.info(call.project_id).modified))


@serves("get_project_training_data_summary")
def get_project_training_data_summary(call: Call) -> dict[str, Any]:
    """What the training category holds."""
    disabled = None if call.asked_switch("includeDisabled", default=True) else False
    found = call.studio.samples.summary(call.project_id, Filter(category="training", disabled=disabled))
    labels = sorted(label for _, label in found if label)
    return ok(
        dataSummary={
            "labels": labels,
            "totalLabels": len(labels),
            "dataCount": sum(found.values()),
            "hasTimeseriesDataWithMultipleLabels": False,
        }
    )


@serves("get_project_data_axes_summary")
def get_project_data_axes_summary(call: Call) -> dict[str, Any]:
    """The axes of the training data: images have one."""
    count = data_summary(call.studio, call.project_id, "training")["dataCount"]
    return ok(dataAxisSummary={"image": count} if count else {})


@serves("get_model_variants")
def get_model_variants(call: Call) -> dict[str, Any]:
    """The models that the learn blocks have, once they are trained."""
    if not impulse_state(call.studio, call.project_id)["complete"]:
        return ok(modelVariants=[])
    settings = call.studio.projects.settings(call.project_id)
    enabled = settings.get("enabledModelProfilingVariants", VARIANTS)
    chosen = settings.get("defaultProfilingVariant", "int8")
    return ok(
        modelVariants=[
            {
                "variant": variant,
                "isReferenceVariant": variant == "int8",
                "isEnabled": variant in enabled,
                "isSelected": variant == chosen,
            }
            for variant in VARIANTS
        ]
    )


@serves("list_development_boards")
def list_development_boards(call: Call) -> dict[str, Any]:
    """Boards that Studio has firmware for; the local one has none."""
    del call
    return ok(developmentBoards=[])


@serves("get_target_constraints")
def get_target_constraints(call: Call) -> dict[str, Any]:
    """What the target device was said to be."""
    return ok(targetConstraints=call.studio.projects.get(call.project_id, "targetConstraints"))


@serves("set_target_constraints")
def set_target_constraints(call: Call) -> dict[str, Any]:
    """Say what the target device is."""
    call.studio.projects.set(call.project_id, "targetConstraints", target_constraints(call.body))
    return ok()
