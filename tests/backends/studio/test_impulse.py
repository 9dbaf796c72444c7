"""The live impulse is changed where it differs, whatever stands in its place."""

import pytest

from ei_automation.backends.studio.impulse import ensure_learn_block, require_impulse, write_impulse
from ei_automation.errors import NotFoundError, VerificationError
from ei_automation.schema.impulse import Impulse
from ei_automation.studio_api.impulse import impulse_request
from tests.backends.studio.tuner_server import Studio, serve

WANTED = Impulse.model_validate(
    {"input_block": {"image_width": 24, "image_height": 16}, "dsp_block": {"channels": "Grayscale"}}
)


class Workbench:
    """A Studio that keeps the impulse that it is given."""

    def __init__(self, impulse=None, channels="RGB"):
        self.impulse, self.channels, self.number, self.method = impulse, channels, 100, "single_label"
        self.state = Studio(
            {
                "get_impulse": lambda _call: {"impulse": self.impulse} if self.impulse else {},
                "create_impulse": self._create,
                "get_new_block_id": self._new,
                "get_impulse_blocks": lambda _call: {"dspBlocks": self.blocks},
                "get_dsp_config": lambda _call: {"config": [{"group": "g", "items": [self._channels()]}]},
                "set_dsp_config": self._set_channels,
                "get_project_info": lambda _call: {"project": {"labelingMethod": self.method}},
                "update_project": self._update,
            }
        )
        self.blocks = [
            {"type": "flatten", "latestImplementationVersion": 9},
            {"type": "image", "latestImplementationVersion": 3},
        ]

    def _create(self, call):
        stamped = {
            kind: [
                {**block, "createdBy": "createImpulse", "createdAt": "2026-01-01T00:00:00.000Z"}
                for block in blocks
            ]
            for kind, blocks in call.body.items()
            if kind.endswith("Blocks")
        }
        self.impulse = {"id": 5, "type": "default", "postProcessingBlocks": [], **call.body, **stamped}
        return {"id": 5}

    def _new(self, _call):
        self.number += 1
        return {"blockId": self.number}

    def _channels(self):
        return {"param": "channels", "value": self.channels, "defaultValue": "RGB"}

    def _set_channels(self, call):
        self.channels = call.body["config"]["channels"]
        return {}

    def _update(self, call):
        self.method = call.body["labelingMethod"]
        return {}


@pytest.fixture
def bench():
    servers = []

    def start(*args):
        found = Workbench(*args)
        servers.append(serve(found.state))
        return found, found.state.client()

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_first_impulse_names_the_newest_image_block(bench):
    studio, client = bench()
    studio.method = "object_detection"
    write_impulse(client, 7, WANTED)
    (dsp,) = studio.impulse["dspBlocks"]
    assert (dsp["id"], dsp["implementationVersion"], studio.channels) == (2, 3, "Grayscale")
    assert studio.method == "single_label"
    posts = len(studio.state.named("create_impulse"))
    write_impulse(client, 7, WANTED)
    assert (len(studio.state.named("create_impulse")), len(studio.state.named("set_dsp_config"))) == (posts, 1)


def test_blocks_that_are_there_keep_their_numbers_and_the_resize_method(bench):
    before = impulse_request(
        WANTED, "keras", dsp_version=1, ids=(11, 12, 13), name="mine", resize_method="nearest"
    )
    before["inputBlocks"][0]["resizeMode"] = "crop"
    studio, client = bench({"id": 5, "type": "default", "postProcessingBlocks": [], **before})
    write_impulse(client, 7, WANTED)
    (call,) = studio.state.named("create_impulse")
    assert call.query == {"impulseId": "5"}
    assert call.body == {
        **before,
        "inputBlocks": [{**before["inputBlocks"][0], "resizeMode": "squash"}],
        "dspBlocks": [{**before["dspBlocks"][0], "implementationVersion": 3}],
    }


def test_an_impulse_of_another_kind_gives_way(bench):
    other = {
        "id": 5,
        "name": "old",
        "type": "default",
        "inputBlocks": [{"id": 1, "type": "time-series", "name": "t", "title": "t"}],
        "dspBlocks": [],
        "learnBlocks": [{"id": 102, "type": "anomaly", "name": "a", "title": "a", "dsp": []}],
        "postProcessingBlocks": [],
    }
    studio, client = bench(other)
    write_impulse(client, 7, WANTED)
    kinds = ("inputBlocks", "dspBlocks", "learnBlocks")
    assert [studio.impulse[kind][0]["id"] for kind in kinds] == [101, 102, 103]
    assert require_impulse(client, 7).impulse == WANTED


def test_another_learn_block_takes_a_new_number_and_leaves_the_others_as_they_are(bench):
    studio, client = bench()
    write_impulse(client, 7, WANTED)
    before = studio.impulse
    assert ensure_learn_block(client, 7, "keras").blocks.learn_id == 101
    assert (studio.impulse["dspBlocks"], studio.impulse["inputBlocks"]) == (
        before["dspBlocks"],
        before["inputBlocks"],
    )
    sent = studio.state.named("create_impulse")[-1].body
    assert "createdAt" not in sent["inputBlocks"][0], "Studio sets it, and refuses to be told"
    assert ensure_learn_block(client, 7, "keras").blocks.learn_id == 101


def test_what_cannot_be_is_said(bench):
    studio, client = bench()
    with pytest.raises(VerificationError, match="no impulse yet"):
        require_impulse(client, 7)
    studio.blocks = []
    with pytest.raises(NotFoundError, match="offers no image block"):
        write_impulse(client, 7, WANTED)
    studio.impulse = {"id": 5, "inputBlocks": [{"id": 1, "type": "features"}], "dspBlocks": [], "learnBlocks": []}
    with pytest.raises(VerificationError, match="other blocks than a manifest can ask for"):
        require_impulse(client, 7)


def test_an_impulse_that_is_not_kept_is_no_success(bench):
    studio, client = bench()
    studio.blocks = [{"type": "image", "latestImplementationVersion": 3}]
    studio.state.answers["set_dsp_config"] = {}
    with pytest.raises(VerificationError, match="has another one now"):
        write_impulse(client, 7, WANTED)
