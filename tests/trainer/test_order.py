import numpy as np

from ei_automation.trainer.order import class_weights, shuffled_order


def test_an_order_is_a_permutation_from_a_buffer_of_four_batches() -> None:
    order = shuffled_order(1000, 8, (3, 0))
    assert sorted(order.tolist()) == list(range(1000))
    places = np.arange(1000)
    assert (order - places).max() < 32, "a sample cannot come before the buffer has reached it"
    assert (order != places).mean() > 0.9
    assert (places - order).max() > 32, "a sample may stay in the buffer for long"


def test_an_order_depends_on_seed_and_cycle_only() -> None:
    assert shuffled_order(100, 8, (3, 1)).tolist() == shuffled_order(100, 8, (3, 1)).tolist()
    assert shuffled_order(100, 8, (3, 1)).tolist() != shuffled_order(100, 8, (3, 2)).tolist()
    assert shuffled_order(100, 8, (4, 1)).tolist() != shuffled_order(100, 8, (3, 1)).tolist()


def test_fewer_samples_than_the_buffer_holds() -> None:
    assert sorted(shuffled_order(5, 32, (3, 0)).tolist()) == [0, 1, 2, 3, 4]


def test_class_weights_are_studios() -> None:
    weights = class_weights(np.array([0, 0, 0, 2]), 4)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [4 / 3 / 2, 0, 4 / 1 / 2, 0], rtol=1e-6)
