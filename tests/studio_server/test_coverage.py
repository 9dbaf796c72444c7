"""The list of operations is the official client's; what is served is of it."""

from __future__ import annotations

import json

from ei_automation.cli.commands.studio import studio as group
from ei_automation.cli.output import OUTPUT
from ei_automation.studio_server.coverage import coverage
from ei_automation.studio_server.operations import Operation, all_operations, handlers
from tests.studio_server.official import operations


def test_the_list_is_the_installed_clients():
    official = [Operation(item.tag, item.name, item.method, item.path) for item in operations()]
    assert list(all_operations()) == official
    assert len(official) == 555


def test_every_handler_serves_an_operation_of_the_list():
    assert set(handlers()) <= {operation.name for operation in all_operations()}


def test_what_clients_need_is_served():
    needed = {
        *("login", "list_projects", "get_project_info", "get_hmac_devkey", "get_socket_token", "create_device"),
        *(
            "list_samples",
            "count_samples",
            "delete_sample",
            "create_impulse",
            "set_dsp_config",
            "set_keras",
        ),
        *("generate_features_job", "train_keras_job", "get_job_status", "get_jobs_logs", "start_classify_job"),
        *("build_on_device_model_job", "download_build", "upload_pretrained_model", "list_public_versions"),
    }
    assert needed - set(handlers()) == set()


def test_every_operation_is_in_one_of_two_lists():
    found = coverage()
    served = [item.name for tag in found for item in tag.served]
    missing = [item.name for tag in found for item in tag.not_served]
    assert sorted(served + missing) == sorted(item.name for item in all_operations())
    assert set(served) == set(handlers())
    assert all(item.tag == tag.tag for tag in found for item in tag.served + tag.not_served)


def test_the_command_lists_them(capsys, monkeypatch):
    monkeypatch.setattr(OUTPUT, "json_mode", False)
    group.main(["coverage"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert "+ projects.list_projects  GET /api/projects" in lines
    assert sum(line.startswith("+ ") for line in lines) == len(handlers())
    assert sum(line.startswith(("+ ", "- ")) for line in lines) == len(all_operations())
    group.main(["coverage", "--json"], standalone_mode=False)
    tags = json.loads(capsys.readouterr().out)["tags"]
    assert "list_projects" in tags["projects"]["served"]
    assert {name for tag in tags.values() for name in tag["served"]} == set(handlers())
