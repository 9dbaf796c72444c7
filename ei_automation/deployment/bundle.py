"""The bundle: both models, labels, metrics and a model card, for everything that is no board."""

from __future__ import annotations

import json

from ei_automation.deployment.contents import BuildContents, labels_file, render_template
from ei_automation.schema.deployment import BuildRequest, DeploymentTarget
from ei_automation.schema.metrics import VARIANTS

DESCRIPTION = DeploymentTarget(
    format="bundle",
    name="Bundle",
    description="Both .tflite files, labels, metrics and a model card, for use with LiteRT on any computer.",
)
MODEL_NAMES = {"float32": "model_float32.tflite", "int8": "model_int8.tflite"}
LABELS_NAME = "labels.txt"
METRICS_NAME = "metrics.json"
CARD_NAME = "MODEL_CARD.md"


def files(request: BuildRequest, contents: BuildContents) -> dict[str, bytes]:  # noqa: ARG001 (every target's signature)
    """The bundle's files; the request's variant and firmware version change nothing."""
    models = {MODEL_NAMES[variant]: contents.model(variant) for variant in VARIANTS}
    return {
        **models,
        LABELS_NAME: labels_file(contents.labels),
        METRICS_NAME: _metrics_json(contents).encode(),
        CARD_NAME: model_card(contents).encode(),
    }


def _metrics_json(contents: BuildContents) -> str:
    """All metrics, for programs."""
    rows = [metrics.model_dump(mode="json") for metrics in contents.metrics]
    return json.dumps(rows, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def model_card(contents: BuildContents) -> str:
    """The model card: what it is, what it was made of, how good it is and what it is not."""
    return render_template(
        "model_card.md.j2",
        c=contents,
        sizes={variant: len(contents.models[variant]) for variant in VARIANTS if variant in contents.models},
        names=MODEL_NAMES,
        parameters=json.dumps(contents.parameters, indent=2, sort_keys=True, ensure_ascii=False),
    )
