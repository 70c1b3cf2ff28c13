import threading
import time
from collections.abc import Callable

import pytest

from running_threads import begun_since, running
from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.content.protocols import Busy
from wherry.content.scheduler import run_tasks
from wherry.errors import Cancelled, NetworkError, NotFound, WherryError

PATIENCE = 20.0  # seconds after which a test that waits has failed


def nothing(_: CancelToken) -> None:
    """Succeed at once."""


def failing(error: BaseException) -> Callable[[CancelToken], None]:
    def run(_: CancelToken) -> None:
        raise error

    return run


def until_cancelled(token: CancelToken) -> None:
    token.sleep(PATIENCE)
    raise AssertionError("it was not cancelled")


def await_event(event: threading.Event) -> None:
    assert event.wait(PATIENCE)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> object:
    before = running()
    yield
    wait_for(lambda: not begun_since(before), 5)


class Crowd:
    """Counts how many of its tasks run at the same time."""

    def __init__(self, expected: int) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self._expected = expected
        self._full = threading.Event()
        self.most = 0
        self.done = 0

    def run(self, _: CancelToken) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now == self._expected:
                self._full.set()
        self._full.wait(2)
        with self._lock:
            self._now -= 1
            self.done += 1


@pytest.mark.parametrize("jobs", [1, 2, 5, 40])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_so_many_run_at_a_time_and_each_once(jobs: int, count: int) -> None:
    """So many tasks run at a time as there are jobs."""
    crowd = Crowd(min(jobs, count + 1))
    run_tasks(crowd.run, [crowd.run] * count, jobs=jobs, cancel=CancelToken())
    assert crowd.done == count + 1
    assert crowd.most == min(jobs, count + 1)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_there_may_be_no_leader(count: int) -> None:
    crowd = Crowd(min(3, count))
    run_tasks(None, [crowd.run] * count, jobs=3, cancel=CancelToken())
    assert crowd.done == count
    if count:
        with pytest.raises(NotFound):
            run_tasks(None, [failing(NotFound("x"))] * count, jobs=3, cancel=CancelToken())


def test_the_leader_is_first_and_the_others_in_their_order() -> None:
    """Tasks start in the order of the caller."""
    order: list[int] = []

    def numbered(number: int) -> Callable[[CancelToken], None]:
        return lambda _: order.append(number)

    run_tasks(numbered(0), [numbered(n) for n in range(1, 9)], jobs=1, cancel=CancelToken())
    assert order == list(range(9))


def test_the_first_failure_is_raised_and_not_what_follows_from_it() -> None:
    """The cause is raised, and not the `Cancelled` of another task."""
    cause = NetworkError("cut", host="h")
    waiting = threading.Barrier(4)

    def waits(token: CancelToken) -> None:
        waiting.wait(PATIENCE)
        until_cancelled(token)

    def fails(_: CancelToken) -> None:
        waiting.wait(PATIENCE)
        raise cause

    for _ in range(20):
        with pytest.raises(NetworkError) as caught:
            run_tasks(
                nothing,
                [waits, waits, waits, fails],
                jobs=5,
                cancel=CancelToken(),
            )
        assert caught.value is cause


def test_of_two_failures_the_first_counts() -> None:
    first_failed = threading.Event()

    def first(_: CancelToken) -> None:
        raise NetworkError("first", host="h")

    def second(token: CancelToken) -> None:
        with pytest.raises(Cancelled):
            token.sleep(PATIENCE)
        first_failed.set()
        raise NetworkError("second", host="h")

    with pytest.raises(NetworkError, match="first"):
        run_tasks(nothing, [second, first], jobs=3, cancel=CancelToken())
    assert first_failed.is_set()


def test_a_layer_that_fails_does_not_stop_the_leader() -> None:
    """A failure of a layer does not cancel the config."""
    stopped, finished = threading.Event(), threading.Event()

    def leader(token: CancelToken) -> None:
        await_event(stopped)
        token.check()
        finished.set()

    def sibling(token: CancelToken) -> None:
        try:
            until_cancelled(token)
        finally:
            stopped.set()

    cause = NotFound("layer")
    with pytest.raises(NotFound) as caught:
        run_tasks(leader, [sibling, failing(cause)], jobs=3, cancel=CancelToken())
    assert caught.value is cause
    assert finished.is_set()


def test_a_leader_that_fails_stops_all_and_is_the_error() -> None:
    """A failure of the config cancels the layers and is raised."""
    cause = NotFound("config")
    started = threading.Barrier(3)

    def leader(_: CancelToken) -> None:
        started.wait(PATIENCE)
        raise cause

    def layer(token: CancelToken) -> None:
        started.wait(PATIENCE)
        until_cancelled(token)

    with pytest.raises(NotFound) as caught:
        run_tasks(leader, [layer, layer], jobs=3, cancel=CancelToken())
    assert caught.value is cause


