"""Every operation that is served, called by the official generated client `edgeimpulse_api`."""

from __future__ import annotations

import base64
import importlib
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ei_automation.studio_server import versions
from ei_automation.studio_server.operations import handlers
from ei_automation.studio_server.sample_filter import Filter
from ei_automation.testing import RunningStudio
from tests.helpers import COLOURS, noisy
from tests.inference.tiny_models import int8_model
from tests.studio_server.official import OfficialOperation, operations, schema
from tests.studio_server.trained import LEARN_ID, TRAINING, Caller, trained, trained_folder  # noqa: F401

SHAPE = (6, 8, 3)
MODEL = int8_model(SHAPE, np.random.default_rng(3).integers(-127, 128, (3, 144)).astype(np.int8))
MODEL_TEXT = base64.b64encode(MODEL).decode()
INFO = {
    "input": {"inputType": "image", "inputScaling": "0..1"},
    "model": {"modelType": "classification", "labels": ["a", "b", "c"]},
}
DEVICE = "AA:BB:CC:DD:EE:FF"
FOR_PEOPLE = frozenset(
    {
        "create_project",
        "get_current_user",
        "get_current_user_projects",
        "list_devkeys",
        "list_organizations_current_user",
        "start_import_data_from_project_job",
    }
)
"""Operations that want somebody who logged in."""
BROKEN = {
    "get_raw_data_project_metadata": "MetadataRegression' is not defined",
    "set_impulse_thresholds": "Multiple matches found when deserializing",
}
"""Operations that the official client cannot do with any server, and its words: its generated code names a class
that it does not have, and refuses every number as a float and a string at once."""
IN_AN_EMPTY_PROJECT = frozenset({"start_restore_job", "start_restore_job_from_public"})
TAKES_AWAY = (
    *(
        "batch_",
        "clear_",
        "create_impulse",
        "delete_",
        "disable_",
        "edit_label",
        "generate_",
        "move_",
        "rebalance_",
    ),
    *("revoke_", "set_dsp_", "set_impulse_", "split_dataset", "start_retrain_", "train_"),
)
"""How operations begin that take away what others need; each is called in a project of its own."""
IN_A_PUBLIC_PROJECT = frozenset({"build_public_deployment_job"})


class World:
    """A project of its own for a call, and what the call's arguments name, made when it is asked for.

    Args:
        source: The trained project.
        folder: For files.
        empty: Whether the project is empty, instead of a copy of the trained one.
    """

    def __init__(self, source: RunningStudio, folder: Path, *, empty: bool = False) -> None:
        self.source, self.folder, self.studio = source, folder, source.studio
        self.project_id = self.studio.projects.create("copy", owner="me")
        if not empty:
            versions.copy_project(self.studio, source.project_id, self.project_id)
        self.key_id, self.key = self.studio.projects.add_key(self.project_id, "a", "admin", development=True)
        endpoints = (source.api_endpoint, source.ingestion_endpoint)
        self.caller = Caller(RunningStudio(*endpoints, self.key, self.project_id, self.studio, lambda: None))
        self._arguments: dict[str, Any] = {}

    def argument(self, name: str) -> Any:
        """The value of an argument; the same each time."""
        if name not in self._arguments:
            self._arguments[name] = ARGUMENTS[name](self)
        return self._arguments[name]

    def image(self) -> str:
        """Path of an image."""
        (self.folder / "image.png").write_bytes(noisy(COLOURS["red"], 4))
        return str(self.folder / "image.png")

    def model(self) -> str:
        """Path of a model."""
        (self.folder / "m.tflite").write_bytes(MODEL)
        return str(self.folder / "m.tflite")

    def sample(self) -> int:
        """A training sample."""
        return self.studio.samples.find(self.project_id, Filter(category="training"))[0].sample_id

    def device(self) -> str:
        """A device."""
        body = {"deviceId": DEVICE, "deviceType": "TEST", "ifNotExists": True}
        self.caller.post("{p}/devices/create", body)
        return DEVICE

    def build(self) -> int:
        """A deployment."""
        body = {"engine": "tflite", "modelType": "int8"}
        return int(self.caller.post("{p}/jobs/build-ondevice-model", body, type="openmv")["deploymentVersion"])

    def version(self) -> int:
        """A public version."""
        return versions.make(self.studio, self.project_id, "", public=True).number

    def upload(self) -> None:
        """A pretrained model."""
        form = {"modelFileName": "m.tflite", "modelFileType": "tflite"}
        self.caller.raw("POST", "{p}/pretrained-model/upload", data=form, files={"modelFile": ("m", MODEL)})

    def profile(self) -> int:
        """A job that has ended."""
        body = {"tfliteFileBase64": MODEL_TEXT, "device": "cortex-m7"}
        return int(self.caller.post("{p}/jobs/profile-tflite", body)["id"])

    def evaluation(self) -> None:
        """What evaluating leaves."""
        self.caller.done(self.caller.post("{p}/jobs/evaluate"))

    def export(self) -> None:
        """An export."""
        body = {"uploaderFriendlyFilenames": True, "retainCrops": True}
        self.caller.done(self.caller.post("{p}/jobs/export/original", body))

    def split(self) -> None:
        """A preview of a split."""
        self.caller.post("{p}/split-preview", BODIES["DatasetSplitOptions"](self))


