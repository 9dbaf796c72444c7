"""A network in two parts: the base that may be frozen and cached, and the head that always trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ei_automation.errors import UsageError
from ei_automation.trainer.architectures.registry import MINIMUM_PX
from ei_automation.trainer.tensorflow_door import Tensor, keras, tf

Forward = Callable[[Tensor, bool], Tensor]
"""Takes a batch and whether it trains; gives class scores, float32, (n, classes)."""


@dataclass(frozen=True)
class Base:
    """The part that comes with weights.

    Attributes:
        model: keras.Model whose output the head takes.
        cut: Name of the layer whose output is cached while the base is frozen.
        make_tail: Makes, from today's weights, the frozen function from the cut to the model's output.
    """

    model: Any
    cut: str
    make_tail: Callable[[Any], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Network:
    """A whole network.

    Attributes:
        head: keras.Model that ends in the softmax `y_pred`; the whole network where there is no base.
        base: What the head stands on; None for a visual classifier.
    """

    head: Any
    base: Base | None = None

    @property
    def models(self) -> tuple[Any, ...]:
        """The parts that hold weights."""
        return (self.head,) if self.base is None else (self.base.model, self.head)

    def on_images(self, *, base_trains: bool) -> Forward:
        """The whole network on images.

        Args:
            base_trains: Whether the base's batch normalization works on batch statistics while training;
                otherwise it stays in inference mode.
        """

        def forward(images: Tensor, training: bool) -> Tensor:
            features = images if self.base is None else self.base.model(images, training=training and base_trains)
            return self.head(features, training=training)

        return forward


def image_input(shape: tuple[int, int, int]) -> Any:
    """The input layer of a base, with a fixed name: equal networks must convert to equal bytes.

    Args:
        shape: (height, width, channels).

    Raises:
        UsageError: A side is shorter than keras.applications accepts.
    """
    if min(shape[:2]) < MINIMUM_PX:
        raise UsageError(
            f"MobileNet takes images of at least {MINIMUM_PX}x{MINIMUM_PX} pixels, the impulse gives"
            f" {shape[1]}x{shape[0]}",
            hint="raise image_width and image_height, or use a keras learn block with conv2d layers",
        )
    return keras.Input(shape, name="x_input")


def folded_convolution(kernel: Any, normalization: Any) -> Callable[[Tensor], Tensor]:
    """1x1 convolution, batch normalization in inference mode and ReLU6 as one matrix product.

    Folding saves a pass over the widest map of the network; the result differs in the last bits.

    Args:
        kernel: keras Conv2D layer, 1x1, no bias.
        normalization: keras BatchNormalization layer behind it.
    """
    gamma, beta, mean, variance = (value.numpy().astype("float64") for value in normalization.weights)
    scale = gamma / (variance + normalization.epsilon) ** 0.5
    matrix = kernel.kernel.numpy().astype("float64")[0, 0] * scale
    weights = tf.constant(matrix.astype("float32"))
    bias = tf.constant((beta - mean * scale).astype("float32"))

    def tail(features: Tensor) -> Tensor:
        height, width, depth = features.shape[1:]
        product = tf.matmul(tf.reshape(features, (-1, depth)), weights)
        return tf.reshape(tf.nn.relu6(tf.nn.bias_add(product, bias)), (-1, height, width, weights.shape[1]))

    return tail
