"""Names of files, folders and labels: one spelling, the nearest known one, and short lists for sentences."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable

NAMED = 5
"""Names that a sentence lists before it only counts."""


def one_spelling(text: str) -> str:
    """The text in Unicode's composed form (NFC): macOS and its zips write accents decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def nearest(name: str, known: Collection[str]) -> str:
    """A hint with the known name that is most like `name`, or with all of them when none is."""
    close = difflib.get_close_matches(name.casefold(), [other.casefold() for other in known], n=1, cutoff=0.5)
    match = next((other for other in sorted(known) if close and other.casefold() == close[0]), None)
    return f"did you mean '{match}'?" if match else f"there are: {listed(sorted(known))}"


def listed(names: Iterable[str]) -> str:
    """The first names, quoted, and how many more there are."""
    rows = list(names)
    text = ", ".join(f"'{name}'" for name in rows[:NAMED])
    more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
    return text + more if rows else "none"
