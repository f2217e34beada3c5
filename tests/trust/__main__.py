"""Print what was tried, and what survived: ``python tests/trust``.

The figures are those of the last time that each was run: ``fuzz.py`` and ``kills.py`` write them
into ``results/``.
"""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def rows(name: str, found: dict) -> list[tuple[str, str, str]]:
    """Return what was tried, how often, and what came of it."""
    if name == "fuzz":
        return [(f"inputs made up for {reader!r}", f"{r['inputs']:,}", f"{r['defects']} defects")
                for reader, r in found.items()]  # fmt: skip
    return [(f"kills of {work}", f"{r['kills']:,}", f"{r['ends']} ends, all alike")
            for work, r in found.items()]  # fmt: skip


def main() -> None:
    """Print the table."""
    for path in sorted(RESULTS.glob("*.json")):
        for tried, times, outcome in rows(path.stem, json.loads(path.read_text())):
            print(f"{tried:42} {times:>12}   {outcome}")


if __name__ == "__main__":
    main()
