"""The command line of the benchmarks.

python -m benchmarks list          what can be measured
python -m benchmarks CASE...       measure, and add the lines to benchmarks/results/CASE.jsonl
python -m benchmarks all           every case that this machine can measure, each in a process of its own
python -m benchmarks readers RUN...  what other programs make of NIR files, for docs/export.md
python -m benchmarks table         write docs/performance.md and its plots from the lines (--check: only compare)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import cuda, lines, measure
from benchmarks.case import Case
from benchmarks.cases import CASES
from benchmarks.memory import rise
from benchmarks.run import GroupError, Plan
from benchmarks.run import measure as measured


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 a case failed or the document is out of date."""
    args = _arguments(words)
    match args.what:
        case "list":
            width = max(len(name) for name in CASES)
            print("\n".join(f"{c.name:{width}}  {c.title}" for c in CASES.values()))
            return 0
        case "table":
            return _table(check=args.check)
        case "readers":
            from benchmarks import readers

            return readers.main(args.rest, quick=args.quick)
        case "point":
            return _point(CASES[args.rest[0]], *args.rest[1:], tiny=args.tiny)
    here = [c.name for c in CASES.values() if c.device == "cpu" or cuda.place() == "cuda" or args.tiny]
    names = here if args.what == "all" else [args.what, *args.rest]
    unknown = [n for n in names if n not in CASES]
    if unknown:
        print(
            f"unknown: {', '.join(unknown)}; there are: {', '.join(CASES)}, all, list, readers, table", file=sys.stderr
        )
        return 2
    if len(names) > 1:
        return _each_in_its_own_process(names, sys.argv[1:] if words is None else words)
    return _measure(CASES[names[0]], args)


def _arguments(words: list[str] | None) -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=style)
    parser.add_argument("what", help="a case, or list, all, readers, table")
    parser.add_argument("rest", nargs="*", help="more cases")
    parser.add_argument("--quick", action="store_true", help="few short blocks; nothing is written without --out")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, one block: only to see that it runs")
    parser.add_argument("--only", default="", metavar="TEXT", help="only groups whose name contains it; as --quick")
    parser.add_argument("--default-malloc", action="store_true", help="let glibc return freed memory to the system")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the lines go")
    parser.add_argument("--check", action="store_true", help="table: write nothing, 1 where something is out of date")
    return parser.parse_args(words)


def _measure(case: Case, args: argparse.Namespace) -> int:
    if case.device == "cuda" and cuda.place() == "cpu" and not args.tiny:
        print(f"{case.name}: torch finds no CUDA device here; --tiny runs its code on the CPU", file=sys.stderr)
        return 1
    whole = cuda.EFFORT if case.device == "cuda" else measure.Effort()
    effort = measure.TINY if args.tiny else measure.QUICK if args.quick else whole
    plan = Plan(effort=effort, tiny=args.tiny, keep=not args.default_malloc, only=args.only)
    passing = args.quick or args.tiny or args.only or args.default_malloc
    try:
        for line in measured(case, plan):
            print(json.dumps(line, ensure_ascii=False), flush=True)
            if args.out is not None or not passing:
                lines.append([line], args.out or lines.RESULTS)
    except (measure.BusyError, GroupError) as error:
        print(f"{case.name}: {error}", file=sys.stderr)
        return 1
    return 0


def _each_in_its_own_process(names: list[str], words: list[str]) -> int:
    """Measure several cases one after the other; one that fails does not keep the next from running."""
    options = [w for w in words if w not in {*names, "all"}]
    call = [sys.executable, "-m", "benchmarks"]
    failed = [n for n in names if subprocess.run([*call, n, *options], check=False).returncode != 0]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _point(case: Case, group: str, variant: str, *, tiny: bool) -> int:
    """Measure the memory of one variant in this process; started by benchmarks.memory."""
    (found,) = [g for g in case.groups(tiny) if g.name == group]
    print(json.dumps({"MB": rise(found.variant(variant))}))
    return 0


def _table(*, check: bool) -> int:
    from benchmarks import document

    stale = document.write(check=check)
    for path in stale if check else ():
        print(f"{path} is out of date; run python -m benchmarks table", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
