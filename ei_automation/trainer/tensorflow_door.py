"""The one place where TensorFlow and Keras are imported: quietly, because their talk is not ours."""

from __future__ import annotations

import logging
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

logging.getLogger("tensorflow").setLevel(logging.ERROR)
logging.getLogger("absl").setLevel(logging.ERROR)

Tensor = Any
"""A tf.Tensor; the library carries no types."""

__all__ = ["Tensor", "convert_variables_to_constants_v2", "keras", "tf"]
