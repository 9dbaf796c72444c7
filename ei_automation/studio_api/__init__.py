"""Studio's JSON and our nouns, in both directions: pure functions that the client and the local Studio share."""
