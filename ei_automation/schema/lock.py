"""The lock, `project.lock.json`: what was resolved and measured; `eiauto verify` checks it offline.

Equal inputs give equal bytes on the local backend, except for `environment`, which names the machine, the
versions and the times.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from ei_automation.schema.deployment import Architecture, Flavor, Memory
from ei_automation.schema.metrics import Metrics, ModelVariant, TrainingCurves
from ei_automation.schema.sample import Category
from ei_automation.schema.strict import StrictModel

MAIN_SPLIT = "main"
"""Name of `[dataset.split]` beside those of `[dataset.compare]`."""


class OriginRecord(StrictModel):
    """Where the data came from."""

    type: str
    """kaggle, folder, zip or bundled."""
    reference: str
    """Slug with version, file name or bundled name; never a path of a machine."""
    archive_sha256: str | None = None
    """Of the downloaded or given archive."""
    overridden: bool = False
    """Whether `--from` gave another place than the manifest names."""


class SampleRecord(StrictModel):
    """One sample of the data set."""

    name: str
    sha256: str
    label: str
    group: str = ""
    categories: dict[str, Annotated[Category, Strict(False)]]
    """Split name to category."""


class FindingRecord(StrictModel):
    """One finding of the audit."""

    code: str
    severity: str
    message: str
    samples: list[str] = Field(default_factory=list)
    count: int = 0


class DatasetRecord(StrictModel):
    """The data set as it was used."""

    wanted: str
    """Fingerprint of the manifest's dataset section and impulse as they were at the sync."""
    origin: OriginRecord
    samples_sha256: str
    """Fingerprint over names, hashes, labels, groups and categories."""
    labels: list[str]
    split_specs: dict[str, dict[str, Any]]
    """Split name to method, testing ratio and seed; with other ones the samples are split anew."""
    counts: dict[str, dict[str, dict[str, int]]]
    """Split name to category to label to samples."""
    set_aside: dict[str, str]
    """Sample name to the finding's code."""
    findings: list[FindingRecord]


class ModelRecord(StrictModel):
    """A .tflite file."""

    sha256: str
    size_bytes: int


class WeightsRecord(StrictModel):
    """Where the base's weights came from."""

    source: str
    """`pretrained`, `none`, or the file's name."""
    sha256: str | None = None


class TrainingRecord(StrictModel):
    """One training."""

    inputs: str
    """Fingerprint of all it depends on: samples, impulse, parameters, weights, trainer version."""
    impulse: dict[str, Any]
    samples_sha256: str
    """Fingerprint of the samples that trained and validated."""
    parameters: dict[str, Any]
    weights: WeightsRecord | None
    seed: int
    threads: int
    """TensorFlow threads; 0 where the backend does not tell."""
    validation_sha256: str
    """Fingerprint of the validation samples' hashes; empty where the backend does not tell them."""
    validation_count: int
    training_count: int
    curves: TrainingCurves
    models: dict[ModelVariant, ModelRecord]


class DeploymentRecord(StrictModel):
    """One built artifact."""

    format: str
    variant: ModelVariant
    engine: str
    firmware_version: str
    file: str
    """Relative to the project folder."""
    sha256: str
    model_sha256: str
    """Of the .tflite inside, or of the one that was compiled here; empty where Studio compiled it."""
    memory: Memory = Field(default="streamed", exclude_if=lambda value: value == "streamed")
    """Of compiled code. Defaults of this and the next two are not written."""
    flavor: Flavor = Field(default="", exclude_if=lambda value: not value)
    """Of a C++ library."""
    architecture: Architecture = Field(default="", exclude_if=lambda value: not value)
    """Of a Linux program."""
    version: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Studio's number of the build; None on the local backend, which counts anew on every machine."""


class BackendRecord(StrictModel):
    """Where something was trained, measured and built."""

    name: str = "local"
    endpoint: str = ""
    """Of the API; empty for the local backend."""
    project_id: int | None = None
    jobs: dict[str, int] = Field(default_factory=dict)
    """Step to the backend's job number."""


class SplitRecord(StrictModel):
    """What was trained and measured on one split."""

    backend: BackendRecord = Field(default=BackendRecord(), exclude_if=lambda value: value.name == "local")
    """Not written for the local backend, so that its lock names no place."""
    training: TrainingRecord | None = None
    metrics: list[Metrics] = Field(default_factory=list)
    deployments: list[DeploymentRecord] = Field(default_factory=list)


class FlashRecord(StrictModel):
    """What was put onto one device."""

    board: str
    """Its id in the table of boards."""
    serial_number: str
    """Of the device; empty where it does not tell."""
    file: str
    """The deployment: relative to the project folder, or the name of the one given."""
    image_sha256: str
    """Of the image; of several files a fingerprint over their names and hashes."""
    model_sha256: str = Field(default="", exclude_if=lambda value: not value)
    """Of the .tflite file in it; empty where none is to be found."""
    verified: str
    """How it is known that the device holds it; empty from the first write on until that is known: where flashing
    was interrupted, what the device holds is not known."""
    proof: str = Field(default="", exclude_if=lambda value: not value)
    """What the firmware said of itself afterwards; empty where it was not asked."""
    simulated: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether it was no device but a simulated one."""


class EnvironmentRecord(StrictModel):
    """The part of the lock that names the machine and the times."""

    machine: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    times: dict[str, str] = Field(default_factory=dict)
    """Step to UTC time of its end."""


class Lock(StrictModel):
    """`project.lock.json`."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    project: str
    seals: dict[str, str] = Field(default_factory=dict)
    """Section to fingerprint, as it was written: an edited lock shows."""
    dataset: DatasetRecord | None = None
    samples: list[SampleRecord] = Field(default_factory=list)
    splits: dict[str, SplitRecord] = Field(default_factory=dict)
    flashed: list[FlashRecord] = Field(default_factory=list, exclude_if=lambda value: not value)
    """The last one of each device. Its time is in `environment`."""
    environment: EnvironmentRecord = EnvironmentRecord()

    @property
    def trained_sha256(self) -> frozenset[str]:
        """Hashes of the models of all recorded trainings."""
        trainings = [split.training for split in self.splits.values() if split.training]
        return frozenset(model.sha256 for training in trainings for model in training.models.values())
