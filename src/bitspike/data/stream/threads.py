"""A few batches ahead, filled by threads: bounded in memory, and gone when whoever reads them stops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
B = TypeVar("B")

AHEAD = 2
"""Batches that are filled while one is used."""
_CHUNK = 8
"""Items of one task: few enough that all threads work on the first batch."""


def read_ahead(
    batches: Iterable[Sequence[T]],
    empty: Callable[[int], B],
    fill: Callable[[B, int, T], None],
    *,
    workers: int,
) -> Generator[B, None, None]:
    """Yield batches in order, filled by threads.

    Threads, not processes: decoders let go of Python's lock, and threads need no shared memory, no pickling and no
    guarded main module, and work in notebooks. Torch's own threads are left as they are. Where the generator is closed,
    or Ctrl-C or an error ends the block that reads it, what has not begun is dropped and the threads end.

    Args:
        batches: what each batch is made of.
        empty: makes a batch of so many items.
        fill: puts an item into its place; called by several threads at once.
        workers: threads; 0 fills in the thread that reads.

    Raises:
        what ``fill`` raises, at the batch whose item it was.

    Example:
        >>> def fill(batch: list[int], place: int, item: int) -> None:
        ...     batch[place] = item * item
        >>> list(read_ahead([[1, 2], [3]], lambda n: [0] * n, fill, workers=2))
        [[1, 4], [9]]
    """
    if workers == 0:
        for items in batches:
            batch = empty(len(items))
            for place, item in enumerate(items):
                fill(batch, place, item)
            yield batch
        return
    waiting: deque[tuple[B, list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="bitspike-reader")

    def several(batch: B, items: Sequence[T], start: int) -> None:
        for place in range(start, min(start + _CHUNK, len(items))):
            fill(batch, place, items[place])

    try:
        for items in batches:
            batch = empty(len(items))
            tasks = [pool.submit(several, batch, items, start) for start in range(0, len(items), _CHUNK)]
            waiting.append((batch, tasks))
            if len(waiting) > AHEAD:
                yield _filled(waiting)
        while waiting:
            yield _filled(waiting)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _filled(waiting: deque[tuple[B, list[Future[None]]]]) -> B:
    batch, tasks = waiting.popleft()
    for task in tasks:
        task.result()
    return batch
