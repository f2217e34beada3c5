"""Change the core in thousands of small ways, one at a time, and check that its tests notice each.

    pip install -e '.[test,trust]'
    python tests/trust/mutants.py --sessions FOLDER           # hours; resumes where it stopped
    python tests/trust/mutants.py losses optim --sessions FOLDER
    python tests/trust/mutants.py ops --sample 60 --sessions FOLDER    # 60 of a unit's changes

A change adds one to a number, swaps an operator or a comparison, negates a condition, or removes a
decorator or the body of a loop. Every unit runs in a copy of the last commit.
``results/mutants.json`` lists the surviving changes by line; ``survivors.toml`` says why each may
survive.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import tomli_w

HERE = Path(__file__).parent
ROOT, FOUND = HERE.parent.parent, HERE / "results" / "mutants.json"
RULES = "tests/test_rules.py"
CALLERS = ("ops", "answers", "fused")
UNITS = {
    "ops": ["minisn/ops.py", "tests/test_ops.py"],
    "fused": ["minisn/fused.py", "tests/test_fused.py", "tests/test_conv.py"],
    "spectral": ["minisn/spectral.py", "tests/test_spectral.py"],
    "tensor": ["minisn/tensor.py", *(f"tests/test_{n}.py" for n in ("tensor", *CALLERS))],
    "regularizers": ["minisn/regularizers", "tests/test_regularizers*.py"],
    "metrics": ["minisn/metrics", "tests/test_metrics.py"],
    "conv": ["minisn/conv.py", "tests/test_conv.py", RULES],
    "optim": ["minisn/optim.py", "tests/test_optim.py"],
    "losses": ["minisn/losses.py", "tests/test_losses.py"],
    "geometry": ["minisn/geometry.py", "tests/test_conv.py", "tests/test_operations.py"],
    "lipschitz": ["minisn/lipschitz.py", "tests/test_spectral.py"],
    "recording": [
        "minisn/recording.py",
        *(f"tests/test_{n}.py" for n in ("answers", "tensor", "concurrency")),
    ],
    "indexing": ["minisn/indexing.py", "tests/test_elsewhere.py", "tests/test_ops.py"],
    "precision": ["minisn/precision.py", "tests/test_ops.py", "tests/test_operations.py"],
    "labels": [
        "minisn/labels.py",
        *(f"tests/test_{n}.py" for n in ("elsewhere", "models_labels", "losses")),
    ],
}
"""The files to change and the tests that must notice; the unit with the longest run comes first."""

ONE_OF_EACH = (
    "NumberReplacer|AddNot|RemoveDecorator|ExceptionReplacer|ZeroIterationForLoop"
    "|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd"
    "|ReplaceBreakWithContinue|ReplaceContinueWithBreak|ReplaceUnaryOperator_Delete_.*"
    "|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|Pow_Mul|FloorDiv_Div|Mod_Div)"
    "|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is)"
)
"""Kinds of changes. An operator has eleven possible replacements, of which one is enough: the
others differ more from it, or cannot run at all."""


def run(*command: str, folder: Path, **more) -> subprocess.CompletedProcess:
    """Run a command in a copy, with the copy's package and one thread for each kernel."""
    env = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_NUM_THREADS": "1"}
    env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, **more)


def survey(unit: str, sessions: Path, sample: int) -> dict:
    """Try every change of one unit that has not been tried yet, and count the outcomes.

    A new session of a sample tries that many changes, drawn at random, and skips the others.
    """
    tools, (path, *tests) = Path(sys.executable).parent, UNITS[unit]
    config, session = sessions / f"{unit}.toml", sessions / f"{unit}.sqlite"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE)
        subprocess.run(["tar", "x"], cwd=folder, input=archive.stdout, check=True)
        files = [str(f.relative_to(folder)) for t in tests for f in sorted(folder.glob(t))]
        test = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider",
                "--hypothesis-profile=brief", "--tb=no", *files]  # fmt: skip
        run(*test, folder=folder, check=True)  # compiles the kernels; an unchanged unit must pass
        start = time.perf_counter()
        run(*test, folder=folder, check=True)
        settings = {
            "module-path": path, "test-command": " ".join(test), "excluded-modules": [],
            "timeout": 20 + 4 * (time.perf_counter() - start),
            "distributor": {"name": "local"},
            "filters": {"operators-filter": {"exclude-operators": [f"core/(?!({ONE_OF_EACH})$)"]}},
        }  # fmt: skip
        config.write_text(tomli_w.dumps({"cosmic-ray": settings}))
        arguments = (str(config), str(session))
        if not session.exists():
            run(str(tools / "cosmic-ray"), "init", *arguments, folder=folder, check=True)
            run(str(tools / "cr-filter-operators"), *arguments[::-1], folder=folder, check=True)
            if sample:
                keep(session, sample)
        run(str(tools / "cosmic-ray"), "exec", *arguments, folder=folder, check=True)
    return count(session)


def keep(session: Path, sample: int) -> None:
    """Skip all changes of a new session but a random sample."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    with use_db(str(session), WorkDB.Mode.open) as db:
        pending = sorted(item.job_id for item in db.pending_work_items)
        random.shuffle(pending)
        skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED, output="not drawn")
        db.set_multiple_results(pending[sample:], skipped)


def count(session: Path) -> dict:
    """Count the outcomes of a unit's changes."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome

    with use_db(str(session), WorkDB.Mode.open) as db:
        items = {item.job_id: item.mutations[0] for item in db.work_items}
        tried = [
            (items[job], result)
            for job, result in db.results
            if result.worker_outcome != WorkerOutcome.SKIPPED
        ]
    alive = sorted(
        f"{m.module_path.relative_to('minisn')}:{m.start_pos[0]}: {change(result.diff)}"
        for m, result in tried
        if not result.is_killed
    )
    return {"mutants": len(tried), "killed": len(tried) - len(alive), "survivors": alive}


def change(diff: str) -> str:
    """Describe a change by its line before and after."""
    lines = [line for line in diff.splitlines() if line[:3] not in ("+++", "---")]
    before, after = (
        " ".join(line[1:].strip() for line in lines if line[:1] == sign and line[1:].strip())
        for sign in "-+"
    )
    return f"{before}  ->  {after or '(left out)'}"


def main() -> None:
    """Try the named units, or all, two at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("units", nargs="*", metavar="UNIT", help=", ".join(UNITS))
    parser.add_argument("--sample", type=int, default=0, help="changes of each unit; 0 for all")
    parser.add_argument("--sessions", type=Path, required=True, help="folder of the sessions")
    options = parser.parse_args()
    if unknown := set(options.units) - set(UNITS):
        parser.error(f"no unit {sorted(unknown)}; expected some of {', '.join(UNITS)}")
    options.sessions.mkdir(parents=True, exist_ok=True)
    sessions = options.sessions.resolve()
    with ThreadPoolExecutor(2) as pool:
        done = {
            pool.submit(survey, unit, sessions, options.sample): unit
            for unit in UNITS
            if unit in options.units or not options.units
        }
        for future in as_completed(done):
            if not future.exception():
                results = json.loads(FOUND.read_text()) if FOUND.exists() else {}
                results[done[future]] = future.result()
                FOUND.write_text(json.dumps(results, indent=1) + "\n")
    failed = [f"{unit}: {end.exception()}" for end, unit in done.items() if end.exception()]
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
