from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ei_automation.errors import InterruptedRunError, StorageError
from ei_automation.schema.impulse import Impulse, InputBlock
from ei_automation.trainer import features
from ei_automation.trainer.architectures import mobilenet_v2
from ei_automation.trainer.convert import converted
from ei_automation.trainer.features import ExactExtractor, Extractor, FastExtractor, FeatureCache, FreshFeatures
from ei_automation.trainer.rows import PLAIN, ImageRows, Views
from ei_automation.trainer.tensorflow_door import keras, tf
from ei_automation.trainer.weight_files import load_weights
from tests.trainer.naive import pictures

COUNT, SIZE = 1100, 32


@pytest.fixture(scope="module")
def body(healthy_weights: Path) -> Any:
    base = mobilenet_v2.build_base((SIZE, SIZE, 3), 0.35)
    load_weights(base, healthy_weights)
    return keras.Model(base.input, base.get_layer(mobilenet_v2.CUT).output)


@pytest.fixture(scope="module")
def extractor(body: Any) -> Iterator[FastExtractor]:
    made = FastExtractor(converted(lambda image: body(image, training=False), (SIZE, SIZE, 3)), 2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def images() -> ImageRows:
    source, _ = pictures(COUNT, SIZE, 3)
    return ImageRows(source, np.arange(COUNT), [f"{number}" for number in range(COUNT)], "RGB", 3)


def cache_in(folder: Path, extractor: Extractor, sha: str = "base") -> FeatureCache:
    impulse = Impulse(input_block=InputBlock(image_width=SIZE, image_height=SIZE))
    return FeatureCache(folder, extractor, sha, mobilenet_v2.CUT, impulse)


def stored(cache: FeatureCache, images: ImageRows) -> Any:
    return cache.store(images, on_rows=lambda _: None, should_stop=lambda: False)


def test_features_are_tensorflows_within_rounding(body: Any, extractor: FastExtractor, images: ImageRows) -> None:
    places = np.array([5, 0, 700, 31, 32])
    found = extractor.run(images, places, PLAIN)
    expected = body(images.view(places, PLAIN), training=False).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_exact_features_do_not_depend_on_how_they_are_read(body: Any, images: ImageRows) -> None:
    """A killed extraction may go on in the middle of a batch."""
    exact = ExactExtractor(body)
    whole = exact.run(images, np.arange(100), PLAIN)
    expected = tf.function(lambda batch: body(batch, training=False))(images.view(np.arange(100), PLAIN))
    np.testing.assert_array_equal(whole, expected)
    parts = [exact.run(images, part, PLAIN) for part in np.split(np.arange(100), [1, 20, 77])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_each_extractor_has_files_of_its_own(
    body: Any, extractor: FastExtractor, images: ImageRows, tmp_path: Path
) -> None:
    some = replace(images, rows=np.arange(9), content_ids=images.content_ids[:9])
    exact = ExactExtractor(body)
    assert exact.made_by == f"tensorflow {tf.__version__}"
    assert extractor.made_by == f"ai-edge-litert {version('ai-edge-litert')}"
    for made in (exact, extractor):
        read = stored(cache_in(tmp_path, made), some).read(np.arange(9), 0)
        np.testing.assert_array_equal(read, made.run(images, np.arange(9), PLAIN))
    assert len(list(tmp_path.glob("*.f32"))) == 2


def test_stored_and_fresh_features_are_the_same_bits(
    extractor: FastExtractor, images: ImageRows, tmp_path: Path
) -> None:
    some = replace(images, rows=np.arange(40), content_ids=images.content_ids[:40], views=Views(True, 2))
    files = stored(cache_in(tmp_path, extractor), some)
    assert len(list(tmp_path.glob("*.f32"))) == 2
    fresh = FreshFeatures(extractor, replace(some, views=Views(True, None)))
    places = np.array([7, 3, 39])
    for cycle in (0, 1):
        np.testing.assert_array_equal(files.read(places, cycle), fresh.read(places, cycle))
    np.testing.assert_array_equal(files.read(places, 0), files.read(places, 2))
    assert np.abs(fresh.read(places, 0) - fresh.read(places, 2)).max() > 0


def test_a_stopped_extraction_goes_on_where_it_was(
    extractor: FastExtractor, images: ImageRows, tmp_path: Path
) -> None:
    done: list[int] = []
    cache = cache_in(tmp_path / "killed", extractor)
    with pytest.raises(InterruptedRunError):
        cache.store(images, on_rows=done.append, should_stop=lambda: True)
    assert sum(done) == features.CHUNK
    (part,) = (tmp_path / "killed").glob("*.part")
    with part.open("ab") as stream:
        stream.write(b"a row that was cut off")
    done.clear()
    found = cache.store(images, on_rows=done.append, should_stop=lambda: False)
    assert done[0] == features.CHUNK, "the first chunk is not extracted again"
    assert sum(done) == COUNT
    whole = stored(cache_in(tmp_path / "whole", extractor), images)
    everything = np.arange(COUNT)
    np.testing.assert_array_equal(found.read(everything, 0), whole.read(everything, 0))


def test_files_are_used_again_and_keyed_by_what_they_depend_on(
    extractor: FastExtractor, images: ImageRows, tmp_path: Path
) -> None:
    some = replace(images, rows=np.arange(9), content_ids=images.content_ids[:9])
    stored(cache_in(tmp_path, extractor), some)
    (path,) = tmp_path.glob("*.f32")
    made = path.stat().st_mtime_ns
    stored(cache_in(tmp_path, extractor), some)
    assert path.stat().st_mtime_ns == made
    stored(cache_in(tmp_path, extractor, "other base"), some)
    stored(cache_in(tmp_path, extractor), replace(some, content_ids=["x", *some.content_ids[1:]]))
    assert len(list(tmp_path.glob("*.f32"))) == 3


def test_images_are_read_a_few_at_a_time(extractor: FastExtractor, images: ImageRows, tmp_path: Path) -> None:
    source, _ = pictures(200, SIZE, 3)
    some = replace(images, pixels=source, rows=np.arange(200), content_ids=images.content_ids[:200])
    stored(cache_in(tmp_path, extractor), some)
    assert source.largest_read == features.GROUP


def test_a_place_that_cannot_be_written_is_said(
    extractor: FastExtractor, images: ImageRows, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="feature cache"):
        stored(cache_in(tmp_path / "file" / "cache", extractor), images)