def test_a_leader_that_fails_later_outranks_a_layer_that_failed_before() -> None:
    """The failure of the config is raised even if a layer failed before."""
    layer_failed = threading.Event()
    cause = NotFound("config")

    def leader(_: CancelToken) -> None:
        await_event(layer_failed)
        raise cause

    def witness(token: CancelToken) -> None:
        try:
            until_cancelled(token)
        finally:
            layer_failed.set()

    tasks = [witness, failing(NetworkError("layer", host="h"))]
    with pytest.raises(NotFound) as caught:
        run_tasks(leader, tasks, jobs=3, cancel=CancelToken())
    assert caught.value is cause


def test_a_layer_that_fails_after_the_leader_changes_nothing() -> None:
    cause = NotFound("config")

    def layer(token: CancelToken) -> None:
        with pytest.raises(Cancelled):
            token.sleep(PATIENCE)
        raise NetworkError("layer", host="h")

    with pytest.raises(NotFound):
        run_tasks(failing(cause), [layer], jobs=2, cancel=CancelToken())


def test_no_task_starts_after_a_failure() -> None:
    begun: list[int] = []
    tasks = [failing(NotFound("x"))]
    tasks += [lambda _: begun.append(1) for _ in range(5)]
    with pytest.raises(NotFound):
        run_tasks(nothing, tasks, jobs=1, cancel=CancelToken())
    assert not begun


def test_errors_of_any_kind_reach_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        run_tasks(nothing, [failing(ZeroDivisionError())], jobs=2, cancel=CancelToken())


def test_a_cancel_from_outside_stops_all() -> None:
    cancel = CancelToken()
    running = threading.Barrier(4)

    def task(token: CancelToken) -> None:
        running.wait(PATIENCE)
        until_cancelled(token)

    def stop() -> None:
        running.wait(PATIENCE)
        cancel.cancel()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(Cancelled):
        run_tasks(task, [task] * 5, jobs=3, cancel=cancel)
    stopper.join()


def test_a_cancel_before_the_start_runs_nothing() -> None:
    cancel, ran = CancelToken(), []
    cancel.cancel()

    def task(_: CancelToken) -> None:
        ran.append(1)

    with pytest.raises(Cancelled):
        run_tasks(task, [task] * 3, jobs=2, cancel=cancel)
    assert not ran


def test_a_failure_does_not_cancel_the_callers_token() -> None:
    cancel = CancelToken()
    with pytest.raises(WherryError):
        run_tasks(failing(NotFound("x")), [nothing], jobs=2, cancel=cancel)
    assert not cancel.cancelled


def busy(times: int, then: Callable[[], None]) -> Callable[[CancelToken], None]:
    """Make a task whose blob another writer holds at its first calls."""
    left = [times]

    def run(_: CancelToken) -> None:
        if left[0]:
            left[0] -= 1
            raise Busy(left[0])
        then()

    return run


def test_a_blob_that_another_writer_holds_is_retried() -> None:
    done: list[str] = []
    run_tasks(
        busy(2, lambda: done.append("leader")),
        [busy(3, lambda: done.append("layer")), lambda _: done.append("other")],
        jobs=1,
        cancel=CancelToken(),
    )
    assert done[0] == "other"
    assert sorted(done) == ["layer", "leader", "other"]


def test_a_busy_blob_takes_no_slot() -> None:
    """A blob that another pull holds goes back to the queue and takes no worker."""
    others_done = threading.Event()
    left = [5]

    def other(_: CancelToken) -> None:
        left[0] -= 1
        if not left[0]:
            others_done.set()

    def held(_: CancelToken) -> None:
        if not others_done.is_set():
            raise Busy(0)

    run_tasks(nothing, [held, *[other] * 5], jobs=1, cancel=CancelToken())
    assert others_done.is_set()


def test_a_busy_blob_is_not_asked_for_all_the_time() -> None:
    calls = [0]
    ends = time.monotonic() + 0.3

    def held(_: CancelToken) -> None:
        calls[0] += 1
        if time.monotonic() < ends:
            raise Busy(0)

    run_tasks(nothing, [held], jobs=4, cancel=CancelToken())
    assert 2 <= calls[0] <= 12


def test_waiting_for_a_busy_blob_ends_with_a_failure() -> None:
    tries = threading.Event()

    def held(_: CancelToken) -> None:
        tries.set()
        raise Busy(0)

    def fails(_: CancelToken) -> None:
        await_event(tries)
        raise NotFound("x")

    with pytest.raises(NotFound):
        run_tasks(nothing, [held, fails], jobs=2, cancel=CancelToken())


def test_waiting_for_a_busy_blob_ends_with_a_cancel() -> None:
    cancel = CancelToken()

    def held(_: CancelToken) -> None:
        threading.Timer(0.02, cancel.cancel).start()
        raise Busy(0)

    with pytest.raises(Cancelled):
        run_tasks(nothing, [held], jobs=1, cancel=cancel)
