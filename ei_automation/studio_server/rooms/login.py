"""Logging in."""

from __future__ import annotations

import hmac
from typing import Any

from ei_automation.studio_server.auth import LOGIN_S
from ei_automation.studio_server.call import Call, RefusalError, ok
from ei_automation.studio_server.operations import serves


@serves("login")
def login(call: Call) -> dict[str, Any]:
    """A token for the one user, against name and password."""
    studio = call.studio
    pairs = ((call.wanted("username"), studio.options.username), (call.wanted("password"), studio.password))
    if not all([hmac.compare_digest(given.encode(), right.encode()) for given, right in pairs]):
        raise RefusalError("Invalid username or password")
    return ok(token=studio.tokens.make("login", LOGIN_S)[0])


@serves("get_sso_domain_id_ps")
def get_sso_domain_id_ps(call: Call) -> dict[str, Any]:
    """Other ways to log in: none."""
    del call
    return ok(idps=[])
