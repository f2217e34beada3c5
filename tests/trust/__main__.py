"""Print how often each trial ran, and its outcome: ``python tests/trust``.

The figures are those of the last run of each trial: ``fuzz.py``, ``guards.py``, ``kills.py``,
``mutants.py``, ``long_run.py`` and ``pythons.py`` write them to ``results/``.
"""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def rows(name: str, found: dict) -> list[tuple[str, str, str]]:
    """Return for each trial its name, the number of times, and the outcome."""
    if name == "fuzz":
        return [
            (f"inputs generated for {reader!r}", f"{r['inputs']:,}", f"{r['defects']} defects")
            for reader, r in found.items()
        ]
    if name == "guards":
        half = found["half the products"]
        outcome = f"error at most {half['greatest']:.2f} times the direct one"
        return [
            *(
                (f"guarded rounds of {kernel}", f"{r['rounds']:,}",
                 r["fault"] or "no fault")
                for kernel, r in found.items() if kernel != "half the products"
            ),
            ("convolutions with half the products", f"{half['convolutions']:,}", outcome),
        ]  # fmt: skip
    if name == "mutants":
        return [
            (
                f"changes of {unit}",
                f"{r['mutants']:,}",
                f"{r['killed'] / r['mutants']:.1%} noticed, {len(r['survivors'])} explained",
            )
            for unit, r in found.items()
        ]
    if name == "pythons":
        return [
            (
                f"tests that passed on {place}",
                f"{r.get('passed', 0):,}",
                r.get("error") or f"{r.get('failed', 0)} failed, {r['steps']} steps of training",
            )
            for place, r in found.items()
        ]
    if name == "long_run":
        outcome = f"memory of the second half is {found['growth']:.3f} times that of the first"
        return [("steps of one training", f"{found['lines'][-1]['step']:,}", outcome)]
    return [
        (f"kills of {work}", f"{r['kills']:,}", f"{r['ends']} finished runs, all equal")
        for work, r in found.items()
    ]


def main() -> None:
    """Print the table."""
    for path in sorted(RESULTS.glob("*.json")):
        for tried, times, outcome in rows(path.stem, json.loads(path.read_text())):
            print(f"{tried:42} {times:>12}   {outcome}")


if __name__ == "__main__":
    main()
