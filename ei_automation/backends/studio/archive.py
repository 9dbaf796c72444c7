"""A downloaded deployment, in memory: checked whole, freed of API keys, zipped anew so that it is reproducible."""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ei_automation.backends.studio.client import redact
from ei_automation.deployment.parts import BROKEN, check_entries
from ei_automation.errors import VerificationError
from ei_automation.files import sha256_bytes
from ei_automation.schema.metrics import ModelVariant

MAX_BYTES = 256 * 1024 * 1024
"""Of a download, and of what it unpacks to; all of it is held in memory."""
MAX_FILES = 20_000
METADATA_NAME = "deployment-metadata.json"
PROGRAM_STARTS = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""ELF, Mach-O, Mach-O for several processors: a Linux or macOS runner is a program, not a zip."""
KEY = re.compile(rb"ei_[0-9a-f]{32,}|(?<![0-9A-Za-z_])ei_[0-9A-Za-z]{29,}")
"""An API key: Studio's own are `ei_` and 64 hexadecimal digits, and it takes none under 32 characters. Names in
C++ such as `ei_classifier_types` have another underscore before that."""
SECRET_FIELDS = frozenset({"apikey", "projectapikey", "ingestionapikey", "hmackey"})
"""Fields of deployment-metadata.json, in small letters, that are taken out."""
LEAST_SECRET_CHARACTERS = 12
"""A shorter value of such a field is only taken out of its field, not looked for elsewhere."""


@dataclass(frozen=True)
class Package:
    """A deployment that may be stored.

    Attributes:
        content: Its bytes: a zip that depends on names and contents alone, or a program as it came.
        suffix: For its name: .zip or .eim.
        model_sha256: Of the .tflite file inside; empty where there is none, or none that is the variant's.
        keys_removed: How many API keys were taken out.
    """

    content: bytes
    suffix: str
    model_sha256: str
    keys_removed: int


def clean_package(data: bytes, what: str, variant: ModelVariant, secrets: Collection[str] = ()) -> Package:
    """Check a download and take every API key out of it.

    Args:
        data: As it came.
        what: For sentences, e.g. `deployment 3`.
        variant: The build's; tells which model counts where there are several.
        secrets: Keys that are known.

    Raises:
        VerificationError: It is no zip, a damaged one, or one that would harm who unpacks it.
    """
    from ei_automation.deployment.contents import make_zip

    known = {secret.encode() for secret in secrets if secret}
    if data.startswith(PROGRAM_STARTS):
        content, removed = _without_keys(data, known)
        return Package(content, ".eim", "", removed)
    read, programs = _read_zip(data, what)
    members, fields = _without_secret_fields(read, what)
    known |= {secret for secret in fields if len(secret) >= LEAST_SECRET_CHARACTERS}
    removed = len(fields)
    for name, content in members.items():
        if _without_keys(name.encode(), known)[1]:
            raise VerificationError(f"{what} has an API key in a file's name; nothing was stored")
        members[name], count = _without_keys(content, known)
        removed += count
    return Package(make_zip(members, programs), ".zip", _model_sha256(members, variant), removed)


# Zip


def _read_zip(data: bytes, what: str) -> tuple[dict[str, bytes], set[str]]:
    """Every file of a zip, by name, and which are programs; sizes and checksums are those that it says."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            check_entries(
                entries,
                what,
                most_bytes=MAX_BYTES,
                most_files=MAX_FILES,
                show=lambda name: redact(repr(name)),
                outcome="; nothing was stored",
            )
            members = {entry.filename: archive.read(entry) for entry in entries}
    except BROKEN as error:
        raise VerificationError(
            f"{what} is no zip, or a damaged one: {error}",
            hint="run the same command again; it is downloaded anew",
        ) from error
    wrong = [entry.filename for entry in entries if len(members[entry.filename]) != entry.file_size]
    if wrong or not members:
        raise VerificationError(f"{what} is a zip that is empty or not whole", hint="build it again")
    return members, {entry.filename for entry in entries if entry.external_attr >> 16 & stat.S_IXUSR}


# Keys


def _without_secret_fields(members: Mapping[str, bytes], what: str) -> tuple[dict[str, bytes], set[bytes]]:
    """The files, the metadata among them without its keys; and what the keys were."""
    cleaned, found = dict(members), set[bytes]()
    for name, content in members.items():
        if name.rsplit("/", 1)[-1].casefold() != METADATA_NAME:
            continue
        before = len(found)
        try:
            value = _pruned(json.loads(content), found)
        except (ValueError, RecursionError) as error:
            raise VerificationError(
                f"{what} has a {METADATA_NAME} that is no JSON, so that its API key cannot be taken out; "
                "nothing was stored"
            ) from error
        if len(found) > before:
            cleaned[name] = (json.dumps(value, indent=4) + "\n").encode()
    return cleaned, found


def _pruned(value: Any, found: set[bytes]) -> Any:
    if isinstance(value, list):
        return [_pruned(item, found) for item in value]
    if not isinstance(value, Mapping):
        return value
    for name, item in value.items():
        if name.casefold() in SECRET_FIELDS and isinstance(item, str) and item:
            found.add(item.encode(errors="surrogatepass"))
    return {name: _pruned(item, found) for name, item in value.items() if name.casefold() not in SECRET_FIELDS}


def _without_keys(content: bytes, known: Collection[bytes]) -> tuple[bytes, int]:
    """Contents with `x` in place of each character of a key, so that no offset in a binary file moves."""
    count = 0
    for secret in sorted(known, key=len, reverse=True):
        if secret in content:
            count += content.count(secret)
            content = content.replace(secret, b"x" * len(secret))
    if b"ei_" in content:
        content, masked = KEY.subn(lambda match: b"x" * len(match.group()), content)
        count += masked
    return content, count


# Model


def _model_sha256(members: Mapping[str, bytes], variant: ModelVariant) -> str:
    """Of the one .tflite file, or of the one that is named after the variant."""
    models = [name for name in members if name.casefold().endswith(".tflite")]
    if len(models) > 1:
        models = [name for name in models if variant in name.rsplit("/", 1)[-1]]
    return sha256_bytes(members[models[0]]) if len(models) == 1 else ""
