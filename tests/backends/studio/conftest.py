"""What the tests of the Studio backend share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ei_automation.backends.studio.client import StudioClient
from tests.backends.studio.tuner_server import Studio


@pytest.fixture
def client(studio: Studio) -> Iterator[StudioClient]:
    """A client of the scripted Studio that a module's fixture `studio` serves."""
    with studio.client() as client:
        yield client
