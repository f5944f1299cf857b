"""Seeded damage of every file that bitspike reads: is it refused in one clear error, or is it still what it was?

    python -m benchmarks.mutations --count 10000 --seed 0

Each input is made and read in a process of its own, watched from here: one that ends it, or does not come to an end,
is counted and named by its seed. What may not happen: a raw error, an end of the process, no end, and, where a digest
covers what was changed, to be taken for whole with another meaning.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.mutated import SUBJECTS, Case, cases

BAD = ("raw error", "other meaning", "process ended", "no end", "slow")
SECONDS, SLOW, MOST_MEMORY = 60.0, 2.0, 16 << 30
"""Wall time after which an input is endless; processor time above which it is slow; bytes of a process."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input: ``refused``, ``same``, ``accepted`` (no digest covers it), or one of ``BAD``."""

    case: Case
    kind: str
    detail: str = ""


def run(count: int, seed: int, subjects: tuple[str, ...] = tuple(SUBJECTS), *, jobs: int = 1) -> Iterator[Outcome]:
    """Yield the outcome of every input, as they come from so many processes."""
    every = list(cases(count, seed, subjects))
    found: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()

    def watch(some: list[Case]) -> None:
        try:
            for outcome in _watched(some, subjects):
                found.put(outcome)
        finally:
            found.put(None)

    threads = [threading.Thread(target=watch, args=(every[i::jobs],), daemon=True) for i in range(jobs)]
    for thread in threads:
        thread.start()
    ended = 0
    while ended < jobs:
        outcome = found.get()
        if outcome is None:
            ended += 1
        else:
            yield outcome


def _watched(some: list[Case], subjects: tuple[str, ...]) -> Iterator[Outcome]:
    """Yield the outcome of some inputs, which a process of its own reads; where it ends, another one goes on."""
    left = collections.deque(some)
    context = multiprocessing.get_context("spawn")
    while left:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, subjects), daemon=True)
        process.start()
        there.close()
        if here.poll(300):
            here.recv()  # it has imported everything and made what is going to be damaged
        while left:
            case = left.popleft()
            here.send(case)
            try:
                if not here.poll(SECONDS):
                    yield Outcome(case, "no end", f"after {SECONDS:g} s")
                    break
                kind, detail = here.recv()
            except EOFError:
                process.join()
                yield Outcome(case, "process ended", f"exit code {process.exitcode}")
                break
            yield Outcome(case, kind, detail)
        process.kill()
        process.join()


def _work(pipe: Connection, subjects: tuple[str, ...]) -> None:
    """Read damaged inputs until nobody asks for more."""
    import resource
    import warnings

    import torch

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Any] = {name: SUBJECTS[name](Path(folder) / name) for name in subjects}
        pipe.send("ready")
        while True:
            try:
                case: Case = pipe.recv()
            except EOFError:
                return
            start = time.process_time()
            kind, detail = made[case.subject].outcome(case)
            if (spent := time.process_time() - start) > SLOW and kind not in BAD:
                kind, detail = "slow", f"{spent:.1f} s of processor time"
            pipe.send((kind, detail))


def table(outcomes: list[Outcome]) -> str:
    """Return how many inputs of each subject came to which end, as a table in Markdown."""
    kinds = ["refused", "same", "accepted", *BAD]
    rows = ["| subject | inputs | " + " | ".join(kinds) + " |", "| --- |" + " --- |" * (len(kinds) + 1)]
    for name in [*SUBJECTS, "all"]:
        some = [o for o in outcomes if name in (o.case.subject, "all")]
        if some:
            found = collections.Counter(o.kind for o in some)
            rows.append(f"| {name} | {len(some):,} | " + " | ".join(f"{found[kind]:,}" for kind in kinds) + " |")
    return "\n".join(rows)


def main(words: list[str] | None = None) -> int:
    """Run the command line; 1 if anything happened that may not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many processes read at once")
    parser.add_argument("--only", nargs="*", default=list(SUBJECTS), choices=list(SUBJECTS), help="subjects")
    args = parser.parse_args(words)
    outcomes = []
    for outcome in run(args.count, args.seed, tuple(args.only), jobs=args.jobs):
        outcomes.append(outcome)
        if outcome.kind in BAD:
            print(f"{outcome.case}: {outcome.kind}: {outcome.detail}", file=sys.stderr, flush=True)
    print(table(outcomes))
    if len(outcomes) < args.count:
        print(f"only {len(outcomes)} of {args.count} inputs were read", file=sys.stderr)
    return int(len(outcomes) < args.count or any(o.kind in BAD for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