ARGUMENTS: dict[str, Callable[[World], Any]] = {
    "project_id": lambda world: world.project_id,
    "sample_id": World.sample,
    "dsp_id": lambda _: 2,
    "learn_id": lambda _: LEARN_ID,
    "impulse_id": lambda _: 1,
    "category": lambda _: "training",
    "variants": lambda _: "int8,float32",
    "type": lambda _: "openmv",
    "image": World.image,
    "model_file": World.model,
    "model_file_name": lambda _: "m.tflite",
    "model_file_type": lambda _: "tflite",
    "pretrained_model_download_type": lambda _: "int8",
    "model_download_id": lambda world: world.caller.get("{p}/downloads")["downloads"][0]["link"].rpartition("/")[
        2
    ],
    "deployment_version": World.build,
    "version_id": World.version,
    "device_id": World.device,
    "job_id": World.profile,
    "api_key_id": lambda world: world.key_id,
    "hmac_id": lambda world: world.studio.projects.hmac_keys(world.project_id)[0].key_id,
    "username_or_email": lambda _: "me",
    "start_date": lambda _: datetime(2020, 1, 1, tzinfo=UTC),
    "end_date": lambda _: datetime(2100, 1, 1, tzinfo=UTC),
}

NEEDS: dict[str, tuple[Callable[[World], Any], ...]] = {
    "download_build": (World.build,),
    "download_export": (World.export,),
    "download_pretrained_model": (World.upload,),
    "get_evaluate_job_result": (World.evaluation,),
    "get_evaluate_job_result_cache": (World.evaluation,),
    "get_split_preview_results": (World.split,),
    "profile_pretrained_model": (World.upload,),
    "save_pretrained_model_parameters": (World.upload,),
    "test_pretrained_model": (World.upload,),
}
"""What must be there before an operation is called, beside its arguments."""

SPECIAL: dict[tuple[str, str], Callable[[World], Any]] = {
    ("get_public_deployment_status", "job_id"): lambda world: world.caller.post(
        "{p}/jobs/build-ondevice-model", {"engine": "tflite", "modelType": "int8"}, type="openmv"
    )["id"],
    ("revoke_project_ingestion_only_api_key", "api_key_id"): lambda world: world.caller.post(
        "{p}/apikeys/ingestiononly", {"name": "x"}
    )["id"],
}
"""Arguments that mean something else in one operation."""


def _public_source(world: World) -> int:
    return versions.make(world.studio, world.source.project_id, "", public=True).number


