"""The Pythons that the package names are those on which it passed its trial."""

import json
import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
OLDEST = PROJECT["requires-python"].removeprefix(">=")  # .ci/run uses it


def test_classifiers_name_the_pythons_that_were_tried():
    found = json.loads((HERE / "results" / "pythons.json").read_text("utf-8")).values()
    good = {".".join(each["version"].split(".")[:2]) for each in found if each.get("good")}
    named = [re.fullmatch(r".* :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"]]
    assert {match[1] for match in named if match} == good | {OLDEST}
