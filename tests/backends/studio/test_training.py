"""What a training would change, and that Studio took what it was told."""

import pytest

from ei_automation.backends.studio.impulse import LiveImpulse
from ei_automation.backends.studio.record import read_record
from ei_automation.backends.studio.training import CurrentTraining, config_drift, start_training
from ei_automation.errors import UsageError
from ei_automation.studio_api.impulse import LiveBlocks
from ei_automation.studio_api.training import custom_parameters, training_request
from tests.backends.contract import IMPULSE, parameters
from tests.backends.studio.tuner_server import Studio, serve

MOMENT = "2026-01-01T00:00:00.000Z"


def config(wanted=None, exposed=(), **changes):
    """A KerasResponse of the fields that matter here."""
    request = training_request(wanted or parameters(), exposed)
    return {"type": "keras", "customParameters": {}, **request, **changes}


def test_equal_numbers_are_no_drift_however_they_are_written():
    told = config(batchSize=32.0, learningRate=0.01, trainTestSplit=0.2)
    told["visualLayers"] = [{**layer, "enabled": True, "columns": None} for layer in told["visualLayers"]]
    assert config_drift(told, parameters()) == {}


@pytest.mark.parametrize(
    ("changes", "drift"),
    [
        ({"trainingCycles": 7}, {"trainingCycles": ("7", "2")}),
        ({"useLearnedOptimizer": True}, {"useLearnedOptimizer": ("true", "false")}),
        ({"augmentationPolicyImage": "all"}, {"augmentationPolicyImage": ("all", "none")}),
        ({"customValidationMetadataKey": "site"}, {"customValidationMetadataKey": ("eiauto_group", "")}),
        ({"visualLayers": []}, None),
        ({"mode": "expert", "visualLayers": [], "trainingCycles": 0}, None),
    ],
)
def test_every_difference_is_told(changes, drift):
    found = config_drift(config(**changes), parameters())
    if drift is None:
        assert found["visualLayers.0"] == ("", "conv2d neurons=4 kernelSize=3 stack=1")
        assert found.get("mode", ("expert", "visual")) == ("expert", "visual")
    else:
        assert found == drift


def test_what_a_block_exposes_counts():
    everything = custom_parameters(parameters())
    told = config(exposed=everything)
    assert config_drift(told, parameters(seed=4)) == {"eiauto_seed": ("3", "4")}
    with pytest.raises(UsageError, match="Studio always uses 3"):
        config_drift(config(), parameters(seed=4))


# Over the wire


class Forgetful:
    """A Studio whose learn block keeps some of what it is told."""

    def __init__(self, **kept):
        self.kept, self.config, self.cancelled = kept, config(parameters(batch_size=64)), []

    def answers(self):
        image = {"id": 1, "type": "image", "name": "i", "title": "i", "imageWidth": 12, "imageHeight": 12}
        dsp = {"id": 2, "type": "image", "name": "d", "title": "d", "axes": ["image"], "implementationVersion": 1}
        learn = {"id": 3, "type": "keras", "name": "l", "title": "l", "dsp": [2]}
        impulse = {"id": 1, "name": "i", "type": "default", "postProcessingBlocks": []}
        impulse |= {"inputBlocks": [{**image, "resizeMode": "squash"}], "dspBlocks": [dsp], "learnBlocks": [learn]}
        return {
            "get_impulse": {"impulse": impulse},
            "get_dsp_config": self.unjudged({"config": []}),
            "get_dsp_metadata": self.unjudged({"generated": True}),
            "get_all_detailed_impulses": self.unjudged({"impulses": [{"impulse": impulse, "isStale": False}]}),
            "get_keras": lambda _call: self.unjudged({"trained": False, **self.config})(None),
            "list_all_jobs": {"jobs": [], "totalJobCount": 0},
            "count_samples": {"count": 0},
            "train_keras_job": self._train,
            "cancel_job": lambda call: self.cancelled.append(call.path) or {},
        }

    @staticmethod
    def unjudged(content):
        """An answer that has only what is read."""
        return lambda _call: content

    def _train(self, call):
        self.config = {"type": "keras", "customParameters": {}, **call.body, **self.kept}
        return {"id": 11}


@pytest.fixture
def scripted():
    servers = []

    def start(studio):
        state = Studio(studio.answers())
        servers.append(serve(state))
        return state

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_call_that_starts_a_training_sets_everything(scripted):
    state = scripted(Forgetful())
    assert start_training(state.client(), 7, parameters(), lambda: None) == 11
    (call,) = state.named("train_keras_job")
    assert call.body == training_request(parameters(), ())
    assert state.named("set_keras") == [], "a block that is set and not trained would pass for a trained one"


def test_a_value_that_studio_does_not_take_cancels_the_training(scripted):
    studio = Forgetful(learningRate=0.5)
    with pytest.raises(UsageError, match=r"Studio did not take learningRate = 0\.01: it is 0\.5") as caught:
        start_training(scripted(studio).client(), 7, parameters(), lambda: None)
    assert "cancelled" in str(caught.value)
    assert studio.cancelled == ["/v1/api/7/jobs/11/cancel"]


def test_groups_of_an_earlier_training_are_taken_back(scripted):
    studio = Forgetful()
    studio.config["customValidationMetadataKey"] = "eiauto_group"
    state = scripted(studio)
    start_training(state.client(), 7, parameters(validation_split="random"), lambda: None)
    assert state.named("train_keras_job")[0].body["customValidationMetadataKey"] == ""


def test_features_are_made_where_there_are_none(scripted):
    studio, made = Forgetful(), []
    answers = studio.answers()
    answers["get_dsp_metadata"] = lambda _call: {"generated": bool(made)}
    state = scripted(studio)
    state.answers = answers
    start_training(state.client(), 7, parameters(), lambda: made.append(len(state.named("train_keras_job"))))
    assert made == [0], "once, before the training"


def test_a_record_says_what_was_asked_for_where_studio_tells_less(scripted):
    metrics = [{"type": "int8", "confusionMatrix": [[2, 0], [1, 1]], "loss": 0.1}]
    metadata = {"classNames": ["a", "b"], "modelValidationMetrics": metrics}
    state = scripted(Forgetful())
    state.answers |= {"get_keras_metadata": metadata, "list_samples": {"samples": [], "totalCount": 0}}
    blocks = LiveBlocks(1, 1, 2, 3, "keras", "lanczos3", alone=True)
    asked = parameters(threads=2, augmentation_views=4, validation_split="random")
    current = CurrentTraining(11, LiveImpulse({}, blocks, IMPULSE), 3, config(asked), ())

    def record(**more):
        return read_record(state.client(), 7, current, lambda variant: variant.encode(), **more)

    told = record(asked=asked)
    assert told.parameters == asked.model_dump(mode="json")
    assert record().parameters == {**told.parameters, "threads": None, "augmentation_views": None}
    assert record().inputs == told.inputs, "the same training"
    assert record(asked=parameters(batch_size=1)) == record()
    assert (told.validation_count, set(told.models)) == (4, {"int8"})
