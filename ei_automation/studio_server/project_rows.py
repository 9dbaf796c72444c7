"""Rows of the projects' tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProjectRow:
    """A project.

    Attributes:
        project_id: Its number.
        name: As shown.
        owner: User who made it.
        description: Of it.
        public: Whether everybody with a key may read it.
        created: Seconds since 1970.
        modified: Seconds since 1970 of the last change of data or impulse.
    """

    project_id: int
    name: str
    owner: str
    description: str
    public: bool
    created: float
    modified: float


@dataclass(frozen=True)
class KeyRow:
    """An API key.

    Attributes:
        key_id: Its number.
        project_id: Of what.
        name: What it is for.
        role: admin, readonly, ingestiononly or ingestion_deployment.
        digest: SHA-256 of the key.
        shown: The whole key where it is a development key, else its end.
        development: Whether devices use it.
        created: Seconds since 1970.
        expires: Seconds since 1970; None where it does not.
    """

    key_id: int
    project_id: int
    name: str
    role: str
    digest: str
    shown: str
    development: bool
    created: float
    expires: float | None


@dataclass(frozen=True)
class HmacRow:
    """A key that devices sign with.

    Attributes:
        key_id: Its number.
        project_id: Of what.
        name: What it is for.
        value: The key.
        development: Whether it is the one that devices get.
        created: Seconds since 1970.
    """

    key_id: int
    project_id: int
    name: str
    value: str
    development: bool
    created: float
