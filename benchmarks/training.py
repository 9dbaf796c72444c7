"""What a training costs: ours against a plain Keras fit of the same recipe, in CPU seconds and peak memory.

    python benchmarks/training.py                  # 12,436 images, about fifteen minutes on two cores
    python benchmarks/training.py --images 1500 --modes none

Each side of each mode runs in a process of its own. CPU seconds are those of all threads, from after the imports
to the end of the last cycle; conversion is the same for both and left out. The plain fit runs `--naive-cycles`
cycles of each stage and is extrapolated to the recipe's (20, then 10 in which the last dense layer trains).

Without augmentation the weights of both sides are compared too, on fewer images, where the plain fit runs all its
cycles; `--weights` does everything with a real file for the base.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from ei_automation.schema.training import FineTuning, TrainingParameters, TransferLayer, TransferLearnBlock
from ei_automation.trainer.request import TrainingEvent, TrainingRequest
from tests.trainer.naive import (
    EQUALITY_TOLERANCE,
    Pictures,
    draw_pictures,
    request_for,
    trained_both_ways,
    whole_model,
)

CLASSES = 4
TARGETS = {"none": 15.0, "fresh": 2.5, "views": 8.0}
"""Times less CPU than the plain fit, at the full size."""
MAX_RSS_GB = 1.5
EQUALITY_IMAGES, EQUALITY_CYCLES = 1280, 5
"""Four fifths of the images train, the cycles are the first stage's; the second has half as many."""


