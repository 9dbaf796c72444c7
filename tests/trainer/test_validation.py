import numpy as np
import pytest
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from ei_automation.errors import DatasetError
from ei_automation.trainer.validation import group_validation_split, require_every_label, validation_split


@pytest.mark.parametrize(("count", "ratio", "seed"), [(10, 0.2, 3), (103, 0.2, 3), (57, 0.35, 11)])
def test_the_random_split_is_scikit_learns(count: int, ratio: float, seed: int) -> None:
    training, validation = validation_split(count, ratio, seed)
    expected = train_test_split(np.arange(count), test_size=ratio, random_state=seed, stratify=None)
    assert training.tolist() == expected[0].tolist()
    assert validation.tolist() == expected[1].tolist()


@pytest.mark.parametrize("seed", [3, 4])
def test_the_group_split_is_scikit_learns(seed: int) -> None:
    groups = [f"original {index % 13}" for index in range(60)]
    training, validation = group_validation_split(groups, 0.2, seed)
    splitter = GroupShuffleSplit(n_splits=1, test_size=0.2, random_state=seed)
    expected = next(splitter.split(np.zeros(60), groups=groups))
    assert training.tolist() == expected[0].tolist()
    assert validation.tolist() == expected[1].tolist()
    assert not {groups[place] for place in training} & {groups[place] for place in validation}


def test_too_few_samples_or_groups_are_refused() -> None:
    with pytest.raises(DatasetError, match="1 training sample"):
        validation_split(1, 0.2, 3)
    with pytest.raises(DatasetError, match=r"1 group\(s\)"):
        group_validation_split(["one"] * 9, 0.2, 3)


def test_a_label_without_a_training_sample_is_named() -> None:
    require_every_label(["a", "b"], ["a", "b"])
    with pytest.raises(DatasetError, match="left for b, c"):
        require_every_label(["a", "a"], ["a", "b", "c"])
