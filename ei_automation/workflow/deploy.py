"""`eiauto deploy`: build what the manifest wishes, or what is asked for, from the last training's model."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ei_automation.backends.base import Backend
from ei_automation.errors import DoesNotFitError, UsageError
from ei_automation.schema.deployment import BuildRequest, Flavor
from ei_automation.schema.lock import MAIN_SPLIT, DeploymentRecord
from ei_automation.schema.manifest import LOCAL_FORMATS, SAME_BUNDLE, DeploymentWish
from ei_automation.workflow.project import Session
from ei_automation.workflow.stale import require_training
from ei_automation.workflow.train import follow

FOLDER = "deployments"
Misfit = Literal["refuse", "note", "ignore"]
"""What happens where a deployment does not fit a board of the manifest."""
_WISH: TypeAdapter[DeploymentWish] = TypeAdapter(DeploymentWish)


@dataclass(frozen=True)
class SdkReport:
    """A C++ library and Edge Impulse's SDK in one folder.

    Attributes:
        folder: Where they are.
        sdk_version: That the library is written for.
        is_pinned: Whether the SDK is of that version.
        compiler: That built it; empty where there is no C++ compiler, and nothing was checked.
        scores: How many scores of run_classifier() were held against LiteRT's reference kernels.
        difference: The largest one between them.
    """

    folder: Path
    sdk_version: str
    is_pinned: bool
    compiler: str = ""
    scores: int = 0
    difference: float = 0.0


def deploy(
    session: Session,
    formats: tuple[str, ...] = (),
    *,
    flags: Mapping[str, str] | None = None,
    misfit: Misfit = "refuse",
    sdk: Path | None = None,
) -> list[DeploymentRecord]:
    """Build deployments and put them into the project's `deployments` folder.

    Args:
        session: The project.
        formats: Only these; all that the manifest wishes where empty.
        flags: How to build them, key to value as in the manifest; instead of as it wishes.
        misfit: What to do where one does not fit a board of the manifest; only `refuse` builds nothing then.
        sdk: For `assemble_sdk`, which comes after: nothing is built where that could not succeed.

    Raises:
        NotFoundError: Nothing was trained, or the SDK is not there.
        VerificationError: The model is older than the manifest, the samples or the last training.
        UsageError: A format is asked for that the manifest does not wish and the backend does not build, or with
            a flag that it does not have; or there is an SDK and nothing for it.
        DoesNotFitError: It does not fit a board of the manifest.
    """
    lock = session.read_lock()
    requests = wanted_requests(session, formats, flags or {})
    if sdk is not None:
        _require_sdk(sdk, [request.flavor for request in requests])
    training = require_training(session, lock, MAIN_SPLIT)
    with session.open_backend(dataset=lock.dataset) as backend:
        backend.check_ready()
        if misfit != "ignore":
            _require_fit(session, backend, requests, misfit)
        records = [_build(session, backend, request) for request in requests]
        provenance = backend.provenance()
    models = {"", *(model.sha256 for model in training.models.values())}
    built = {record.file for record in records}
    before = lock.splits[MAIN_SPLIT].deployments if formats else []
    kept = [record for record in before if record.file not in built and record.model_sha256 in models]
    ordered = sorted([*kept, *records], key=lambda record: record.file)
    session.update_split(MAIN_SPLIT, "deploy", backend=provenance, deployments=ordered)
    return records


def wanted_requests(session: Session, formats: tuple[str, ...], flags: Mapping[str, str]) -> list[BuildRequest]:
    """What to build.

    Raises:
        UsageError: See `deploy`.
    """
    if flags and not formats:
        raise UsageError(
            f"--{next(iter(flags))} says how to build a target, and none is named",
            hint="name it, e.g. --target cpp; without flags everything that the manifest wishes is built",
        )
    wishes = [wish for wish in session.manifest.deployments if wish.backend in (None, session.backend_name)]
    requests = [] if flags else [wish.request() for wish in wishes if not formats or wish.format in formats]
    missing = [name for name in formats if flags or all(name != wish.format for wish in wishes)]
    # Two equal ones would be one file with two records.
    return list(dict.fromkeys([*requests, *(_unwished(session, name, flags) for name in missing)]))


def _unwished(session: Session, name: str, flags: Mapping[str, str]) -> BuildRequest:
    """A build that is not as the manifest wishes."""
    try:
        wish = _WISH.validate_python({"format": name, **flags})
    except ValidationError as error:
        found = error.errors()[0]
        if found["type"] == SAME_BUNDLE:
            raise UsageError(found["msg"], hint="leave out --variant") from error
        if found["type"] == "value_error":
            raise UsageError(f"{name} cannot be built so", hint=str(found["ctx"]["error"])) from error
        raise _refusal(session, name, flags, str(found["loc"][-1])) from error
    if session.backend_name != "local":
        raise _refusal(session, name, flags, "format")
    return wish.request()


def _refusal(session: Session, name: str, flags: Mapping[str, str], key: str) -> UsageError:
    """Why a target cannot be built so."""
    if key in flags:
        return UsageError(
            f"deployment target {name} has no --{key} {flags[key]}",
            hint="--memory and --flavor are of cpp, --architecture is of linux",
        )
    wishes = {wish.format for wish in session.manifest.deployments if wish.backend in (None, session.backend_name)}
    known = sorted({*wishes, *LOCAL_FORMATS} if session.backend_name == "local" else wishes)
    return UsageError(
        f"the manifest wishes no deployment {name!r} with --backend {session.backend_name}",
        hint=f"add [[deployments]] for it; without that there are: {', '.join(known) or 'none'}",
    )


def _require_fit(session: Session, backend: Backend, requests: list[BuildRequest], misfit: Misfit) -> None:
    """Refuse, or note, what does not fit a board before anything is built; note what was not checked."""
    boards = [board.name for board in session.manifest.boards]
    if not boards:
        return
    from ei_automation.workflow.fit import CHECKED_FORMATS, require_fit

    notes: dict[str, None] = {}
    for request in requests:
        if request.format in CHECKED_FORMATS:
            model = backend.download_model(request.variant)
            try:
                notes |= dict.fromkeys(
                    require_fit(boards, request.format, model, request.memory, flavor=request.flavor)
                )
            except DoesNotFitError as error:
                if misfit == "refuse":
                    raise
                notes[f"{request.format}: {error.message}; {error.hint}"] = None
    for note in notes:
        session.note(note)


def _build(session: Session, backend: Backend, request: BuildRequest) -> DeploymentRecord:
    job_id = backend.start_build(request)
    if not backend.get_job(job_id).finished:
        session.step(f"Building {request.format}")
    follow(session, backend, job_id)
    artifact = backend.download(job_id, session.folder / FOLDER)
    return DeploymentRecord(
        format=artifact.format,
        variant=artifact.variant,
        engine=artifact.engine,
        firmware_version=request.firmware_version,
        file=f"{FOLDER}/{artifact.path.name}",
        sha256=artifact.sha256,
        model_sha256=artifact.model_sha256,
        memory=request.memory,
        flavor=request.flavor,
        architecture=request.architecture,
        version=None if session.backend_name == "local" else artifact.version,
    )


def assemble_sdk(session: Session, records: list[DeploymentRecord], sdk: Path) -> list[SdkReport]:
    """Put what was built for Edge Impulse's SDK into a folder with it, build that and check its scores.

    Args:
        session: The project.
        records: Of `deploy`.
        sdk: The user's copy.

    Returns:
        One for each C++ library of that flavor.

    Raises:
        UsageError: None of them is one.
        NotFoundError: The SDK is not there.
        JobFailedError: It does not compile.
        VerificationError: Its scores are not those of the model.
    """
    found = _require_sdk(sdk, [record.flavor for record in records])
    return [_assemble(session, record, found) for record in records if record.flavor == "edge-impulse"]


def _require_sdk(sdk: Path, flavors: list[Flavor]) -> Path:
    """The SDK's folder, where there is one and something for it.

    Raises:
        UsageError: Nothing is for it.
        NotFoundError: It is not there.
    """
    from ei_automation.deployment.sdk import find_sdk

    if "edge-impulse" not in flavors:
        raise UsageError(
            "--sdk is for the C++ library of flavor edge-impulse, and none is built",
            hint="add --target cpp --flavor edge-impulse",
        )
    return find_sdk(sdk)


def _assemble(session: Session, record: DeploymentRecord, sdk: Path) -> SdkReport:
    """One library with the SDK."""
    from ei_automation.deployment.edge_impulse import SDK_VERSION
    from ei_automation.deployment.sdk import assemble, check, is_pinned

    session.step("Compiling run_classifier() and checking its scores")
    place = session.folder / record.file
    with zipfile.ZipFile(place) as archive:
        library = {name: archive.read(name) for name in archive.namelist()}
    folder = assemble(library, sdk, place.with_suffix(""))
    with session.open_backend() as backend:
        found = check(folder, backend.download_model(record.variant))
    if found is None:
        return SdkReport(folder, SDK_VERSION, is_pinned(sdk))
    return SdkReport(folder, SDK_VERSION, is_pinned(sdk), found.compiler, found.scores, found.difference)


__all__ = ["SdkReport", "assemble_sdk", "deploy", "wanted_requests"]
