"""Published projects: what the API tells of one, what it does not, and how to copy one into another project."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ei_automation.backends.studio.client import StudioClient, StudioError
from ei_automation.backends.studio.samples import list_rows
from ei_automation.errors import JobFailedError, NotFoundError, SettingsError, UsageError
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.metrics import VARIANTS
from ei_automation.schema.published import PublicProject, PublishedNumber
from ei_automation.schema.training import TrainingParameters
from ei_automation.studio_api.impulse import LiveBlocks, impulse_from, live_blocks
from ei_automation.studio_api.training import EXPOSED, parameters_from

PATHS = re.compile(r"^/(?:public|studio|v1/api|api)/(\d{1,15})(?:/|$)")
"""Paths of a project: its public page, its page in Studio, its API."""
LEARN_LINK, DSP_LINK = re.compile(r"/learn-data/(\d+)/model/"), re.compile(r"/dsp-data/(\d+)/")
"""Where a download's address names the block that it belongs to."""
CHANNELS = {1: "Grayscale", 3: "RGB"}
LISTED = 100
"""Published projects of one name that are looked at."""
RESTORE_LOOKS, RESTORE_PAUSE_S = 40, 0.25
"""How often a job that a restore has started is looked for in the list of jobs, and the pause between."""
REFUSALS = (NotFoundError, StudioError, SettingsError)
"""How Studio says that a key may not read something. A key that is no key at all is found out by `public-info`."""
NEVER_TOLD = {
    "training.learn_block.weights": "which pretrained weights the network started from",
    "training.fine_tuning": "whether the script's second stage was changed",
    "training.seed": "the seed of the training (Studio's scripts use 3)",
    "training.validation_split": "which samples validated, unless they are in a category of their own",
    "dataset.groups": "which samples were made from the same original",
    "dataset.split": "the rule and the seed that put samples into the testing category",
    "published.metrics.tolerance": "how far a repeated training may come out",
}
"""Manifest key to what the API has no field for."""
OF_TRANSFER = frozenset({"training.learn_block.weights", "training.fine_tuning"})
"""Keys that only a keras-transfer-image block has."""


