"""A clean world for every test: own HOME, no keys, no colour; the shared data where it is present."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers import Cli, make_data, make_project

# The same examples in every run: a failure is one that everybody can see again. To look for new ones:
# `pytest --hypothesis-profile explore`.
settings.register_profile("steady", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("steady")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def clean_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new HOME, and none of the user's settings."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("EI_", "EIAUTO_", "KAGGLE_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, weights and deployments that may stand beside the checkout."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data sets are not beside this checkout")
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`eiauto` in this process."""
    return Cli(capsys, monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with three colours, sixteen images each."""
    folder = make_project(tmp_path / "colours")
    make_data(folder / "data")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduced project that tests only read, or copy with `copy`."""
    from ei_automation.settings import Settings
    from ei_automation.workflow.project import open_session
    from ei_automation.workflow.reproduce import reproduce

    folder = make_project(tmp_path_factory.mktemp("trained") / "colours")
    make_data(folder / "data")
    settings = Settings.from_env({"EIAUTO_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))})
    reproduce(open_session(folder, settings))
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the reproduced project, to change."""
    return shutil.copytree(trained, tmp_path / "colours")
