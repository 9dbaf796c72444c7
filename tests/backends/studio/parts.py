"""Samples on disk, and what a project holds, for the tests of the uploader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.pace import Limits, Pace
from ei_automation.backends.studio.samples import list_all
from ei_automation.backends.studio.upload import upload
from ei_automation.files import sha256_bytes
from ei_automation.schema.sample import Category, Sample, UploadReport
from ei_automation.settings import Secret, Settings, StudioSettings
from ei_automation.testing import RunningStudio
from tests.helpers import noisy

LABELS = ("lymphocyte", "monocyte", "ринит 鼻炎 100%")
BRISK = Limits(
    backoff_s=0.01, most_backoff_s=0.1, patience_s=20.0, connect_s=5.0, answer_s=10.0, least_answer_s=1.0
)
"""For tests: the same behaviour in less time."""


def make_samples(folder: Path, count: int, *, first: int = 0, size: int = 8) -> list[Sample]:
    """Small images of three labels, a fifth of them for testing."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number in range(first, first + count):
        path = folder / f"cell {number}.png"
        content = noisy((40 + number % 200, 60, 200), number, size)
        path.write_bytes(content)
        category = Category.TESTING if number % 5 == 0 else Category.TRAINING
        name = f"TRAIN/{path.name}"
        samples.append(Sample(path, name, sha256_bytes(content), LABELS[number % 3], category))
    return samples


def connect(studio: RunningStudio) -> StudioClient:
    """A client of a running Studio."""
    return StudioClient(Settings.from_env(studio.environment).studio)


def client_of(api_endpoint: str, ingestion_endpoint: str, api_key: str) -> StudioClient:
    """A client of any address."""
    return StudioClient(StudioSettings(api_endpoint, ingestion_endpoint, Secret(api_key)))


@dataclass
class Uploader:
    """Uploads into one project, briskly.

    Attributes:
        client: To ask.
        project_id: Where to.
        limits: Of the pace.
    """

    client: StudioClient
    project_id: int
    limits: Limits = BRISK

    def __call__(self, samples: Sequence[Sample]) -> UploadReport:
        """Upload and look at the progress that was told."""
        told: list[tuple[int, int]] = []
        report = upload(
            self.client,
            self.project_id,
            samples,
            lambda done, total: told.append((done, total)),
            pace=Pace(self.limits),
        )
        assert told[-1] == (len(samples), len(samples))
        assert told == sorted(told)
        return report

    def live(self) -> list[tuple[str, str, str, str]]:
        """Hash, label, category and group of every live sample, sorted."""
        listing = list_all(self.client, self.project_id)
        assert listing.unknown == []
        return sorted((one.sha256, one.label, one.category.value, one.group) for one in listing.samples)


def as_live(samples: Sequence[Sample]) -> list[tuple[str, str, str, str]]:
    """What `live` is to be."""
    return sorted((one.sha256, one.label, one.category.value, one.group) for one in samples)
