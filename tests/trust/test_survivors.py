"""Every change that the core's tests do not notice has a written reason."""

import json
import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def test_every_survivor_is_explained_and_nothing_else():
    found = json.loads((HERE / "results" / "mutants.json").read_text())
    alive = {re.sub(r":\d+: ", ": ", s) for unit in found.values() for s in unit["survivors"]}
    reasons = tomllib.loads((HERE / "survivors.toml").read_text())["because"]
    explained = [change for reason in reasons for change in reason["changes"]]
    assert sorted(explained) == sorted(alive)
    assert all(reason["why"] for reason in reasons)
