"""One call of an operation: what a room gets, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ei_automation.studio_server.strict_json import read_strictly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ei_automation.studio_server.studio import Studio

NOT_SERVED_STATUS = 501


class RefusalError(Exception):
    """An answer that says no: Studio's envelope with `success: false`.

    Args:
        words: The envelope's `error`.
        status: HTTP status; Studio says no with 200.
    """

    def __init__(self, words: str, status: int = 200) -> None:
        super().__init__(words)
        self.words, self.status = words, status


@dataclass(frozen=True)
class Upload:
    """A file of a multipart body.

    Attributes:
        field: Name of its part.
        filename: As sent, made harmless: without a path.
        content: Its bytes.
    """

    field: str
    filename: str
    content: bytes


@dataclass(frozen=True)
class File:
    """An answer that is a file.

    Attributes:
        content: Its bytes.
        media_type: For Content-Type.
        filename: For Content-Disposition; empty for none.
    """

    content: bytes
    media_type: str
    filename: str = ""


@dataclass(frozen=True)
class Key:
    """Who calls.

    Attributes:
        key_id: Number of the API key; 0 for somebody who logged in.
        project_id: Of the key; None for somebody who logged in.
        role: admin, readonly, ingestiononly or ingestion_deployment.
    """

    key_id: int
    project_id: int | None
    role: str


@dataclass(frozen=True)
class Call:
    """What a room's function gets.

    Attributes:
        studio: The whole of it.
        operation: Its name, as in the official client.
        key: Who calls; None for operations that need nobody.
        path: Values in the path by name, e.g. {"projectId": "1"}.
        query: Values of the query string; the last one where a name repeats.
        body: The JSON body; an empty object where there is none.
        form: Text fields of a multipart body.
        uploads: Files of a multipart body.
    """

    studio: Studio
    operation: str
    key: Key | None
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    uploads: tuple[Upload, ...] = ()

    @property
    def project_id(self) -> int:
        """The project in the path."""
        return self.number("projectId")

    def number(self, name: str) -> int:
        """A number in the path.

        Raises:
            RefusalError: It is none.
        """
        return _whole(name, self.path[name])

    def asked_number(self, name: str, default: int | None = None) -> int | None:
        """A number in the query string."""
        value = self.query.get(name, "")
        return default if value in ("", "null", "None") else _whole(name, value)

    def asked_moment(self, name: str) -> float | None:
        """A date in the query string, in seconds since 1970.

        The Python client leaves the plus sign of a time zone as it is, which arrives as a space.
        """
        text = self.query.get(name, "").strip().replace(" ", "+")
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise RefusalError(f"Invalid value for {name}, expected a date") from None

    def asked_switch(self, name: str, default: bool = False) -> bool:
        """A boolean in the query string; the Python client sends True and False, Node true and false."""
        return {"true": True, "1": True, "false": False, "0": False}.get(self.query.get(name, "").lower(), default)

    def asked_json(self, name: str) -> Any:
        """JSON in the query string; None where it is absent or null."""
        value = self.query.get(name, "")
        if not value:
            return None
        try:
            return read_strictly(value)
        except ValueError:
            raise RefusalError(f"{name} is not JSON") from None

    def wanted(self, name: str, kind: type | tuple[type, ...] = str) -> Any:
        """A required value of the JSON body.

        Raises:
            RefusalError: It is not there, or of another kind.
        """
        value = self.body.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise RefusalError(f"Missing or invalid value for '{name}'")
        return value


def _whole(name: str, text: str) -> int:
    """A number of an address; SQLite takes no larger ones."""
    if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 18):
        raise RefusalError(f"Invalid value for {name}")
    return int(text)


def ok(**values: Any) -> dict[str, Any]:
    """The envelope of a success. Fields that are None are left out, as Studio leaves out what is not set."""
    return {"success": True, **{name: value for name, value in values.items() if value is not None}}


@lru_cache(maxsize=4096)
def iso(moment: float) -> str:
    """A time in seconds since 1970 as Studio writes it, e.g. 2026-01-01T00:00:00.000Z."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
