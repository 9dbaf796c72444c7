"""New samples on their way: workers send batches, one thread hands them out, judges answers and tries again."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ei_automation.backends.studio.client import PassingError, UnreachableError
from ei_automation.backends.studio.ingestion import (
    TOO_LARGE,
    AnsweredError,
    Refused,
    Verdict,
    WholeRefusedError,
)
from ei_automation.backends.studio.pace import Pace
from ei_automation.errors import NetworkError
from ei_automation.schema.sample import Sample

LOOK_EVERY_S = 0.5
"""Longest wait for an answer before deadlines are looked at."""

LONGEST_BACKOFF = 4
"""Doublings of a batch's own pause; where the service is down, the pace makes longer ones for all."""

Sender = Callable[[Sequence[Sample], float], dict[str, Verdict]]
"""Sends files with a deadline for the answer in seconds: `ingestion.send` with its first arguments filled in."""


@dataclass(frozen=True)
class Batch:
    """Samples that go together in a POST.

    Attributes:
        samples: Of one label, category and group.
        tries: Failures so far.
        not_before: By the pace's clock.
        successes_before: The pace's successes when it first failed: whether the service works for others since.
    """

    samples: tuple[Sample, ...]
    tries: int = 0
    not_before: float = 0.0
    successes_before: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a batch.

    Attributes:
        batch: Which.
        seconds: That it took.
        verdicts: Content hash to verdict.
        error: What was raised instead.
    """

    batch: Batch
    seconds: float
    verdicts: dict[str, Verdict]
    error: BaseException | None = None


class Waiting:
    """Samples that are not under way: new ones in groups, and batches to be tried again."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        groups: dict[tuple[str, str, str, bool], deque[Sample]] = defaultdict(deque)
        for sample in samples:
            key = (sample.category.value, sample.label, sample.group, bool(sample.bounding_boxes))
            groups[key].append(sample)
        self._groups = deque(groups.values())
        self._again: list[Batch] = []

    def __bool__(self) -> bool:
        return bool(self._groups or self._again)

    def put_again(self, batch: Batch) -> None:
        """Keep a batch until its time."""
        self._again.append(batch)

    def next_s(self, now: float) -> float | None:
        """Seconds until something can be taken; None where nothing waits."""
        if self._groups:
            return 0.0
        times = [batch.not_before for batch in self._again]
        return max(0.0, min(times) - now) if times else None

    def take(self, now: float, files: int, body_bytes: int) -> Batch | None:
        """The next batch whose time has come: first those to be tried again.

        Args:
            now: By the pace's clock.
            files: Most files of a new batch.
            body_bytes: Most bytes of a new batch, unless its first file has more.
        """
        due = min((batch for batch in self._again if batch.not_before <= now), key=_time_of, default=None)
        if due is not None:
            self._again.remove(due)
            return due
        if not self._groups:
            return None
        taken: list[Sample] = []
        group, total = self._groups[0], 0
        while group and len(taken) < files:
            total += _size(group[0])
            if taken and total > body_bytes:
                break
            taken.append(group.popleft())
        if not group:
            self._groups.popleft()
        return Batch(tuple(taken))


def _time_of(batch: Batch) -> float:
    return batch.not_before


def _size(sample: Sample) -> int:
    """Bytes of a file; one that cannot be looked at is told of when it is sent."""
    try:
        return sample.path.stat().st_size
    except OSError:
        return 0


