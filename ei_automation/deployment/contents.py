"""What goes into a build, and how it is zipped."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.schema.impulse import Channels, ResizeMode
from ei_automation.schema.metrics import Metrics, ModelVariant

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can say: equal contents give equal bytes."""
FILE_MODE = 0o644
PROGRAM_MODE = 0o755
UNIX = 3
"""`create_system` in a zip whose attributes are Unix permissions."""
BACKGROUND = "background"
"""FOMO's first class: cells with nothing in them."""


@dataclass(frozen=True)
class DatasetSummary:
    """The data behind a model, for its card.

    Attributes:
        origin: Where the samples came from, e.g. a Kaggle slug with its version.
        split_method: stratified, group or source, with its ratio and seed.
        counts: Category to label to samples.
        findings: The audit's warnings, one sentence each.
    """

    origin: str
    split_method: str
    counts: Mapping[str, Mapping[str, int]]
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildContents:
    """Everything that a target may put into its artifact.

    Attributes:
        project: The project's name.
        labels: In the order of the model's outputs.
        models: Variant to the bytes of its .tflite file.
        input_shape: (height, width, channels).
        resize_mode: How an image of any size becomes that.
        channels: RGB or Grayscale.
        dataset: The data behind the model.
        weights_source: Where the base's weights came from; `none` or empty for a random start.
        description: The project's.
        metrics: What was measured, every variant and category.
        parameters: The training's.
        assumptions: What the published source leaves open and how it was filled in.
        boards: Names of the boards that it is for.
        published_title: Of the project that this one reproduces; empty where it reproduces none.
        published_url: Where that is.
    """

    project: str
    labels: tuple[str, ...]
    models: Mapping[ModelVariant, bytes]
    input_shape: tuple[int, int, int]
    resize_mode: ResizeMode
    channels: Channels
    dataset: DatasetSummary
    weights_source: str = ""
    description: str = ""
    metrics: tuple[Metrics, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    published_title: str = ""
    published_url: str = ""

    @property
    def from_scratch(self) -> bool:
        """Whether the whole network started from random weights."""
        return self.weights_source in ("", "none")

    def model(self, variant: ModelVariant) -> bytes:
        """The .tflite file of a variant.

        Raises:
            NotFoundError: There is none.
        """
        if variant not in self.models:
            raise NotFoundError(f"project {self.project} has no {variant} model", hint="train first")
        return self.models[variant]


def labels_file(labels: tuple[str, ...]) -> bytes:
    """`labels.txt` as Studio writes it: one label a line, no newline after the last.

    Raises:
        VerificationError: A label is empty or holds a line break, so that the file would say something else.
    """
    for label in labels:
        if not label.strip() or len(label.splitlines()) != 1:
            raise VerificationError(
                f"label {label!r} cannot stand in labels.txt, which has one label a line",
                hint="rename it under [dataset.labels] in the manifest",
            )
    return "\n".join(labels).encode()


def make_zip(files: Mapping[str, bytes], executable: Collection[str] = ()) -> bytes:
    """A zip that depends on nothing but names and contents.

    Files are stored, not compressed: zlib and its replacements compress the same bytes differently.

    Args:
        files: Name in the zip, with `/`, to content.
        executable: Names of the programs among them.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(str(PurePosixPath(name)), ZIP_TIME)
            entry.create_system = UNIX
            entry.external_attr = (PROGRAM_MODE if name in executable else FILE_MODE) << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def render_template(name: str, /, **values: Any) -> str:
    """Fill one of this room's templates; plain text, nothing is escaped."""
    environment = Environment(
        loader=PackageLoader("ei_automation.deployment"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = markdown_cell
    environment.filters["percent"] = lambda ratio: f"{ratio * 100:.1f} %"
    return environment.get_template(name).render(values)


def markdown_cell(text: object) -> str:
    """Text that is safe in a Markdown table or sentence: one line, and nothing in it is markup."""
    line = " ".join(str(text).split())
    for mark in ("\\", "|", "`", "*", "_", "<", ">", "[", "]", "#", "~"):
        line = line.replace(mark, f"\\{mark}")
    return line
