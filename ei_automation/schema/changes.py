"""What lies between a manifest and a live project: the lines of `eiauto plan`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Action = Literal[
    "add",
    "relabel",
    "move",
    "boxes",
    "regroup",
    "enable",
    "delete",
    "extra",
    "unknown",
    "set",
    "train",
    "build",
    "rebuild",
]
Kind = Literal["sample", "impulse", "training", "deployment"]


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        kind: Of what.
        action: add, relabel, move, boxes, regroup, enable or delete a sample; extra: a sample that stays because
            deleting was not asked for; unknown: a sample that cannot be identified; set: a value of the impulse or
            of the learn block; train: a model is missing or old; build: a deployment is missing; rebuild: it is
            older than the model.
        subject: The sample's name, the value's key, or the deployment's format.
        before: What the live project has; None where it has nothing.
        after: What the manifest says; None where it says nothing.
        sample_id: The live sample's number, where there is one.
    """

    kind: Kind
    action: Action
    subject: str
    before: str | None = None
    after: str | None = None
    sample_id: int | None = None

    @property
    def applies(self) -> bool:
        """Whether `sync` would do something about it: what stays as it is only gets named."""
        return self.action not in ("extra", "unknown")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
