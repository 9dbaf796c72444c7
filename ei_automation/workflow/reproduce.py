"""`eiauto reproduce`: every verb in order, then published numbers beside ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ei_automation.schema.lock import MAIN_SPLIT, DeploymentRecord, FindingRecord, Lock
from ei_automation.schema.metrics import Metrics
from ei_automation.workflow.deploy import deploy
from ei_automation.workflow.project import Session
from ei_automation.workflow.sync import sync
from ei_automation.workflow.test import test
from ei_automation.workflow.train import train
from ei_automation.workflow.verdict import Verdict, VerdictRow, judge


@dataclass(frozen=True)
class SplitResult:
    """What one split gave.

    Attributes:
        name: main, or a name of `[dataset.compare]`.
        method: stratified, group or source.
        metrics: Every variant on validation and testing.
    """

    name: str
    method: str
    metrics: tuple[Metrics, ...]


@dataclass(frozen=True)
class Reproduction:
    """The end of `reproduce`.

    Attributes:
        project: Its name.
        rows: Published numbers with verdicts.
        splits: Every split's metrics, the main one first.
        assumptions: What the source left open, and what this run adds (weights from scratch, other data).
        findings: Of the audit.
        deployments: What was built.
    """

    project: str
    rows: tuple[VerdictRow, ...]
    splits: tuple[SplitResult, ...]
    assumptions: tuple[str, ...]
    findings: tuple[FindingRecord, ...]
    deployments: tuple[DeploymentRecord, ...]

    @property
    def differs(self) -> bool:
        """Whether a number is outside its tolerance."""
        return any(row.verdict is Verdict.DIFFERS for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "project": self.project,
            "published": [asdict(row) for row in self.rows],
            "splits": [
                {"name": s.name, "method": s.method, "metrics": [m.model_dump(mode="json") for m in s.metrics]}
                for s in self.splits
            ],
            "assumptions": list(self.assumptions),
            "findings": [finding.model_dump(mode="json") for finding in self.findings],
            "deployments": [record.model_dump(mode="json") for record in self.deployments],
        }


def reproduce(session: Session, *, prune: bool = False) -> Reproduction:
    """Fetch, split, audit, train, quantize, test and deploy; only what changed is done again.

    Args:
        session: The project.
        prune: Delete live samples that the manifest does not have; see `sync`.
    """
    sync(session, prune=prune)
    for split in session.active_splits:
        train(session, split)
        test(session, split)
    deploy(session, misfit="note")  # what was published is built, whether or not it should have fitted
    return summarise(session)


def summarise(session: Session) -> Reproduction:
    """What the lock says, as `reproduce` ends in it."""
    lock = session.read_lock()
    splits = tuple(
        SplitResult(name, spec.method, tuple(lock.splits[name].metrics))
        for name, spec in session.active_splits.items()
        if name in lock.splits
    )
    main = lock.splits.get(MAIN_SPLIT)
    return Reproduction(
        project=session.manifest.name,
        rows=tuple(judge(session.manifest, lock)),
        splits=splits,
        assumptions=(*session.manifest.assumptions, *_assumed_here(lock)),
        findings=tuple(lock.dataset.findings) if lock.dataset else (),
        deployments=tuple(main.deployments) if main else (),
    )


def _assumed_here(lock: Lock) -> list[str]:
    """What this run did otherwise than the manifest's text alone says."""
    assumed = []
    if lock.dataset and lock.dataset.origin.overridden:
        assumed.append(f"data taken from {lock.dataset.origin.reference} (--from), not from the manifest's origin")
    main = lock.splits.get(MAIN_SPLIT)
    weights = main.training.weights if main and main.training else None
    if weights and weights.source == "none":
        assumed.append('the network was trained from scratch: no pretrained weights (weights = "none")')
    elif weights and weights.source not in ("pretrained", "studio"):
        assumed.append(f"pretrained weights taken from {weights.source}, SHA-256 {weights.sha256}")
    return assumed
