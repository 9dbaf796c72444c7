"""`eiauto report`: one HTML file with everything that was found; it opens offline."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ei_automation.backends.base import Backend
from ei_automation.dsp.image import thumbnail, to_features
from ei_automation.dsp.store import ImageCache, PixelStore
from ei_automation.errors import JobFailedError, NotFoundError, SettingsError, VerificationError
from ei_automation.files import write_atomically
from ei_automation.inference.embedding import embed, project
from ei_automation.schema.findings import Finding
from ei_automation.schema.impulse import Impulse
from ei_automation.schema.lock import MAIN_SPLIT, Lock
from ei_automation.schema.metrics import UNCERTAIN, Prediction
from ei_automation.schema.sample import StoredSample
from ei_automation.web.report import render
from ei_automation.web.report_data import (
    BoardRow,
    ExplorerPoint,
    Misclassified,
    ReportData,
    SampleImage,
    SplitReport,
    VerdictRow,
)
from ei_automation.workflow.fit import known
from ei_automation.workflow.footprint import BoardFootprint, exactness, footprints
from ei_automation.workflow.project import Session, describe_split
from ei_automation.workflow.reproduce import summarise
from ei_automation.workflow.stale import require_training, stale_metrics

EXPLORER_SAMPLES = 1000
"""Points of the feature explorer; more make the file large and the picture full."""
SAMPLES_A_LABEL = 6
MISCLASSIFIED_A_MODEL = 40
THUMBNAIL_PX = 72
FEATURE_CHUNK = 64


class _Pictures:
    """Pixels of the project's samples, by content hash."""

    def __init__(self, cache: ImageCache, pixels: PixelStore, samples: Sequence[StoredSample]) -> None:
        hashes = [sample.sha256 for sample in samples]
        self._rows = dict(zip(hashes, cache.rows(hashes), strict=True))
        self._pixels = pixels

    def thumbnail(self, sample: StoredSample) -> bytes:
        """A small JPEG of what the network sees."""
        return thumbnail(self._pixels.read(np.array([self._rows[sample.sha256]]))[0], THUMBNAIL_PX)

    def features(self, samples: Sequence[StoredSample], impulse: Impulse) -> Iterator[NDArray[np.float32]]:
        """Features of some samples, a chunk at a time."""
        rows = np.array([self._rows[sample.sha256] for sample in samples])
        for start in range(0, len(rows), FEATURE_CHUNK):
            chunk = self._pixels.read(rows[start : start + FEATURE_CHUNK])
            yield to_features(chunk, impulse.dsp_block.channels)


def report(session: Session, path: Path) -> Path:
    """Write the report of what the lock records.

    Args:
        session: The project.
        path: The HTML file; an older one is replaced.

    Raises:
        NotFoundError: Nothing was trained and tested yet.
    """
    lock = session.read_lock()
    require_training(session, lock, MAIN_SPLIT)
    main = lock.splits[MAIN_SPLIT]
    if reason := stale_metrics(session, main):
        raise NotFoundError(f"{session.folder} has nothing to report: {reason}", hint="run `eiauto test` first")
    session.step("Drawing the report")
    with session.open_backend() as backend:
        samples = backend.list_samples()
        predictions = backend.predictions()
        model = backend.download_model("float32")
        boards, board_notes = _boards(session, backend)
    with (
        ImageCache(session.state_folder / "cache" / "images", session.manifest.impulse.input_block) as cache,
        _pixels(session, cache, samples) as pixels,
    ):
        pictures = _Pictures(cache, pixels, samples)
        labels = tuple(main.metrics[0].labels)
        data = _data(
            session,
            lock,
            labels,
            {
                "samples": tuple(_examples(samples, pictures)),
                "explorer": tuple(_explorer(session, model, samples, predictions, labels, pictures)),
                "misclassified": tuple(_misclassified(session, samples, predictions, labels, pictures)),
                "boards": boards,
                "board_notes": board_notes,
            },
        )
    write_atomically(path, render(data), doing="writing the report")
    return path


def _pixels(session: Session, cache: ImageCache, samples: Sequence[StoredSample]) -> PixelStore:
    """The pixels of all samples; what the cache has lost is decoded again."""
    cache.add([(sample.sha256, session.content(sample.sha256)) for sample in samples])
    return cache.pixels()


def _data(
    session: Session, lock: Lock, labels: tuple[str, ...], pictures: dict[str, tuple[object, ...]]
) -> ReportData:
    result = summarise(session)
    published = session.manifest.published
    main = lock.splits[MAIN_SPLIT]
    environment = lock.environment
    return ReportData(
        project=session.manifest.name,
        description=session.manifest.description,
        labels=labels,
        splits=tuple(_splits(session, lock)),
        published_title=published.title if published else "",
        published_url=published.url if published else "",
        verdicts=tuple(
            VerdictRow(
                row.name,
                row.published,
                row.ours,
                row.interval,
                row.verdict.value,
                row.source,
                row.reason,
                not row.name.startswith("loss"),
            )
            for row in result.rows
        ),
        assumptions=result.assumptions,
        parameters=main.training.parameters if main.training else {},
        environment={**environment.versions, **environment.machine, **environment.times},
        findings=tuple(
            Finding(item.code, item.severity, item.message, tuple(item.samples), item.count)  # type: ignore[arg-type]
            for item in result.findings
        ),
        notes=_notes(lock),
        **pictures,  # type: ignore[arg-type]
    )