def parse_reference(text: str) -> int:
    """The project's number in an address of Studio, or the number itself.

    Args:
        text: E.g. `https://studio.edgeimpulse.com/public/163127/latest`, `studio/163127` or `163127`.

    Raises:
        UsageError: There is no project's number in it.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal() and 0 < int(text) < 10**15:
        return int(text)
    try:
        path = urlsplit(text).path
    except ValueError:
        path = ""
    found = PATHS.match(path) or PATHS.match(f"/{path.lstrip('/')}") or PATHS.match("/" + path.partition("/")[2])
    if found is None or int(found.group(1)) == 0:
        raise UsageError(
            f"{text!r} names no project of Edge Impulse Studio",
            hint="give its number, or its address, e.g. https://studio.edgeimpulse.com/public/163127/latest",
        )
    return int(found.group(1))


def read_public(client: StudioClient, reference: str) -> PublicProject:
    """Read a published project, or one that the key may read.

    Args:
        client: Of any project's key.
        reference: As `parse_reference` takes it.

    Raises:
        UsageError: It is no reference.
        NotFoundError: There is no such project.
        SettingsError: The key is refused, or the project is neither published nor the key's.
        EiautoError: As the client's.
    """
    given = parse_reference(reference)
    reader = _Reader(client, given)
    info = reader.ask("")
    if info is None:
        reader.choose_published_version()
    project = _mapping((info or {}).get("project"))
    summary = client.get(f"/api/{reader.project_id}/public-info") if info is None else project
    blocks, impulse = _read_impulse(reader)
    learned = _read_learn_block(reader, blocks)
    numbers = (*learned.numbers, *(_read_testing(reader) if learned.numbers else ()))
    counts = _read_counts(reader)
    description = project.get("description") if project else _listed_description(reader, str(summary.get("name")))
    kind = blocks.learn_type if blocks else ""
    for key in NEVER_TOLD:
        if key not in learned.told and (key not in OF_TRANSFER or kind in ("", "keras-transfer-image")):
            reader.missing(key, NEVER_TOLD[key])
    return PublicProject(
        given_id=given,
        project_id=reader.project_id,
        version=reader.version,
        url=reader.url or str((info or summary).get("studioUrl") or ""),
        name=str(summary.get("name") or ""),
        owner=str(summary.get("owner") or ""),
        description=str(description or ""),
        license=str(project.get("license") or ""),
        counts=counts,
        labels=learned.labels or tuple(sorted({label for of in counts.values() for label in of})),
        impulse=impulse,
        training=learned.training,
        learn_block_type=kind,
        minimum_confidence=learned.minimum_confidence,
        numbers=numbers,
        unknown=tuple(reader.unknown),
    )


def restore_into(client: StudioClient, project_id: int, public_id: int) -> int:
    """Start copying a published version into a project without data.

    Args:
        client: Of the receiving project's endpoint.
        project_id: The receiving project.
        public_id: `PublicProject.project_id` of a published version.

    Returns:
        The job id.

    Raises:
        UsageError: The project has data, which Studio would refuse.
        JobFailedError: Studio accepted it, but started no job.
        EiautoError: As the client's.
    """
    for category in ("training", "validation", "testing"):
        if count := client.get(f"/api/{project_id}/raw-data/count", category=category).get("count"):
            raise UsageError(
                f"project {project_id} has {count} {category} samples; a published project can only be restored "
                "into a project without data",
                hint="make a new project in Studio and use its key",
            )
    before = _newest_job(client, project_id)
    reply = client.post(f"/api/{project_id}/jobs/restore/from-public", {"projectId": public_id})
    if isinstance(reply.get("id"), int):
        return int(reply["id"])
    for _ in range(RESTORE_LOOKS):
        if (job_id := _newest_job(client, project_id)) > before:
            return job_id
        time.sleep(RESTORE_PAUSE_S)
    raise JobFailedError(
        f"Studio accepted to restore {public_id} into project {project_id}, but lists no job for it",
        hint="look at the project in Studio",
    )


def _newest_job(client: StudioClient, project_id: int) -> int:
    jobs = client.get(f"/api/{project_id}/jobs/all", limit=20).get("jobs") or []
    return max((int(job["id"]) for job in jobs), default=0)


class _Reader:
    """Questions of which some are not answered: a key of another project may read less."""

    def __init__(self, client: StudioClient, project_id: int) -> None:
        self.client = client
        self.given_id = self.project_id = project_id
        self.version: int | None = None
        self.url = ""
        self.unknown: list[str] = []

    def ask(self, path: str, key: str = "", what: str = "", **query: object) -> Mapping[str, Any] | None:
        """An answer, or None where Studio refuses it; what is missing then is noted under the manifest key."""
        try:
            return self.client.get(f"/api/{self.project_id}{path}", **query)
        except REFUSALS as error:
            if key:
                self.missing(key, f"{what} ({error.message})")
            return None

    def missing(self, key: str, what: str) -> None:
        """Note what is not told."""
        self.unknown.append(f"{key}: {what}")

    def choose_published_version(self) -> None:
        """Read the newest published version, where there is one, in place of the project."""
        answer = self.ask("/versions/public") or {}
        versions = [row for row in answer.get("versions") or [] if isinstance(row.get("publicProjectId"), int)]
        if versions:
            newest = max(versions, key=lambda row: int(row.get("version") or 0))
            self.project_id = newest["publicProjectId"]
            self.version = int(newest.get("version") or 0) or None
            self.url = str(newest.get("publicProjectUrl") or "")


@dataclass(frozen=True)
class _Learned:
    """What the learn block tells."""

    training: TrainingParameters | None = None
    minimum_confidence: float | None = None
    labels: tuple[str, ...] = ()
    numbers: tuple[PublishedNumber, ...] = ()
    told: frozenset[str] = frozenset()  # keys of NEVER_TOLD that a block exposes all the same


def _read_impulse(reader: _Reader) -> tuple[LiveBlocks | None, Impulse | None]:
    """The blocks' numbers and the impulse."""
    answer = reader.ask("/impulse")
    told = _mapping((answer or {}).get("impulse"))
    if answer is not None and not told:
        reader.missing("impulse", "the project has none")
        return None, None
    if not told:
        return _impulse_from_downloads(reader)
    blocks = live_blocks(told)
    config = reader.ask(f"/dsp/{blocks.dsp_id}") if blocks.dsp_id else None
    impulse = impulse_from(told, config or {})
    if impulse is None:
        kinds = ", ".join(sorted(_block_types(told)))
        reader.missing("impulse", f"it has blocks that a manifest cannot say: {kinds or 'none'}")
    elif config is None:
        reader.missing("impulse.dsp_block.channels", "not readable with this key; RGB is assumed")
    return blocks, impulse


def _block_types(impulse: Mapping[str, Any]) -> set[str]:
    kinds = ("inputBlocks", "dspBlocks", "learnBlocks")
    return {str(block.get("type")) for kind in kinds for block in impulse.get(kind) or ()}


