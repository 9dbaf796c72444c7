"""Settings: flags, then environment, then the XDG config file. Read once, passed down; an empty value is unset.

The config file is `config.toml` in the user's config folder (`$XDG_CONFIG_HOME/eiauto`), mode 0600, with the
names below in lower case and without the prefix EIAUTO_, e.g. `cache_dir = "/cache"` or `ei_api_key = "ei_..."`.
A file that holds a key and can be read by others is refused.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from ei_automation.errors import SettingsError

BACKENDS = ("local", "studio")
"""Names that `--backend` takes; `backends.open_backend` opens them."""

KEY_VARIABLE = "EIAUTO_STUDIO_API_KEY"
ENVIRONMENT = {
    "EIAUTO_CACHE_DIR": "downloads, unpacked data sets and weights; default: the user's cache folder",
    "EIAUTO_OFFLINE": "1: nothing leaves this machine; what would need to is an error",
    "EIAUTO_WEIGHTS": "pretrained weights file (.h5) to use instead of the registry's",
    "EIAUTO_LOCK_TIMEOUT_S": "seconds to wait for another run in the same project; default 600",
    "EIAUTO_JOB_DEADLINE_S": "seconds a job may take; default 86400",
    "EIAUTO_PORT": "`flash`, `run`, `boards`: the board's serial port: path, glob, VID:PID, serial number or URL",
    "EIAUTO_CONFIG": "the config file, instead of the user's own",
    KEY_VARIABLE: "`studio serve`: a key of one's own for the local Studio's project, for tests",
}
"""Every variable of ours, with its manual."""

FOREIGN_ENVIRONMENT = {
    "KAGGLE_API_TOKEN": "Kaggle token; also ~/.kaggle/access_token",
    "KAGGLE_USERNAME": "Kaggle user, with KAGGLE_KEY; also ~/.kaggle/kaggle.json",
    "KAGGLE_KEY": "Kaggle key",
    "KAGGLE_CONFIG_DIR": "folder of kaggle.json",
}
"""Variables of others that are respected; the secret ones are never shown."""

FOLDERS_AND_FILES = frozenset({"EIAUTO_CACHE_DIR", "EIAUTO_WEIGHTS"})
YES, NO = frozenset({"1", "true", "yes", "on"}), frozenset({"", "0", "false", "no", "off"})

STUDIO = {
    "EI_API_KEY": "Edge Impulse project key, for --backend studio; needs the role admin",
    "EI_PROJECT_ID": "Edge Impulse project; default: the key's own",
    "EI_HOST": "Studio's host; an IP address or localhost means http on the ports 4800 and 4810",
    "EI_API_ENDPOINT": "address of the Studio API, with /v1; goes before EI_HOST",
    "EI_INGESTION_ENDPOINT": "address of the ingestion API; goes before EI_HOST",
}
"""Edge Impulse's own variables, which its clients read too."""
DEFAULT_HOST = "edgeimpulse.com"
LOCAL_PORTS = {"studio": 4800, "ingestion": 4810}
"""Where Edge Impulse's own clients look for a host that is given as an address; plain http."""

SECRETS = frozenset({"KAGGLE_API_TOKEN", "KAGGLE_KEY", "EI_API_KEY", KEY_VARIABLE})


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


class Secret:
    """A key that shows itself to nobody: neither printed, nor in a traceback, nor pickled.

    Args:
        value: The key.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the one place that sends it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(...)" if self._value else "Secret()"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


@dataclass(frozen=True)
class StudioSettings:
    """How to reach Studio.

    Attributes:
        api_endpoint: Of the Studio API, ending in /v1.
        ingestion_endpoint: Of the ingestion API, without a path.
        api_key: Of the project; empty where none is set.
        project_id: The project; None for the key's own.
    """

    api_endpoint: str
    ingestion_endpoint: str
    api_key: Secret
    project_id: int | None = None


@dataclass(frozen=True)
class Settings:
    """What the tool needs to know of its surroundings.

    Attributes:
        cache_folder: Downloads, unpacked data sets, weights.
        offline: Whether leaving this machine is an error.
        weights: Pretrained weights file, or None for the registry's.
        lock_timeout_s: Seconds to wait for another run in the same project.
        job_deadline_s: Seconds a job may take.
        port: The board's serial port, as `--port` takes it; None for the one that is there.
        studio: How to reach Studio.
        shown: Every setting with its origin, for `eiauto config show`.
    """

    cache_folder: Path
    offline: bool
    weights: Path | None
    lock_timeout_s: float
    job_deadline_s: float
    port: str | None
    studio: StudioSettings
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
            port=values["EIAUTO_PORT"] or None,
            studio=_studio(values),
            shown=(
                *(_hidden(setting) for setting in settings),
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
        "EIAUTO_PORT": "",
        **dict.fromkeys(STUDIO, ""),
    }


def _read_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="correct it or delete it") from error
    names = {name.removeprefix("EIAUTO_").lower(): name for name in _defaults()}
    if SECRETS & {names.get(key, "") for key in content} and path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} holds a key and can be read by others", hint=f"chmod 600 {path}")
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


def _hidden(setting: Setting) -> Setting:
    """A setting as it may be shown."""
    return replace(setting, value="(set)") if setting.name in SECRETS and setting.value else setting


def _studio(values: Mapping[str, str]) -> StudioSettings:
    host = values["EI_HOST"] or DEFAULT_HOST
    project = values["EI_PROJECT_ID"]
    if project and not (project.isascii() and project.isdecimal() and int(project) > 0):
        raise SettingsError(
            f"EI_PROJECT_ID is {project!r}; a project's number was expected",
            hint="it stands in the project's address in Studio",
        )
    return StudioSettings(
        api_endpoint=_endpoint("EI_API_ENDPOINT", values["EI_API_ENDPOINT"] or f"{_origin(host, 'studio')}/v1"),
        ingestion_endpoint=_endpoint(
            "EI_INGESTION_ENDPOINT", values["EI_INGESTION_ENDPOINT"] or _origin(host, "ingestion")
        ),
        api_key=Secret(values["EI_API_KEY"].strip()),
        project_id=int(project) if project else None,
    )


def _origin(host: str, service: str) -> str:
    """Where a service of a host is, by the rule of Edge Impulse's own clients."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+", host):
        raise SettingsError(
            f"EI_HOST is {host!r}; a host name or an IPv4 address was expected",
            hint="without http:// and without a port; EI_API_ENDPOINT takes a whole address",
        )
    if host in ("localhost", "host.docker.internal") or re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", host):
        return f"http://{host}:{LOCAL_PORTS[service]}"
    return f"https://{service}.{host}"


def _endpoint(name: str, value: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise SettingsError(
            f"{name} is no address of an API",
            hint="for example http://127.0.0.1:4800/v1 or https://studio.edgeimpulse.com/v1",
        )
    whole = value.rstrip("/")
    return f"{whole}/v1" if name == "EI_API_ENDPOINT" and not parts.path.strip("/") else whole


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
