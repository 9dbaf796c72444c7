"""Lay samples out by what the network sees in them, for the feature explorer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ei_automation.errors import NotFoundError
from ei_automation.inference.interpreter import Features, Worker, open_interpreter, run_workers

Points = NDArray[np.float32]

TSNE_MAX_SAMPLES = 2000
"""Above it t-SNE takes minutes; Studio's explorer stops at the same number."""
TSNE_MIN_SAMPLES = 30
"""Below it the neighbourhoods that t-SNE draws are too small to mean anything."""
TSNE_PERPLEXITY = 30.0
"""scikit-learn's default; must stay under the number of samples."""
TSNE_INPUT_DIMENSIONS = 50
"""PCA first, as the authors of t-SNE advise (van der Maaten and Hinton 2008, section 4.2: 30; here 50)."""


def embed(model: bytes, feature_chunks: Iterable[Features], *, threads: int = 1) -> NDArray[np.float32]:
    """The activations that enter the network's last fully connected layer.

    Args:
        model: Bytes of the float32 .tflite file.
        feature_chunks: float32, (n, H, W, C), 0..1 each.
        threads: Interpreters that run side by side; the result does not depend on it.

    Returns:
        float32, (N, D), D being the inputs of that layer.

    Raises:
        VerificationError: The model is corrupt, or takes other features.
        NotFoundError: The model has no fully connected layer.
    """
    open_interpreter(model)  # It checks the bytes, which the flatbuffer reader below does not.
    tensor = _last_dense_input(model)
    workers = [Worker(model, tensor_index=tensor) for _ in range(max(1, threads))]
    rows = [run_workers(workers, chunk) for chunk in feature_chunks]
    return np.concatenate(rows) if rows else np.zeros((0, workers[0].output_count), dtype=np.float32)


def _last_dense_input(model: bytes) -> int:
    """Index of the tensor that enters the last FULLY_CONNECTED of a checked model."""
    root = schema.Model.GetRootAs(model, 0)
    graph = root.Subgraphs(0)
    for position in reversed(range(graph.OperatorsLength())):
        operator = graph.Operators(position)
        code = root.OperatorCodes(operator.OpcodeIndex())
        # Old files hold the code in the deprecated byte, new ones in both (LiteRT schema, OperatorCode).
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == schema.BuiltinOperator.FULLY_CONNECTED:
            return int(operator.Inputs(0))
    raise NotFoundError("the model has no fully connected layer, so there is nothing to lay out")


def project(embedding: NDArray[np.float32], seed: int) -> tuple[Points, Points]:
    """Coordinates for a scatter in two and in three dimensions.

    Two dimensions are t-SNE for 30 to 2,000 samples and PCA otherwise; three are PCA. The same embedding and
    seed give the same coordinates: one thread computes them.

    Args:
        embedding: float32, (N, D).
        seed: For t-SNE and for the randomized solver of PCA.

    Returns:
        float32, (N, 2) and float32, (N, 3), each column within -1..1.
    """
    with threadpool_limits(limits=1):
        principal = _principal(embedding, TSNE_INPUT_DIMENSIONS, seed)
        flat = principal[:, :2]
        if TSNE_MIN_SAMPLES <= len(embedding) <= TSNE_MAX_SAMPLES and np.ptp(principal) > 0:
            flat = _neighbours(principal, seed)
    return _unit(_columns(flat, 2)), _unit(_columns(principal, 3))


def _principal(embedding: NDArray[np.float32], dimensions: int, seed: int) -> Points:
    """The first principal components, as many as there are."""
    count = min(dimensions, *embedding.shape)
    if count == 0 or len(embedding) < 2 or np.ptp(embedding, axis=0).max() == 0:
        return np.zeros((len(embedding), max(1, count)), dtype=np.float32)
    solver = "randomized" if count < min(embedding.shape) else "full"
    components: Points = PCA(count, svd_solver=solver, random_state=seed).fit_transform(embedding)
    return components.astype(np.float32)


def _neighbours(principal: Points, seed: int) -> Points:
    """t-SNE in two dimensions."""
    perplexity = min(TSNE_PERPLEXITY, (len(principal) - 1) / 3)
    layout: Points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(
        principal
    )
    return layout.astype(np.float32)


def _columns(points: Points, count: int) -> Points:
    """Exactly so many columns, zeros where there were fewer."""
    return np.pad(points[:, :count], ((0, 0), (0, max(0, count - points.shape[1]))))


def _unit(points: Points) -> Points:
    """Centred, the larger side scaled to -1..1, the shape kept."""
    if not len(points):
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    reach = float((high - low).max()) / 2
    centred: Points = (points - (low + high) / 2) / np.float32(reach or 1.0)
    return centred
