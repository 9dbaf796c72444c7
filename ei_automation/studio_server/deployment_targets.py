"""What Studio lists that a model can be built into, and what is built here under each name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ei_automation.deployment import bundle, openmv, targets
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.metrics import VARIANTS
from ei_automation.studio_api.deployment import FIRMWARE_PARAMETER
from ei_automation.studio_server import pretrained
from ei_automation.studio_server.call import RefusalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ei_automation.schema.metrics import ModelVariant
    from ei_automation.studio_server.studio import Studio

DOCS_URL = "https://docs.edgeimpulse.com/"
NOT_OFFERED = (
    "EonCompiler",
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
        name: For people; says what is built where Studio builds something else under this format.
        builds: Format of the local target that is built.
        variants: What a model may be.
    """

    format: str
    name: str
    builds: str
    variants: tuple[ModelVariant, ...] = VARIANTS

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines it can be built with."""
        return targets.TARGETS[self.builds].engines


def _in_place_of(what: str, name: str) -> StudioTarget:
    words = "Studio's C++ library" if what == "zip" else f"Studio's {name} .eim"
    return StudioTarget(what, f"TFLite bundle, in place of {words}", bundle.DESCRIPTION.format)


TARGETS: dict[str, StudioTarget] = {
    target.format: target
    for target in (
        StudioTarget(openmv.DESCRIPTION.format, openmv.DESCRIPTION.name, openmv.DESCRIPTION.format, ("int8",)),
        StudioTarget(bundle.DESCRIPTION.format, "TFLite bundle", bundle.DESCRIPTION.format),
        _in_place_of("zip", ""),
        _in_place_of("runner-linux-x86_64", "Linux (x86_64)"),
        _in_place_of("runner-linux-aarch64", "Linux (AARCH64)"),
        _in_place_of("runner-linux-armv7", "Linux (ARMv7)"),
    )
}
"""What can be built, by format."""


def target_json(target: StudioTarget) -> dict[str, Any]:
    """A target, of schema DeploymentTarget."""
    return {
        "name": target.name,
        "description": targets.TARGETS[target.builds].target.description,
        "image": "",
        "imageClasses": "",
        "format": target.format,
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
    model = pretrained.in_use(studio, project_id)
    reason = ""
    if model is not None and model.variant not in target.variants:
        reason = f"The pretrained model is {model.variant}"
    facts = {**target_json(target), "recommendedForProject": False, "disabledForProject": bool(reason)}
    return {**facts, "reasonTargetDisabled": reason} if reason else facts


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
