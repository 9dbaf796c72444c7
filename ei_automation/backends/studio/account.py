"""Whose project it is: the key's project and role, looked at before anything is written."""

from __future__ import annotations

from ei_automation.backends.studio.client import StudioClient, StudioError
from ei_automation.errors import NotFoundError, SettingsError

ROLE = "admin"
"""The one role that may set an impulse and train."""
WHERE = "Studio: Dashboard, Keys"


def read_access(client: StudioClient) -> tuple[int, str]:
    """The key's project and role; the project must be the settings' where they name one.

    Raises:
        SettingsError: The key is refused, belongs to no project, or to another one.
    """
    own, role = key_project(client)
    if client.settings.project_id is not None:
        _require_same(own, client.settings.project_id)
    return own, role


def require_admin(role: str) -> None:
    """Refuse a key that may not do everything in its project.

    Args:
        role: Of the key; empty where the server does not tell it.

    Raises:
        SettingsError: It is another one.
    """
    if role and role != ROLE:
        raise SettingsError(
            f"the API key has the role {role}, which may not set an impulse or train",
            hint=f"make a key with the role {ROLE} ({WHERE}) and set EI_API_KEY",
        )


def _require_same(own: int, project_id: int) -> None:
    """Refuse a key of another project."""
    if own != project_id:
        raise SettingsError(
            f"EI_PROJECT_ID is {project_id} and the API key is of project {own}",
            hint=f"use a key of project {project_id}, or leave EI_PROJECT_ID out",
        )


def key_project(client: StudioClient) -> tuple[int, str]:
    """The key's project and role; the role is empty where an older server does not tell it."""
    try:
        info = client.get("/api/projects/api-key-info")
        return int(info["projectId"]), str(info["role"])
    except (NotFoundError, StudioError):
        projects = client.get("/api/projects")["projects"]
    if len(projects) != 1:
        raise SettingsError(
            f"the API key belongs to {len(projects)} projects", hint=f"set EI_API_KEY to a project's key ({WHERE})"
        )
    return int(projects[0]["id"]), ""