def _boards(session: Session, backend: Backend) -> tuple[tuple[BoardRow, ...], tuple[str, ...]]:
    """What the project's boards would have to hold, and what must be said of it."""
    kinds, notes = known([board.name for board in session.manifest.boards])
    if not kinds:
        return (), tuple(notes)
    try:
        found = footprints(backend.download_model("int8"), kinds)
    except (JobFailedError, NotFoundError, SettingsError, VerificationError) as error:
        return (), (*notes, f"Not measured: {error.message} ({error.hint}).")
    exact = dict.fromkeys(f"{each.footprint.core}: {exactness(each.footprint)}." for each in found)
    return tuple(_board_row(each) for each in found), (*notes, *exact)


def _board_row(each: BoardFootprint) -> BoardRow:
    measured = each.footprint
    ways = {"C++": each.fit, "OpenMV script": each.openmv}
    return BoardRow(
        name=each.board.name,
        core=measured.core,
        flash_bytes=measured.flash_bytes,
        ram_bytes=measured.ram_bytes,
        stack_bytes=measured.stack_bytes,
        instructions=measured.instructions,
        time=str(each.time),
        time_note=each.time.note,
        fits={way: (fit.fits, str(fit)) for way, fit in ways.items() if fit is not None},
    )


def _splits(session: Session, lock: Lock) -> Iterator[SplitReport]:
    counts = lock.dataset.counts if lock.dataset else {}
    for name, spec in session.splits.items():
        if record := lock.splits.get(name):
            yield SplitReport(
                name,
                describe_split(spec),
                counts.get(name, {}),
                tuple(record.metrics),
                record.training.curves if record.training else None,
            )


def _notes(lock: Lock) -> tuple[str, ...]:
    """What must be said first."""
    main = lock.splits[MAIN_SPLIT]
    weights = main.training.weights if main.training else None
    notes = []
    if weights and weights.sha256 is None:
        notes.append("The network was trained from scratch, without pretrained weights.")
    if lock.dataset and any(f.code in ("leak", "group-leak") for f in lock.dataset.findings):
        notes.append("Samples on both sides of a split make its numbers too good; see the audit.")
    return tuple(notes)


def _spread(samples: Sequence[StoredSample], count: int) -> list[StoredSample]:
    """Some samples, as many of each label as there are, by content: the same ones every time."""
    by_label: dict[str, list[StoredSample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda item: item.sha256):
        by_label[sample.label].append(sample)
    each = max(1, count // max(1, len(by_label)))
    return [sample for label in sorted(by_label) for sample in by_label[label][:each]]


def _examples(samples: Sequence[StoredSample], pictures: _Pictures) -> Iterator[SampleImage]:
    labels = len({sample.label for sample in samples})
    for sample in _spread(samples, SAMPLES_A_LABEL * labels):
        yield SampleImage(pictures.thumbnail(sample), sample.name, sample.label, sample.category.value)


def _explorer(
    session: Session,
    model: bytes,
    samples: Sequence[StoredSample],
    predictions: Sequence[Prediction],
    labels: tuple[str, ...],
    pictures: _Pictures,
) -> Iterator[ExplorerPoint]:
    """Where the float32 network puts some samples."""
    shown = _spread(samples, EXPLORER_SAMPLES)
    said = {item.sample_id: _answer(item, labels) for item in predictions if item.variant == "float32"}
    vectors = embed(model, pictures.features(shown, session.manifest.impulse), threads=os.cpu_count() or 1)
    plane, space = project(vectors, session.manifest.training.seed)
    for sample, flat, deep in zip(shown, plane.tolist(), space.tolist(), strict=True):
        predicted = said.get(sample.sample_id, "")
        image, category = pictures.thumbnail(sample), sample.category.value
        yield ExplorerPoint((flat[0], flat[1]), tuple(deep), sample.label, predicted, sample.name, image, category)


def _misclassified(
    session: Session,
    samples: Sequence[StoredSample],
    predictions: Sequence[Prediction],
    labels: tuple[str, ...],
    pictures: _Pictures,
) -> Iterator[Misclassified]:
    """What each model got wrong, the surest mistakes first; in testing an uncertain answer counts too."""
    known = {sample.sample_id: sample for sample in samples}
    wrong: dict[tuple[str, str], list[Misclassified]] = defaultdict(list)
    for item in sorted(predictions, key=lambda one: (-max(one.scores), one.sample_id)):
        sample, answer, score = known[item.sample_id], _answer(item, labels), max(item.scores)
        if item.category == "testing" and score < session.manifest.testing.minimum_confidence:
            answer = UNCERTAIN
        found = wrong[item.variant, item.category]
        if answer != sample.label and len(found) < MISCLASSIFIED_A_MODEL:
            image = pictures.thumbnail(sample)
            found.append(
                Misclassified(image, sample.name, sample.label, answer, score, item.variant, item.category)
            )
    for group in wrong.values():
        yield from group


def _answer(prediction: Prediction, labels: Sequence[str]) -> str:
    return labels[int(np.argmax(prediction.scores))]
