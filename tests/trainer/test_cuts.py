import pytest

from ei_automation.schema.training import TransferLayer, TransferLearnBlock
from ei_automation.trainer.architectures.build import build_network
from ei_automation.trainer.architectures.network import Base
from ei_automation.trainer.cuts import STORED_BYTES, choose_cut
from ei_automation.trainer.features import ExactExtractor, FastExtractor
from tests.trainer.conftest import SMALL

OUTPUT_BYTES = 4 * 2 * 2 * 1280
"""Of MobileNetV2's output at 64 px, for one image."""


def base_of(block: TransferLearnBlock, size_px: int) -> Base:
    base = build_network(block, (size_px, size_px, 3), 2, seed=3).base
    assert base is not None
    return base


@pytest.fixture(scope="module")
def large() -> Base:
    layer = TransferLayer(type="transfer_mobilenetv2_a35", neurons=16)
    return base_of(TransferLearnBlock(type="keras-transfer-image", visual_layer=layer), 64)


@pytest.mark.parametrize(("room", "name", "row_shape"), [
    (10 * OUTPUT_BYTES, "out_relu", (2, 2, 1280)),
    (10 * OUTPUT_BYTES - 1, "block_16_project_BN", (2, 2, 112)),
])  # fmt: skip
def test_plain_images_are_cut_at_the_output_where_it_fits(
    large: Base, room: int, name: str, row_shape: tuple[int, ...]
) -> None:
    cut = choose_cut(large, plain=True, rows=10, threads=1, stored_bytes=room)
    assert isinstance(cut.extractor, ExactExtractor)
    assert (cut.name, cut.extractor.row_shape) == (name, row_shape)


def test_the_limit_holds_a_training_of_fifteen_thousand_images_at_160_px() -> None:
    assert 15_000 < STORED_BYTES // (4 * 5 * 5 * 1280) < 20_000


def test_pooled_features_always_fit() -> None:
    cut = choose_cut(base_of(SMALL, 32), plain=True, rows=10, threads=1, stored_bytes=0)
    assert (cut.name, cut.extractor.row_shape) == ("pooled", (1, 1, 102))


def test_augmented_images_take_the_fast_way() -> None:
    cut = choose_cut(base_of(SMALL, 32), plain=False, rows=10, threads=1)
    assert isinstance(cut.extractor, FastExtractor)
    cut.extractor.close()
    assert (cut.name, cut.extractor.row_shape) == ("pooled", (1, 1, 102))
