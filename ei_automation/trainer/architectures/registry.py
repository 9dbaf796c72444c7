"""Studio's visual layer types: architecture, width, and the published weights. Imports no TensorFlow.

Types, widths and paths: Edge Impulse's generated training scripts and `pretrained_weights.py` of its Keras
container. Studio takes the file of the layer type whatever the project's input size is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ei_automation.schema.impulse import Channels
from ei_automation.schema.training import TransferLayerType

Family = Literal["mobilenet_v1", "mobilenet_v2"]
MINIMUM_PX = 32
"""Shorter side that keras.applications accepts for both families."""


@dataclass(frozen=True)
class Architecture:
    """A base.

    Attributes:
        family: Which builder makes it.
        alpha: Width multiplier.
        nominal_px: Input size that the published weights were trained at.
    """

    family: Family
    alpha: float
    nominal_px: int


@dataclass(frozen=True)
class PublishedWeights:
    """A file at its published address.

    Attributes:
        path: Under `weights.PUBLISHED_ROOT`.
        sha256: Where somebody who downloaded it published its hash; None elsewhere.
    """

    path: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """File name, also in the cache."""
        return self.path.rsplit("/", 1)[-1]


ARCHITECTURES: dict[TransferLayerType, Architecture] = {
    "transfer_mobilenetv1_a1_d100": Architecture("mobilenet_v1", 0.1, 96),
    "transfer_mobilenetv1_a2_d100": Architecture("mobilenet_v1", 0.2, 96),
    "transfer_mobilenetv1_a25_d100": Architecture("mobilenet_v1", 0.25, 96),
    "transfer_mobilenetv2_a05": Architecture("mobilenet_v2", 0.05, 96),
    "transfer_mobilenetv2_a1": Architecture("mobilenet_v2", 0.1, 96),
    "transfer_mobilenetv2_a35": Architecture("mobilenet_v2", 0.35, 96),
    "transfer_mobilenetv2_160_a35": Architecture("mobilenet_v2", 0.35, 160),
    "transfer_mobilenetv2_160_a5": Architecture("mobilenet_v2", 0.5, 160),
    "transfer_mobilenetv2_160_a75": Architecture("mobilenet_v2", 0.75, 160),
    "transfer_mobilenetv2_160_a1": Architecture("mobilenet_v2", 1.0, 160),
}

_KERAS = "transfer-learning-weights/keras/"
_EI = "transfer-learning-weights/edgeimpulse/"
_V2 = _KERAS + "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_"

_SHA_V2_035_96 = "a94030b8c5e6811c60b93c8b6888d2f309dc112008bd14f0963e8c5473201c2c"
"""As stated in the audit report of github.com/Mr-lxd/fomo-visual-servo, which downloaded the file."""

PUBLISHED: dict[tuple[TransferLayerType, Channels], PublishedWeights] = {
    ("transfer_mobilenetv2_a35", "RGB"): PublishedWeights(_V2 + "0.35_96.h5", _SHA_V2_035_96),
    ("transfer_mobilenetv2_160_a35", "RGB"): PublishedWeights(_V2 + "0.35_160.h5"),
    ("transfer_mobilenetv2_160_a5", "RGB"): PublishedWeights(_V2 + "0.5_160.h5"),
    ("transfer_mobilenetv2_160_a75", "RGB"): PublishedWeights(_V2 + "0.75_160.h5"),
    ("transfer_mobilenetv2_160_a1", "RGB"): PublishedWeights(_V2 + "1.0_160.h5"),
    ("transfer_mobilenetv2_a1", "RGB"): PublishedWeights(
        _EI + "MobileNetV2.0_1.96x96.color.bsize_64.lr_0_05.epoch_498.val_loss_3.85.hdf5"
    ),
    ("transfer_mobilenetv2_a05", "RGB"): PublishedWeights(
        _EI + "MobileNetV2.0_05.96x96.color.bsize_64.lr_0_05.epoch_574.val_loss_4.22.hdf5"
    ),
    ("transfer_mobilenetv2_a35", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV2.0_35.96x96.grayscale.bsize_64.lr_0_005.epoch_260.val_loss_3.10.val_accuracy_0.35.hdf5"
    ),
    ("transfer_mobilenetv2_a1", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV2.0_1.96x96.grayscale.bsize_64.lr_0_05.epoch_441.val_loss_4.13.val_accuracy_0.2.hdf5"
    ),
    ("transfer_mobilenetv2_a05", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV2.0_05.96x96.grayscale.bsize_64.lr_0_05.epoch_334.val_loss_4.53.hdf5"
    ),
    ("transfer_mobilenetv2_160_a35", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV2.0_35.160x160.grayscale.bsize_64.lr_0_05.epoch_75.val_loss_2.53_val_accuracy_0.45.h5"
    ),
    ("transfer_mobilenetv2_160_a5", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV2.0_5.160x160.grayscale.bsize_64.lr_0_05.epoch_79.val_loss_2.23_val_accuracy_0.50.h5"
    ),
    ("transfer_mobilenetv2_160_a75", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV2.0_75.160x160.grayscale.bsize_64.lr_0_05.epoch_79.val_loss_1.97_val_accuracy_0.55.h5"
    ),
    ("transfer_mobilenetv2_160_a1", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV2.1_0.160x160.grayscale.bsize_64.lr_0_05.epoch_78.val_loss_1.83_val_accuracy_0.58.h5"
    ),
    ("transfer_mobilenetv1_a25_d100", "RGB"): PublishedWeights(_KERAS + "mobilenet_2_5_128_tf.h5"),
    ("transfer_mobilenetv1_a2_d100", "RGB"): PublishedWeights(
        _EI + "MobileNetV1.0_2.96x96.color.bsize_96.lr_0_05.epoch_170.val_loss_3.61.val_accuracy_0.27.hdf5"
    ),
    ("transfer_mobilenetv1_a1_d100", "RGB"): PublishedWeights(
        _EI + "MobileNetV1.0_1.96x96.color.bsize_96.lr_0_05.epoch_66.val_accuracy_0.14.hdf5"
    ),
    ("transfer_mobilenetv1_a25_d100", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV1.0_25.96x96.grayscale.bsize_96.lr_0_05.epoch_286.val_loss_3.54.val_accuracy_0.28.hdf5"
    ),
    ("transfer_mobilenetv1_a1_d100", "Grayscale"): PublishedWeights(
        _EI + "MobileNetV1.0_1.96x96.grayscale.bsize_96.lr_0_05.epoch_363.val_accuracy_0.14.hdf5"
    ),
}
"""Published file of each layer type and colour depth. A pair that is missing here was never seen published."""
