import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ei_automation.trainer.convert import convert_int8, spanning
from ei_automation.trainer.rows import ArrayRows
from ei_automation.trainer.tensorflow_door import keras

SMALL = (16, 16, 3)


@pytest.fixture(scope="module")
def forward() -> object:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential([keras.Input(SMALL), layers.Conv2D(8, 3, activation="relu"), layers.Flatten()])
    model.add(layers.Dense(12, activation="relu"))
    model.add(layers.Dense(3, activation="softmax"))
    return lambda images, training: model(images, training=training)


def quantization(model: bytes) -> tuple[float, int]:
    (details,) = Interpreter(model_content=model).get_input_details()
    return tuple(details["quantization"])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.7), (-0.1, 1.1), (0.5, 0.5), (0.0, 0.9999999)])
def test_the_input_is_one_255th_and_minus_128_whatever_the_validation_set(
    forward: object, low: float, high: float
) -> None:
    images = np.random.default_rng(0).uniform(low, high, (6, *SMALL)).astype(np.float32)
    if high > low:
        images.flat[0], images.flat[-1] = low, high
    seen: list[int] = []
    model = convert_int8(forward, ArrayRows({-1: images}), on_row=seen.append)  # type: ignore[arg-type]
    assert quantization(model) == (0.003921568859368563, -128)
    assert seen[-1] == 6


def test_spanning_changes_two_values_even_of_a_flat_image() -> None:
    flat = np.full((4, 4, 3), 0.5, np.float32)
    changed = spanning(flat)
    assert (changed != flat).sum() == 2
    assert (changed.min(), changed.max()) == (0, 1)


def test_dense_weights_have_one_scale_and_convolutions_one_a_filter(forward: object) -> None:
    images = np.random.default_rng(0).random((6, *SMALL), np.float32)
    data = convert_int8(forward, ArrayRows({-1: images}))  # type: ignore[arg-type]
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    codes = [code.builtinCode for code in model.operatorCodes]
    scales = {
        codes[operator.opcodeIndex]: len(graph.tensors[operator.inputs[1]].quantization.scale)
        for operator in graph.operators
        if len(operator.inputs) > 2
    }
    assert scales[schema.BuiltinOperator.FULLY_CONNECTED] == 1
    assert scales[schema.BuiltinOperator.CONV_2D] == 8
    assert graph.tensors[graph.inputs[0]].shape.tolist() == [1, *SMALL]


def test_int8_scores_are_near_the_float_ones(forward: object) -> None:
    images = np.random.default_rng(0).random((8, *SMALL), np.float32)
    data = convert_int8(forward, ArrayRows({-1: images}))  # type: ignore[arg-type]
    judge = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    judge.allocate_tensors()
    source, result = judge.get_input_details()[0], judge.get_output_details()[0]
    scale, zero_point = result["quantization"]
    for image in images:
        judge.set_tensor(source["index"], np.clip(np.rint(image * 255) - 128, -128, 127).astype(np.int8)[None])
        judge.invoke()
        scores = (judge.get_tensor(result["index"]).astype(np.float32) - zero_point) * scale
        np.testing.assert_allclose(scores, forward(image[None], False), atol=0.05)  # type: ignore[operator]
