"""Test what was changed since the last commit: ``python tests/touched.py [options of pytest]``.

With nothing changed, what the last commit changed. A file of the library is tested by its own test
file, a test file by itself; the rules of the house hold for all.
"""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
OTHERS = {
    "README.md": ["readme"],
    ".ci": ["readme"],
    "tutorials/site": ["site"],
    "tutorials": ["notebooks", "coursework_build"],
}
"""What tests the files that are no Python of the library; the first that fits."""


def changed() -> list[str]:
    """Return the paths that git calls changed or new, or those of the last commit."""

    def git(*words: str) -> list[str]:
        done = subprocess.run(["git", *words], cwd=TESTS.parent, text=True, stdout=-1, check=True)
        return done.stdout.splitlines()

    found = git("diff", "--name-only", "HEAD") + git("ls-files", "--others", "--exclude-standard")
    return found or git("diff", "--name-only", "HEAD~1")


def where_tested(path: str) -> list[str]:
    """Name the test files of a path, without ``test_`` and ``.py``."""
    from test_house import TESTED_IN

    top, *parts = path.removesuffix(".py").split("/")
    if top == "tests":
        return [parts[-1].removeprefix("test_")]
    if top != "minisn":
        return next((tests for begin, tests in OTHERS.items() if path.startswith(begin)), [])
    own = f"{parts[0]}_{parts[-1]}"
    if (TESTS / f"test_{own}.py").exists():
        return [own]
    return [TESTED_IN.get(parts[0], f"test_{parts[0]}.py")[len("test_") : -len(".py")]]


def main() -> int:
    """Run pytest on the test files of what was changed."""
    names = {name for path in changed() for name in where_tested(path)} | {"house"}
    files = [file for name in sorted(names) if (file := TESTS / f"test_{name}.py").exists()]
    print(*(file.name for file in files), flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *files, *sys.argv[1:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
