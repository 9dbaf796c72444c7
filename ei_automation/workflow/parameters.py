"""The training parameters of a split."""

from __future__ import annotations

from ei_automation.schema.training import TrainingParameters
from ei_automation.workflow.project import Session


def training_parameters(session: Session, split: str) -> TrainingParameters:
    """The manifest's parameters, with the validation split that fits the split of the samples.

    Where the samples' origins are known and the split keeps them apart, validation does so too.
    """
    parameters = session.manifest.training
    if parameters.validation_split:
        return parameters
    apart = session.manifest.dataset.groups is not None and session.splits[split].method != "stratified"
    return parameters.model_copy(update={"validation_split": "group" if apart else "random"})
