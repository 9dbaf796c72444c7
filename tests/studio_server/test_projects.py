"""Projects, users and devices: every answer is of the official schema (the Judge looks), and true."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
import requests

from ei_automation.studio_server import versions
from ei_automation.studio_server.call import RefusalError
from ei_automation.studio_server.database import Database
from ei_automation.studio_server.impulses import TRAINING
from ei_automation.studio_server.projects import TABLES, Projects
from ei_automation.studio_server.serve import open_project
from tests.studio_server.wire import multipart, png


class Api:
    """Requests with one key."""

    def __init__(self, studio, headers):
        self._studio, self._headers = studio, headers

    def __call__(self, method, path, body=None):
        url = self._studio.api_endpoint + path
        return requests.request(method, url, json=body, headers=self._headers, timeout=10).json()


@pytest.fixture
def api(studio):
    return Api(studio, {"x-api-key": studio.api_key})


@pytest.fixture
def user(studio):
    login = Api(studio, {})("POST", "/api-login", {"username": "me", "password": "me"})
    return Api(studio, {"x-jwt-token": login["token"]})


def upload(studio, category, label, colours):
    headers, body = multipart({f"{label}{colour}.png": png(colour) for colour in colours})
    requests.post(
        f"{studio.ingestion_endpoint}/api/{category}/files",
        data=body,
        headers={**headers, "x-api-key": studio.api_key, "x-label": label},
        timeout=10,
    ).raise_for_status()


def test_a_new_project_is_told_as_it_is(studio, api):
    found = api("GET", "/api/1")
    project = found["project"]
    assert (project["id"], project["name"], project["owner"], project["whitelabelId"]) == (1, "test", "me", None)
    assert found["impulse"] == {"created": False, "configured": False, "complete": False}
    assert found["dataSummary"] == {"totalLengthMs": 0, "labels": [], "totalLabels": 0, "dataCount": 0}
    assert found["computeTime"]["timeUsedMs"] == 0
    assert found["studioUrl"] == f"{studio.api_endpoint.removesuffix('/v1')}/studio/1"
    assert found["developmentKeys"]["hmacKey"] == api("GET", "/api/1/devkeys/hmac")["hmacKey"]
    assert api("GET", "/api/projects")["projects"] == [project]


def test_the_data_are_counted_by_category_and_label(studio, api):
    upload(studio, "training", "red", range(3))
    upload(studio, "training", "blue", range(3, 5))
    upload(studio, "testing", "red", [9])
    found = api("GET", "/api/1")
    assert found["dataSummary"] == {
        "totalLengthMs": 0,
        "labels": ["blue", "red"],
        "totalLabels": 2,
        "dataCount": 5,
    }
    counts = {name: summary["dataCount"] for name, summary in found["dataSummaryPerCategory"].items()}
    assert counts == {"training": 5, "testing": 1, "validation": 0, "postProcessing": 0}
    studio.studio.samples.disable(1, _only("blue"))
    assert api("GET", "/api/1/data-summary")["dataSummary"]["dataCount"] == 5
    enabled = api("GET", "/api/1/data-summary?includeDisabled=False")["dataSummary"]
    assert (enabled["dataCount"], enabled["labels"]) == (3, ["red"])
    assert api("GET", "/api/1/data-axes")["dataAxisSummary"] == {"image": 5}


def _only(label):
    from ei_automation.studio_server.sample_filter import Filter

    return Filter(labels=(label,))


def test_the_last_modification_moves_with_the_data(studio, api):
    before = api("GET", "/api/1/last-modification")["lastModificationDate"]
    time.sleep(0.01)
    upload(studio, "training", "red", [1])
    after = api("GET", "/api/1/last-modification")["lastModificationDate"]
    assert after > before
    assert api("GET", "/api/1")["project"]["lastModified"] == after


def test_an_update_sets_what_it_names_and_nothing_else(api):
    change = {
        "name": "Renamed",
        "description": "Of colours",
        "projectVisibility": "public",
        "labelingMethod": "object_detection",
        "readme": "# <b>",
        "lastDeployEonCompiler": True,
        "dataAcquisitionViewType": "grid",
        "dspPageSize": 5,
        "metadata": {"a": 1},
        "latencyDevice": "cortex-m7-216mhz",
        "assertGpuUsagePercentage": None,
    }
    assert api("POST", "/api/1", change) == {"success": True}
    found = api("GET", "/api/1")
    project = found["project"]
    assert (project["name"], project["description"]) == ("Renamed", "Of colours")
    assert (project["allowsLivePublicAccess"], project["isPublic"], project["hasPublicVersion"]) == (
        True,
        False,
        False,
    )
    assert (project["labelingMethod"], project["metadata"]) == ("object_detection", {"a": 1})
    assert found["readme"] == {"markdown": "# <b>", "html": "<pre># &lt;b&gt;</pre>"}
    assert (found["deploySettings"]["eonCompiler"], found["dspPageSize"]) == (True, 5)
    assert found["acquisitionSettings"]["viewType"] == "grid"
    assert api("POST", "/api/1/tags", {"tags": ["a", "b"]}) == {"success": True}
    assert api("POST", "/api/1", {"name": "Again"}) == {"success": True}
    project = api("GET", "/api/1")["project"]
    assert (project["name"], project["description"], project["tags"]) == ("Again", "Of colours", ["a", "b"])


@pytest.mark.parametrize(
    "change",
    [
        {"name": 7},
        {"name": "  "},
        {"name": "x" * 1001},
        {"labelingMethod": "nonsense"},
        {"dspPageSize": True},
        {"dspPageSize": "5"},
        {"metadata": []},
        {"projectVisibility": "secret"},
        {"description": "never kept", "name": ""},
    ],
)
def test_a_wrong_update_is_refused_and_changes_nothing(api, change):
    before = api("GET", "/api/1")
    assert api("POST", "/api/1", change)["success"] is False
    assert api("GET", "/api/1") == before


def test_a_user_makes_projects_and_deletes_them(studio, api, user):
    made = user("POST", "/api/projects/create", {"projectName": " Two ", "projectVisibility": "public"})
    assert made["id"] == 2
    key = studio.studio.projects.find_key(made["apiKey"])
    assert (key.project_id, key.role) == (2, "ingestion_deployment")
    bare = user("POST", "/api/projects/create", {"projectName": "Three", "createApiKey": False})
    assert (bare["id"], bare["apiKey"]) == (3, "")
    assert [row["name"] for row in user("GET", "/api/projects")["projects"]] == ["test", "Two", "Three"]
    assert [row["name"] for row in user("GET", "/api/user/projects")["projects"]] == ["test", "Two", "Three"]
    assert user("GET", "/api/user/organizations")["organizations"] == []
    assert user("GET", "/api/user?excludeProjects=True")["projects"] == []
    assert user("DELETE", "/api/2") == {"success": True}
    assert user("GET", "/api/2")["success"] is False
    assert user("POST", "/api/projects/create", {"projectName": "Four"})["id"] == 4  # a number is never used again
    assert api("GET", "/api/projects")["projects"][0]["name"] == "test"


def test_versions_are_told_of_and_go_with_their_project(studio, user):
    made = versions.make(studio.studio, 1, "first", public=True)
    (project,) = user("GET", "/api/projects")["projects"]
    assert (project["id"], project["hasPublicVersion"], project["isPublic"]) == (1, True, False)
    assert user("GET", f"/api/{made.snapshot_id}")["project"]["isPublic"] is True
    assert open_project(studio.studio, "test") == (1, studio.api_key)
    assert user("DELETE", "/api/1") == {"success": True}
    assert studio.studio.projects.all() == []


def test_a_users_view_has_the_development_key(studio, user):
    assert user("GET", "/api/1")["developmentKeys"]["apiKey"] == studio.api_key
    keys = user("GET", "/api/1/devkeys")
    assert keys["apiKey"] == studio.api_key
    assert keys["hmacKey"] == studio.studio.projects.hmac_key(1)


def test_keys_are_made_listed_and_revoked(studio, api, user):
    own = "ei_" + "k" * 40
    body = {"name": "mine", "role": "readonly", "isDevelopmentKey": False, "apiKey": own, "ttl": 60}
    made = user("POST", "/api/1/apikeys", body)
    assert made["apiKey"] == own
    assert user("POST", "/api/1/apikeys", body)["success"] is False
    only = user("POST", "/api/1/apikeys/ingestiononly", {"name": "camera"})
    rows = {row["id"]: row for row in user("GET", "/api/1/apikeys")["apiKeys"]}
    assert rows[made["id"]]["apiKey"] == "ei_...kkkk"
    assert rows[made["id"]]["expires"] > rows[made["id"]]["created"]
    assert rows[only["id"]]["role"] == "ingestiononly"
    assert api("GET", "/api/1/apikeys")["apiKeys"] == []
    assert user("DELETE", f"/api/1/apikeys/ingestiononly/{made['id']}")["success"] is False
    assert user("DELETE", f"/api/1/apikeys/ingestiononly/{only['id']}") == {"success": True}
    assert user("DELETE", f"/api/1/apikeys/{made['id']}") == {"success": True}
    assert [row["id"] for row in user("GET", "/api/1/apikeys")["apiKeys"]] == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"role": "owner"},
        {"apiKey": "short"},
        {"apiKey": "ei_short"},
        {"apiKey": "no_" + "x" * 40},
        {"name": ""},
        {"name": None},
        {"isDevelopmentKey": 1},
        {"ttl": "soon"},
    ],
)
def test_a_wrong_key_is_refused(api, studio, change):
    body = {"name": "mine", "role": "readonly", "isDevelopmentKey": False, **change}
    assert api("POST", "/api/1/apikeys", body)["success"] is False
    assert len(studio.studio.projects.keys(1)) == 1


def test_hmac_keys_are_made_listed_and_revoked(api):
    first = api("GET", "/api/1/devkeys/hmac")["hmacKey"]
    made = api("POST", "/api/1/hmackeys", {"name": "new", "hmacKey": "abc", "isDevelopmentKey": True})
    assert api("GET", "/api/1/devkeys/hmac")["hmacKey"] == "abc"
    rows = api("GET", "/api/1/hmackeys")["hmacKeys"]
    assert [(row["hmacKey"], row["isDevelopmentKey"]) for row in rows] == [(first, False), ("abc", True)]
    assert api("DELETE", f"/api/1/hmackeys/{made['id']}") == {"success": True}
    assert "hmacKey" not in api("GET", "/api/1/devkeys/hmac")
    assert api("DELETE", f"/api/1/hmackeys/{made['id']}")["success"] is False


def test_target_constraints_are_kept(api):
    assert "targetConstraints" not in api("GET", "/api/1/target-constraints")
    processor = {"part": "M7", "clockRateMhz": {"maximum": 480}, "memory": {"ram": {"fastBytes": {"minimum": 1}}}}
    wanted = {
        "targetDevices": [{"name": "Board", "processors": [processor]}],
        "applicationBudgets": [{"latencyPerInferenceMs": {"maximum": 100}}],
        "selectedTargetBasedOn": "user-configured",
    }
    for name, wrong in (("targetDevices", 1), ("applicationBudgets", [None]), ("selectedTargetBasedOn", "custom")):
        assert api("POST", "/api/1/target-constraints", {**wanted, name: wrong})["success"] is False
    assert api("POST", "/api/1/target-constraints", wanted) == {"success": True}
    assert api("GET", "/api/1/target-constraints")["targetConstraints"] == wanted
    assert api("GET", "/api/1")["targetConstraints"] == wanted
    assert api("GET", "/api/1/development-boards")["developmentBoards"] == []


def test_variants_are_told_once_there_is_a_model(studio, api):
    assert api("GET", "/api/1/model-variants")["modelVariants"] == []
    block = {"type": "keras", "name": "Classifier", "title": "Classifier", "dsp": [2]}
    impulse = {"id": 1, "inputBlocks": [], "dspBlocks": [], "learnBlocks": [{"id": 3, **block}]}
    studio.studio.impulses.set(1, impulse)
    studio.studio.impulses.put(1, 3, TRAINING, {"fingerprint": studio.studio.samples.learning_fingerprint(1)})
    assert api("GET", "/api/1")["impulse"] == {"created": True, "configured": True, "complete": True}
    assert api("GET", "/api/1")["hasNewTrainingData"] is False
    upload(studio, "training", "red", [1])
    assert api("GET", "/api/1")["hasNewTrainingData"] is True
    found = {row["variant"]: row for row in api("GET", "/api/1/model-variants")["modelVariants"]}
    assert {name: row["isSelected"] for name, row in found.items()} == {"float32": False, "int8": True}
    api("POST", "/api/1", {"defaultProfilingVariant": "float32", "enabledModelProfilingVariants": ["float32"]})
    found = {row["variant"]: row for row in api("GET", "/api/1/model-variants")["modelVariants"]}
    assert {name: row["isEnabled"] for name, row in found.items()} == {"float32": True, "int8": False}
    assert found["float32"]["isSelected"] is True


# Devices


def test_devices_are_heard_of_renamed_and_forgotten(api):
    mac = "AA:BB:CC:DD:EE:FF"
    body = {"deviceId": mac, "deviceType": "NICLA", "ifNotExists": True}
    assert api("POST", "/api/1/devices/create", body) == {"success": True}
    assert api("POST", "/api/1/devices/create", {**body, "deviceType": "OTHER"}) == {"success": True}
    assert api("GET", f"/api/1/device/{mac}")["device"]["deviceType"] == "NICLA"
    again = {**body, "deviceType": "OTHER", "ifNotExists": False}
    assert api("POST", "/api/1/devices/create", again) == {"success": True}
    assert api("POST", f"/api/1/devices/{mac}/rename", {"name": "bench"}) == {"success": True}
    (row,) = api("GET", "/api/1/devices")["devices"]
    assert (row["name"], row["deviceId"], row["deviceType"]) == ("bench", mac, "OTHER")
    assert api("GET", "/api/1")["devices"] == [row]
    assert api("DELETE", f"/api/1/device/{mac}") == {"success": True}
    for method, path in (("GET", f"/api/1/device/{mac}"), ("DELETE", f"/api/1/device/{mac}")):
        assert api(method, path) == {"success": False, "error": "No device found with this ID"}
    assert api("POST", "/api/1/devices/create", {"deviceId": mac})["success"] is False


# Behind the API


def test_what_is_set_is_there_after_a_restart(tmp_path):
    database = Database(tmp_path / "x.sqlite", TABLES)
    projects = Projects(database, tmp_path)
    number = projects.create("one", owner="me")
    projects.update(number, description="of one", public=True)
    projects.set_many(number, {"a": [1, None], "b": False})
    projects.set(number, "a", None)
    _, key = projects.add_key(number, "reader", "readonly")
    before = projects.info(number), projects.keys(number), projects.hmac_keys(number)
    database.close()
    with closing(Database(tmp_path / "x.sqlite", TABLES)) as reopened:
        again = Projects(reopened, tmp_path)
        assert (again.info(number), again.keys(number), again.hmac_keys(number)) == before
        assert again.settings(number) == {"b": False}
        assert again.get(number, "a", "default") == "default"
        found = again.find_key(key)
    assert found is not None
    assert found.role == "readonly"


def test_settings_are_all_set_or_none(tmp_path):
    with closing(Database(tmp_path / "x.sqlite", TABLES)) as database:
        projects = Projects(database, tmp_path)
        number = projects.create("one", owner="me")
        with pytest.raises(TypeError):
            projects.set_many(number, {"a": 1, "b": object()})
        assert projects.settings(number) == {}
        with pytest.raises(RefusalError):
            projects.set(99, "a", 1)
