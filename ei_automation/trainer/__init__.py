"""TensorFlow only: architectures, features, fit, convert. One entry: `trainer.train.train`.

`request`, `train`, `weights`, `validation`, `order` and `architectures.registry` import without TensorFlow; the
others import it through `trainer.tensorflow_door`.
"""
