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


@pytest.mark.slow
@pytest.mark.ci
def test_weights_that_were_given_once_need_not_be_given_again(cli, tmp_path, shared_data, monkeypatch):
    project = tmp_path / "rubbish"
    project.mkdir()
    text = accuracy.RUBBISH.format(data=shared_data / "openmv_rubbish" / "dataset")
    (project / "project.toml").write_text(text.replace("training_cycles = 20", "training_cycles = 1"))
    assert cli("reproduce", project, "--weights", accuracy.WEIGHTS) == 0
    monkeypatch.setenv("EIAUTO_OFFLINE", "1")
    assert cli("reproduce", project) == 0
    assert f"keeps the model that was trained with the weights {accuracy.WEIGHTS.name}" in cli.err
    (project / "project.toml").write_text(text)
    assert cli("reproduce", project) in (4, 5)
    assert "--weights PATH" in cli.err
