"""NOUNS: what the tool talks about. Standard library dataclasses; pydantic where a file is read.

Nothing here does work; nothing here imports another room.
"""
