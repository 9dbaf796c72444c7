"""How fast to send: connections and files a POST that follow what the server does. No sending, no sleeping.

Connections grow while answers come as fast as with few of them, and stop growing where requests only wait for one
another at the server (the estimate of TCP Vegas). They halve when the server refuses or breaks. Many troubles in a
row open a circuit breaker: one request at a time, each after a longer pause.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ei_automation.studio_api.samples import BATCH_FILES

WAITING_FEW, WAITING_MANY = 3.0, 6.0
"""Requests that wait at the server: below the first, connections grow; above the second, they shrink."""
FORGETTING = 1.002
"""How the fastest answer grows with every other one: what a quiet server once did does not count for ever."""
BREAKER_TROUBLES = 6
"""Troubles in a row after which only one request at a time is sent."""
GROW_AFTER = 4
"""Answers that count in a row, after which batches that were made smaller grow again."""
HALVING_EVERY_S = 0.5
"""Answers of requests that were under way together tell of the same trouble: halve once."""


@dataclass(frozen=True)
class Limits:
    """Between what a `Pace` moves. The defaults are for Edge Impulse's own service.

    Attributes:
        connections: Most requests under way.
        first_connections: As many at first.
        files: Most files a POST.
        body_bytes: Bytes of files a POST, unless one file alone has more; connections times this bounds memory.
        tries: Failures of a batch before it is split; of a file alone twice as many before it counts as failed.
        backoff_s: First pause after a failure; doubles, with jitter.
        most_backoff_s: Longest pause of our own.
        most_told_s: Longest pause that a server is granted by Retry-After.
        patience_s: Without any file getting a verdict, after which the upload is given up.
        first_contact_s: The same while the service has never been reached.
        connect_s: For a connection to come about.
        answer_s: For an answer, before it is known how long they take.
        least_answer_s: For an answer, however fast the others came.
    """

    connections: int = 32
    first_connections: int = 6
    files: int = BATCH_FILES
    body_bytes: int = 2 << 20
    tries: int = 4
    backoff_s: float = 0.25
    most_backoff_s: float = 10.0
    most_told_s: float = 300.0
    patience_s: float = 120.0
    first_contact_s: float = 15.0
    connect_s: float = 10.0
    answer_s: float = 60.0
    least_answer_s: float = 10.0


class Pace:
    """What may be sent now. Used by one thread: the one that hands out the work.

    Args:
        limits: Between what it moves.
        clock: Seconds, from anywhere.
        chance: 0..1, for jitter.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.limits = limits or Limits()
        self._clock, self._chance = clock, chance
        self.files = self.limits.files
        self.successes = 0
        self._connections = float(min(self.limits.first_connections, self.limits.connections))
        self._fastest: dict[int, float] = {}
        self._usual_s: float | None = None
        self._good_since = 0
        self._troubles = 0
        self._halved = -HALVING_EVERY_S
        self._paused_until = self._clock()
        self._deadline = self._clock() + self.limits.patience_s
        self._granted_s, self._in_trouble = 0.0, False
        self._reached, self._unreached_since = False, math.inf

    @property
    def connections(self) -> int:
        """Requests that may be under way."""
        return 1 if self.broken else max(1, int(self._connections))

    @property
    def broken(self) -> bool:
        """Whether the circuit breaker is open: nothing but trouble lately."""
        return self._troubles >= BREAKER_TROUBLES

    @property
    def answer_s(self) -> float:
        """How long to wait for an answer."""
        if self._usual_s is None:
            return self.limits.answer_s
        return min(self.limits.answer_s, max(self.limits.least_answer_s, 20 * self._usual_s))

    @property
    def stalled(self) -> bool:
        """Whether there was only trouble for so long that it is time to give up. A slow line is no trouble."""
        now = self._clock()
        return self._in_trouble and (now > self._deadline or now > self._unreached_until)

    @property
    def never_reached(self) -> bool:
        """Whether nothing but connections that did not come about is known of the service."""
        return not self._reached and self._unreached_since < math.inf

    @property
    def _unreached_until(self) -> float:
        return self._unreached_since + self.limits.first_contact_s if self.never_reached else math.inf

    def now(self) -> float:
        """The clock."""
        return self._clock()

    def pause_s(self) -> float:
        """Seconds until anything may be sent."""
        return max(0.0, self._paused_until - self._clock())

    def progressed(self) -> None:
        """A file has its verdict."""
        self._deadline = self._clock() + self.limits.patience_s
        self._granted_s, self._in_trouble = 0.0, False

    def answered(self, files: int, seconds: float) -> None:
        """A POST got an answer that counts.

        Args:
            files: That it carried.
            seconds: From its first byte to its answer.
        """
        seconds = max(seconds, 1e-6)
        self.successes += 1
        self._reached = True
        self._troubles = 0
        self._usual_s = seconds if self._usual_s is None else 0.8 * self._usual_s + 0.2 * seconds
        fastest = min(self._fastest.get(files, seconds) * FORGETTING, seconds)
        self._fastest[files] = fastest
        waiting = self._connections * (1 - fastest / seconds)
        if waiting < WAITING_FEW:
            self._connections = min(self._connections + 1, self.limits.connections)
        elif waiting > WAITING_MANY:
            self._connections = max(self._connections - 1, 2)
        self._good_since += 1
        if self.files < self.limits.files and self._good_since >= GROW_AFTER:
            self.files, self._good_since = min(self.files * 2, self.limits.files), 0

    def throttled(self, told_s: float | None) -> None:
        """The server asks for fewer requests: everything waits, and fewer go out together.

        Args:
            told_s: Its Retry-After; None where it names no time.
        """
        self._halve()
        self._in_trouble = self._reached = True
        if told_s is None:
            self._troubles += 1
        if told_s is None:
            wait_s = self.backoff_s(self._troubles)
        else:
            wait_s = min(max(told_s, self.limits.backoff_s), self.limits.most_told_s)
        self._pause(wait_s)
        if told_s is not None and self._granted_s < 3 * self.limits.most_told_s:
            self._granted_s += wait_s
            self._deadline = max(self._deadline, self._paused_until + self.limits.patience_s / 4)

    def troubled(self, *, smaller: bool, reached: bool = True) -> None:
        """A POST failed in a way that may pass.

        Args:
            smaller: Whether a smaller POST had got through more likely: it took too long, or broke off.
            reached: Whether there was a connection at all.
        """
        self._reached = self._reached or reached
        self._unreached_since = min(self._unreached_since, self._clock())
        self._halve(smaller=smaller)
        self._in_trouble = True
        self._troubles += 1
        if self.broken:
            self._pause(self.backoff_s(self._troubles - BREAKER_TROUBLES + 1))

    def too_large(self, files: int) -> None:
        """A POST of so many files is more than the service takes."""
        self.files, self._good_since = max(1, min(self.files, files // 2)), 0

    def backoff_s(self, failures: int) -> float:
        """A pause with jitter after so many failures in a row."""
        whole = min(self.limits.backoff_s * 2.0 ** min(failures, 16), self.limits.most_backoff_s)
        return whole * (0.5 + 0.5 * self._chance())

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _halve(self, *, smaller: bool = False) -> None:
        now = self._clock()
        if now - self._halved < HALVING_EVERY_S:
            return
        self._halved, self._good_since = now, 0
        self._connections = max(1.0, self._connections / 2)
        if smaller:
            self.files = max(1, self.files // 2)
