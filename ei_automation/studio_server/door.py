"""The way in: what the server needs is an extra, and a missing one is said in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ei_automation.errors import SettingsError


@contextmanager
def studio_extra() -> Iterator[None]:
    """Around imports of the server.

    Raises:
        SettingsError: A library of the extra `studio` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ei_automation"):
            raise
        raise SettingsError(
            f"the local Studio needs {error.name}, which is not installed", hint="pip install 'eiauto[studio]'"
        ) from error
