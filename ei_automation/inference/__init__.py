"""Runs and judges .tflite models with LiteRT: all that a small Linux board needs.

`interpreter` classifies, `evaluate` and `metrics` count, `embedding` lays samples out for the feature
explorer. No TensorFlow here.
"""
