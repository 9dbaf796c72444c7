"""One module a command; each parses, calls its workflow function and shows what it gave."""
