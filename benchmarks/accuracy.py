"""Accuracy on real data: int8 models of ours against a named reference in the same run.

Needs the data sets and weights that may stand beside the checkout (`../shared/data`).

rubbish: 4 classes, 96 px, MobileNetV2 0.35; the reference is the model that Studio made of the same data set,
run on our testing samples (it has probably seen some of them in training).
blood-cells: 4 classes, 160 px, MobileNetV2 0.35; the same images split at random, by whole originals, and as the
source splits them. The reference is the split by the source, which shares no original.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from ei_automation.dsp.image import to_features
from ei_automation.dsp.store import ImageCache
from ei_automation.inference.evaluate import Truth, evaluate
from ei_automation.schema.metrics import Metrics
from ei_automation.schema.sample import Category
from ei_automation.settings import Settings
from ei_automation.workflow.project import Session, open_session
from ei_automation.workflow.reproduce import reproduce

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
WEIGHTS = SHARED / "weights/mobilenet_v2_0.35_224_from_teachable_machine/derived_mobilenet_v2_0.35_224_no_top.h5"

RUBBISH = """
schema = 1
name = "rubbish"
[dataset]
reader = "openmv"
[dataset.origin]
type = "folder"
path = "{data}"
[impulse.input_block]
image_width = 96
image_height = 96
[training]
training_cycles = 20
[training.learn_block]
type = "keras-transfer-image"
visual_layer = {{ type = "transfer_mobilenetv2_a35" }}
"""

BLOOD_CELLS = """
schema = 1
name = "blood-cells-small"
[dataset]
reader = "image-folder"
root = "dataset2-master/dataset2-master/images"
[dataset.origin]
type = "zip"
path = "{data}/blood-cells.zip"
[dataset.groups]
csv = "{data}/groups.csv"
group_column = "original"
[dataset.split]
method = "stratified"
[dataset.compare.grouped]
method = "group"
[dataset.compare.official]
method = "source"
[impulse.input_block]
image_width = 160
image_height = 160
[training]
training_cycles = 20
[training.learn_block]
type = "keras-transfer-image"
visual_layer = {{ type = "transfer_mobilenetv2_160_a35", neurons = 64 }}
"""


def run(name: str, manifest: str, folder: Path) -> Session:
    """Reproduce a manifest in a new project folder."""
    project = folder / name
    project.mkdir()
    (project / "project.toml").write_text(manifest)
    environment = {"EIAUTO_CACHE_DIR": str(folder / "cache"), "EIAUTO_WEIGHTS": str(WEIGHTS)}
    session = open_session(project, Settings.from_env(environment))
    reproduce(session)
    return session


def testing(session: Session, split: str) -> Metrics:
    """int8 metrics on the testing samples of a split."""
    metrics = session.read_lock().splits[split].metrics
    return next(item for item in metrics if (item.variant, item.category) == ("int8", "testing"))


def show(name: str, metrics: Metrics) -> None:
    """One line."""
    low, high = metrics.accuracy_interval
    found = f"{metrics.accuracy:.3f} ({low:.3f} .. {high:.3f}), n = {metrics.sample_count}"
    print(f"{name:44} int8 testing accuracy {found}")


def rubbish(folder: Path) -> None:
    """Ours against Studio's model of the same data."""
    data = SHARED / "openmv_rubbish"
    session = run("rubbish", RUBBISH.format(data=data / "dataset"), folder)
    ours = testing(session, "main")
    show("rubbish, ours", ours)
    reference = studio(session, data)
    show("rubbish, reference: Studio's own model", reference)
    print(f"ratio ours / reference: {ours.accuracy / reference.accuracy:.3f}\n")


def studio(session: Session, data: Path) -> Metrics:
    """Studio's model on our testing samples."""
    labels = (data / "labels.txt").read_text().split()
    with session.open_backend() as backend:
        samples = backend.list_samples(Category.TESTING)
    with (
        ImageCache(session.state_folder / "cache" / "images", session.manifest.impulse.input_block) as cache,
        cache.pixels() as pixels,
    ):
        features = to_features(pixels.read(cache.rows([sample.sha256 for sample in samples])), "RGB")
    index = np.array([labels.index(sample.label) for sample in samples])
    truth = Truth(index, labels, "int8", "testing", 0.6)
    return evaluate(data / "trained.tflite", [features], truth=truth).metrics


def blood_cells(folder: Path) -> None:
    """The gap between a split that leaks and two that do not."""
    session = run("blood-cells", BLOOD_CELLS.format(data=SHARED / "blood-cells"), folder)
    official = testing(session, "official")
    for split, what in (
        ("main", "random split, leaks"),
        ("grouped", "whole originals"),
        ("official", "the source's split"),
    ):
        metrics = testing(session, split)
        show(f"blood-cells, {what}", metrics)
        print(
            f"  minus reference (the source's split): {metrics.accuracy - official.accuracy:+.3f},"
            f" ratio {metrics.accuracy / official.accuracy:.2f}"
        )
    for finding in session.read_lock().dataset.findings:
        if finding.code in ("augmented-set", "group-leak"):
            print(f"  audit: {finding.message}")


def main() -> None:
    """Run both, or the one named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["rubbish", "blood-cells"])
    only = parser.parse_args().only
    if not SHARED.is_dir():
        print(f"skipped: {SHARED.parent.name}/{SHARED.name} is not beside this checkout")
        return
    with tempfile.TemporaryDirectory() as folder:
        if only != "blood-cells":
            rubbish(Path(folder))
        if only != "rubbish":
            blood_cells(Path(folder))


if __name__ == "__main__":
    main()
