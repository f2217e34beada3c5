"""Every unit has its tests, and keeps its counts when another unit fails."""

import json

import mutants
import pytest


def test_every_unit_has_a_file_and_tests():
    for path, *tests in mutants.UNITS.values():
        assert (mutants.ROOT / path).exists(), path
        assert all(any(mutants.ROOT.glob(pattern)) for pattern in tests), tests


def test_a_unit_that_fails_takes_no_counts_of_others_with_it(tmp_path, monkeypatch):
    def survey(unit, sessions, sample):
        if unit == "optim":
            raise OSError("no space left")
        return {"mutants": sample}

    monkeypatch.setattr(mutants, "survey", survey)
    monkeypatch.setattr(mutants, "FOUND", tmp_path / "found.json")
    monkeypatch.setattr(
        "sys.argv", ["it", "optim", "losses", "--sample", "2", "--sessions", str(tmp_path)]
    )
    with pytest.raises(SystemExit, match="optim: no space left"):
        mutants.main()
    assert json.loads(mutants.FOUND.read_text()) == {"losses": {"mutants": 2}}
