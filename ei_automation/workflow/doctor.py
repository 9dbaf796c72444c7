"""`eiauto doctor`: what this machine has, and what to do about what it lacks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from ei_automation.backends import check_studio
from ei_automation.errors import EiautoError
from ei_automation.settings import FOREIGN_ENVIRONMENT, Settings

GIGABYTE = 1 << 30
LOW_DISK_BYTES = 2 * GIGABYTE
STUDIO_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Diagnosis:
    """One thing looked at.

    Attributes:
        name: What.
        status: ok, missing (something optional is not there) or problem.
        detail: What was found, and what to do.
    """

    name: str
    status: str
    detail: str


def doctor(settings: Settings, environment: Mapping[str, str] | None = None) -> list[Diagnosis]:
    """Look at Python, the extras, the cache, the weights and the credentials; nothing heavy is imported.

    Where an Edge Impulse key is set, Studio is asked what it may do, unless the settings say offline.
    """
    given = os.environ if environment is None else environment
    return [
        Diagnosis("python", "ok", sys.version.split()[0]),
        _extra("tensorflow", "train", "training"),
        _extra("ai-edge-litert", "", "inference", module="ai_edge_litert"),
        _extra("kaggle", "kaggle", "fetching Kaggle data sets"),
        _folder("cache", settings.cache_folder),
        _weights(settings),
        _extra("python-socketio", "studio", "--backend studio", module="socketio"),
        _extra("starlette", "studio", "the local Studio"),
        _extra("ziglang", "compile", "footprints, WebAssembly and Linux programs"),
        _extra("unicorn", "compile", "footprints"),
        _extra("pyserial", "devices", "flashing and running boards", module="serial"),
        _extra("pyusb", "devices", "firmware over USB", module="usb"),
        _kaggle_credentials(given),
        _studio(settings),
        Diagnosis("cores", "ok", str(os.cpu_count())),
    ]


def _extra(distribution: str, extra: str, purpose: str, module: str = "") -> Diagnosis:
    if util.find_spec(module or distribution) is not None:
        return Diagnosis(distribution, "ok", metadata.version(distribution))
    install = f'pip install "eiauto[{extra}]"' if extra else "pip install eiauto"
    return Diagnosis(distribution, "missing", f"needed for {purpose}: {install}")


def _folder(name: str, folder: Path) -> Diagnosis:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        return Diagnosis(name, "problem", f"{folder} cannot be written; set EIAUTO_CACHE_DIR")
    free = shutil.disk_usage(existing).free
    status = "ok" if free > LOW_DISK_BYTES else "problem"
    return Diagnosis(name, status, f"{folder}, {free / GIGABYTE:.1f} GB free")


def _weights(settings: Settings) -> Diagnosis:
    if settings.weights is not None:
        there = settings.weights.is_file()
        return Diagnosis(
            "weights", "ok" if there else "problem", f"{settings.weights}{'' if there else ' is not there'}"
        )
    folder = settings.cache_folder / "weights"
    names = sorted(path.name for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    if names:
        return Diagnosis("weights", "ok", f"{len(names)} in {folder}")
    return Diagnosis("weights", "missing", f"none in {folder} yet; downloaded when a transfer learning needs them")


def _studio(settings: Settings) -> Diagnosis:
    name = "edge impulse key"
    if not settings.studio.api_key:
        return Diagnosis(name, "missing", "none; --backend studio needs EI_API_KEY: a key with the role admin")
    if settings.offline:
        return Diagnosis(name, "ok", "set; not looked at, since EIAUTO_OFFLINE is set")
    try:
        return Diagnosis(name, "ok", check_studio(settings.studio, STUDIO_PATIENCE_S))
    except EiautoError as error:
        return Diagnosis(name, "problem", f"{error}; {error.hint}" if error.hint else str(error))


def _kaggle_credentials(environment: Mapping[str, str]) -> Diagnosis:
    named = [name for name in FOREIGN_ENVIRONMENT if name.startswith("KAGGLE") and environment.get(name)]
    home = Path(environment.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    files = [path.name for path in (home / "kaggle.json", home / "access_token") if path.is_file()]
    if named or files:
        return Diagnosis("kaggle credentials", "ok", ", ".join([*named, *files]))
    return Diagnosis("kaggle credentials", "missing", "none; public data sets need none")
