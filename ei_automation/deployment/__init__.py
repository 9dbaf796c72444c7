"""Builds artifacts of a trained model, and recognises those that Studio built.

`targets` says what can be built and builds it, one module a target (`openmv`, `bundle`); `recognise` reads a
downloaded or built artifact and names what is wrong with it.
"""
