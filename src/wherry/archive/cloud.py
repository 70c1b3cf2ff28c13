"""A bucket of object storage: the only place that calls obstore."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from wherry.archive.cloud_errors import missing_extra, translate_error
from wherry.content.retry import RetryPolicy
from wherry.errors import Cancelled, InvalidDocument
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wherry.content.cancel import CancelToken
    from wherry.model.cloud_settings import CloudSettings

T = TypeVar("T")

_CHUNK = 256 * 1024  # least bytes of a step of a download
_CONNECT_SECONDS = 15
_WHOLE_REQUEST = timedelta(days=7)  # obstore's limit of 30 seconds would end long downloads


class Version(Record):
    """The version of an object, for conditional writes."""

    e_tag: str | None
    version: str | None


class Bucket:
    """The objects below a prefix. Thread-safe.

    Requests run in one thread with an event loop, so that every wait for one can be cancelled.
    obstore signs them, and repeats those that fail for a moment.

    Args:
        path: The URL of the prefix, as `Address.parse` checks it.
        settings: How to connect.
        cancel: Ends all requests.
        patience: How many times the time-out of the settings a request may take without a byte
            of the response. Sending a part takes a while.

    Raises:
        Unsupported: obstore is not installed.
    """

    def __init__(
        self, path: str, settings: CloudSettings, cancel: CancelToken, *, patience: int = 1
    ) -> None:
        try:
            import obstore
            import obstore.store
        except ModuleNotFoundError as error:
            raise missing_extra(error).within(path) from None
        self.path = path
        self.cancel = cancel
        self._obstore: Any = obstore
        service, _, place = path.partition("://")
        bucket, _, prefix = place.partition("/")
        self._root = f"{service}://{bucket}"
        self._prefix = f"{prefix}/" if prefix else ""
        with translate_error(path, self._root):
            self._store = obstore.store.from_url(
                self._root,
                client_options=_client_options(service, settings, patience),
                retry_config=_retry_config(settings),
            )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="wherry-cloud", daemon=True)
        self._thread.start()

    def head(self, name: str) -> int:
        """Return the size of an object in bytes; raises `NotFound`."""
        found = self._run(name, lambda: self._obstore.head_async(self._store, self._key(name)))
        return int(found["size"])

    def open(self, name: str, offset: int = 0) -> tuple[CloudStream, int]:
        """Open an object at ``offset``, which is before its end; return its size too.

        Raises:
            NotFound: There is no such object.
        """
        options = {"range": {"offset": offset}} if offset else None
        key = self._key(name)
        found = self._run(name, lambda: self._obstore.get_async(self._store, key, options=options))
        return CloudStream(self, name, found), int(found.meta["size"])

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return a document and its version.

        Raises:
            NotFound: There is no such object.
            InvalidDocument: It has more than 4 MiB.
        """
        found = self._run(name, lambda: self._obstore.get_async(self._store, self._key(name)))
        if found.meta["size"] > MAX_DOCUMENT:
            raise InvalidDocument(f"is over {MAX_DOCUMENT >> 20} MiB").within(self.path, name)
        raw = bytes(self._run(name, found.bytes_async))
        return raw, Version(found.meta["e_tag"], found.meta["version"])

    def names(self) -> list[str]:
        """Return some of the names at the top; a folder has a slash at its end."""
        prefix = self._prefix.rstrip("/") or None
        listed = self._run("", lambda: self._obstore.list_with_delimiter_async(self._store, prefix))
        folders = [f"{each.rstrip('/')}/" for each in listed["common_prefixes"]]
        keys = [*folders, *(each["path"] for each in listed["objects"])]
        return [key.removeprefix(self._prefix) for key in keys]

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _run(
        self, name: str, make: Callable[[], Awaitable[T]], *, seconds: float | None = None
    ) -> T:
        """Run a request in the loop and return its result.

        Args:
            name: The object, for errors.
            make: Starts the request; called in the loop.
            seconds: Wait for the request so long, whether the operation is cancelled or not.
        """

        async def run() -> T:
            return await make()

        ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # signal handlers may put
        if seconds is None:
            self.cancel.check()
        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        future.add_done_callback(lambda _: ended.put(None))
        where = f"{self.path}/{name}" if name else self.path
        with contextlib.ExitStack() as waiting:
            if seconds is None:
                waiting.enter_context(self.cancel.wake_on_cancel(lambda: ended.put(None)))
            try:
                with contextlib.suppress(queue.Empty):
                    ended.get(timeout=seconds)
            finally:
                if not future.done():
                    future.cancel()
        if future.cancelled():
            raise Cancelled
        with translate_error(where, self._root):
            return future.result()

    def _serve(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_forever()
            self._loop.run_until_complete(_cancel_others())

    def close(self) -> None:
        """End all requests. Idempotent."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(self._loop.stop)


class CloudStream:
    """The content of an object; a download that is cut off goes on where it was."""

    def __init__(self, bucket: Bucket, name: str, found: Any) -> None:
        self._bucket = bucket
        self._name = name
        self._chunks = found.stream(min_chunk_size=_CHUNK)
        self._left = memoryview(b"")

    def read1(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        if not self._left and self._chunks is not None:
            found = self._bucket._run(self._name, self._next)  # noqa: SLF001 - of this module
            self._left = memoryview(found)
        data, self._left = bytes(self._left[:size]), self._left[size:]
        return data

    async def _next(self) -> bytes:
        try:
            return bytes(await self._chunks.__anext__())
        except StopAsyncIteration:
            return b""

    def close(self) -> None:
        """Close the connection."""
        self._chunks = None
        self._left = memoryview(b"")


async def _cancel_others() -> None:
    """Cancel all tasks of the loop, and wait until they have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _client_options(service: str, settings: CloudSettings, patience: int) -> dict[str, Any]:
    return {
        "connect_timeout": timedelta(seconds=min(settings.timeout, _CONNECT_SECONDS)),
        "read_timeout": timedelta(seconds=settings.timeout * patience),
        "timeout": _WHOLE_REQUEST,
        **settings.client.get(service, {}),
    }


def _retry_config(settings: CloudSettings) -> dict[str, Any]:
    policy = RetryPolicy(attempts=settings.retries)
    return {
        "max_retries": policy.attempts - 1,
        "backoff": {
            "init_backoff": timedelta(seconds=policy.first),
            "max_backoff": timedelta(seconds=policy.longest),
            "base": 2,
        },
        "retry_timeout": timedelta(minutes=4),  # a signature is valid for five minutes or more
    }