BODIES: dict[str, Callable[[World], dict[str, Any]]] = {
    "AddHmacKeyRequest": lambda _: {"name": "h", "hmacKey": "0" * 32, "isDevelopmentKey": False},
    "AddIngestionOnlyProjectApiKeyRequest": lambda _: {"name": "i"},
    "AddProjectApiKeyRequest": lambda _: {"name": "k", "isDevelopmentKey": False, "role": "readonly"},
    "BatchAddMetadataRequest": lambda _: {"metadataKey": "site", "metadataValue": "b"},
    "BatchClearMetadataByKeyRequest": lambda _: {"metadataKey": "site"},
    "BatchEditBoundingBoxesRequest": lambda _: {"oldLabels": ["a"], "newLabel": "b"},
    "BuildOnDeviceModelRequest": lambda _: {"engine": "tflite", "modelType": "int8"},
    "BuildPublicDeploymentJobRequest": lambda _: {"deploymentType": "openmv", "modelType": "int8"},
    "CreateDeviceRequest": lambda _: {"deviceId": DEVICE, "deviceType": "TEST", "ifNotExists": True},
    "CreateImpulseRequest": lambda world: world.caller.get("{p}/impulse")["impulse"],
    "CreateProjectRequest": lambda _: {"projectName": "one more"},
    "DSPConfigRequest": lambda _: {"config": {"channels": "Grayscale"}},
    "DatasetSplitOptions": lambda _: {"trainingSplitRatio": 0.8, "testingSplitRatio": 0.2},
    "DeployPretrainedModelRequest": lambda _: {
        "modelFileBase64": MODEL_TEXT,
        "modelFileType": "tflite",
        "deploymentType": "openmv",
        "modelInfo": INFO,
    },
    "EditSampleLabelRequest": lambda _: {"label": "blue"},
    "ExportOriginalDataRequest": lambda _: {"uploaderFriendlyFilenames": False, "retainCrops": True},
    "GenerateFeaturesRequest": lambda _: {"dspId": 2, "calculateFeatureImportance": False},
    "GetJWTRequest": lambda _: {"username": "me", "password": "me"},
    "ImportDataFromAnotherProjectJobRequest": lambda world: {"projectId": world.source.project_id},
    "MoveRawDataRequest": lambda _: {"newCategory": "testing"},
    "ProfileTfLiteRequest": lambda _: {"tfliteFileBase64": MODEL_TEXT, "device": "cortex-m7"},
    "ProjectVersionRequest": lambda _: {"description": "d", "makePublic": True},
    "RenameDeviceRequest": lambda _: {"name": "camera"},
    "RenameSampleRequest": lambda _: {"name": "another"},
    "RestoreProjectFromPublicRequest": lambda world: {
        "projectId": versions.make(world.studio, world.source.project_id, "", public=True).snapshot_id
    },
    "RestoreProjectRequest": lambda world: {
        "projectId": world.source.project_id,
        "projectApiKey": world.source.api_key,
        "versionId": _public_source(world),
    },
    "SampleBoundingBoxesRequest": lambda _: {
        "boundingBoxes": [{"label": "a", "x": 1, "y": 2, "width": 3, "height": 4}]
    },
    "SavePretrainedModelRequest": lambda _: INFO,
    "SetImpulseThresholdsRequest": lambda _: {
        "thresholds": [{"blockId": LEARN_ID, "key": "min_score", "value": 0.7}],
        "allowCreatingRegenerateModelTestingJobs": True,
    },
    "SetKerasParameterRequest": lambda _: TRAINING,
    "SetSampleMetadataRequest": lambda _: {"metadata": {"site": "c"}},
    "StartClassifyJobRequest": lambda _: {},
    "TargetConstraints": lambda _: {"targetDevices": [], "applicationBudgets": []},
    "TestPretrainedModelRequest": lambda _: {"features": [0.5] * 144, "modelInfo": INFO},
    "UpdateImpulseRequest": lambda _: {"name": "new name"},
    "UpdateProjectRequest": lambda _: {"description": "what it is"},
    "UpdateProjectTagsRequest": lambda _: {"tags": ["a", "b"]},
    "UpdateVersionRequest": lambda _: {"description": "better"},
}
"""A body of each schema that a served operation takes."""


