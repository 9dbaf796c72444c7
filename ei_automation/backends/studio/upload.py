"""Bring live samples in line with the wanted ones: each content once, whatever the network and the server do.

Nothing is remembered between runs. The live project is listed; what is missing is sent, what differs is corrected;
then the live project is listed again, and what it does not show is done again. So a run that was killed, a POST
whose answer was lost and a server that came back from a crash all end in the same state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from ei_automation.backends.studio.ahead import Ahead
from ei_automation.backends.studio.client import StudioClient
from ei_automation.backends.studio.corrections import Correction, adopt, correct
from ei_automation.backends.studio.ingestion import Duplicate, Refused, Verdict, open_session, send
from ei_automation.backends.studio.pace import Pace
from ei_automation.backends.studio.samples import Listing, delete, list_all
from ei_automation.backends.studio.transfer import Transfer
from ei_automation.schema.sample import Sample, StoredSample, UploadReport

ROUNDS = 4
"""Of listing and mending. The second only looks, as a rule."""


def upload(
    client: StudioClient,
    project_id: int,
    samples: Sequence[Sample],
    on_progress: Callable[[int, int], None],
    *,
    pace: Pace | None = None,
) -> UploadReport:
    """Store samples: each content once; see `Backend.upload`.

    Args:
        client: To ask; its key must be the project's.
        project_id: Whose samples.
        samples: What to store. Of several with the same content the last one says what it should be.
        on_progress: Called with samples done and in all, in the caller's thread.
        pace: How fast; for tests.

    Returns:
        The verdict of every sample, as the live listing shows it.

    Raises:
        SettingsError: The key is refused, or may not do this.
        NetworkError: The server cannot be reached, or nothing has come on for too long; what was sent is kept.
    """
    return _Upload(client, project_id, samples, on_progress, pace or Pace()).run()


class _Upload:
    def __init__(
        self,
        client: StudioClient,
        project_id: int,
        samples: Sequence[Sample],
        on_progress: Callable[[int, int], None],
        pace: Pace,
    ) -> None:
        self._client, self._project_id, self._samples = client, project_id, samples
        self._on_progress, self._pace = on_progress, pace
        self._wanted = {sample.sha256: sample for sample in samples}
        self._live: dict[str, StoredSample] = {}
        self._newer_than = 0
        self._corrected: set[str] = set()
        self._refused: dict[str, str] = {}
        self._uncorrected: dict[str, str] = {}
        self._duplicates: dict[str, tuple[int, ...]] = {}

    def run(self) -> UploadReport:
        listing = self._list()
        self._newer_than = listing.last_id
        self._remember(listing)
        for round_number in range(ROUNDS):
            missing, corrections = self._missing(), self._corrections()
            if not missing and not corrections:
                break
            if round_number > 1:  # a listing may lag behind what was stored
                time.sleep(self._pace.backoff_s(round_number))
            self._correct(corrections)
            ahead = Ahead(self._list, self._newer_than)
            self._send(missing, ahead)
            self._look(self._list() if corrections else ahead.finish(), everything=bool(corrections))
        return self._report()

    # What there is to do

    def _open(self) -> Iterable[Sample]:
        """Samples without a final verdict."""
        failed = self._refused.keys() | self._uncorrected.keys()
        return (sample for sha256, sample in self._wanted.items() if sha256 not in failed)

    def _missing(self) -> list[Sample]:
        return [one for one in self._open() if one.sha256 not in self._live and one.sha256 not in self._duplicates]

    def _corrections(self) -> list[Correction]:
        there = (Correction(self._live[one.sha256], one) for one in self._open() if one.sha256 in self._live)
        return [one for one in there if one.needed]

    # Doing it

    def _correct(self, corrections: Sequence[Correction]) -> None:
        if not corrections:
            return
        by_name = {one.wanted.name: one.wanted.sha256 for one in corrections}
        failed = correct(self._client, self._project_id, corrections)
        self._uncorrected.update({by_name[name]: words for name, words in failed.items()})
        self._corrected.update(one.wanted.sha256 for one in corrections)

    def _send(self, missing: Sequence[Sample], ahead: Ahead) -> None:
        done = len(self._samples) - len(missing)
        self._on_progress(done, len(self._samples))
        if not missing:
            return

        def note(sample: Sample, verdict: Verdict) -> None:
            nonlocal done
            done += 1
            if isinstance(verdict, Refused):
                self._refused[sample.sha256] = verdict.words
            elif isinstance(verdict, Duplicate):
                self._duplicates[sample.sha256] = verdict.ids
            elif verdict.sample_id is not None:
                ahead.stored(verdict.sample_id)
            self._on_progress(done, len(self._samples))

        limits = self._pace.limits
        with open_session(self._client, limits.connections) as session:
            endpoint = self._client.settings.ingestion_endpoint

            def sender(batch: Sequence[Sample], answer_s: float) -> dict[str, Verdict]:
                return send(session, endpoint, batch, timeout=(limits.connect_s, answer_s))

            Transfer(missing, sender, self._pace, note).run()

    # Looking at what came of it

    def _list(self, min_id: int | None = None, below_id: int | None = None) -> Listing:
        return list_all(self._client, self._project_id, min_id=min_id, below_id=below_id)

    def _look(self, listing: Listing, *, everything: bool) -> None:
        """Take over what is new, or everything, and mend what only a listing can show."""
        if everything:
            self._live = {}
        self._remember(listing)
        self._delete_doubles(listing)
        if self._unseen_duplicates():
            self._adopt_duplicates()
            self._live = {}
            self._remember(self._list())
        for sha256 in self._refused.keys() & self._live.keys():  # stored after all, and every answer was lost
            del self._refused[sha256]

    def _remember(self, listing: Listing) -> None:
        """Take over live samples of wanted content; of several the one that needs no correction, or the oldest."""
        for stored in listing.samples:
            wanted = self._wanted.get(stored.sha256)
            if wanted is None:
                continue
            known = self._live.get(stored.sha256)
            if known is None or (Correction(known, wanted).needed and not Correction(stored, wanted).needed):
                self._live[stored.sha256] = stored

    def _delete_doubles(self, listing: Listing) -> None:
        """Delete what this upload stored twice: a server may miss that two POSTs at a time carry the same file."""
        doubles = [
            stored.sample_id
            for stored in listing.samples
            if stored.sample_id > self._newer_than
            and stored.sha256 in self._live
            and self._live[stored.sha256].sample_id != stored.sample_id
        ]
        if doubles:
            delete(self._client, self._project_id, doubles)

    def _unseen_duplicates(self) -> dict[str, tuple[int, ...]]:
        """Content that the server has and no listing has shown, with its samples where the server told them."""
        return {sha256: ids for sha256, ids in self._duplicates.items() if sha256 not in self._live}

    def _adopt_duplicates(self) -> None:
        """Mark samples of other clients whose content the server knows and we cannot tell."""
        for sha256, ids in self._unseen_duplicates().items():
            if ids:
                adopt(self._client, self._project_id, ids[0], sha256)

    def _report(self) -> UploadReport:
        failed: dict[str, str] = {}
        added: list[str] = []
        present: list[str] = []
        changed: list[str] = []
        unfinished = {one.wanted.sha256 for one in self._corrections()}
        for sample in self._samples:
            sha256 = sample.sha256
            if words := self._refused.get(sha256) or self._uncorrected.get(sha256):
                failed[sample.name] = words
            elif sha256 not in self._live and sha256 not in self._duplicates:
                failed[sample.name] = "the server said that it is stored, and does not list it"
            elif sha256 in unfinished:
                failed[sample.name] = "the server said that it is corrected, and lists it as it was"
            elif sha256 in self._live and self._live[sha256].sample_id > self._newer_than:
                added.append(sample.name)
            else:
                (changed if sha256 in self._corrected else present).append(sample.name)
        self._on_progress(len(self._samples), len(self._samples))
        return UploadReport(tuple(added), tuple(present), tuple(changed), failed)
