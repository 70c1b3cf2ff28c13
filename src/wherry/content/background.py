"""Running a call in a background thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken

T = TypeVar("T")
GRACE = 0.2  # seconds that a cancelled call has to stop


@contextlib.contextmanager
def in_background(
    cancel: CancelToken, call: Callable[[CancelToken], T]
) -> Iterator[Callable[[], T]]:
    """Run ``call`` during the block; yields a function that waits for its result.

    That function raises what ``call`` raised. At the end of the block ``call`` is cancelled.
    """
    answer: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put((call(token), None))
        except BaseException as error:  # noqa: BLE001 - raised again in `wait`
            answer.put((None, error))

    def wait() -> T:
        found, error = answer.get()
        answer.put((found, error))
        if error is not None:
            raise error
        return found  # type: ignore[return-value] # there is no error, so there is a result

    with cancel.child() as token:
        thread = threading.Thread(target=run, name="wherry-background", daemon=True)
        thread.start()
        try:
            yield wait
        finally:
            token.cancel()
            thread.join(GRACE)
