"""A project's API keys, HMAC keys and socket tokens. Operations of the tag projects."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server.call import Call, RefusalError, iso, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.project_rows import KeyRow


def _by_user(call: Call) -> bool:
    return call.key is not None and call.key.project_id is None


MAY_CANCEL = ("admin", "ingestion_deployment")
"""Roles that may cancel a job."""


@serves("get_current_api_key_info")
def get_current_api_key_info(call: Call) -> dict[str, Any]:
    """What the caller's key is."""
    key = call.key
    if key is None or key.project_id is None:
        raise RefusalError("This function is only available with an API key")
    rows = [row for row in call.studio.projects.keys(key.project_id) if row.key_id == key.key_id]
    if not rows:  # revoked in this very moment
        raise RefusalError("Invalid API key", 401)
    expires = rows[0].expires
    return ok(
        apiKeyId=key.key_id,
        projectId=key.project_id,
        role=key.role,
        expires=None if expires is None else iso(expires),
    )


@serves("list_project_api_keys")
def list_project_api_keys(call: Call) -> dict[str, Any]:
    """Every key, with its end only; a project's key itself sees none."""
    rows = call.studio.projects.keys(call.project_id) if _by_user(call) else []
    return ok(apiKeys=[_key_json(row) for row in rows])


def _key_json(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.key_id,
        "apiKey": row.shown,
        "isDevelopmentKey": row.development,
        "name": row.name,
        "created": iso(row.created),
        "role": row.role,
        **({} if row.expires is None else {"expires": iso(row.expires)}),
    }


@serves("add_project_api_key")
def add_project_api_key(call: Call) -> dict[str, Any]:
    """A new key."""
    value = None if call.body.get("apiKey") is None else call.wanted("apiKey")
    ttl_s = None if call.body.get("ttl") is None else call.wanted("ttl", (int, float))
    key_id, key = call.studio.projects.add_key(
        call.project_id,
        call.wanted("name"),
        call.wanted("role"),
        value=value,
        ttl_s=ttl_s,
        development=call.wanted("isDevelopmentKey", bool),
    )
    return ok(id=key_id, apiKey=key)


@serves("add_project_ingestion_only_api_key")
def add_project_ingestion_only_api_key(call: Call) -> dict[str, Any]:
    """A new key that only adds samples."""
    key_id, key = call.studio.projects.add_key(call.project_id, call.wanted("name"), "ingestiononly")
    return ok(id=key_id, apiKey=key)


@serves("revoke_project_api_key")
def revoke_project_api_key(call: Call) -> dict[str, Any]:
    """Delete a key."""
    call.studio.projects.revoke_key(call.project_id, call.number("apiKeyId"))
    return ok()


@serves("revoke_project_ingestion_only_api_key")
def revoke_project_ingestion_only_api_key(call: Call) -> dict[str, Any]:
    """Delete a key that only adds samples."""
    key_id = call.number("apiKeyId")
    roles = {row.key_id: row.role for row in call.studio.projects.keys(call.project_id)}
    if roles.get(key_id) != "ingestiononly":
        raise RefusalError("No API key found with this ID")
    call.studio.projects.revoke_key(call.project_id, key_id)
    return ok()


@serves("list_devkeys")
def list_devkeys(call: Call) -> dict[str, Any]:
    """The keys that devices get; only for a user."""
    if not _by_user(call):
        return ok()
    projects = call.studio.projects
    return ok(apiKey=projects.development_key(call.project_id), hmacKey=projects.hmac_key(call.project_id) or None)


@serves("get_hmac_devkey")
def get_hmac_devkey(call: Call) -> dict[str, Any]:
    """The key that devices sign with."""
    return ok(hmacKey=call.studio.projects.hmac_key(call.project_id) or None)


@serves("list_project_hmac_keys")
def list_project_hmac_keys(call: Call) -> dict[str, Any]:
    """Every HMAC key."""
    return ok(
        hmacKeys=[
            {
                "id": row.key_id,
                "hmacKey": row.value,
                "isDevelopmentKey": row.development,
                "name": row.name,
                "created": iso(row.created),
            }
            for row in call.studio.projects.hmac_keys(call.project_id)
        ]
    )


@serves("add_project_hmac_key")
def add_project_hmac_key(call: Call) -> dict[str, Any]:
    """A new HMAC key."""
    key_id = call.studio.projects.add_hmac_key(
        call.project_id,
        call.wanted("name"),
        call.wanted("hmacKey"),
        development=call.wanted("isDevelopmentKey", bool),
    )
    return ok(id=key_id)


@serves("revoke_project_hmac_key")
def revoke_project_hmac_key(call: Call) -> dict[str, Any]:
    """Delete a HMAC key."""
    call.studio.projects.revoke_hmac_key(call.project_id, call.number("hmacId"))
    return ok()


@serves("get_socket_token")
def get_socket_token(call: Call) -> dict[str, Any]:
    """A token for the web socket; with one of a key that only reads, jobs cannot be cancelled."""
    call.studio.projects.info(call.project_id)
    key = call.key
    may_cancel = key is not None and key.project_id in (None, call.project_id) and key.role in MAY_CANCEL
    token, expires = call.studio.socket_token(call.project_id, may_cancel=may_cancel)
    return ok(token={"socketToken": token, "expires": iso(expires)})
