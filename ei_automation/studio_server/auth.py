"""Who calls, and what they may do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from ei_automation.studio_server.call import Key, RefusalError
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.operations import Operation

if TYPE_CHECKING:
    from ei_automation.studio_server.project_rows import ProjectRow
    from ei_automation.studio_server.studio import Studio

TABLES = "CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
LOGIN_S = 30 * 86400.0
SOCKET_TOKEN_S = 600.0

NEEDS_NOBODY = frozenset(
    {
        "login",
        "get_sso_domain_id_ps",
        "get_user_need_to_set_password",
        "list_public_projects",
        "list_public_project_types",
        "list_public_versions",
    }
)
"""Operations without a key (the API description's `security: []`, and what clients call before they log in)."""
ANY_KEY = frozenset({"list_projects", "get_current_api_key_info"})
BUILDS = frozenset(
    {
        "build_on_device_model_job",
        "build_public_deployment_job",
        "build_organization_on_device_model_job",
        "cancel_job",
        "create_device",
        "rename_device",
    }
)
"""What `ingestion_deployment` may do besides reading."""
READS = frozenset(
    {
        "classify_sample_v2",
        "classify_sample_for_variants",
        "classify_sample_by_learn_block_v2",
        "test_pretrained_model",
        "test_pretrained_model_images",
        "build_public_deployment_job",
    }
)
"""What changes nothing though it is no GET (`x-middleware: AllowsReadOnly` in the API description)."""
PRIVATE = frozenset(
    {
        "list_devkeys",
        "get_hmac_devkey",
        "list_project_api_keys",
        "list_project_hmac_keys",
        "get_socket_token",
        "list_emails",
    }
)
"""What a public project shows to nobody else."""
INVALID_KEY = "Invalid API key"
INSUFFICIENT = "insufficient permissions (valid roles: [admin])"


class Tokens:
    """JSON web tokens of our own: for people who log in, and for sockets.

    Args:
        database: Where the secret that signs them is kept, so that they outlive a restart.
    """

    def __init__(self, database: Database) -> None:
        database.query("INSERT OR IGNORE INTO secrets VALUES ('tokens', ?)", (secrets.token_hex(32),))
        self._secret = bytes.fromhex(database.query("SELECT value FROM secrets WHERE name='tokens'")[0][0])

    def make(self, kind: str, lifetime_s: float, subject: int = 0) -> tuple[str, float]:
        """A token, and when it ends (seconds since 1970).

        Args:
            kind: What it is for.
            lifetime_s: Seconds.
            subject: Number of what it stands for.
        """
        ends = time.time() + lifetime_s
        head = _encoded({"alg": "HS256", "typ": "JWT"})
        body = _encoded({"kind": kind, "sub": str(subject), "exp": int(ends), "iat": int(time.time())})
        return f"{head}.{body}.{self._signature(f'{head}.{body}')}", ends

    def read(self, kind: str, token: str) -> int | None:
        """What a token stands for; None where it is not ours, of another kind, or its time is over."""
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            return None
        content = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
        if content["kind"] != kind or content["exp"] < time.time():
            return None
        return int(content["sub"])

    def _signature(self, text: str) -> str:
        digest = hmac.new(self._secret, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def kept_password(database: Database) -> str:
    """The password of the one user, made at the first start and kept."""
    database.query("INSERT OR IGNORE INTO secrets VALUES ('password', ?)", (secrets.token_urlsafe(16),))
    return str(database.query("SELECT value FROM secrets WHERE name='password'")[0][0])


def identify(studio: Studio, headers: Mapping[str, str]) -> Key | None:
    """Who sends these headers; None where they carry nothing that opens.

    Args:
        studio: Whose keys.
        headers: By name in lower case.
    """
    if key := headers.get("x-api-key"):
        return studio.projects.find_key(key)
    bearer = headers.get("authorization", "")
    token = headers.get("x-jwt-token") or (bearer[7:] if bearer[:7].lower() == "bearer " else "")
    token = token or _cookie(headers.get("cookie", ""))
    if token.startswith("ei_"):
        return studio.projects.find_key(token)
    return Key(0, None, "admin") if token and studio.tokens.read("login", token) is not None else None


def check(studio: Studio, operation: Operation, key: Key | None, path: Mapping[str, str]) -> None:
    """Refuse what this key may not do.

    Args:
        studio: Whose projects.
        operation: What is asked for.
        key: By whom.
        path: Values in its path.

    Raises:
        RefusalError: With the status 401 or 403; with 200 where somebody who may everything names no project.
    """
    if operation.name in NEEDS_NOBODY:
        return
    if key is None:
        raise RefusalError(INVALID_KEY, 401)
    project = path.get("projectId")
    if key.project_id is None and project is not None and _project(studio, project) is None:
        raise RefusalError("No project found with this ID")
    if key.project_id is None or operation.name in ANY_KEY:
        return
    if project is not None and project != str(key.project_id):
        if not (_reads(operation) and operation.name not in PRIVATE and _is_public(studio, project)):
            raise RefusalError(f"{INVALID_KEY}: it is not a key of this project", 403)
    elif not allowed(key.role, operation):
        raise RefusalError(INSUFFICIENT, 403)


def allowed(role: str, operation: Operation) -> bool:
    """Whether a role may call an operation of its own project."""
    if role == "admin":
        return True
    if role == "ingestiononly":
        return operation.name in ANY_KEY
    return _reads(operation) or (role == "ingestion_deployment" and operation.name in BUILDS)


def _reads(operation: Operation) -> bool:
    return operation.method == "GET" or operation.name in READS


def may_ingest(key: Key | None) -> int:
    """The project that a key may add samples to.

    Raises:
        RefusalError: With the status 401 or 403: none.
    """
    if key is None or key.project_id is None:
        raise RefusalError(INVALID_KEY, 401)
    if key.role == "readonly":
        raise RefusalError(INSUFFICIENT, 403)
    return key.project_id


def _is_public(studio: Studio, project: str) -> bool:
    row = _project(studio, project)
    return row is not None and row.public


def _project(studio: Studio, number: str) -> ProjectRow | None:
    """A project by its number as addresses have it; None where there is none."""
    return next((row for row in studio.projects.all() if str(row.project_id) == number), None)


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get("jwt")
    except CookieError:
        return ""
    return found.value if found else ""


def _encoded(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
