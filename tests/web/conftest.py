from __future__ import annotations

import io

import pytest
from PIL import Image

from ei_automation.schema.findings import Finding
from ei_automation.schema.metrics import ClassReport, Metrics, ThresholdAccuracy, TrainingCurves
from ei_automation.web.report_data import (
    BoardRow,
    ExplorerPoint,
    Misclassified,
    ReportData,
    SampleImage,
    SplitReport,
    VerdictRow,
)

EVIL = '</script><script>alert("x")</script>'
LABELS = ("猫", EVIL)


def picture(shade: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(stream, kind)
    return stream.getvalue()


def measured(variant: str, category: str) -> Metrics:
    row = ClassReport(precision=0.75, recall=0.6, f1_score=0.667, support=5)
    return Metrics.model_validate(
        {
            "variant": variant,
            "category": category,
            "labels": list(LABELS),
            "sample_count": 10,
            "accuracy": 0.7,
            "accuracy_interval": (0.397, 0.892),
            "loss": 0.61,
            "roc_auc": None,
            "confusion_matrix": [[4, 1], [2, 3]],
            "report": {LABELS[0]: row, LABELS[1]: row, "weighted avg": row},
            "with_threshold": ThresholdAccuracy(
                threshold=0.6,
                accuracy=0.5,
                accuracy_interval=(0.5, 0.9),
                uncertain=3,
                confusion_matrix=[[3, 1, 1], [1, 2, 2]],
            ),
        }
    )


@pytest.fixture
def data() -> ReportData:
    shared, only = picture(10), picture(20, "JPEG")
    metrics = tuple(
        measured(variant, category) for category in ("validation", "testing") for variant in ("float32", "int8")
    )
    curves = TrainingCurves(
        loss=[1.0, 0.6, 0.5, 0.4],
        accuracy=[0.5, 0.6, 0.7, 0.8],
        validation_loss=[1.1, 0.7, 0.65, 0.7],
        validation_accuracy=[0.5, 0.6, 0.65, 0.6],
        stage_starts=[0, 2],
        best_cycle=2,
    )
    main = SplitReport(
        "main",
        f"Stratified {EVIL}",
        {"training": {LABELS[0]: 20, LABELS[1]: 10}, "testing": {LABELS[0]: 5}},
        metrics,
        curves,
    )
    return ReportData(
        project=f"demo {EVIL}",
        description=EVIL,
        labels=LABELS,
        splits=(main, SplitReport("grouped", "By group.", {"testing": {EVIL: 3}}, metrics[:1])),
        published_title="A published project",
        published_url="https://example.org/project?a=1&b=2",
        verdicts=(
            VerdictRow("accuracy", 0.9, 0.7, (0.397, 0.892), "differs", f"page 2 {EVIL}"),
            VerdictRow("loss", 0.5, 0.61, None, "within tolerance", "page 3", is_ratio=False),
            VerdictRow("F1", None, None, None, "not comparable", "a picture", note="other data"),
        ),
        assumptions=(f"The seed {EVIL}",),
        samples=(
            SampleImage(shared, f"a {EVIL}.png", LABELS[0], "training"),
            SampleImage(only, "b.jpg", EVIL, "testing"),
        ),
        explorer=(
            ExplorerPoint((0.1, -0.2), (0.3, 0.4, -0.5), LABELS[0], LABELS[1], f"a {EVIL}.png", shared, "testing"),
            ExplorerPoint((0.5, 0.25), (1.0, -1.0, 0.0), EVIL, EVIL, "c.png", picture(30), "training"),
        ),
        misclassified=(
            Misclassified(shared, f"a {EVIL}.png", LABELS[0], EVIL, 0.81, "float32", "testing"),
            Misclassified(shared, f"a {EVIL}.png", LABELS[0], "uncertain", 0.55, "int8", "testing"),
        ),
        parameters={"training_cycles": 20, "learn_block": {"type": EVIL, "weights": None}},
        environment={"python": "3.11", "machine": EVIL},
        findings=(
            Finding("leak", "warning", f"Two samples {EVIL}", (EVIL, "b"), 9),
            Finding("imbalance", "note", "n"),
        ),
        notes=(f"Trained from scratch {EVIL}",),
        boards=(
            BoardRow(
                name=f"Board {EVIL}",
                core="cortex-m7",
                flash_bytes=476_090,
                ram_bytes=31_152,
                stack_bytes=488,
                instructions=22_560_783,
                time="42 to 58 ms, estimated",
                time_note=f"an estimate {EVIL}",
                fits={"C++": (True, "fits"), "OpenMV script": (False, f"does not fit {EVIL}")},
            ),
        ),
        board_notes=(f"cortex-m7: exact for clang {EVIL}.",),
    )
