"""Tag jobs: starting features, trainings and tests; what jobs there are, their logs, their end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ei_automation.schema.metrics import VARIANTS
from ei_automation.studio_server import block_json, learning, results
from ei_automation.studio_server.call import Call, File, RefusalError, iso, ok
from ei_automation.studio_server.impulses import FEATURES, IMPULSE_ID
from ei_automation.studio_server.job_rows import JobRow, LogLine
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.rooms.impulse import check_impulse
from ei_automation.studio_server.rooms.learn import checked_changes

MOST_LINES = 1000
"""Of a log in one answer, as in Studio: the newest ones."""
LEVELS = ("error", "warn", "info", "debug")
"""From the gravest on."""
NO_FEATURES = "No features were generated for this block, generate features first"


# Starting


@serves("generate_features_job")
def generate_features_job(call: Call) -> dict[str, Any]:
    """Decode every sample at the impulse's size."""
    dsp_id, workshop = call.wanted("dspId", int), call.studio.workshop
    block_json.block_of(call.studio, call.project_id, "dspBlocks", dsp_id)
    if call.body.get("normalizeData") not in (None, "none"):
        raise RefusalError("The local Studio normalizes no features")
    job_id = workshop.start(
        call.project_id,
        category="Generating features",
        category_key="dsp-generate-features",
        key=f"dsp-{dsp_id}",
        work=lambda talk: learning.make_features(workshop, talk, dsp_id),
    )
    return ok(id=job_id)


@serves("train_keras_job")
def train_keras_job(call: Call) -> dict[str, Any]:
    """Store what the request says, and train."""
    learn_id, studio, project_id = call.number("learnId"), call.studio, call.project_id
    changes = checked_changes(call, learn_id)
    block = block_json.block_of(studio, project_id, "learnBlocks", learn_id)
    _require_features(call, block)
    studio.impulses.set_keras_config(project_id, learn_id, changes)
    config = block_json.keras_settings(studio, project_id, block)
    job_id = studio.workshop.start(
        project_id,
        category="Training model",
        category_key="learn-train-studio-wrapper",
        key=f"keras-{learn_id}",
        work=lambda talk: learning.train(studio.workshop, talk, learn_id, config),
    )
    return ok(id=job_id)


@serves("start_retrain_job")
def start_retrain_job(call: Call) -> dict[str, Any]:
    """Generate features and train with what the block is set to."""
    check_impulse(call)
    studio, project_id = call.studio, call.project_id
    blocks = (studio.impulses.get(project_id) or {}).get("learnBlocks", ())
    block = next((block for block in blocks if block["dsp"]), None)
    if block is None:
        raise RefusalError("No impulse found that can be trained")
    _require_features(call, block)
    config = block_json.keras_settings(studio, project_id, block)
    job_id = studio.workshop.start(
        project_id,
        category="Retraining model",
        category_key="retrain",
        key="retrain",
        work=lambda talk: learning.train(studio.workshop, talk, block["id"], config),
    )
    return ok(id=job_id)


def _require_features(call: Call, block: dict[str, Any]) -> None:
    for dsp_id in block["dsp"]:
        if not call.studio.impulses.value(call.project_id, dsp_id, FEATURES):
            raise RefusalError(NO_FEATURES)
    if not block["dsp"]:
        raise RefusalError("The learning block has no processing block")


@serves("start_classify_job")
def start_classify_job(call: Call) -> dict[str, Any]:
    """Run every variant over the testing samples."""
    return _start_test(call, "Classifying all test data", "classify")


@serves("start_evaluate_job")
def start_evaluate_job(call: Call) -> dict[str, Any]:
    """Run every variant over the testing samples."""
    return _start_test(call, "Evaluating model", "evaluate")


def _start_test(call: Call, category: str, key: str) -> dict[str, Any]:
    check_impulse(call)
    if call.query.get("category") not in (None, "", "testing"):
        raise RefusalError("The local Studio tests with the testing data only")
    variants = call.body.get("modelVariants") or []
    if not isinstance(variants, list):
        raise RefusalError("Missing or invalid value for 'modelVariants'")
    for variant in variants:
        if variant not in VARIANTS:
            raise RefusalError(f"There is no model variant '{variant}'")
    workshop, block = call.studio.workshop, results.learn_block(call.studio, call.project_id)
    job_id = workshop.start(
        call.project_id,
        category=category,
        category_key=key,
        key=key,
        work=lambda talk: learning.test(workshop, talk, block["id"]),
        info={"impulseId": IMPULSE_ID},
    )
    return ok(id=job_id)


