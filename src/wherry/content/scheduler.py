"""Worker threads that run tasks until the first failure."""

from __future__ import annotations

import collections
import threading
import time
from typing import TYPE_CHECKING

from wherry.content.protocols import Busy
from wherry.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.content.cancel import CancelToken

    # A task that raises `Busy` is called again later.
    Task = Callable[[CancelToken], None]

GRACE = 0.6  # seconds that workers have to stop before they are left behind
_LOOK = 0.1  # seconds between checks for a cancellation
_BUSY_PAUSE = 0.05  # seconds before a blob is tried again that another writer holds


def run_tasks(
    leader: Task | None, tasks: Sequence[Task], *, jobs: int, cancel: CancelToken
) -> None:
    """Run all tasks, ``jobs`` at a time, ``leader`` first, the others in order.

    A failure of the leader stops all tasks. It is raised even if another task failed before. A
    failure of another task stops all but the leader, and the first such failure is raised. After
    a cancellation, a task that does not stop within `GRACE` seconds is left behind.
    """
    with cancel.child() as everything, everything.child() as rest:
        work = _TaskQueue(leader, tasks, everything, rest)
        workers = [
            threading.Thread(target=work.run, name=f"wherry-{number}", daemon=True)
            for number in range(min(jobs, len(tasks) + bool(leader)))
        ]
        try:
            for worker in workers:
                worker.start()
            if workers:
                work.wait(cancel)
        except BaseException:
            # Interrupted. Threads cannot be killed: one that does not stop is left behind.
            everything.cancel()
            work.finished.acquire(timeout=GRACE)
            raise
    if work.failure is not None:
        raise work.failure
    cancel.check()


class _TaskQueue:
    """The tasks that the workers share."""

    def __init__(
        self,
        leader: Task | None,
        tasks: Sequence[Task],
        everything: CancelToken,
        rest: CancelToken,
    ) -> None:
        self._leader = leader
        self._everything = everything
        self._rest = rest
        found = [*([leader] if leader else []), *tasks]
        self._pending = collections.deque((task, 0.0) for task in found)
        self._left = len(self._pending)
        self._lock = threading.Lock()
        self.finished = threading.Semaphore(0)
        self.failure: BaseException | None = None

    def wait(self, cancel: CancelToken) -> None:
        """Wait for all tasks; after a cancellation, at most `GRACE` seconds."""
        while not self.finished.acquire(timeout=_LOOK):
            if cancel.cancelled:
                self.finished.acquire(timeout=GRACE)
                return

    def run(self) -> None:
        while True:
            with self._lock:
                if not self._pending:
                    return
                task, due = self._pending.popleft()
            token = self._everything if task is self._leader else self._rest
            try:
                token.sleep(due - time.monotonic()) if due else token.check()
                task(token)
            except Busy:
                with self._lock:
                    self._pending.append((task, time.monotonic() + _BUSY_PAUSE))
                continue
            except BaseException as error:  # noqa: BLE001 - raised again in `run_tasks`
                self._fail(task, error)
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                self.finished.release()

    def _fail(self, task: Task, error: BaseException) -> None:
        """Record a failure before its cancellation makes other tasks fail."""
        leads = task is self._leader
        with self._lock:
            stopped = isinstance(error, Cancelled) and self.failure is not None
            if (leads and not stopped) or self.failure is None:
                self.failure = error
        (self._everything if leads else self._rest).cancel()
