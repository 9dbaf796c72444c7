"""The command line: parse, call one workflow function, show. Results to stdout, talk to stderr."""
