"""The operations that are served, one module per tag of the API."""
