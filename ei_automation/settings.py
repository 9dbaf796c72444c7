"""Settings: flags, then environment, then the XDG config file. Read once, passed down; an empty value is unset.

The config file is `config.toml` in the user's config folder (`$XDG_CONFIG_HOME/eiauto`), mode 0600, with the
names below in lower case and without the prefix, e.g. `cache_dir = "/data/cache"`.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ei_automation.errors import SettingsError

BACKENDS = ("local",)
"""Names that `--backend` takes; `backends.open_backend` opens them."""

ENVIRONMENT = {
    "EIAUTO_CACHE_DIR": "downloads, unpacked data sets and weights; default: the user's cache folder",
    "EIAUTO_OFFLINE": "1: nothing leaves this machine; what would need to is an error",
    "EIAUTO_WEIGHTS": "pretrained weights file (.h5) to use instead of the registry's",
    "EIAUTO_LOCK_TIMEOUT_S": "seconds to wait for another run in the same project; default 600",
    "EIAUTO_JOB_DEADLINE_S": "seconds a job may take; default 86400",
    "EIAUTO_CONFIG": "the config file, instead of the user's own",
}
"""Every variable of ours, with its manual."""

FOREIGN_ENVIRONMENT = {
    "KAGGLE_API_TOKEN": "Kaggle token; also ~/.kaggle/access_token",
    "KAGGLE_USERNAME": "Kaggle user, with KAGGLE_KEY; also ~/.kaggle/kaggle.json",
    "KAGGLE_KEY": "Kaggle key",
    "KAGGLE_CONFIG_DIR": "folder of kaggle.json",
    "EI_API_KEY": "Edge Impulse project key (the Studio backend of a coming release)",
}
"""Variables of others that are respected; the secret ones are never shown."""

FOLDERS_AND_FILES = frozenset({"EIAUTO_CACHE_DIR", "EIAUTO_WEIGHTS"})
YES, NO = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})

SECRETS = frozenset({"KAGGLE_API_TOKEN", "KAGGLE_KEY", "EI_API_KEY"})


@dataclass(frozen=True)
class Setting:
    """One value and where it came from.

    Attributes:
        name: Environment variable.
        value: As text.
        origin: default, file or environment.
    """

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Settings:
    """What the tool needs to know of its surroundings.

    Attributes:
        cache_folder: Downloads, unpacked data sets, weights.
        offline: Whether leaving this machine is an error.
        weights: Pretrained weights file, or None for the registry's.
        lock_timeout_s: Seconds to wait for another run in the same project.
        job_deadline_s: Seconds a job may take.
        shown: Every setting with its origin, for `eiauto config show`.
    """

    cache_folder: Path
    offline: bool
    weights: Path | None
    lock_timeout_s: float
    job_deadline_s: float
    shown: tuple[Setting, ...]

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the environment and the config file.

        Raises:
            SettingsError: The config file is not TOML, or has an unknown key or a value of a wrong kind; a number
                is none or below 0; a path names the home of a user who is not there.
        """
        given = os.environ if environment is None else environment
        path = config_path(given)
        settings = _resolve(given, _read_file(path))
        values = {setting.name: setting.value for setting in settings}
        weights = values["EIAUTO_WEIGHTS"]
        return cls(
            cache_folder=_path("EIAUTO_CACHE_DIR", values["EIAUTO_CACHE_DIR"]),
            offline=_switch("EIAUTO_OFFLINE", values["EIAUTO_OFFLINE"]),
            weights=_path("EIAUTO_WEIGHTS", weights) if weights else None,
            lock_timeout_s=_seconds("EIAUTO_LOCK_TIMEOUT_S", values["EIAUTO_LOCK_TIMEOUT_S"]),
            job_deadline_s=_seconds("EIAUTO_JOB_DEADLINE_S", values["EIAUTO_JOB_DEADLINE_S"]),
            shown=(
                *settings,
                Setting("EIAUTO_CONFIG", str(path), "environment" if given.get("EIAUTO_CONFIG") else "default"),
            ),
        )


def config_path(environment: Mapping[str, str]) -> Path:
    """The config file's place.

    Raises:
        SettingsError: EIAUTO_CONFIG names the home of a user who is not there.
    """
    import platformdirs

    named = environment.get("EIAUTO_CONFIG")
    return _path("EIAUTO_CONFIG", named) if named else Path(platformdirs.user_config_dir("eiauto")) / "config.toml"


def _defaults() -> dict[str, str]:
    import platformdirs

    return {
        "EIAUTO_CACHE_DIR": platformdirs.user_cache_dir("eiauto"),
        "EIAUTO_OFFLINE": "",
        "EIAUTO_WEIGHTS": "",
        "EIAUTO_LOCK_TIMEOUT_S": "600",
        "EIAUTO_JOB_DEADLINE_S": "86400",
    }


def _read_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="correct it or delete it") from error
    names = {name.removeprefix("EIAUTO_").lower(): name for name in _defaults()}
    unknown = sorted(set(content) - set(names))
    if unknown:
        raise SettingsError(f"{path}: unknown key {unknown[0]!r}", hint=f"known keys: {', '.join(sorted(names))}")
    return {
        names[key]: _as_text(path, key, value, is_path=names[key] in FOLDERS_AND_FILES)
        for key, value in content.items()
    }


def _as_text(path: Path, key: str, value: object, *, is_path: bool) -> str:
    """A value of the config file as the environment would give it."""
    if isinstance(value, str):
        return value
    if is_path or not isinstance(value, bool | int | float):
        expected = "text" if is_path else "text, a number, true or false"
        raise SettingsError(f"{path}: {key} is {value!r}; {expected} was expected", hint="correct it or delete it")
    return str(value).lower()


def _resolve(environment: Mapping[str, str], file: Mapping[str, str]) -> tuple[Setting, ...]:
    found = []
    for name, default in _defaults().items():
        if environment.get(name):
            found.append(Setting(name, environment[name], "environment"))
        elif file.get(name):
            found.append(Setting(name, file[name], "file"))
        else:
            found.append(Setting(name, default, "default"))
    return tuple(found)


def _path(name: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # pathlib's word for a `~user` that is not there
        raise SettingsError(
            f"{name} is {value!r}; there is no home folder of that user", hint="write the whole path"
        ) from error


def _switch(name: str, value: str) -> bool:
    if value.lower() in YES | NO:
        return value.lower() in YES
    raise SettingsError(f"{name} is {value!r}; 1 or 0 was expected", hint=f"set {name} to 1 or 0")


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise SettingsError(
            f"{name} is {value!r}; a number of seconds, 0 or more, was expected", hint=f"correct {name}"
        )
    return seconds
