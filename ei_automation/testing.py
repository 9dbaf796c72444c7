"""For tests of what talks to Edge Impulse Studio: a local Studio on free ports.

In a test file (or conftest.py) of your own:

    from ei_automation.testing import studio

    def test_upload(studio):
        run_my_tool(env=studio.environment)
        assert studio.studio.samples.count(studio.project_id) == 3

or, with options and with what shall go wrong (the keys of a rule: `ei_automation.studio_server.faults.Rule`):

    with start_studio(faults=[{"path": "/files$", "nth": 3, "reset": "after"}]) as studio:
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ei_automation.studio_server.faults import Faults
    from ei_automation.studio_server.studio import Studio

HOST = "127.0.0.1"


@dataclass
class RunningStudio:
    """A local Studio that listens.

    Attributes:
        api_endpoint: Of the Studio API, ending in /v1.
        ingestion_endpoint: Of the ingestion API.
        api_key: Of the project, with the role admin.
        project_id: A project, empty at the start.
        studio: What the server works with, for looking behind it.
    """

    api_endpoint: str
    ingestion_endpoint: str
    api_key: str
    project_id: int
    studio: Studio
    _stop: Callable[[], None]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point eiauto and Edge Impulse's Python package at it."""
        return {
            "EI_API_KEY": self.api_key,
            "EI_API_ENDPOINT": self.api_endpoint,
            "EI_INGESTION_ENDPOINT": self.ingestion_endpoint,
        }

    def stop(self) -> None:
        """Stop it and close what it keeps, so that another may start in its folder; a second time does nothing."""
        self._stop()


@contextmanager
def start_studio(
    folder: Path | None = None,
    *,
    jobs: Literal["immediate", "real"] = "immediate",
    faults: Faults | Sequence[Mapping[str, Any]] = (),
    project: str = "test",
    weights: Path | None = None,
    cache_folder: Path | None = None,
    wrap: Callable[[Any], Any] = lambda app: app,
) -> Iterator[RunningStudio]:
    """A local Studio in this process, on free ports of 127.0.0.1, with one project and an admin key.

    Args:
        folder: Where it keeps its state; None for a folder that is deleted at the end.
        jobs: `immediate`: a job has ended when the request that starts it is answered; `real`: it takes its time.
        faults: What goes wrong on purpose; rules, or a plan that is kept at hand to look at.
        project: Name of the project; one of that name that is in the folder is used again.
        weights: Pretrained weights file for transfer learning; without it nothing is downloaded.
        cache_folder: Where weights are cached; None for one inside `folder`.
        wrap: Gets the ASGI application and gives back the one to serve.

    Raises:
        SettingsError: The extra `studio` is not installed.
        UsageError: A rule is none.
    """
    from ei_automation.studio_server.door import studio_extra

    with studio_extra():
        from ei_automation.studio_server.app import build_app
        from ei_automation.studio_server.faults import Faults, rules_from
        from ei_automation.studio_server.serve import Running, listen, open_project
        from ei_automation.studio_server.studio import Studio, StudioOptions

    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eiauto-studio-")))
        options = StudioOptions(
            folder=folder,
            cache_folder=cache_folder or folder / "cache",
            jobs=jobs,
            weights=weights,
            offline=True,
            password="me",
        )
        studio = Studio(options, faults if isinstance(faults, Faults) else Faults(rules_from([*faults], "faults")))
        stopping = stack.enter_context(ExitStack())
        stopping.callback(studio.close)
        project_id, api_key = open_project(studio, project)
        sockets = [listen(HOST, 0), listen(HOST, 0)]
        ports = [item.getsockname()[1] for item in sockets]
        studio.url = f"http://{HOST}:{ports[0]}"
        running = Running(wrap(build_app(studio)), sockets, studio.faults)
        stopping.callback(running.stop)
        yield RunningStudio(
            f"{studio.url}/v1", f"http://{HOST}:{ports[1]}", api_key, project_id, studio, stopping.close
        )


def _studio() -> Iterator[RunningStudio]:
    """A fresh local Studio for one test."""
    with start_studio() as running:
        yield running


def __getattr__(name: str) -> Any:
    """The fixture, made when it is asked for: whoever only calls `start_studio` needs no pytest."""
    if name != "studio":
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    import pytest

    globals()["studio"] = pytest.fixture(name="studio")(_studio)
    return globals()["studio"]


__all__ = ["RunningStudio", "start_studio", "studio"]  # noqa: F822 - `studio` is made by __getattr__
