"""The frozen base's features: extracted once, kept in files, read row by row.

Two extractors. TensorFlow gives the bits that a fit of the whole network would compute. LiteRT, an interpreter for
each core driven by its own Python thread (`invoke` releases the interpreter lock), is several times cheaper and
differs in the last bits. Each gives the same bits in every run. Images are read a few at a time; nothing here
holds a whole data set.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ei_automation.errors import InterruptedRunError
from ei_automation.files import ensure_folder, fingerprint, storage_errors
from ei_automation.schema.impulse import Impulse
from ei_automation.trainer.request import TRAINER_VERSION, Floats, ShouldStop
from ei_automation.trainer.rows import ImageRows, Views
from ei_automation.trainer.tensorflow_door import tf

GROUP = 8
"""Images a thread reads at a time: what stays in the second-level cache."""
BATCH = 32
"""Images TensorFlow takes at a time; more cost the same, and other sizes give the same bits."""
CHUNK = 512
"""Rows between two looks at `should_stop`, and what a killed run may have to repeat."""
LOCK_POLL_S = 0.5
DOING = "writing the feature cache"

OnRows = Callable[[int], None]
"""Gets how many rows more are done."""


class Extractor(Protocol):
    """Computes features of images."""

    @property
    def made_by(self) -> str:
        """Library and version, e.g. `tensorflow 2.21.0`: other ones may give other bits."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one image's features."""

    def run(self, images: ImageRows, places: NDArray[np.int64], view: int) -> Floats:
        """Features of one view of some images: float32, (n, *row_shape)."""

    def close(self) -> None:
        """End what runs in the background."""


class ExactExtractor:
    """Runs a frozen Keras model as `fit` would: the same operations, the same bits.

    Args:
        model: keras.Model from images to features.
    """

    def __init__(self, model: Any) -> None:
        self.made_by = f"tensorflow {tf.__version__}"
        self.row_shape: tuple[int, ...] = tuple(model.output.shape[1:])
        signature = [tf.TensorSpec((None, *model.input.shape[1:]))]
        self._run = tf.function(lambda batch: model(batch, training=False), input_signature=signature)

    def run(self, images: ImageRows, places: NDArray[np.int64], view: int) -> Floats:
        """See `Extractor`."""
        out = np.empty((len(places), *self.row_shape), np.float32)
        for start in range(0, len(places), BATCH):
            batch = tf.constant(images.view(places[start : start + BATCH], view))
            out[start : start + BATCH] = self._run(batch).numpy()
        return out

    def close(self) -> None:
        """Nothing runs in the background."""


class FastExtractor:
    """Runs a frozen float32 .tflite file over images, one thread per core.

    Args:
        model: .tflite, batch 1, one input, one output.
        threads: Interpreters and Python threads.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self.made_by = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"
        self._interpreters = [_interpreter(model) for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="features")
        (output,) = self._interpreters[0].get_output_details()
        self.row_shape: tuple[int, ...] = tuple(int(side) for side in output["shape"][1:])

    def run(self, images: ImageRows, places: NDArray[np.int64], view: int) -> Floats:
        """See `Extractor`."""
        out = np.empty((len(places), *self.row_shape), np.float32)
        parts = np.array_split(np.arange(len(places)), len(self._interpreters))
        jobs = [
            self._pool.submit(_extract, interpreter, images, places[part], view, out[part[0] : part[-1] + 1])
            for interpreter, part in zip(self._interpreters, parts, strict=True)
            if len(part)
        ]
        for job in jobs:
            job.result()
        return out

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _interpreter(model: bytes) -> Any:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _extract(interpreter: Any, images: ImageRows, places: NDArray[np.int64], view: int, out: Floats) -> None:
    """One thread's part, written in place."""
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]
    for start in range(0, len(places), GROUP):
        block = images.view(places[start : start + GROUP], view)
        for index in range(len(block)):
            interpreter.set_tensor(source, block[index : index + 1])
            interpreter.invoke()
            out[start + index] = interpreter.get_tensor(result)[0]


class FeatureFile:
    """Rows of float32 in a file. Reads with `pread`: mapped pages would count as the process's memory.

    Args:
        path: The file.
        count: Rows.
        row_shape: Of one.
    """

    def __init__(self, path: Path, count: int, row_shape: tuple[int, ...]) -> None:
        self.path, self.count, self.row_shape = path, count, row_shape
        self._size = int(np.prod(row_shape)) * 4
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, places: NDArray[np.int64]) -> Floats:
        """Some rows in the order asked for."""
        out = np.empty((len(places), *self.row_shape), np.float32)
        for index, place in enumerate(places.tolist()):
            view = memoryview(out[index]).cast("B")
            if os.preadv(self._descriptor, [view], place * self._size) != self._size:
                raise EOFError(f"{self.path} ends before row {place}")
        return out

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


