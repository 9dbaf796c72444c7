"""The one user of a local Studio."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server.call import Call, RefusalError, iso, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.project_json import project_json, projects_of_user, user_json


@serves("get_user_need_to_set_password")
def get_user_need_to_set_password(call: Call) -> dict[str, Any]:
    """Whether a user has a password: clients ask before they log in."""
    if call.path["usernameOrEmail"] != call.studio.options.username:
        raise RefusalError("No user found with this name")
    return ok(
        email=user_json(call.studio)["email"], needPassword=False, whitelabels=[], emailVerified=True, idps=[]
    )


@serves("get_current_user")
def get_current_user(call: Call) -> dict[str, Any]:
    """The user who logged in."""
    _somebody(call)
    rows = projects_of_user(call.studio)
    projects = [] if call.asked_switch("excludeProjects") else [project_json(call.studio, row) for row in rows]
    return ok(
        **user_json(call.studio),
        organizations=[],
        projects=projects,
        experiments=[],
        suspended=False,
        notifications=[],
        passwordConfigured=True,
        projectsSortOrder="created-asc",
        hasEnterpriseFeaturesAccess=False,
        lastAccessedProjects={
            "projects": [
                {
                    "id": row.project_id,
                    "name": row.name,
                    "created": iso(row.created),
                    "lastAccessed": iso(row.modified),
                }
                for row in rows
            ],
            "hasMoreProjects": False,
        },
        privatePersonalProjectsUsed=sum(not row.public for row in rows),
        eulas=[],
    )


@serves("get_current_user_projects")
def get_current_user_projects(call: Call) -> dict[str, Any]:
    """The user's projects."""
    _somebody(call)
    return ok(projects=[project_json(call.studio, row) for row in projects_of_user(call.studio)])


@serves("list_organizations_current_user")
def list_organizations_current_user(call: Call) -> dict[str, Any]:
    """The user's organizations: a local Studio has none."""
    _somebody(call)
    return ok(organizations=[])


def _somebody(call: Call) -> None:
    """Refuse a project's key: it is nobody's in particular."""
    if call.key is None or call.key.project_id is not None:
        raise RefusalError("This function is only available through a JWT token", 403)
