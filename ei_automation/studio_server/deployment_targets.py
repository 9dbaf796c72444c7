"""What Studio lists that a model can be built into, and what is built here under each name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ei_automation.deployment import bundle, openmv, targets
from ei_automation.errors import VerificationError
from ei_automation.schema.deployment import BuildRequest, artifact_suffix
from ei_automation.schema.metrics import VARIANTS
from ei_automation.studio_api.deployment import FIRMWARE_PARAMETER
from ei_automation.studio_server import pretrained
from ei_automation.studio_server.call import RefusalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ei_automation.schema.deployment import Architecture, Flavor
    from ei_automation.schema.metrics import ModelVariant
    from ei_automation.studio_server.studio import Studio

DOCS_URL = "https://docs.edgeimpulse.com/"
TFLITE, EON = "tflite", "tflite-eon"
COMPILED = (EON, TFLITE)
"""Engines of a target whose artifact has the model as code: clients ask for the one or the other and get the same.
EON is what Studio calls compiled code, so it comes first."""
NOT_OFFERED = (
    "TensorRT",
    "TensaiFlow",
    "DRPAI",
    "TIDL",
    "Akida",
    "Memryx",
    "StAton",
    "CevaNpn",
    "NordicAxon",
    "Qaic",
)
"""Engines that the API has a switch for each, `has...`."""


@dataclass(frozen=True)
class StudioTarget:
    """A deployment target as it is listed.

    Attributes:
        format: Its name in the API.
        name: For people.
        builds: Format of the local target that is built.
        variants: What a model may be.
        engines: Engines it can be built with, the preferred one first.
        flavor: Of a C++ library.
        architecture: Of a Linux program.
        description: What one does with it; empty for what the local target says.
    """

    format: str
    name: str
    builds: str
    variants: tuple[ModelVariant, ...] = VARIANTS
    engines: tuple[str, ...] = (TFLITE,)
    flavor: Flavor = ""
    architecture: Architecture = ""
    description: str = ""

    def local(self, request: BuildRequest) -> BuildRequest:
        """What the local target is asked for. Its engine is always tflite: ours have no other word for it."""
        return replace(
            request, format=self.builds, engine=TFLITE, flavor=self.flavor, architecture=self.architecture
        )

    @property
    def suffix(self) -> str:
        """Of its artifact's file name."""
        return artifact_suffix(BuildRequest(self.builds))

    @property
    def missing(self) -> str:
        """Why it cannot be built on this machine; empty where it can."""
        if self.builds not in (targets.WASM.format, targets.LINUX.format):
            return ""
        from ei_automation.deployment.impulse_code import missing_compiler

        return missing_compiler()


def _linux(architecture: Architecture, name: str) -> StudioTarget:
    return StudioTarget(
        f"runner-linux-{architecture}",
        f"Linux ({name})",
        targets.LINUX.format,
        engines=COMPILED,
        architecture=architecture,
    )


TARGETS: dict[str, StudioTarget] = {
    target.format: target
    for target in (
        StudioTarget(openmv.DESCRIPTION.format, openmv.DESCRIPTION.name, openmv.DESCRIPTION.format, ("int8",)),
        StudioTarget(bundle.DESCRIPTION.format, "TFLite bundle", bundle.DESCRIPTION.format),
        StudioTarget(
            "zip",
            targets.CPP.name,
            targets.CPP.format,
            engines=COMPILED,
            flavor="edge-impulse",
            description="Compiled code that Edge Impulse's inferencing SDK runs; you bring the SDK.",
        ),
        StudioTarget(targets.WASM.format, targets.WASM.name, targets.WASM.format, engines=COMPILED),
        _linux("x86_64", "x86_64"),
        _linux("aarch64", "AARCH64"),
        _linux("armv7", "ARMv7"),
    )
}
"""What can be built, by format."""


