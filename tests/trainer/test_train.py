"""Whole trainings of made-up images: equality with Keras, equal bytes, resuming, what is in the files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ei_automation.errors import DatasetError, InterruptedRunError
from ei_automation.schema.training import (
    BatchNormalizationLayer,
    Conv2dLayer,
    DropoutLayer,
    FineTuning,
    KerasLearnBlock,
    TransferLayer,
    TransferLearnBlock,
)
from ei_automation.trainer.cuts import STORED_BYTES
from ei_automation.trainer.request import TrainingEvent, TrainingRequest, TrainingResult
from ei_automation.trainer.train import train
from tests.trainer.conftest import SMALL, transfer_parameters
from tests.trainer.naive import EQUALITY_TOLERANCE, Pictures, pictures, request_for, trained_both_ways

V2_OPERATORS = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"}
VISUAL = KerasLearnBlock(
    type="keras",
    visual_layers=(
        Conv2dLayer(type="conv2d", filters=8),
        BatchNormalizationLayer(type="batch_normalization"),
        Conv2dLayer(type="conv2d", filters=4),
        DropoutLayer(type="dropout", dropout_ratio=0.25),
    ),
)


@pytest.fixture(scope="module")
def source() -> tuple[Pictures, np.ndarray]:
    return pictures(150, 64, 3)


@pytest.fixture
def request_(source: tuple[Pictures, np.ndarray], healthy_weights: Path, tmp_path: Path) -> TrainingRequest:
    return request_for(*source, transfer_parameters(), folder=tmp_path, weights=healthy_weights)


@pytest.fixture
def small(small_weights: Path, tmp_path: Path) -> TrainingRequest:
    """The same recipe on the quickest base."""
    parameters = transfer_parameters(learn_block=SMALL, learning_rate=0.005)
    return request_for(*pictures(150, 32, 3), parameters, folder=tmp_path, weights=small_weights)


def run(request: TrainingRequest, events: list[TrainingEvent] | None = None) -> TrainingResult:
    return train(
        request, on_event=(lambda _: None) if events is None else events.append, should_stop=lambda: False
    )


def log_of(events: list[TrainingEvent]) -> list[str]:
    return [event.text for event in events if event.kind == "log"]


def operators(model: bytes) -> set[str]:
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    return {names[parsed.operatorCodes[o.opcodeIndex].builtinCode] for o in parsed.subgraphs[0].operators}


NO_DENSE = TransferLearnBlock(
    type="keras-transfer-image", visual_layer=TransferLayer(type="transfer_mobilenetv2_a35", neurons=0)
)


@pytest.mark.parametrize(
    ("block", "stored_bytes"),
    [
        (transfer_parameters().learn_block, STORED_BYTES),
        pytest.param(NO_DENSE, 0, marks=[pytest.mark.slow, pytest.mark.ci]),
        pytest.param(NO_DENSE, STORED_BYTES, marks=pytest.mark.slow),
    ],
    ids=["dense", "no dense, features too large to store", "no dense"],
)
def test_stored_features_give_the_weights_of_a_plain_fit(
    request_: TrainingRequest, block: TransferLearnBlock, stored_bytes: int
) -> None:
    parameters = transfer_parameters(3, learn_block=block)
    require_equal_weights(replace(request_, parameters=parameters), stored_bytes=stored_bytes)


@pytest.mark.parametrize("neurons", [pytest.param(16, marks=[pytest.mark.slow, pytest.mark.ci]), 0])
def test_those_of_mobilenet_v1_too(small: TrainingRequest, neurons: int) -> None:
    layer = TransferLayer(type="transfer_mobilenetv1_a1_d100", neurons=neurons)
    block = TransferLearnBlock(type="keras-transfer-image", visual_layer=layer)
    parameters = transfer_parameters(3, learn_block=block, auto_class_weights=True)
    require_equal_weights(replace(small, parameters=parameters))


def require_equal_weights(request: TrainingRequest, **recipe_changes: int) -> None:
    """After both stages, within the tolerance."""
    both = trained_both_ways(request, stages=2, **recipe_changes)
    assert both.curves.best_cycle >= both.curves.stage_starts[1], "the second stage's weights are compared"
    assert both.differences.max() <= EQUALITY_TOLERANCE
    assert np.abs(both.plain[-1]).min() > 1e-4, "biases start from zero"


def test_fresh_views_do_so_but_for_the_bits_of_litert(
    source: tuple[Pictures, np.ndarray], healthy_weights: Path, tmp_path: Path
) -> None:
    """Most weights agree to the last bits. A few do not: LiteRT's features differ from TensorFlow's by up to 1e-5
    of the largest, and Adam makes as much of a tiny gradient as of a large one."""
    pixels, labels = source
    few = np.minimum(labels, np.where(np.arange(len(labels)) % 5 == 0, 2, 1))
    request = request_for(
        pixels,
        few,
        transfer_parameters(augmentation="all", auto_class_weights=True),
        folder=tmp_path,
        weights=healthy_weights,  # type: ignore[arg-type]
    )
    differences = trained_both_ways(request, stages=1).differences
    assert np.quantile(differences, 0.9) < 1e-6
    assert differences.max() < 1e-3


@pytest.mark.slow
@pytest.mark.ci
def test_the_same_request_gives_the_same_bytes_and_a_model_that_devices_can_run(
    request_: TrainingRequest, tmp_path: Path
) -> None:
    events: list[TrainingEvent] = []
    first = run(request_, events)
    again = run(replace(request_, cache_folder=tmp_path / "elsewhere"))
    assert (first.float32, first.int8, first.curves) == (again.float32, again.int8, again.curves)
    assert operators(first.int8) == operators(first.float32) == V2_OPERATORS
    (details,) = Interpreter(model_content=first.int8).get_input_details()
    assert details["quantization"] == (0.003921568859368563, -128)
    assert details["shape"].tolist() == [1, 64, 64, 3]
    assert first.curves.stage_starts == [0, 2]
    assert len(first.curves.loss) == 4
    assert first.curves.best_cycle == int(np.argmin(first.curves.validation_loss))
    assert first.base_sha256 == again.base_sha256
    text = log_of(events)
    assert any(line.startswith("Epoch 1/2 - loss: ") for line in text)
    assert "Fine-tuning best model for 2 epochs (studio)..." in text
    steps = {event.step: (event.done, event.total) for event in events if event.kind == "progress"}
    assert steps == {"features": (150, 150), "training": (4, 4), "conversion": (30, 30)}


def stop_after(cycles: int) -> tuple[list[TrainingEvent], object]:
    """Events, and a `should_stop` that says yes once so many cycles are logged."""
    events: list[TrainingEvent] = []
    return events, lambda: sum("Epoch" in line for line in log_of(events)) >= cycles


def test_a_stopped_training_ends_with_the_same_bytes(small: TrainingRequest, tmp_path: Path) -> None:
    """Stopped after the first cycle, at the end of the first stage, and within the second."""
    whole = run(replace(small, checkpoint_folder=tmp_path / "other"))
    require_equal_after_stops([1, 1, 1], small, whole)


def require_equal_after_stops(steps: list[int], request: TrainingRequest, whole: TrainingResult) -> None:
    """Stop again and again after some cycles more, run to the end, compare."""
    done = 0
    for step in steps:
        events, should_stop = stop_after(step)
        with pytest.raises(InterruptedRunError):
            train(request, on_event=events.append, should_stop=should_stop)  # type: ignore[arg-type]
        assert continues_after(done, events)
        assert list(request.checkpoint_folder.iterdir()) != []
        done += step
    later: list[TrainingEvent] = []
    resumed = run(request, later)
    assert continues_after(done, later)
    assert (resumed.float32, resumed.int8, resumed.curves) == (whole.float32, whole.int8, whole.curves)
    assert list(request.checkpoint_folder.iterdir()) == [], "a training that has ended leaves no checkpoint"


def continues_after(cycles: int, events: list[TrainingEvent]) -> bool:
    said = [line for line in log_of(events) if line.startswith("Continuing")]
    return said == ([f"Continuing after cycle {cycles} of a run that was stopped."] if cycles else [])


def test_a_damaged_checkpoint_is_said_and_not_used(small: TrainingRequest) -> None:
    events, should_stop = stop_after(1)
    with pytest.raises(InterruptedRunError):
        train(small, on_event=events.append, should_stop=should_stop)  # type: ignore[arg-type]
    (path,) = small.checkpoint_folder.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    later: list[TrainingEvent] = []
    result = run(small, later)
    assert any("damaged; training starts again" in line for line in log_of(later))
    assert len(result.curves.loss) == 4


def test_a_head_without_a_dense_layer_and_stored_views(
    source: tuple[Pictures, np.ndarray], healthy_weights: Path, tmp_path: Path
) -> None:
    parameters = transfer_parameters(3, learn_block=NO_DENSE, augmentation="all", augmentation_views=2)
    request = request_for(*source, parameters, folder=tmp_path, weights=healthy_weights)
    result = run(request)
    assert len(list(request.cache_folder.glob("*.f32"))) == 3, (
        "two views to train with and the plain one to validate"
    )
    assert len(result.curves.loss) == 5
    assert result.curves.loss[-1] < result.curves.loss[0]


@pytest.mark.slow
def test_a_stopped_training_of_the_large_kind_too(request_: TrainingRequest, tmp_path: Path) -> None:
    whole = run(replace(request_, checkpoint_folder=tmp_path / "other"))
    require_equal_after_stops([3], request_, whole)


@pytest.mark.slow
@pytest.mark.ci
def test_real_fine_tuning_changes_the_end_of_the_base(small: TrainingRequest) -> None:
    def tuned(tuning: FineTuning) -> TrainingResult:
        parameters = transfer_parameters(1, learn_block=SMALL, learning_rate=1e-5, fine_tuning=tuning)
        rows, labels = small.training_rows, small.training_labels
        return run(
            replace(
                small,
                parameters=parameters,
                inputs=tuning.mode,
                validation_rows=rows,
                validation_labels=labels,
            )
        )

    off = tuned(FineTuning(mode="off"))
    base = tuned(FineTuning(mode="base", cycles=3, learning_rate=0.0005, layers_ratio=0.3))
    assert off.curves.loss == base.curves.loss[:1]
    assert base.curves.stage_starts == [0, 1]
    assert base.curves.best_cycle > 0
    assert convolution_bytes(off.float32, "conv_pw_1") == convolution_bytes(base.float32, "conv_pw_1")
    assert convolution_bytes(off.float32, "conv_pw_13") != convolution_bytes(base.float32, "conv_pw_13")


def convolution_bytes(model: bytes, layer: str) -> bytes:
    """The folded weights of a convolution in a float32 file."""
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for tensor in parsed.subgraphs[0].tensors:
        data = parsed.buffers[tensor.buffer].data
        if f"{layer}_1/".encode() in tensor.name and data is not None and len(tensor.shape) == 4:
            return bytes(data)
    raise AssertionError(f"{layer} is not in the file")


def test_the_visual_classifier_learns_and_resumes(tmp_path: Path) -> None:
    parameters = transfer_parameters(6, learn_block=VISUAL, learning_rate=0.005, batch_size=8)
    request = request_for(*pictures(240, 24, 3), parameters, folder=tmp_path, channels="Grayscale")
    whole = run(request)
    assert whole.curves.accuracy[-1] > 0.8
    assert whole.curves.stage_starts == [0], "a classifier without a base has no second stage"
    assert whole.base_sha256 is None
    events, should_stop = stop_after(2)
    with pytest.raises(InterruptedRunError):
        train(request, on_event=events.append, should_stop=should_stop)  # type: ignore[arg-type]
    assert run(request).int8 == whole.int8


def test_from_scratch_says_so_and_keeps_no_features(tmp_path: Path) -> None:
    block = TransferLearnBlock(
        type="keras-transfer-image",
        visual_layer=TransferLayer(type="transfer_mobilenetv1_a1_d100", neurons=0),
        weights="none",
    )
    parameters = transfer_parameters(2, learn_block=block, fine_tuning=FineTuning(mode="off"))
    events: list[TrainingEvent] = []
    result = run(request_for(*pictures(120, 32, 2), parameters, folder=tmp_path), events)
    assert any('weights = "none"' in line for line in log_of(events))
    assert not list(tmp_path.glob("cache/*")), "features of a base that trains are not cached"
    assert len(result.curves.loss) == 2


def test_no_samples_and_one_label_are_refused(request_: TrainingRequest) -> None:
    none = np.array([], np.int64)
    with pytest.raises(DatasetError, match="no samples to validate with"):
        run(replace(request_, validation_rows=none, validation_labels=none))
    with pytest.raises(DatasetError, match="at least two labels"):
        run(replace(request_, labels=("one",)))
