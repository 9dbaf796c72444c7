"""The networks: which Studio layer type is which architecture (`registry`), and how each is built."""
