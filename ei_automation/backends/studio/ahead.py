"""Looking at what is stored while more is being sent, so that little is left to look at in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ei_automation.backends.studio.samples import Listing
from ei_automation.errors import EiautoError

EVERY = 250
"""New samples between two looks."""


class Ahead:
    """Lists new samples window by window beside the upload.

    A window may be looked at before each sample in it can be seen, and a look may fail. What is then not found
    counts as missing, and the next round of the upload finds or sends it.

    Args:
        look: Lists the samples from one number to below another one; None for all that follow.
        after: The highest number before the upload.
    """

    def __init__(self, look: Callable[[int, int | None], Listing], after: int) -> None:
        self._look, self._from = look, after + 1
        self._highest, self._count = after, 0
        self._found: list[Listing] = []
        self._thread: threading.Thread | None = None

    def stored(self, sample_id: int) -> None:
        """A sample was stored under this number."""
        self._highest = max(self._highest, sample_id)
        self._count += 1
        if self._count >= EVERY and (self._thread is None or not self._thread.is_alive()):
            self._count = 0
            self._thread = threading.Thread(target=self._look_until, args=(self._highest + 1,), daemon=True)
            self._thread.start()

    def finish(self) -> Listing:
        """Everything new, with what has not been looked at yet.

        Raises:
            EiautoError: As `list_all`.
        """
        if self._thread is not None:
            self._thread.join()
        found = [*self._found, self._look(self._from, None)]
        return Listing(
            [sample for listing in found for sample in listing.samples],
            [sample for listing in found for sample in listing.unknown],
            max(listing.last_id for listing in found),
        )

    def _look_until(self, below: int) -> None:
        try:
            found = self._look(self._from, below)
        except EiautoError:  # the last look begins where the last good one ended, and raises what is still so
            return
        self._found.append(found)
        self._from = below
