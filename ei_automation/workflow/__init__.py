"""VERBS: one module, one function, one command, one test file. They take a `Session` and never print."""
