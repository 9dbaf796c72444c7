"""Seeds, deterministic kernels and threads: what the same request needs to give the same bytes."""

from __future__ import annotations

import os

from ei_automation.trainer.tensorflow_door import keras, tf


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(seed: int, threads: int | None) -> int:
    """Seed Python, NumPy and TensorFlow as Studio does; deterministic kernels on; threads set.

    TensorFlow takes its number of threads once in a process. A later call with another number leaves it as it
    is and returns what is in effect, which is what a record must say.

    Args:
        seed: Studio's is 3.
        threads: Wished; None for the machine's cores.

    Returns:
        TensorFlow's threads inside one operation that are in effect.
    """
    wished = threads or cores()
    taken = _set_threads(wished)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    return wished if taken else int(tf.config.threading.get_intra_op_parallelism_threads()) or cores()


def _set_threads(count: int) -> bool:
    """Whether TensorFlow took the number: it refuses a new one once it has started."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(count)
    except RuntimeError:
        return False
    return True
