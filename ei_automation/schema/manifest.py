"""The manifest, `project.toml`: what is wanted, and what was published.

Reading a file into it is `workflow/manifest.py`; a JSON Schema of it is `eiauto schema`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ei_automation.schema.deployment import COMPILED_FORMATS, BuildRequest, Flavor, Memory
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.metrics import EvaluationCategory, ModelVariant
from ei_automation.schema.strict import StrictModel
from ei_automation.schema.training import TrainingParameters
from ei_automation.schema.tuner import TunerConfig


class PublishedMetric(StrictModel):
    """A number that the source states."""

    metric: Literal["accuracy", "accuracy_with_threshold", "loss", "roc_auc", "f1_score"]
    variant: ModelVariant
    category: EvaluationCategory
    value: float | None = Field(default=None, allow_inf_nan=False)
    """As a ratio 0..1 (loss: nats); unset with `unreadable` where it stands only in a picture."""
    tolerance: float = Field(default=0.02, ge=0, allow_inf_nan=False)
    """Absolute difference that still counts as the same result."""
    label: str | None = None
    """For f1_score: which label."""
    source: str
    """Where the source says it."""
    not_comparable: str = ""
    """Why no result of this manifest can be held against it; empty when it can."""


class PublishedFact(StrictModel):
    """Something else that the source states: image counts, flash, RAM, latency, a device."""

    name: str
    value: str
    """As stated, with its unit."""
    source: str


class Published(StrictModel):
    """The project that this manifest reproduces."""

    title: str
    authors: tuple[str, ...] = Field(default=(), strict=False)
    url: str = ""
    studio_project: int | None = None
    """Studio's public project id."""
    sample_count: int | None = Field(default=None, ge=1)
    """Images the source used; a count that differs by more than 1 % makes its numbers not comparable."""
    metrics: tuple[PublishedMetric, ...] = Field(default=(), strict=False)
    facts: tuple[PublishedFact, ...] = Field(default=(), strict=False)


class KaggleOrigin(StrictModel):
    """A Kaggle data set."""

    type: Literal["kaggle"]
    slug: str = Field(pattern=r"^[A-Za-z0-9_-]+/[A-Za-z0-9_-]+$")
    """owner/name."""
    version: int | None = Field(default=None, ge=1)
    """Pin it; unset takes the newest, and the lock records which that was."""


class FolderOrigin(StrictModel):
    """A folder on this machine."""

    type: Literal["folder"]
    path: str
    """Relative to the project folder, or absolute."""


class ZipOrigin(StrictModel):
    """A zip on this machine."""

    type: Literal["zip"]
    path: str
    """Relative to the project folder, or absolute."""


class BundledOrigin(StrictModel):
    """A set that a dependency ships: nothing is downloaded."""

    type: Literal["bundled"]
    name: Literal["sklearn-digits"]


Origin = Annotated[KaggleOrigin | FolderOrigin | ZipOrigin | BundledOrigin, Field(discriminator="type")]


class Split(StrictModel):
    """Which samples test."""

    method: Literal["stratified", "group", "source"] = "stratified"
    """stratified: by label; group: by label, whole groups; source: the data set's own categories."""
    testing_ratio: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=3, ge=0)


def _not_main(name: str) -> str:
    if name == "main":
        raise ValueError("`main` is the name of [dataset.split]; choose another one")
    return name


SplitName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$"), AfterValidator(_not_main)]
"""Lower case, digits, `-` and `_`; `main` is `[dataset.split]`."""


class Groups(StrictModel):
    """What each sample was made from, so that no original stands on both sides of a split."""

    csv: str | None = None
    """A CSV in the project folder (or absolute) with a header."""
    path_column: str = "path"
    """Column with the sample's path; it may be longer or shorter at its front than ours."""
    group_column: str = "group"
    pattern: str | None = None
    """Instead of a CSV: a regular expression over the sample's path; its group `group`, or its first one."""


class Dataset(StrictModel):
    """The samples."""

    origin: Origin
    reader: Literal["image-folder", "openmv"] = "image-folder"
    root: str = ""
    """Folder inside the origin where the reader starts; `**` in front finds it at any depth."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Source label to label. Those that are not named keep theirs."""
    categories: dict[str, Literal["training", "validation", "testing"]] = Field(default_factory=dict)
    """Category folders: name to category. Unset: train, training, val, valid, validation, test and testing
    in any case are known."""
    leave_out: tuple[str, ...] = Field(default=(), strict=False)
    """Source labels and category folders that are left out."""
    split: Split = Split()
    compare: dict[SplitName, Split] = Field(default_factory=dict)
    """Other splits of the same samples; `reproduce` trains and shows them side by side."""
    groups: Groups | None = None
    min_image_px: int = Field(default=8, ge=1)
    """An image with a shorter side is set aside as tiny."""


class Testing(StrictModel):
    """Model testing."""

    minimum_confidence: float = Field(default=0.6, ge=0, lt=1)
    """Studio's threshold: a best score under it is uncertain."""


