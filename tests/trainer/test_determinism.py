import random

import numpy as np

from ei_automation.trainer.determinism import cores, prepare


def test_preparing_twice_in_a_process_is_fine_and_says_what_is_in_effect() -> None:
    from ei_automation.trainer.tensorflow_door import tf

    in_effect = prepare(3, None)
    drawn = (random.random(), float(np.random.random()), float(tf.random.uniform(())))
    assert in_effect in (cores(), tf.config.threading.get_intra_op_parallelism_threads())
    assert prepare(3, cores() + 5) == in_effect, "TensorFlow has started: its threads stay, and the record says so"
    assert (random.random(), float(np.random.random()), float(tf.random.uniform(()))) == drawn