def target_json(target: StudioTarget) -> dict[str, Any]:
    """A target, of schema DeploymentTarget."""
    return {
        "name": target.name,
        "description": target.description or targets.TARGETS[target.builds].target.description,
        "image": "",
        "imageClasses": "",
        "format": target.format,
        "hasEonCompiler": EON in target.engines,
        **{f"has{engine}": False for engine in NOT_OFFERED},
        "hideOptimizations": False,
        "uiSection": "library",
        "supportedEngines": list(target.engines),
        "preferredEngine": target.engines[0],
        "docsUrl": DOCS_URL,
        "modelVariants": [
            {"variant": variant, "supported": variant in target.variants}
            | ({} if variant in target.variants else {"hint": f"Holds the {' or '.join(target.variants)} model"})
            for variant in ("int8", "float32")
        ],
        "parameters": [_firmware_parameter()] if target.builds == "openmv" else [],
    }


def _firmware_parameter() -> dict[str, Any]:
    return {
        "name": "Firmware version",
        "defaultValue": "",
        "type": "string",
        "help": "Of the board, e.g. 4.5.9: the script uses the modules that it has. Empty for the newest.",
        "param": FIRMWARE_PARAMETER,
        "readonly": False,
        "shouldShow": True,
        "required": False,
        "showClickToSet": False,
    }


def project_target_json(studio: Studio, project_id: int, target: StudioTarget) -> dict[str, Any]:
    """A target as a project can use it, of schema ProjectDeploymentTarget."""
    reason = target.missing or _not_of(studio, project_id, target)
    facts = {**target_json(target), "recommendedForProject": False, "disabledForProject": bool(reason)}
    return {**facts, "reasonTargetDisabled": reason} if reason else facts


def _not_of(studio: Studio, project_id: int, target: StudioTarget) -> str:
    """Why a target cannot be built of a project's pretrained model; empty where it can, or where there is none."""
    model = pretrained.in_use(studio, project_id)
    if model is None or target.builds == bundle.DESCRIPTION.format:
        return ""
    if model.variant not in target.variants:
        return f"The pretrained model is {model.variant}"
    try:
        content = pretrained.read(studio.projects, project_id, model)
    except VerificationError as error:
        return error.message
    return pretrained.not_built(model, content, target.local(BuildRequest(target.format, variant=model.variant)))


def wanted_target(deployment_format: str, engine: str, variant: str | None) -> StudioTarget:
    """The target of a request; a variant that is None is not looked at.

    Raises:
        RefusalError: There is none, or it cannot be built so.
    """
    target = TARGETS.get(deployment_format)
    if target is None:
        raise RefusalError(f"No deployment target {deployment_format!r}. There are {', '.join(TARGETS)}")
    if engine not in target.engines:
        raise RefusalError(
            f"Deployment target {target.format} is not built with engine {engine!r} here. "
            f"Use {', '.join(target.engines)}"
        )
    if target.missing:
        raise RefusalError(f"Deployment target {target.format} cannot be built here. {target.missing}")
    if variant is not None and variant not in target.variants:
        raise RefusalError(
            f"Deployment target {target.format} does not support {variant}. Use {', '.join(target.variants)}"
        )
    return target


def build_request(body: Mapping[str, Any], deployment_format: str) -> BuildRequest:
    """A request from the body of `build_on_device_model_job`.

    Raises:
        RefusalError: Something in it is no such request.
    """
    parameters = body.get("parameters") or {}
    firmware = parameters.get(FIRMWARE_PARAMETER, "") if isinstance(parameters, dict) else None
    variant, engine = body.get("modelType") or "int8", body.get("engine")
    if not isinstance(engine, str) or not isinstance(variant, str) or not isinstance(firmware, str):
        raise RefusalError("Missing or invalid value for 'engine', 'modelType' or 'parameters'")
    target = wanted_target(deployment_format, engine, variant)
    if target.builds == openmv.DESCRIPTION.format:
        openmv.script_api(firmware)
    known: dict[str, ModelVariant] = {name: name for name in VARIANTS}
    return BuildRequest(target.format, engine, known[variant], firmware)