class _Wish(StrictModel):
    """What every wish for a deployment says."""

    variant: ModelVariant = "int8"

    def request(self) -> BuildRequest:
        """What a backend is asked to build."""
        return BuildRequest(**self.model_dump(exclude={"backend"}))


class _BoardWish(_Wish):
    """A deployment that depends on the board's firmware."""

    firmware_version: str = Field(default="", pattern=r"^(\d+\.\d+(\.\d+)?)?$")
    """Of the board, e.g. 4.5.5: decides which script goes with the model."""


LOCAL_FORMATS = ("openmv", "bundle", *COMPILED_FORMATS)
"""What the local backend builds."""


SAME_BUNDLE: Literal["same_bundle"] = "same_bundle"
"""Type of the error for a bundle that would differ by its name only."""


def _known_format(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Name every format where one is wrong, not only those of the wish that was taken for it."""
    try:
        return validate(value)
    except ValidationError:
        known = ", ".join(f"'{name}'" for name in LOCAL_FORMATS)
        raise PydanticCustomError(
            "literal_error", "Input should be one of {expected}", {"expected": known}
        ) from None


class CommonDeploymentWish(_BoardWish):
    """A deployment that both backends build."""

    format: Annotated[Literal["openmv", "bundle"], WrapValidator(_known_format)]
    """bundle is built by the local backend and the local Studio only."""
    engine: Literal["tflite"] = "tflite"
    backend: Literal["local"] | None = None
    """Only built there; unset: on both."""

    @model_validator(mode="after")
    def _bundle_holds_both(self) -> CommonDeploymentWish:
        if self.format == "bundle" and self.variant != "int8":
            raise PydanticCustomError(
                SAME_BUNDLE, "A bundle holds the float32 and the int8 model: it has no variant to choose"
            )
        return self


class StudioDeploymentWish(_BoardWish):
    """A deployment that only Studio builds."""

    backend: Literal["studio"]
    format: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._()/+-]{0,80}$")
    """The target's format, display name or latency device, e.g. sony-spresense, zip, "OpenMV firmware"."""
    engine: Literal["tflite", "tflite-eon", "tflite-eon-ram-optimized"] = "tflite-eon"


class _CompiledWish(_Wish):
    """Compiled code: the local backend makes it, with no interpreter inside."""

    backend: Literal["local"] = "local"


class CppDeploymentWish(_CompiledWish):
    """The model as C, with no dependency."""

    format: Literal["cpp"]
    memory: Memory = "streamed"
    """planned: whole tensors in one static arena. streamed: row by row through rings, several times less RAM.
    streamed-input: a callback gives the image's rows too."""
    flavor: Flavor = ""
    """Empty: stand-alone. edge-impulse: as Edge Impulse's inferencing SDK compiles it, for run_classifier()."""

    @field_validator("flavor")
    @classmethod
    def _sdk_gives_whole_images(cls, flavor: Flavor, info: ValidationInfo) -> Flavor:
        if flavor and info.data.get("memory") == "streamed-input":
            raise ValueError("the SDK gives whole images; use memory = streamed or planned")
        return flavor


class WasmDeploymentWish(_CompiledWish):
    """The model as WebAssembly, with a page that classifies in the browser."""

    format: Literal["wasm"]


class LinuxDeploymentWish(_CompiledWish):
    """The model as a program, .eim, that Edge Impulse's Linux clients run."""

    format: Literal["linux"]
    architecture: Literal["x86_64", "aarch64", "armv7"] = "x86_64"


def _wish_kind(value: Any) -> str:
    content = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    if content.get("backend") == "studio":
        return "studio-only"
    return f"compiled-{content['format']}" if content.get("format") in COMPILED_FORMATS else "any-backend"


DeploymentWish = Annotated[
    Annotated[CommonDeploymentWish, Tag("any-backend")]
    | Annotated[StudioDeploymentWish, Tag("studio-only")]
    | Annotated[CppDeploymentWish, Tag("compiled-cpp")]
    | Annotated[WasmDeploymentWish, Tag("compiled-wasm")]
    | Annotated[LinuxDeploymentWish, Tag("compiled-linux")],
    Discriminator(_wish_kind),
]
"""A deployment to build."""


class Board(StrictModel):
    """What it runs on; `eiauto flash` and `eiauto run` take the only one for theirs."""

    name: str


class Manifest(StrictModel):
    """`project.toml`."""

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """The project's, lower case with hyphens."""
    description: str = ""
    published: Published | None = None
    assumptions: tuple[str, ...] = Field(default=(), strict=False)
    """What the source leaves open and how it was filled in here."""
    dataset: Dataset
    impulse: Impulse
    training: TrainingParameters
    tuner: TunerConfig | None = None
    testing: Testing = Testing()
    deployments: tuple[DeploymentWish, ...] = Field(default=(), strict=False)
    boards: tuple[Board, ...] = Field(default=(), strict=False)
