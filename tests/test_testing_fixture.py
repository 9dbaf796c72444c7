"""What `ei_automation.testing` gives to users' tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import ei_automation.testing
from ei_automation.errors import UsageError
from ei_automation.settings import Settings
from ei_automation.testing import start_studio, studio  # noqa: F401 - the fixture, as users import it

USERS_TEST = """
import os
import requests
from ei_automation.testing import studio


def test_mine(studio, monkeypatch):
    for name, value in studio.environment.items():
        monkeypatch.setenv(name, value)
    url, key = os.environ["EI_API_ENDPOINT"] + "/api/projects", {"x-api-key": os.environ["EI_API_KEY"]}
    assert requests.get(url, headers=key).json()["projects"][0]["id"] == studio.project_id
    assert studio.studio.samples.count(studio.project_id) == 0
"""


def status(running, path="/api/projects"):
    headers = {"x-api-key": running.api_key}
    return requests.get(running.api_endpoint + path, headers=headers, timeout=10).status_code


def test_the_fixture_is_a_studio_that_answers(studio):  # noqa: F811
    assert status(studio) == 200
    settings = Settings.from_env(studio.environment).studio
    assert settings.api_endpoint == studio.api_endpoint
    assert settings.ingestion_endpoint == studio.ingestion_endpoint
    assert settings.api_key.reveal() == studio.api_key


def test_each_test_gets_a_fresh_one(studio):  # noqa: F811
    assert studio.project_id == 1
    assert studio.studio.samples.count(1) == 0


def test_several_live_side_by_side_and_keep_what_is_kept(tmp_path):
    with start_studio(tmp_path, project="kept") as one, start_studio(faults=[{"status": 500}]) as two:
        assert (status(one), status(two)) == (200, 500)
        assert one.api_key != two.api_key
        first = one.api_key
    with pytest.raises(requests.ConnectionError):
        status(one)
    with start_studio(tmp_path, project="kept") as again:
        assert again.api_key == first
        again.stop()
        again.stop()
        with pytest.raises(requests.ConnectionError):
            status(again)
    assert (tmp_path / "studio.sqlite").is_file()


def test_a_wrong_rule_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(UsageError, match="faults: rule 1"), start_studio(tmp_path, faults=[{"stauts": 500}]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_its_own_is_deleted_at_the_end():
    with start_studio() as running:
        folder = running.studio.options.folder
        assert folder.is_dir()
    assert not folder.exists()


def test_a_users_test_file_runs_as_the_manual_says(tmp_path):
    (tmp_path / "test_mine.py").write_text(USERS_TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_starting_one_imports_neither_pytest_nor_tensorflow():
    program = (
        "import sys\nfrom ei_automation.testing import start_studio\n"
        "print([m for m in ('pytest', 'starlette', 'uvicorn', 'pydantic') if m in sys.modules])\n"
        "with start_studio() as running:\n    running.stop()\n"
        "print([m for m in ('pytest', 'tensorflow', 'edgeimpulse', 'edgeimpulse_api') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ei_automation.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.stdout.splitlines() == ["[]", "[]"], done.stderr


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ei_automation.testing.nonsense
