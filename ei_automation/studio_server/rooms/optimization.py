"""Tag optimization: no tuner has run here yet; what would start one is not served."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server.call import Call, ok
from ei_automation.studio_server.operations import serves


@serves("list_tuner_runs")
def list_tuner_runs(call: Call) -> dict[str, Any]:
    """The project's runs: none."""
    call.studio.projects.info(call.project_id)
    return ok(runs=[])