# Looking


def job_of(call: Call) -> JobRow:
    """The job in the path.

    Raises:
        RefusalError: The project has none of this number.
    """
    row = call.studio.workshop.job(call.number("jobId"))
    if row is None or row.project_id != call.project_id:
        raise RefusalError("No job with this ID found")
    return row


@serves("get_job_status")
def get_job_status(call: Call) -> dict[str, Any]:
    """Where a job stands."""
    return ok(job=job_of(call).to_json())


@serves("get_jobs_logs")
def get_jobs_logs(call: Call) -> dict[str, Any]:
    """The newest lines of a log, newest first."""
    lines = _lines(call)
    return ok(
        stdout=[
            {"created": iso(line.created), "data": line.text + "\n", "logLevel": line.level}
            for line in reversed(lines[-_limit(call, MOST_LINES) :])
        ],
        totalCount=len(lines),
    )


@serves("download_jobs_logs")
def download_jobs_logs(call: Call) -> File:
    """A log as text, in order."""
    lines = _lines(call)
    text = "".join(line.text + "\n" for line in lines[-_limit(call, len(lines) or 1) :])
    return File(text.encode(), "text/plain; charset=utf-8", f"job-{job_of(call).job_id}.txt")


def _lines(call: Call) -> list[LogLine]:
    """Lines of a job's log that are at least as grave as the level asked for."""
    level = call.query.get("logLevel") or LEVELS[-1]
    if level not in LEVELS:
        raise RefusalError(f"Invalid value for logLevel, expected one of {', '.join(LEVELS)}")
    wanted = LEVELS[: LEVELS.index(level) + 1]
    return [line for line in call.studio.workshop.log(job_of(call).job_id) if line.level in wanted]


def _limit(call: Call, most: int) -> int:
    asked = call.asked_number("limit", most) or most
    if asked < 1:
        raise RefusalError("Invalid value for limit")
    return min(asked, most)


@serves("cancel_job")
def cancel_job(call: Call) -> dict[str, Any]:
    """Ask a job to stop; one that has ended is left as it is."""
    call.studio.workshop.cancel(job_of(call).job_id)
    return ok()


@serves("list_active_jobs")
def list_active_jobs(call: Call) -> dict[str, Any]:
    """Jobs that have not ended."""
    return _listed(call, [row for row in call.studio.workshop.jobs(call.project_id) if row.finished is None])


@serves("list_finished_jobs")
def list_finished_jobs(call: Call) -> dict[str, Any]:
    """Jobs that have ended."""
    return _listed(call, [row for row in call.studio.workshop.jobs(call.project_id) if row.finished is not None])


@serves("list_all_jobs")
def list_all_jobs(call: Call) -> dict[str, Any]:
    """Jobs by key, category and end."""
    rows = call.studio.workshop.jobs(call.project_id)
    if key := call.query.get("key"):
        rows = [row for row in rows if row.key == key]
    if category := call.query.get("category"):
        rows = [row for row in rows if category in (row.category, row.category_key)]
    if call.query.get("finished"):
        finished = call.asked_switch("finished")
        rows = [row for row in rows if (row.finished is not None) is finished]
    return _listed(call, rows)


def _listed(call: Call, rows: list[JobRow]) -> dict[str, Any]:
    """Schema ListJobsResponse, newest first, of the page and the dates that are asked for."""
    start, end = call.asked_moment("startDate"), call.asked_moment("endDate")
    rows = [row for row in rows if (start or 0) <= row.created and (end is None or row.created <= end)]
    offset, limit = call.asked_number("offset", 0), call.asked_number("limit", len(rows))
    if offset is None or limit is None or offset < 0 or limit < 0:
        raise RefusalError("Invalid value for limit or offset")
    return ok(jobs=[row.to_json() for row in rows[offset : offset + limit]], totalJobCount=len(rows))


@serves("get_jobs_summary")
def get_jobs_summary(call: Call) -> dict[str, Any]:
    """How long jobs of each category took."""
    start, end = call.asked_moment("startDate"), call.asked_moment("endDate")
    if start is None or end is None:
        raise RefusalError("Missing or invalid value for 'startDate' or 'endDate'")
    spent: Counter[str] = Counter()
    for row in call.studio.workshop.jobs(call.project_id):
        if row.started and row.finished and start <= row.created <= end:
            spent[row.category] += int((row.finished - row.started) * 1000)
    return ok(summary=[{"category": name, "lengthMs": length} for name, length in sorted(spent.items())])
