from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ei_automation.errors import UsageError
from ei_automation.trainer.architectures import mobilenet_v1, mobilenet_v2
from ei_automation.trainer.weight_files import arrays_sha256, load_weights

V2_FOLDER = "weights/mobilenet_v2_0.35_224_from_teachable_machine"


def write(path: Path, layers: list[tuple[str, dict[str, np.ndarray]]], group: str = "", nested: str = "") -> Path:
    """A Keras file: weights only, or in a group, or all layers of one nested model."""
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        root.attrs["layer_names"] = [nested.encode()] if nested else [name.encode() for name, _ in layers]
        if nested:
            root.create_group(nested).attrs["weight_names"] = [
                f"{name}/{variable}:0".encode() for name, arrays in layers for variable in arrays
            ]
        for name, arrays in layers:
            place = root[nested] if nested else root.create_group(name)
            if not nested:
                place.attrs["weight_names"] = [f"{name}/{variable}:0".encode() for variable in arrays]
            for variable, array in arrays.items():
                place[f"{name}/{variable}:0"] = array
    return path


def layers_of(base: Any, seed: int) -> list[tuple[str, dict[str, np.ndarray]]]:
    generator = np.random.default_rng(seed)
    return [
        (
            layer.name,
            {variable.name: generator.random(variable.shape, np.float32) for variable in layer.weights},
        )
        for layer in base.layers
        if layer.weights
    ]


@pytest.fixture(scope="module")
def base() -> Any:
    return mobilenet_v2.build_base((96, 96, 3), 0.1)


TOP = ("predictions", {"kernel": np.zeros((1280, 1000), np.float32), "bias": np.zeros(1000, np.float32)})


@pytest.mark.parametrize("layout", ["no top", "top", "whole model", "nested", "renamed"])
def test_every_layout_is_read(layout: str, base: Any, tmp_path: Path) -> None:
    layers = layers_of(base, seed=len(layout))
    written = layers if layout == "no top" else [*layers, TOP]
    if layout == "renamed":
        written = [(f"layer_{index}", arrays) for index, (_, arrays) in enumerate(written)]
    group = "model_weights" if layout == "whole model" else ""
    path = write(tmp_path / "w.h5", written, group, "model1" if layout == "nested" else "")
    load_weights(base, path)
    for name, arrays in layers:
        for variable in base.get_layer(name).weights:
            np.testing.assert_array_equal(variable.numpy(), arrays[variable.name])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, when it saves
def test_keras_own_files_are_read(base: Any, tmp_path: Path) -> None:
    layers = layers_of(base, seed=1)
    load_weights(base, write(tmp_path / "w.h5", layers))
    base.save(tmp_path / "model.h5")
    digest = arrays_sha256(base)
    load_weights(base, write(tmp_path / "v.h5", layers_of(base, seed=2)))
    assert arrays_sha256(base) != digest
    load_weights(base, tmp_path / "model.h5")
    assert arrays_sha256(base) == digest


def test_a_bias_moves_into_the_normalization_behind_it(tmp_path: Path) -> None:
    from ei_automation.trainer.tensorflow_door import keras

    layers = keras.layers
    ours = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, use_bias=False, name="a")])
    ours.add(layers.BatchNormalization(name="b"))
    theirs = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="c")])
    theirs.add(layers.BatchNormalization(name="d"))
    path = write(tmp_path / "w.h5", layers_of(theirs, seed=3))
    load_weights(theirs, path)
    load_weights(ours, path)
    image = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(ours(image), theirs(image), rtol=1e-5, atol=1e-5)


def test_a_wrong_width_names_the_first_layer_and_changes_nothing(base: Any, tmp_path: Path) -> None:
    wide = mobilenet_v2.build_base((96, 96, 3), 0.35)
    path = write(tmp_path / "w.h5", layers_of(wide, seed=1))
    digest = arrays_sha256(base)
    with pytest.raises(
        UsageError, match=r"layer Conv1 expects kernel \(3, 3, 3, 8\), the file has \(3, 3, 3, 16\)"
    ):
        load_weights(base, path)
    assert arrays_sha256(base) == digest


def test_a_wrong_last_layer_changes_nothing_either(base: Any, tmp_path: Path) -> None:
    layers = layers_of(base, seed=4)
    layers[-1][1]["moving_variance"] = np.ones(7, np.float32)
    digest = arrays_sha256(base)
    with pytest.raises(
        UsageError, match=r"layer Conv_1_bn expects moving_variance \(1280,\), the file has \(7,\)"
    ):
        load_weights(base, write(tmp_path / "w.h5", layers))
    assert arrays_sha256(base) == digest


def test_colour_weights_in_a_gray_network_are_explained(base: Any, tmp_path: Path) -> None:
    gray = mobilenet_v2.build_base((96, 96, 1), 0.1)
    with pytest.raises(UsageError, match=r"expects kernel \(3, 3, 1, 8\)") as caught:
        load_weights(gray, write(tmp_path / "w.h5", layers_of(base, seed=1)))
    assert "made for RGB, the impulse feeds Grayscale" in caught.value.hint


def test_another_architecture_is_refused(base: Any, tmp_path: Path) -> None:
    other = mobilenet_v1.build_base((96, 96, 3), 0.25)
    with pytest.raises(UsageError, match="54 layers with weights, this base has 104"):
        load_weights(base, write(tmp_path / "w.h5", layers_of(other, seed=1)))


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_file_is_refused(content: bytes, base: Any, tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(content)
    with pytest.raises(UsageError, match=r"w\.h5 cannot be read"):
        load_weights(base, tmp_path / "w.h5")


def test_an_hdf5_file_without_weights_is_refused(base: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(UsageError, match="no layer_names"):
        load_weights(base, tmp_path / "w.h5")


def test_the_two_real_v2_files_hold_the_same_base(shared_data: Path) -> None:
    digests = []
    for name in ("derived_mobilenet_v2_0.35_224_no_top.h5", "keras_model.h5"):
        base = mobilenet_v2.build_base((160, 160, 3), 0.35)
        load_weights(base, shared_data / V2_FOLDER / name)
        digests.append(arrays_sha256(base))
    assert digests[0] == digests[1]


def test_the_real_v1_file_with_other_names_gives_its_own_scores(shared_data: Path) -> None:
    """The published float .tflite of the same network, with its dense layer read by hand, is the judge."""
    from ai_edge_litert.interpreter import Interpreter

    folder = shared_data / "weights" / "mobilenet_v1_0.25_96_vww"
    base = mobilenet_v1.build_base((96, 96, 3), 0.25)
    load_weights(base, folder / "vww_96.h5")
    for layer in base.layers:
        if "relu" in layer.name:
            layer.max_value = None  # that network was built with ReLU where keras.applications has ReLU6
    with h5py.File(folder / "vww_96.h5") as file:
        dense = file["model_weights/dense/dense"]
        kernel, bias = dense["kernel:0"][()], dense["bias:0"][()]
    image = np.random.default_rng(0).random((1, 96, 96, 3), np.float32)
    logits = np.asarray(base(image, training=False))[0, 0] @ kernel + bias
    judge = Interpreter(model_path=str(folder / "vww_96_float.tflite"))
    judge.allocate_tensors()
    judge.set_tensor(judge.get_input_details()[0]["index"], image)
    judge.invoke()
    expected = judge.get_tensor(judge.get_output_details()[0]["index"])[0]
    scores = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(scores[0], expected, atol=1e-4)