def client(running: RunningStudio, key: str, *, jwt: bool = False) -> Any:
    """The official client, which does not try again what fails."""
    package = importlib.import_module("edgeimpulse_api")
    configuration = package.Configuration(host=running.api_endpoint, retries=False)
    configuration.api_key["JWTHttpHeaderAuthentication" if jwt else "ApiKeyAuthentication"] = key
    return package.ApiClient(configuration)


def method_of(operation: OfficialOperation, api_client: Any) -> Any:
    """The client's method for an operation."""
    module = importlib.import_module(f"edgeimpulse_api.api.{operation.tag}_api")
    (api,) = (getattr(module, name) for name in dir(module) if name.endswith("Api") and name != "OrganizationApi")
    return getattr(api(api_client), operation.name)


def arguments_of(operation: OfficialOperation, method: Any, world: World) -> dict[str, Any]:
    """Values of the required arguments of a method, by name."""
    parameters = inspect.signature(getattr(method, "raw_function", method)).parameters
    wanted = [
        name for name, item in parameters.items() if item.default is item.empty and name not in ("self", "kwargs")
    ]
    found = {}
    for name in wanted:
        special = SPECIAL.get((operation.name, name))
        if special is not None:
            found[name] = special(world)
        elif name in ARGUMENTS:
            found[name] = world.argument(name)
        else:
            found[name] = schema(operation.body).from_dict(BODIES[operation.body](world))
    return found


def call(operation: OfficialOperation, world: World, token: str) -> str:
    """Call an operation; what is wrong with its answer, or nothing. The Judge holds it to the schema."""
    people = operation.name in FOR_PEOPLE
    api_client = client(world.source, token if people else world.key, jwt=people)
    try:
        for prepare in NEEDS.get(operation.name, ()):
            prepare(world)
        method = method_of(operation, api_client)
        arguments = arguments_of(operation, method, world)
        if operation.response not in ("", "str"):
            answer = method(**arguments)
            content = getattr(answer, "actual_instance", answer)  # one of several schemas
            return "" if (type(answer).__name__, content.success) == (operation.response, True) else repr(answer)
        file = method(**arguments, _preload_content=False)  # it decodes every file as UTF-8
        return "" if file.data and "json" not in file.headers["content-type"] else repr(file.data)
    except Exception as error:  # noqa: BLE001 - the client raises a bare Exception for a refusal
        return f"{type(error).__name__}: {error}"
    finally:
        api_client.rest_client.pool_manager.clear()


def world_for(operation: OfficialOperation, source: RunningStudio, folder: Path, shared: World) -> World:
    """The project that an operation is called in."""
    if operation.name in IN_AN_EMPTY_PROJECT:
        return World(source, folder, empty=True)
    if operation.name.startswith(TAKES_AWAY) and operation.method != "GET":
        return World(source, folder)
    world = World(source, folder) if operation.name in IN_A_PUBLIC_PROJECT else shared
    world.studio.projects.update(world.project_id, public=operation.name in IN_A_PUBLIC_PROJECT)
    return world


def test_the_official_client_takes_every_served_operation(
    trained: RunningStudio,  # noqa: F811
    tmp_path: Path,
) -> None:
    served = [operation for operation in operations() if operation.name in handlers()]
    assert {operation.name for operation in served} == set(handlers())
    token = Caller(trained).login()
    shared = World(trained, tmp_path)
    wrong = {
        operation.name: words
        for operation in served
        if (words := call(operation, world_for(operation, trained, tmp_path, shared), token))
    }
    assert set(wrong) == set(BROKEN), wrong
    assert all(words in wrong[name] for name, words in BROKEN.items()), wrong


def test_an_operation_that_is_not_served_says_so_by_name(trained: RunningStudio) -> None:  # noqa: F811
    package = importlib.import_module("edgeimpulse_api")
    api_client = client(trained, trained.api_key)
    with pytest.raises(package.ApiException, match="does not serve get_state") as caught:
        package.OptimizationApi(api_client).get_state(trained.project_id)
    assert caught.value.status == 501
    api_client.rest_client.pool_manager.clear()