def _impulse_from_downloads(reader: _Reader) -> tuple[LiveBlocks | None, Impulse | None]:
    """What everybody may read of a published impulse: its features' shape, by the block that a download names."""
    downloads = (reader.ask("/downloads") or {}).get("downloads") or []
    links = "\n".join(str(item.get("link") or "") for item in downloads)
    dsp, learn = DSP_LINK.search(links), LEARN_LINK.search(links)
    blocks = LiveBlocks(
        impulse_id=1,
        input_id=None,
        dsp_id=int(dsp.group(1)) if dsp else None,
        learn_id=int(learn.group(1)) if learn else None,
        learn_type="",
        resize_method="",
        alone=False,
    )
    metadata = reader.ask(f"/dsp/{blocks.dsp_id}/metadata", excludeIncludedSamples=True) if dsp else None
    shape = _mapping(_mapping((metadata or {}).get("outputConfig")).get("shape"))
    width, height, channels = (shape.get(name) for name in ("width", "height", "channels"))
    if not (isinstance(width, int) and isinstance(height, int) and channels in CHANNELS):
        reader.missing("impulse", "its input block and DSP block are not readable with this key")
        return blocks, None
    reader.missing("impulse.input_block.resize_mode", "not readable with this key; squash is assumed")
    wanted = {
        "input_block": {"image_width": width, "image_height": height},
        "dsp_block": {"channels": CHANNELS[channels]},
    }
    return blocks, Impulse.model_validate(wanted)


def _read_learn_block(reader: _Reader, blocks: LiveBlocks | None) -> _Learned:
    """Parameters, threshold, labels and the numbers after training."""
    if blocks is None or blocks.learn_id is None:
        reader.missing("training", "there is no learn block that can be read")
        return _Learned()
    path = f"/training/keras/{blocks.learn_id}"
    config = reader.ask(path, "training", "the learn block's parameters are not readable with this key")
    metadata = reader.ask(f"{path}/metadata", "published.metrics", "there is no trained model that can be read")
    training = None
    if config is not None:
        try:
            training = parameters_from(config)
        except UsageError as error:
            reader.missing("training", f"a manifest cannot say it: {error.message}")
    confidence = (config or {}).get("minimumConfidenceRating")
    custom = _mapping((config or {}).get("customParameters"))
    return _Learned(
        training=training,
        minimum_confidence=float(confidence) if isinstance(confidence, int | float) else None,
        labels=tuple(str(name) for name in (metadata or {}).get("classNames") or ()),
        numbers=tuple(_validation_numbers(reader, metadata or {})),
        told=frozenset(f"training.{item.key.removesuffix('.mode')}" for item in EXPOSED if item.name in custom),
    )


def _validation_numbers(reader: _Reader, metadata: Mapping[str, Any]) -> list[PublishedNumber]:
    found = []
    for row in metadata.get("modelValidationMetrics") or ():
        accuracy, loss, variant = row.get("accuracy"), row.get("loss"), row.get("type")
        if variant in VARIANTS and isinstance(accuracy, int | float) and 0 <= accuracy <= 1:
            told = float(loss) if isinstance(loss, int | float) else None
            source = f"project {reader.project_id}, training metadata"
            found.append(PublishedNumber(variant, "validation", float(accuracy), told, False, source))
    return found


def _read_testing(reader: _Reader) -> list[PublishedNumber]:
    """The numbers of model testing; scores under the threshold count as wrong there."""
    found = []
    for variant in VARIANTS:
        answer = reader.ask(
            "/classify/all/result", "published.metrics", f"no {variant} model testing can be read", variant=variant
        )
        total = _mapping(_mapping((answer or {}).get("accuracy")).get("totalSummary"))
        good, bad = total.get("good"), total.get("bad")
        if isinstance(good, int) and isinstance(bad, int) and good + bad > 0:
            source = f"project {reader.project_id}, model testing of {good + bad} samples"
            found.append(PublishedNumber(variant, "testing", good / (good + bad), None, True, source))
    return found


def _read_counts(reader: _Reader) -> dict[str, dict[str, int]]:
    """Category to label to samples."""
    counts: dict[str, dict[str, int]] = {}
    try:
        for row in list_rows(reader.client, reader.project_id):
            of_category = counts.setdefault(str(row.get("category")), {})
            label = str(row.get("label"))
            of_category[label] = of_category.get(label, 0) + 1
    except REFUSALS as error:
        reader.missing("published.sample_count", f"the samples are not readable with this key ({error.message})")
        return {}
    return counts


def _listed_description(reader: _Reader, name: str) -> str:
    """The description in the list of published projects, which everybody may read."""
    try:
        rows = reader.client.get("/api/projects/public", project=name, limit=LISTED).get("projects") or []
    except REFUSALS:
        rows = []
    ids = (reader.project_id, reader.given_id)
    found = next((row for row in rows if row.get("id") in ids), None)
    if found is None:
        reader.missing("description", "only members of the project can read it")
    return str((found or {}).get("description") or "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
