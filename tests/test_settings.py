"""Settings: where each value comes from, and what is refused with the name of what is wrong."""

import pickle
from pathlib import Path

import platformdirs
import pytest

from ei_automation.errors import SettingsError
from ei_automation.settings import STUDIO, Secret, Settings


def config(folder: Path, text: str) -> dict[str, str]:
    """An environment whose config file holds some text."""
    (folder / "config.toml").write_text(text)
    return {"EIAUTO_CONFIG": str(folder / "config.toml")}


def test_the_environment_comes_before_the_file_and_the_file_before_the_default(tmp_path):
    environment = config(tmp_path, 'cache_dir = "/file"\nweights = "/file.h5"\n')
    settings = Settings.from_env({**environment, "EIAUTO_CACHE_DIR": "/environment"})
    assert (settings.cache_folder, settings.weights) == (Path("/environment"), Path("/file.h5"))
    assert {setting.name: setting.origin for setting in settings.shown} == {
        "EIAUTO_CACHE_DIR": "environment",
        "EIAUTO_WEIGHTS": "file",
        "EIAUTO_OFFLINE": "default",
        "EIAUTO_LOCK_TIMEOUT_S": "default",
        "EIAUTO_JOB_DEADLINE_S": "default",
        "EIAUTO_PORT": "default",
        **dict.fromkeys(STUDIO, "default"),
        "EIAUTO_CONFIG": "environment",
    }


def test_an_empty_value_is_unset(tmp_path):
    names = ("CACHE_DIR", "OFFLINE", "WEIGHTS", "LOCK_TIMEOUT_S", "JOB_DEADLINE_S", "CONFIG")
    settings = Settings.from_env({f"EIAUTO_{name}": "" for name in names})
    assert settings == Settings.from_env({})
    assert settings.cache_folder == Path(platformdirs.user_cache_dir("eiauto"))
    from_file = Settings.from_env({**config(tmp_path, 'cache_dir = "/file"'), "EIAUTO_CACHE_DIR": ""})
    assert from_file.cache_folder == Path("/file")
    assert Settings.from_env(config(tmp_path, 'cache_dir = ""')).cache_folder == settings.cache_folder


def test_the_file_takes_text_numbers_and_booleans(tmp_path):
    text = 'offline = true\nlock_timeout_s = 5\njob_deadline_s = "7.5"\ncache_dir = "~/cache"\n'
    settings = Settings.from_env(config(tmp_path, text))
    assert (settings.offline, settings.lock_timeout_s, settings.job_deadline_s) == (True, 5.0, 7.5)
    assert settings.cache_folder == Path.home() / "cache"
    assert ("EIAUTO_OFFLINE", "true") in {(setting.name, setting.value) for setting in settings.shown}
    assert not Settings.from_env(config(tmp_path, "offline = false")).offline


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("offline = [1]", r"config\.toml: offline is \[1\]; text, a number, true or false was expected"),
        ("cache_dir = true", r"config\.toml: cache_dir is True; text was expected"),
        ("lock_timeout_s = true", "EIAUTO_LOCK_TIMEOUT_S is 'true'; a number of seconds"),
        ("job_deadline_s = inf", "EIAUTO_JOB_DEADLINE_S is 'inf'; a number of seconds"),
        ("cachedir = 'x'", "unknown key 'cachedir'"),
        ("offline = = 1", r"config\.toml cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, words):
    with pytest.raises(SettingsError, match=words) as caught:
        Settings.from_env(config(tmp_path, text))
    assert caught.value.hint


@pytest.mark.parametrize("name", ["EIAUTO_LOCK_TIMEOUT_S", "EIAUTO_JOB_DEADLINE_S"])
@pytest.mark.parametrize("value", ["soon", "nan", "inf", "-inf", "-1"])
def test_seconds_are_a_number_from_0(name, value):
    with pytest.raises(SettingsError, match=f"{name} is '{value}'; a number of seconds, 0 or more") as caught:
        Settings.from_env({name: value})
    assert name in caught.value.hint
    assert Settings.from_env({name: "0"}).shown


@pytest.mark.parametrize("name", ["EIAUTO_CACHE_DIR", "EIAUTO_WEIGHTS", "EIAUTO_CONFIG"])
def test_a_home_that_is_not_there_is_said(name):
    with pytest.raises(SettingsError, match=f"{name} is '~nosuchuser/x'; there is no home folder") as caught:
        Settings.from_env({name: "~nosuchuser/x"})
    assert caught.value.hint == "write the whole path"


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("Yes", True), ("0", False), ("off", False)])
def test_offline_is_yes_or_no(value, offline):
    assert Settings.from_env({"EIAUTO_OFFLINE": value}).offline is offline
    with pytest.raises(SettingsError, match="EIAUTO_OFFLINE is 'perhaps'; 1 or 0 was expected"):
        Settings.from_env({"EIAUTO_OFFLINE": "perhaps"})


def test_studio_is_found_by_host_or_by_address():
    default = Settings.from_env({}).studio
    assert (default.api_endpoint, default.ingestion_endpoint) == (
        "https://studio.edgeimpulse.com/v1",
        "https://ingestion.edgeimpulse.com",
    )
    local = Settings.from_env({"EI_HOST": "127.0.0.1", "EI_API_ENDPOINT": "http://127.0.0.1:9/v1/"}).studio
    assert (local.api_endpoint, local.ingestion_endpoint) == ("http://127.0.0.1:9/v1", "http://127.0.0.1:4810")
    assert Settings.from_env({"EI_API_ENDPOINT": "http://a:1"}).studio.api_endpoint == "http://a:1/v1"
    assert Settings.from_env({"EI_HOST": "example.org"}).studio.api_endpoint == "https://studio.example.org/v1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EI_HOST", "http://127.0.0.1"),
        ("EI_PROJECT_ID", "mine"),
        ("EI_PROJECT_ID", "0"),
        ("EI_API_ENDPOINT", "127.0.0.1:4800"),
        ("EI_INGESTION_ENDPOINT", "ftp://x"),
    ],
)
def test_what_cannot_be_an_address_or_a_project_is_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_a_key_shows_itself_nowhere_and_a_file_with_one_must_be_private(tmp_path):
    environment = config(tmp_path, 'ei_api_key = "ei_file"\n')
    (tmp_path / "config.toml").chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by others"):
        Settings.from_env(environment)
    (tmp_path / "config.toml").chmod(0o600)
    settings = Settings.from_env(environment)
    assert settings.studio.api_key.reveal() == "ei_file"
    assert "ei_file" not in repr(settings)
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(settings.studio.api_key)
