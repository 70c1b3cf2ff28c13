"""Something that is done beside something else, in a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.content.cancel import CancelToken

T = TypeVar("T")
GRACE = 0.2  # seconds for what is cancelled to stop what it has started


@contextlib.contextmanager
def beside(cancel: CancelToken, call: Callable[[CancelToken], T]) -> Iterator[Callable[[], T]]:
    """Run ``call`` while the block runs; yields what waits for its result.

    Waiting raises what ``call`` raised. When the block ends, ``call`` is cancelled: what nobody
    waited for is not wanted.
    """
    answer: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put((call(token), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            answer.put((None, error))

    def wait() -> T:
        found, error = answer.get()
        answer.put((found, error))
        if error is not None:
            raise error
        return found  # type: ignore[return-value] # without an error there is one

    with cancel.child() as token:
        thread = threading.Thread(target=run, name="wherry-beside", daemon=True)
        thread.start()
        try:
            yield wait
        finally:
            token.cancel()
            thread.join(GRACE)
