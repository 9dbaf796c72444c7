"""Real photographs through the whole chain; the programs behind the README's figures are run, not repeated."""

import pytest

from benchmarks import accuracy


@pytest.mark.slow
@pytest.mark.ci
def test_rubbish_is_sorted_as_well_as_by_studios_model(tmp_path, shared_data):
    data = shared_data / "openmv_rubbish"
    session = accuracy.run("rubbish", accuracy.RUBBISH.format(data=data / "dataset"), tmp_path)
    ours = accuracy.testing(session, "main")
    assert ours.accuracy >= 0.95
    assert ours.accuracy >= accuracy.studio(session, data).accuracy


@pytest.mark.slow
def test_a_split_that_leaks_flatters_blood_cells(tmp_path, shared_data):
    session = accuracy.run("cells", accuracy.BLOOD_CELLS.format(data=shared_data / "blood-cells"), tmp_path)
    leaking, honest = (accuracy.testing(session, split).accuracy for split in ("main", "grouped"))
    assert leaking - honest > 0.05
