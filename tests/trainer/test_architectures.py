from typing import Any

import numpy as np
import pytest

from ei_automation.errors import UsageError
from ei_automation.schema.training import (
    BatchNormalizationLayer,
    Conv2dLayer,
    DenseLayer,
    DropoutLayer,
    FlattenLayer,
    KerasLearnBlock,
    TransferLayer,
    TransferLearnBlock,
)
from ei_automation.trainer.architectures.build import build_network


def transfer(layer: str, neurons: int = 16) -> TransferLearnBlock:
    return TransferLearnBlock(
        type="keras-transfer-image",
        visual_layer=TransferLayer(type=layer, neurons=neurons),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("layer", "shape", "features"),
    [
        ("transfer_mobilenetv2_a05", (96, 96, 3), (3, 3, 1280)),
        ("transfer_mobilenetv2_160_a35", (160, 160, 3), (5, 5, 1280)),
        ("transfer_mobilenetv2_a1", (48, 80, 1), (2, 3, 1280)),
        ("transfer_mobilenetv1_a25_d100", (96, 96, 1), (1, 1, 256)),
        ("transfer_mobilenetv1_a1_d100", (70, 70, 3), (1, 1, 102)),
    ],
)
def test_bases_at_several_sizes(layer: str, shape: tuple[int, int, int], features: tuple[int, ...]) -> None:
    network = build_network(transfer(layer), shape, 4, seed=3)
    assert network.base is not None
    assert network.base.model.output.shape[1:] == features
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    scores = np.asarray(network.on_images(base_trains=False)(images, False))
    assert scores.shape == (2, 4)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    body = type(network.base.model)(
        network.base.model.input, network.base.model.get_layer(network.base.cut).output
    )
    tail = network.base.make_tail(network.base.model)
    np.testing.assert_allclose(tail(body(images)), network.base.model(images), atol=1e-5)


@pytest.mark.parametrize(("neurons", "parameters"), [(16, 1280 * 16 + 16 + 9 * 16 * 4 + 4), (0, 9 * 1280 * 4 + 4)])
def test_the_v2_head_stands_on_unpooled_positions(neurons: int, parameters: int) -> None:
    head = build_network(transfer("transfer_mobilenetv2_a35", neurons), (96, 96, 3), 4, seed=3).head
    assert head.count_params() == parameters
    dense = ["dense"] if neurons else []
    assert [layer.name for layer in head.layers[1:]] == ["positions", *dense, "dropout", "flatten", "y_pred"]


def test_equal_seeds_give_equal_heads() -> None:
    def values(seed: int) -> list[Any]:
        return build_network(
            transfer("transfer_mobilenetv1_a1_d100"), (96, 96, 3), 3, seed=seed
        ).head.get_weights()

    first, again, other = values(3), values(3), values(4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_a_mobilenet_refuses_a_tiny_input() -> None:
    with pytest.raises(UsageError, match="at least 32x32 pixels, the impulse gives 24x40"):
        build_network(transfer("transfer_mobilenetv2_a35"), (40, 24, 3), 3, seed=3)


def test_the_visual_block_is_built_as_the_editor_shows_it() -> None:
    block = KerasLearnBlock(
        type="keras",
        visual_layers=(
            Conv2dLayer(type="conv2d", filters=8, stack=2),
            BatchNormalizationLayer(type="batch_normalization"),
            Conv2dLayer(type="conv2d", filters=4, kernel_size=5, pool_size=1),
            FlattenLayer(type="flatten"),
            DropoutLayer(type="dropout", dropout_ratio=0.25),
            DenseLayer(type="dense", neurons=10),
        ),
    )
    model = build_network(block, (17, 17, 1), 3, seed=3).head
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    assert kinds == [
        "Conv2D", "Conv2D", "MaxPooling2D", "BatchNormalization", "Conv2D", "Flatten", "Dropout", "Dense", "Dense",
    ]  # fmt: skip
    convolution = model.layers[1]
    assert convolution.padding == "same"
    assert convolution.activation.__name__ == "relu"
    assert convolution.kernel_constraint.max_value == 1
    assert model.layers[3].output.shape == (None, 9, 9, 8), "same padding rounds up"
    assert model.layers[-1].name == "y_pred"
    assert model.output.shape == (None, 3)


def test_a_flatten_is_added_where_none_is() -> None:
    for layers in (
        (Conv2dLayer(type="conv2d", filters=4),),
        (Conv2dLayer(type="conv2d", filters=4), DenseLayer(type="dense", neurons=5)),
    ):
        model = build_network(KerasLearnBlock(type="keras", visual_layers=layers), (8, 8, 3), 2, seed=3).head
        assert [type(layer).__name__ for layer in model.layers].count("Flatten") == 1
        assert model.output.shape == (None, 2)


def test_a_convolution_cannot_follow_a_dense_layer() -> None:
    layers = (DenseLayer(type="dense", neurons=5), Conv2dLayer(type="conv2d", filters=4))
    with pytest.raises(UsageError, match=r"visual layer 2 \(conv2d\)"):
        build_network(KerasLearnBlock(type="keras", visual_layers=layers), (8, 8, 3), 2, seed=3)