def parameters_of(mode: str, cycles: int) -> TrainingParameters:
    """MobileNetV2 0.35 at 160 px with Studio's defaults, in one of the augmentation modes."""
    return TrainingParameters(
        learn_block=TransferLearnBlock(
            type="keras-transfer-image", visual_layer=TransferLayer(type="transfer_mobilenetv2_160_a35")
        ),
        training_cycles=cycles,
        augmentation="none" if mode == "none" else "all",
        augmentation_views=4 if mode == "views" else None,
        fine_tuning=FineTuning(cycles=max(1, cycles // 2)),
    )


class FilePictures(Pictures):
    """The memory map, mapped anew for each read so that pages do not pile up in the process."""

    def __init__(self, path: Path) -> None:
        super().__init__(np.load(path, mmap_mode="r"))
        self._path = path

    def read(self, rows: Any) -> Any:
        """Copies of some images."""
        return np.array(np.load(self._path, mmap_mode="r")[rows])


def request_in(folder: Path, mode: str, cycles: int) -> TrainingRequest:
    """The request of one mode, with caches of its own."""
    source = FilePictures(folder / "pixels.npy")
    labels = np.arange(source.shape[0]) % CLASSES
    return request_for(
        source, labels, parameters_of(mode, cycles), folder=folder / mode, weights=folder / "base.h5"
    )


def peak_rss_gb() -> float:
    """Of this process, in GB (1e9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run_ours(options: argparse.Namespace) -> dict[str, float]:
    """One training of ours, up to its conversion; memory is that of the whole, conversion included."""
    from ei_automation.trainer import run

    marks: dict[str, float] = {}

    def on_event(event: TrainingEvent) -> None:
        if event.text.startswith("Converting TensorFlow Lite float32"):
            marks.update(cpu=time.process_time(), wall=time.monotonic())

    cpu, wall = time.process_time(), time.monotonic()
    request = request_in(options.folder, options.modes[0], options.cycles)
    run.run(request, on_event=on_event, should_stop=lambda: False)
    whole = time.process_time() - cpu
    return {"cpu": marks["cpu"] - cpu, "wall": marks["wall"] - wall, "whole": whole, "rss": peak_rss_gb()}


def run_naive(options: argparse.Namespace) -> dict[str, float]:
    """A few cycles of both stages with `model.fit`, extrapolated."""
    import keras

    from ei_automation.trainer.architectures.build import build_network
    from ei_automation.trainer.determinism import prepare
    from ei_automation.trainer.weight_files import load_weights

    request = request_in(options.folder, options.modes[0], options.cycles)
    tuning = request.parameters.fine_tuning
    cpu = time.process_time()
    prepare(3, None)
    network = build_network(request.parameters.learn_block, request.impulse.input_shape, CLASSES, seed=3)
    load_weights(network.base.model, options.folder / "base.h5")  # type: ignore[union-attr]
    model = whole_model(network)
    training, validation = datasets(request)
    setup = time.process_time() - cpu
    total = setup
    for rate, planned in (
        (request.parameters.learning_rate, options.cycles),
        (tuning.learning_rate, tuning.cycles),
    ):
        model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
        clock = CycleClock()
        model.fit(
            training,
            validation_data=validation,
            epochs=options.naive_cycles,
            shuffle=False,
            verbose=0,
            callbacks=[clock.callback()],
        )
        total += clock.extrapolated(planned)
        for layer in network.head.layers[:-1]:
            layer.trainable = False
    return {"cpu": total, "rss": peak_rss_gb()}


class CycleClock:
    """CPU seconds of a fit: until the first batch is done (tracing), and of the cycles after that."""

    def __init__(self) -> None:
        self._begin = time.process_time()
        self._first = self._end = 0.0
        self._cycles = 0

    def callback(self) -> Any:
        """For `fit`."""
        import keras

        return keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda *_, **__: self._batch(), on_epoch_end=lambda *_, **__: self._cycle()
        )

    def _batch(self) -> None:
        self._first = self._first or time.process_time()

    def _cycle(self) -> None:
        self._cycles, self._end = self._cycles + 1, time.process_time()

    def extrapolated(self, cycles: int) -> float:
        """CPU seconds that so many cycles would take."""
        return self._first - self._begin + (self._end - self._first) / self._cycles * cycles


def datasets(request: TrainingRequest) -> tuple[Any, Any]:
    """tf.data pipelines as Studio's script builds them, from uint8 to spare memory and time."""
    import tensorflow as tf

    array = np.load(request.pixels._path, mmap_mode="r")  # type: ignore[attr-defined]
    batch = request.parameters.batch_size

    def slices(rows: Any, labels: Any) -> Any:
        return tf.data.Dataset.from_tensor_slices((array[rows], np.eye(CLASSES, dtype=np.float32)[labels]))

    def scaled(image: Any, target: Any) -> Any:
        return tf.cast(image, tf.float32) / 255.0, target

    training = slices(request.training_rows, request.training_labels).map(scaled, tf.data.AUTOTUNE)
    if request.parameters.augmentation == "all":
        training = training.map(augmented, tf.data.AUTOTUNE)
    validation = slices(request.validation_rows, request.validation_labels).map(scaled, tf.data.AUTOTUNE)
    training = training.shuffle(batch * 4).batch(batch).prefetch(tf.data.AUTOTUNE)
    return training, validation.batch(batch).prefetch(tf.data.AUTOTUNE)


def augmented(image: Any, target: Any) -> Any:
    """Studio's augmentation "all" in TensorFlow's operations."""
    import tensorflow as tf

    from ei_automation.trainer.augment import enlarged

    height, width, depth = image.shape
    image = tf.image.random_flip_left_right(image)
    image = tf.image.resize_with_crop_or_pad(image, enlarged(height, 3), enlarged(width, 3))
    image = tf.image.random_crop(image, (height, width, depth))
    return tf.image.random_brightness(image, max_delta=0.2), target


def run_equality(options: argparse.Namespace) -> dict[str, float]:
    """Both stages on stored features against a Keras fit of the whole network, same order and seeds."""
    request = request_in(options.folder, "none", options.cycles)
    both = trained_both_ways(request, stages=2)
    return {
        "largest": float(both.differences.max()),
        "training": len(request.training_rows),
        "cycles": len(both.curves.loss),
        "best": both.curves.best_cycle + 1,
    }


def make_inputs(options: argparse.Namespace) -> dict[str, float]:
    """The images as a memory map, and healthy weights for the base.

    In a process of its own, like the sides: a child's peak memory starts at its parent's.
    """
    from ei_automation.trainer.architectures.mobilenet_v2 import build_base
    from ei_automation.trainer.determinism import prepare
    from ei_automation.trainer.made_up import save_weights, settle

    shape = (options.images, options.size, options.size, 3)
    path = options.folder / "pixels.npy"
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, options.images, 512):
        part = array[start : start + 512]
        draw_pictures(part, np.arange(start, start + len(part)) % CLASSES, seed=start)
    array.flush()
    if options.weights:
        shutil.copy(options.weights, options.folder / "base.h5")
        return {}
    prepare(3, None)
    base = build_base(shape[1:], 0.35)
    settle(base, array[:64].astype(np.float32) / np.float32(255))
    save_weights(base, options.folder / "base.h5")
    return {}


SIDES = {"inputs": make_inputs, "ours": run_ours, "naive": run_naive, "equality": run_equality}


def in_process(side: str, folder: Path, options: argparse.Namespace, **changed: Any) -> dict[str, float]:
    """Run one side in a fresh process and read its figures."""
    values = {**vars(options), **changed, "side": side, "folder": folder}
    command = [sys.executable, __file__]
    for name in ("side", "folder", "modes", "images", "size", "cycles", "naive_cycles", "weights"):
        if values[name]:
            command += [f"--{name.replace('_', '-')}", str(values[name])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(folder: Path, options: argparse.Namespace) -> None:
    """All modes, one line each; the plain fit is the same for both augmented ones."""
    naive: dict[bool, dict[str, float]] = {}
    for mode in options.modes:
        ours = in_process("ours", folder, options, modes=mode)
        plain = mode == "none"
        naive[plain] = naive.get(plain) or in_process("naive", folder, options, modes=mode)
        ratio = naive[plain]["cpu"] / ours["cpu"]
        print(
            f"{mode:6} ours {ours['cpu']:7.1f} CPU s ({ours['wall']:.0f} s), plain Keras fit"
            f" {naive[plain]['cpu']:7.1f} CPU s (extrapolated from {options.naive_cycles} cycle(s) a stage):"
            f" {ratio:.1f} times less (target {TARGETS[mode]}); peak RSS {ours['rss']:.2f} GB (target"
            f" {MAX_RSS_GB}), with conversion {ours['whole']:.1f} CPU s",
            flush=True,
        )
        if plain:
            check_equality(folder, options)


def check_equality(folder: Path, options: argparse.Namespace) -> None:
    """At a smaller size, because here the plain fit runs all its cycles."""
    small = {"images": min(EQUALITY_IMAGES, options.images), "cycles": EQUALITY_CYCLES, "modes": "none"}
    (folder / "small").mkdir()
    in_process("inputs", folder / "small", options, **small)
    figures = in_process("equality", folder / "small", options, **small)
    print(
        f"none   largest difference of a weight from the plain fit's: {figures['largest']:.1e} (tolerance"
        f" {EQUALITY_TOLERANCE:.1e}; {figures['training']} images, best of {figures['cycles']} cycles in both"
        f" stages: the {figures['best']}., same start and order)",
        flush=True,
    )


def main() -> None:
    """Parse, make the inputs, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12436)
    parser.add_argument("--size", type=int, default=160, help="pixels")
    parser.add_argument("--cycles", type=int, default=20, help="of the first stage; the second has half as many")
    parser.add_argument("--naive-cycles", type=int, default=1)
    parser.add_argument("--modes", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--weights", type=Path, help="real ones for MobileNetV2 0.35; made up without")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options)))
        return
    with tempfile.TemporaryDirectory() as name:
        in_process("inputs", Path(name), options, modes="none")
        compare(Path(name), options)


if __name__ == "__main__":
    main()