class Workers:
    """Threads that send batches. They end with the process: an answer that is waited for holds nobody up.

    Args:
        sender: What they do.
        clock: Seconds.
    """

    def __init__(self, sender: Sender, clock: Callable[[], float]) -> None:
        self._sender, self._clock = sender, clock
        self._todo: queue.SimpleQueue[tuple[Batch, float] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._threads = 0
        self.under_way = 0

    def submit(self, batch: Batch, answer_s: float) -> None:
        """Have a batch sent."""
        self.under_way += 1
        if self.under_way > self._threads:
            threading.Thread(target=self._work, name=f"upload-{self._threads}", daemon=True).start()
            self._threads += 1
        self._todo.put((batch, answer_s))

    def outcome(self, timeout_s: float) -> Outcome | None:
        """The next answer, or None when none came in time."""
        try:
            outcome = self._done.get(timeout=timeout_s)
        except queue.Empty:
            return None
        self.under_way -= 1
        return outcome

    def close(self) -> None:
        """Let the threads end when they have done what they do now."""
        for _ in range(self._threads):
            self._todo.put(None)

    def _work(self) -> None:
        while (task := self._todo.get()) is not None:
            batch, answer_s = task
            start = self._clock()
            try:
                verdicts = self._sender(batch.samples, answer_s)
                outcome = Outcome(batch, self._clock() - start, verdicts)
            except BaseException as error:  # noqa: BLE001 - the thread that waits for it raises it
                outcome = Outcome(batch, self._clock() - start, {}, error)
            self._done.put(outcome)


class Transfer:
    """Sends samples until each has a verdict.

    Args:
        samples: New ones.
        sender: Sends a batch.
        pace: How fast.
        on_verdict: Called for each sample, in the caller's thread.
    """

    def __init__(
        self, samples: Sequence[Sample], sender: Sender, pace: Pace, on_verdict: Callable[[Sample, Verdict], None]
    ) -> None:
        self._waiting = Waiting(samples)
        self._workers = Workers(sender, pace.now)
        self._pace, self._on_verdict = pace, on_verdict
        self._last_trouble: PassingError | None = None

    def run(self) -> None:
        """Send all.

        Raises:
            SettingsError: The key is refused: nothing more is sent.
            NetworkError: Nothing has come on for as long as the pace has patience.
        """
        try:
            while self._waiting or self._workers.under_way:
                self._hand_out()
                outcome = self._workers.outcome(self._wait_s())
                if outcome is not None:
                    self._judge(outcome)
                self._give_up_when_stalled()
        finally:
            self._workers.close()

    def _hand_out(self) -> None:
        pace, limits = self._pace, self._pace.limits
        while self._workers.under_way < pace.connections and not pace.pause_s():
            batch = self._waiting.take(pace.now(), pace.files, limits.body_bytes)
            if batch is None:
                return
            self._workers.submit(batch, pace.answer_s)

    def _wait_s(self) -> float:
        """How long the next answer may take before there is something else to do."""
        next_s = self._waiting.next_s(self._pace.now())
        if next_s is None or self._workers.under_way >= self._pace.connections:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(next_s, self._pace.pause_s(), 0.001))

    def _judge(self, outcome: Outcome) -> None:
        error, batch = outcome.error, outcome.batch
        if error is None:
            self._settle(outcome)
        elif isinstance(error, PassingError):
            self._last_trouble = error
            self._again(batch, error)
        elif isinstance(error, WholeRefusedError):
            self._pace.answered(len(batch.samples), outcome.seconds)
            if error.status == TOO_LARGE:
                self._pace.too_large(len(batch.samples))
            self._split(batch, Refused(f"the ingestion service refuses it: {error.words}"))
        else:
            raise error

    def _settle(self, outcome: Outcome) -> None:
        """Tell the verdicts; what the answer left out, or refused among others, is tried once more alone."""
        batch = outcome.batch
        self._pace.answered(len(batch.samples), outcome.seconds)
        for sample in batch.samples:
            verdict = outcome.verdicts.get(sample.sha256, Refused("the answer says nothing of this file"))
            if isinstance(verdict, Refused) and not verdict.final and len(batch.samples) > 1:
                self._waiting.put_again(Batch((sample,)))
            else:
                self._tell(sample, verdict)

    def _tell(self, sample: Sample, verdict: Verdict) -> None:
        self._pace.progressed()
        self._on_verdict(sample, verdict)

    def _again(self, batch: Batch, error: PassingError) -> None:
        """Try a batch again later, in halves when it has failed often, or give its one file up."""
        answered = isinstance(error, AnsweredError)
        if isinstance(error, AnsweredError) and error.throttles:
            self._pace.throttled(error.retry_after_s)
            self._waiting.put_again(replace(batch, not_before=self._pace.now() + self._pace.pause_s()))
            return
        self._pace.troubled(smaller=not answered, reached=not isinstance(error, UnreachableError))
        before = self._pace.successes if batch.successes_before is None else batch.successes_before
        tries = batch.tries + 1
        if self._enough(len(batch.samples), tries, answered=answered, others_work=self._pace.successes > before):
            self._split(batch, Refused(f"{tries} tries failed; the last: {error.message}"), before)
            return
        later = self._pace.now() + self._pace.backoff_s(min(tries, LONGEST_BACKOFF))
        self._waiting.put_again(Batch(batch.samples, tries, later, before))

    def _enough(self, files: int, tries: int, *, answered: bool, others_work: bool) -> bool:
        """Whether a batch has failed so often that its files are to blame, and not a service that is down."""
        limit = self._pace.limits.tries
        if files > 1:
            return (tries >= limit and (answered or others_work)) or tries > limit + 1
        return tries >= 2 * limit and (others_work or (answered and self._pace.successes > 0))

    def _split(self, batch: Batch, verdict: Refused, successes_before: int | None = None) -> None:
        """Two halves, to find the file that it is about; a single file gets the verdict."""
        if len(batch.samples) == 1:
            self._tell(batch.samples[0], verdict)
            return
        middle = len(batch.samples) // 2
        tries = max(0, self._pace.limits.tries - 2) if batch.tries else 0
        for half in (batch.samples[:middle], batch.samples[middle:]):
            self._waiting.put_again(Batch(half, tries, 0.0, successes_before))

    def _give_up_when_stalled(self) -> None:
        pace, trouble = self._pace, self._last_trouble
        if not pace.stalled or (pace.pause_s() and not pace.never_reached):
            return
        if pace.never_reached and trouble is not None:
            raise NetworkError(trouble.message, hint=trouble.hint)
        last = f"; the last: {trouble.message}" if trouble else ""
        raise NetworkError(
            f"no sample could be stored for {pace.limits.patience_s:.0f} s{last}",
            hint="run the same command again when the server answers; it continues",
        )
