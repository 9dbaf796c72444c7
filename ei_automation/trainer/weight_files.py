"""Reads Keras HDF5 weight files of every layout into a base, or says which layer does not fit.

Layouts: weights only with or without top (`layer_names` at the root), a whole model (`model_weights` group),
nested models (one group whose weight names carry the layers' names), and files whose layer names differ from
keras.applications' (then layers are matched by order). keras.applications itself only reads its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ei_automation.errors import UsageError
from ei_automation.files import sha256_bytes
from ei_automation.trainer.request import Floats

Arrays = dict[str, Floats]
"""Variable name (kernel, bias, gamma, beta, moving_mean, moving_variance) to values."""

_ALIASES = {"depthwise_kernel": "kernel"}
"""Keras 2 names of what Keras 3 calls otherwise."""


def load_weights(base: Any, path: Path) -> None:
    """Put a file's weights into a base; layers behind the base's last one (a top) are ignored.

    Args:
        base: keras.Model without top.
        path: Keras HDF5 file.

    Raises:
        UsageError: The file is no Keras weight file, or a layer does not fit; the base is unchanged.
    """
    ours = _layers_of_model(base)
    theirs = _layers_of_file(path)
    pairs = _match(ours, theirs, path)
    values = [_checked(name, ours[name], found, path) for name, found in pairs]
    for (name, _), arrays in zip(pairs, values, strict=True):
        for variable_name, variable in ours[name].items():
            variable.assign(arrays[variable_name])


def arrays_sha256(model: Any) -> str:
    """SHA-256 over a model's weights, names and shapes included: what cached features depend on."""
    parts = [
        f"{variable.path}{tuple(variable.shape)}".encode() + np.asarray(variable.numpy(), np.float32).tobytes()
        for variable in model.weights
    ]
    return sha256_bytes(b"".join(parts))


def _layers_of_model(base: Any) -> dict[str, dict[str, Any]]:
    """Layer name to variable name to Keras variable, in the model's order."""
    return {
        layer.name: {variable.name: variable for variable in layer.weights}
        for layer in base.layers
        if layer.weights
    }


def _layers_of_file(path: Path) -> dict[str, Arrays]:
    """Layer name to arrays, in the file's order, whatever the nesting."""
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise UsageError(
                    f"{path.name} is an HDF5 file but holds no Keras weights (no layer_names)",
                    hint="save it with Keras as .h5 (`model.save('name.h5')`); .keras and .weights.h5 differ",
                )
            layers: dict[str, Arrays] = {}
            for group_name in map(_text, root.attrs["layer_names"]):
                _read_group(root[group_name], group_name, layers)
            return layers
    except (OSError, KeyError) as error:
        raise UsageError(
            f"{path.name} cannot be read as a Keras HDF5 file: {error}",
            hint="download or save it again; a web page saved under this name gives this error too",
        ) from error


def _read_group(group: Any, group_name: str, layers: dict[str, Arrays]) -> None:
    """Sort one group's arrays by the layer that their own names carry."""
    for weight_name in map(_text, group.attrs["weight_names"]):
        *parents, variable = weight_name.split(":")[0].split("/")
        layer = parents[-1] if parents else group_name
        layers.setdefault(layer, {})[_ALIASES.get(variable, variable)] = np.asarray(group[weight_name], np.float32)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _match(ours: dict[str, dict[str, Any]], theirs: dict[str, Arrays], path: Path) -> list[tuple[str, Arrays]]:
    """Pair layers by name where the file has all our names, else by order."""
    if set(ours) <= set(theirs):
        return [(name, theirs[name]) for name in ours]
    folded = _fold_biases(list(theirs.items()), ours)
    if len(folded) < len(ours):
        raise UsageError(
            f"{path.name} has {len(folded)} layers with weights, this base has {len(ours)}; the first of ours that"
            f" it lacks is {next(name for name in ours if name not in theirs)}",
            hint="the file belongs to another architecture; choose the matching visual layer type",
        )
    return [(name, arrays) for name, (_, arrays) in zip(ours, folded, strict=False)]


def _fold_biases(theirs: list[tuple[str, Arrays]], ours: dict[str, dict[str, Any]]) -> list[tuple[str, Arrays]]:
    """Move a convolution's bias into the batch normalization behind it where our convolution has none.

    BN(x + b) with moving mean m equals BN(x) with moving mean m - b.
    """
    expected = list(ours.values())
    folded: list[tuple[str, Arrays]] = []
    bias: Floats | None = None
    for name, arrays in theirs:
        kept = dict(arrays)
        if bias is not None and "moving_mean" in kept and kept["moving_mean"].shape == bias.shape:
            kept["moving_mean"] = kept["moving_mean"] - bias
        place = len(folded)
        wants_bias = place >= len(expected) or "bias" in expected[place]
        bias = None if wants_bias else kept.pop("bias", None)
        folded.append((name, kept))
    return folded


def _checked(name: str, variables: dict[str, Any], found: Arrays, path: Path) -> Arrays:
    """The layer's arrays, if each is there with our shape."""
    for variable_name, variable in variables.items():
        expected = tuple(variable.shape)
        array = found.get(variable_name)
        shape = None if array is None else array.shape
        if shape == expected:
            continue
        raise UsageError(
            f"{path.name} does not fit: layer {name} expects {variable_name} {expected},"
            f" the file has {'none' if shape is None else shape}",
            hint=_hint(expected, shape),
        )
    return found


def _hint(expected: tuple[int, ...], shape: tuple[int, ...] | None) -> str:
    """Colour depth is the mistake that is easy to make; say so."""
    colours = {1: "Grayscale", 3: "RGB"}
    differs_in_depth = (
        shape is not None
        and len(shape) == len(expected) == 4
        and (shape[2], expected[2]) in ((1, 3), (3, 1))
        and shape[3] == expected[3]
    )
    if differs_in_depth and shape is not None:
        return (
            f"the file was made for {colours[shape[2]]}, the impulse feeds {colours[expected[2]]}: change"
            " channels in the DSP block or give the other file"
        )
    return "the file belongs to another architecture or width; choose the matching visual layer type"
