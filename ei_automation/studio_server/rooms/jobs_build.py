"""Tag jobs: the job that builds a deployment."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server import build
from ei_automation.studio_server.call import Call, RefusalError, ok
from ei_automation.studio_server.deployment_targets import build_request
from ei_automation.studio_server.operations import serves


@serves("build_on_device_model_job")
def build_on_device_model_job(call: Call) -> dict[str, Any]:
    """Start building; the answer names the deployment that comes of it."""
    if not (wanted := call.query.get("type", "")):
        raise RefusalError("Missing or invalid value for 'type'")
    job_id, version = build.start(call.studio, call.project_id, build_request(call.body, wanted))
    return ok(id=job_id, deploymentVersion=version)
