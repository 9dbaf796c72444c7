"""What the firmware computes of images: its gray is not rounded."""

import numpy as np
import pytest

from ei_automation.dsp.image import to_features
from ei_automation.inference.interpreter import Classifier
from ei_automation.workflow.firmware_scores import firmware_scores
from tests.inference.tiny_models import int8_model

RANDOM = np.random.default_rng(7)
PIXELS = RANDOM.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def network(channels, **options):
    weights = RANDOM.integers(-90, 90, (3, 64 * channels)).astype(np.int8)
    return Classifier(int8_model((8, 8, channels), weights, scale=0.02, **options))


def test_gray_is_rounded_down_as_the_sdk_does():
    classifier = network(1)
    red, green, blue = np.moveaxis(PIXELS.astype(int), -1, 0)
    levels = (19_595 * red + 38_469 * green + 7_471 * blue) // 65_536  # (int32_t)(0.299f * 65536.0f), ...
    wanted = classifier.scores((levels[..., None] / 255).astype(np.float32))
    assert np.array_equal(firmware_scores(classifier, PIXELS), wanted)
    assert not np.array_equal(wanted, classifier.scores(to_features(PIXELS, "Grayscale")))


@pytest.mark.parametrize(
    ("channels", "options"), [(3, {}), (3, {"input_scale": 0.0041}), (1, {"input_scale": 0.0041})]
)
def test_all_else_is_as_studio_has_it(channels, options):
    classifier = network(channels, **options)
    wanted = classifier.scores(to_features(PIXELS, "RGB" if channels == 3 else "Grayscale"))
    assert np.allclose(firmware_scores(classifier, PIXELS), wanted, atol=1 / 256)
