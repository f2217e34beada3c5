"""The README's two commands, as CI takes them from it: what a reader would copy, and no more."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "readme"
SECTION = "# x\n\n```sh\nno\n```\n\n## Two commands\n\n{}\n## More\n\n```sh\nno\n```\n"


def extracted(script, number):
    """What is found by the program that CI asks."""
    return subprocess.run([sys.executable, script, number], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("number", "extra", "last"),
    [("1", ".", "minisn train"), ("2", "'.[test]'", "python -m pytest")],
)
def test_each_sets_up_an_environment_of_its_own_and_does_one_thing(number, extra, last):
    done = extracted(SCRIPT, number)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"python3 -m venv .venv && .venv/bin/pip install -e {extra} && .venv/bin/{last}\n"
    )
    assert f"\n```sh\n{done.stdout}```\n" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_commands_than_two_is_an_error(tmp_path, count):
    script = tmp_path / ".ci" / "readme"
    script.parent.mkdir()
    script.write_bytes(SCRIPT.read_bytes())
    blocks = (f"```sh\nmake {k}\n```\n\nThen:\n" for k in range(count))
    (tmp_path / "README.md").write_text(SECTION.format("\n".join(blocks)))
    done = extracted(script, "1")
    assert (done.returncode, done.stdout) == (1, "")
