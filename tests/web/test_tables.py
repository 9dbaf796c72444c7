from __future__ import annotations

from ei_automation.web.tables import confusion, count_table, flatten
from tests.web.conftest import LABELS, measured


def test_validation_is_shown_without_a_threshold() -> None:
    matrix = confusion(measured("int8", "validation"))
    assert matrix.columns == LABELS
    assert matrix.threshold is None
    assert matrix.accuracy == 0.7
    label, total, cells = matrix.rows[0]
    assert (label, total) == (LABELS[0], 5)
    assert [(cell.count, cell.ratio, cell.kind) for cell in cells] == [(4, 0.8, "right"), (1, 0.2, "wrong")]


def test_testing_is_shown_with_uncertain() -> None:
    matrix = confusion(measured("int8", "testing"))
    assert matrix.columns == (*LABELS, "uncertain")
    assert (matrix.threshold, matrix.accuracy) == (0.6, 0.5)
    assert [cell.kind for cell in matrix.rows[1][2]] == ["wrong", "right", "uncertain"]


def test_counts_keep_the_usual_order_and_every_label() -> None:
    table = count_table({"testing": {"b": 2, "z": 1}, "training": {"a": 7}, "extra": {}}, ("b", "a"))
    assert table.categories == ("training", "testing", "extra")
    assert table.rows == (("b", (0, 2, 0)), ("a", (7, 0, 0)), ("z", (0, 1, 0)))
    assert table.totals == (7, 3, 0)
    assert table.largest == 7


def test_no_counts() -> None:
    assert count_table({}, ()).largest == 1


def test_nested_tables_become_dotted_names() -> None:
    values = {"a": {"b": 1, "c": {"d": None}}, "layers": [{"type": "conv2d"}, {"type": "dense"}], "list": [1, 2]}
    assert flatten(values) == [
        ("a.b", "1"),
        ("a.c.d", "not set"),
        ("layers.0.type", "conv2d"),
        ("layers.1.type", "dense"),
        ("list", "[1, 2]"),
    ]
