"""Tags export and jobs: the original data as a zip."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server.call import Call, File, RefusalError, iso, ok
from ei_automation.studio_server.export import export_place, write_export
from ei_automation.studio_server.job_rows import JobFailure
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.workshop import JobTalk


@serves("start_original_export_job")
def start_original_export_job(call: Call) -> dict[str, Any]:
    """Start exporting; images have no crops, so there are none to retain."""
    label_in_name = call.wanted("uploaderFriendlyFilenames", bool)
    call.wanted("retainCrops", bool)

    def work(talk: JobTalk) -> None:
        count = write_export(call.studio, call.project_id, label_in_name=label_in_name)
        if not count:
            raise JobFailure("There is no data to export")
        talk.line(f"Exported {count} samples")

    job_id = call.studio.workshop.start(
        call.project_id, category="Exporting data", category_key="export", key="export-original", work=work
    )
    return ok(id=job_id)


@serves("get_export_url")
def get_export_url(call: Call) -> dict[str, Any]:
    """Where the export is: at `download_export`, which wants a key as everything here does."""
    place = export_place(call.studio, call.project_id)
    if not place.is_file():
        return ok(hasExport=False)
    url = f"{call.studio.url}/v1/api/{call.project_id}/export/download"
    return ok(hasExport=True, created=iso(place.stat().st_mtime), url=url)


@serves("download_export")
def download_export(call: Call) -> File:
    """The export itself; Studio sends elsewhere for it."""
    place = export_place(call.studio, call.project_id)
    if not place.is_file():
        raise RefusalError("There is no export. Start one first")
    return File(place.read_bytes(), "application/zip", f"project-{call.project_id}-export.zip")
