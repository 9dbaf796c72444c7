"""Which samples of the training category validate. Imports neither TensorFlow nor scikit-learn.

The draws are those of scikit-learn, which Studio uses (`train_test_split(ids, test_size=ratio,
random_state=3, stratify=None)`), written out because importing it takes longer than a run that has nothing to
do; the tests hold both against scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ei_automation.errors import DatasetError

Positions = NDArray[np.int64]


def validation_split(sample_count: int, ratio: float, seed: int) -> tuple[Positions, Positions]:
    """Studio's random split.

    Args:
        sample_count: Samples of the training category, in Studio's order.
        ratio: Share that validates, 0..1.
        seed: Studio's is 3.

    Returns:
        Positions that train and positions that validate, each in the order in which they are drawn.

    Raises:
        DatasetError: One side would be empty.
    """
    permutation = np.random.RandomState(seed).permutation(sample_count).astype(np.int64)
    held = math.ceil(ratio * sample_count)
    if held >= sample_count or held == 0:
        raise DatasetError(
            f"{sample_count} training sample(s) cannot give a {ratio:.0%} validation share and leave some",
            hint="add samples, or lower training.validation_ratio",
        )
    return permutation[held:], permutation[:held]


def group_validation_split(groups: Sequence[str], ratio: float, seed: int) -> tuple[Positions, Positions]:
    """Like `GroupShuffleSplit`: whole groups validate, so that no original is on both sides.

    Args:
        groups: Group of each sample.
        ratio: Share of the groups that validates, 0..1.
        seed: Of the draw.

    Returns:
        Positions that train and positions that validate, ascending.

    Raises:
        DatasetError: There are too few groups for two sides.
    """
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2 or math.ceil(ratio * len(names)) >= len(names):
        raise DatasetError(
            f"{len(names)} group(s) of training samples cannot give a {ratio:.0%} validation share",
            hint="set training.validation_split to random, or lower training.validation_ratio",
        )
    _, held = validation_split(len(names), ratio, seed)
    validates = np.isin(members, held)
    return np.flatnonzero(~validates), np.flatnonzero(validates)


def require_every_label(training_labels: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse a split that leaves a label without a sample to train on.

    Args:
        training_labels: Label of each sample that trains.
        labels: All labels of the project.

    Raises:
        DatasetError: Names the labels.
    """
    missing = sorted(set(labels) - set(training_labels))
    if missing:
        raise DatasetError(
            f"no training sample is left for {', '.join(missing)} after the validation samples were taken out",
            hint="add samples of that label, or lower training.validation_ratio",
        )
