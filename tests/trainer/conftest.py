from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ei_automation.schema.training import FineTuning, TrainingParameters, TransferLayer, TransferLearnBlock
from tests.trainer.naive import pictures


@pytest.fixture(scope="session")
def healthy_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 0.35, RGB, no top: made up, with the statistics of what passes through it."""
    from ei_automation.trainer.architectures.mobilenet_v2 import build_base
    from ei_automation.trainer.determinism import prepare
    from ei_automation.trainer.made_up import save_weights, settle

    prepare(3, None)
    base = build_base((96, 96, 3), 0.35)
    settle(base, pictures(32, 96, 3)[0].array.astype(np.float32) / 255)
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2_035.h5"
    save_weights(base, path)
    return path


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV1 0.1, RGB, no top: the quickest base there is."""
    from ei_automation.trainer.architectures.mobilenet_v1 import build_base
    from ei_automation.trainer.determinism import prepare
    from ei_automation.trainer.made_up import save_weights, settle

    prepare(3, None)
    base = build_base((32, 32, 3), 0.1)
    settle(base, pictures(64, 32, 3)[0].array.astype(np.float32) / 255)
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v1_01.h5"
    save_weights(base, path)
    return path


SMALL = TransferLearnBlock(
    type="keras-transfer-image",
    visual_layer=TransferLayer(type="transfer_mobilenetv1_a1_d100", neurons=16, dropout_ratio=0.1),
)


def transfer_parameters(cycles: int = 2, **changes: object) -> TrainingParameters:
    """MobileNetV2 0.35 with 16 neurons; two cycles of the second stage."""
    values: dict[str, object] = {
        "learn_block": TransferLearnBlock(
            type="keras-transfer-image",
            visual_layer=TransferLayer(type="transfer_mobilenetv2_a35", neurons=16, dropout_ratio=0.1),
        ),
        "training_cycles": cycles,
        "fine_tuning": FineTuning(cycles=2),
        **changes,
    }
    return TrainingParameters(**values)  # type: ignore[arg-type]