@dataclass(frozen=True)
class StoredFeatures:
    """Features in files, one for each stored view.

    Attributes:
        files: By view.
        views: Which of them a cycle sees.
    """

    files: dict[int, FeatureFile]
    views: Views

    @property
    def count(self) -> int:
        """Rows."""
        return next(iter(self.files.values())).count

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one."""
        return next(iter(self.files.values())).row_shape

    def read(self, places: NDArray[np.int64], cycle: int) -> Floats:
        """Features as a cycle sees them."""
        return self.files[self.views.of(cycle)].read(places)


@dataclass(frozen=True)
class FreshFeatures:
    """Features of each cycle's own view, extracted when they are read.

    Attributes:
        extractor: Of the base.
        images: With their views.
    """

    extractor: Extractor
    images: ImageRows

    @property
    def count(self) -> int:
        """Rows."""
        return self.images.count

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one."""
        return self.extractor.row_shape

    def read(self, places: NDArray[np.int64], cycle: int) -> Floats:
        """Features as a cycle sees them."""
        return self.extractor.run(self.images, places, self.images.views.of(cycle))


@dataclass(frozen=True)
class FeatureCache:
    """Feature files, keyed by all that they depend on.

    Attributes:
        folder: Where they are.
        extractor: Of the base.
        base_sha256: Of the base's arrays.
        cut: Name of the layer whose output this is.
        impulse: What the images went through.
    """

    folder: Path
    extractor: Extractor
    base_sha256: str
    cut: str
    impulse: Impulse

    def store(self, images: ImageRows, *, on_rows: OnRows, should_stop: ShouldStop) -> StoredFeatures:
        """The features of every stored view; extracts what is not there yet.

        Args:
            images: Of one category, with their views.
            on_rows: Progress, over all views.
            should_stop: Asked after each chunk.

        Raises:
            StorageError: The cache cannot be written; what was written stays and is used again.
            InterruptedRunError: `should_stop` said so; likewise.
        """
        ensure_folder(self.folder, DOING)
        return StoredFeatures(
            {view: self._one(images, view, on_rows, should_stop) for view in images.views.numbers}, images.views
        )

    def _one(self, images: ImageRows, view: int, on_rows: OnRows, should_stop: ShouldStop) -> FeatureFile:
        path = self.folder / f"features-{self._key(images, view)}.f32"
        if not path.is_file():
            with storage_errors(path, DOING), _held(path.with_suffix(".lock"), should_stop):
                if not path.is_file():
                    self._write(images, view, path, on_rows, should_stop)
        return FeatureFile(path, images.count, self.extractor.row_shape)

    def _key(self, images: ImageRows, view: int) -> str:
        """Equal keys mean equal files."""
        return fingerprint(
            {
                "trainer": TRAINER_VERSION,
                "extractor": self.extractor.made_by,
                "base": self.base_sha256,
                "cut": self.cut,
                "impulse": self.impulse.model_dump(),
                "view": view,
                "seed": images.seed if images.views.augmented else None,
                "samples": list(images.content_ids),
            }
        )

    def _write(self, images: ImageRows, view: int, path: Path, on_rows: OnRows, should_stop: ShouldStop) -> None:
        """Append chunk by chunk to a partial file; whole rows that a killed run left are kept."""
        part = path.with_suffix(".part")
        row_bytes = int(np.prod(self.extractor.row_shape)) * 4
        with part.open("ab") as stream:
            done = min(stream.tell() // row_bytes, images.count)
            stream.truncate(done * row_bytes)
            on_rows(done)
            while done < images.count:
                places = np.arange(done, min(done + CHUNK, images.count))
                stream.write(self.extractor.run(images, places, view).data)
                stream.flush()
                done += len(places)
                on_rows(len(places))
                stop_if(should_stop)
            os.fsync(stream.fileno())
        part.replace(path)


def stop_if(should_stop: ShouldStop) -> None:
    """Raise InterruptedRunError where the caller wants to stop."""
    if should_stop():
        raise InterruptedRunError("the training was interrupted", hint="run the same command again; it continues")


@contextmanager
def _held(path: Path, should_stop: ShouldStop) -> Iterator[None]:
    """A file lock that looks at `should_stop` while it waits for another process."""
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=LOCK_POLL_S)
            break
        except Timeout:
            stop_if(should_stop)
    try:
        yield
    finally:
        lock.release()
