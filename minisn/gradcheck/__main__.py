"""The command ``python -m minisn.gradcheck``: check the rule table, or a function of your own."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, MinisnError, nearest
from ..kernels import use_kernels
from ..tensor import RULES
from .cases import CASES, check_primitive
from .own import check_own
from .report import NOTHING, Report

MODULES = ("spec", "array_api", "cpu")


def main(argv: Sequence[str] | None = None) -> int:
    """Check primitives by name, or all of them; return the exit status.

    Args:
        argv: the command's arguments; None takes those of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m minisn.gradcheck",
        description="Check the first and second derivatives of the library's primitives against "
        "finite differences, in every kernel module, or check a function of your own.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="PRIMITIVE|MODULE:FUNCTION", help="what to check"
    )
    own = parser.add_argument_group(
        "for a function of your own",
        "MODULE:NAME may also be a dict, whose items are the arguments of gradcheck(), such as fn, "
        "inputs, kwargs or subgradients.",
    )
    own.add_argument(
        "--inputs",
        nargs="+",
        default=[],
        metavar="INPUT",
        help="for each argument a shape such as 2x3 (3x for a vector), a number, or a .npy file",
    )
    own.add_argument("--grad", metavar="FUNCTION", help="the gradient of a NumPy function")
    own.add_argument("--vjp", metavar="FUNCTION", help="the backward of a NumPy function")
    own.add_argument("--order", type=int, default=1, help="highest order to check")
    own.add_argument("--seed", type=int, default=0, help="seed of random inputs and directions")
    parser.add_argument("--all", action="store_true", help="check the whole rule table")
    parser.add_argument("--kernels", choices=MODULES, help="check in this kernel module only")
    args = parser.parse_args(argv)
    if len(args.names) == 1 and ":" in args.names[0]:
        if args.all or args.kernels:
            parser.error("--all and --kernels are for primitives, not for a function of your own")
        try:
            return check_own(
                args.names[0],
                args.inputs,
                {"grad": args.grad, "vjp": args.vjp},
                args.order,
                args.seed,
            )
        except MinisnError as error:
            parser.error(str(error))
    _refuse(parser, args)
    modules = [args.kernels] if args.kernels else list(MODULES)
    try:
        return _run(list(RULES) if args.all else args.names, modules)
    except BrokenPipeError:
        return 1


def _refuse(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse names that are no primitives, and options that are not for primitives."""
    if args.all == bool(args.names):
        parser.error("give either the names of primitives or --all")
    if len(args.names) > 1 and any(":" in name for name in args.names):
        parser.error("a function of your own is checked alone: give one MODULE:FUNCTION")
    if args.inputs or args.grad or args.vjp or args.order != 1:
        named = [n for n in args.names if "." in n]
        hint = (
            f"; write {named[0].rpartition('.')[0]}:{named[0].rpartition('.')[2]}" if named else ""
        )
        parser.error(f"--inputs, --grad, --vjp and --order are for MODULE:FUNCTION{hint}")
    for name in args.names:
        if name not in RULES:
            parser.error(
                f"no primitive {name!r}{nearest(name, RULES)}; a function of your own is "
                "MODULE:FUNCTION, one at a time"
            )


def _run(names: list[str], modules: list[str]) -> int:
    start = time.perf_counter()
    present = [name for name in modules if _available(name)]
    if not present:
        return 1
    print(_line("primitive", "order", "kernels", "cases", "error/estimate", "verdict"))
    failures: list[str] = []
    for name in names:
        reports = {k: check_primitive(name, k) for k in present}
        for order in (1, 2) if CASES.get(name) else (1,):
            failures += _row(name, order, reports)
    if failures:
        print("", *failures, sep="\n")
    verdict = f"{len(failures)} failed" if failures else "all right"
    print(
        f"\n{len(names)} primitives, orders 1 and 2, in {', '.join(present)}: {verdict} "
        f"({time.perf_counter() - start:.0f} s)"
    )
    return 1 if failures else 0


def _available(kernels: str) -> bool:
    try:
        with use_kernels(kernels):
            return True
    except ConfigError as error:
        print(f"not checked: {error}", file=sys.stderr)
        return False


def _row(name: str, order: int, reports: dict[str, list[Report]]) -> list[str]:
    """Print one line of the table, and return the full text of its failures."""
    if not CASES.get(name):
        print(_line(name, order, "", 0, "", "NO CASE"))
        return [f"{name}: no sample case; add one to CASES in minisn/gradcheck/cases.py"]
    checks = [(k, i, r.checks[order - 1]) for k, rs in reports.items() for i, r in enumerate(rs)]
    failed = [(k, i, c) for k, i, c in checks if not c.right and c.diagnosis != NOTHING]
    ratio = max(c.ratio for _, _, c in checks)
    words = sorted({f"{c.diagnosis.upper()} ({k})" for k, _, c in failed})
    verdict = ", ".join(words) or "right"
    print(_line(name, order, " ".join(reports), len(CASES[name]), f"{ratio:.2g}", verdict))
    if not failed:
        return []
    _, case, check = next((f for f in failed if f[2].guess), failed[0])
    where = ", ".join(sorted({k for k, _, _ in failed}))
    return [f"{name}, case {case}, kernels {where}: order {order}, {check.line}"]


def _line(name: str, order: Any, kernels: str, cases: Any, ratio: str, verdict: str) -> str:
    return f"{name:<18}{order:>5}  {kernels:<20}{cases:>5}  {ratio:>14}  {verdict}"


if __name__ == "__main__":
    # the arrays are tiny, so a second thread would only wait; Numba reads this before it starts
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    sys.exit(main())
