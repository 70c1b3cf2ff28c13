"""A bucket of object storage: the only place that calls obstore."""

from __future__ import annotations

import contextlib
import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from wherry.archive.cloud_errors import Conflict, missing_extra, translate_error
from wherry.archive.cloud_loop import RequestLoop
from wherry.content.retry import RetryPolicy
from wherry.errors import Cancelled, InvalidDocument, StoreError, WherryError
from wherry.model.record import Record
from wherry.model.strict_json import MAX_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from wherry.content.cancel import CancelToken
    from wherry.model.cloud_settings import CloudSettings

    class Run(Protocol):
        """Make a request about one object; see `RequestLoop.run`."""

        def __call__(
            self, make: Callable[[], Awaitable[Any]], /, *, seconds: float | None = None
        ) -> Any:
            """Make the request and return its result."""
            ...


PART = 8 * 2**20  # bytes of a part; S3 takes 10,000 of them, and a blob has at most 64 GiB
_PARTS = 2  # parts of a blob that are sent at a time
_ABORT_SECONDS = 0.5  # for removing the parts of an upload that was given up
_CHUNK = 256 * 1024  # least bytes of a step of a download
_CONNECT_SECONDS = 15.0
_WHOLE_REQUEST = timedelta(days=7)  # obstore's limit of 30 seconds would end long downloads
_RETRY_TIME = timedelta(minutes=4)  # a signature is valid for five minutes or more


class Version(Record):
    """The version of an object, for conditional writes."""

    e_tag: str | None
    version: str | None


class Bucket:
    """The objects below a prefix. Thread-safe.

    obstore signs requests, and repeats those that fail for a moment.

    Args:
        path: The URL of the prefix, as `Address.parse` checks it.
        settings: How to connect.
        cancel: Ends all requests.
        patience: How many times the time-out of the settings a request may take without a byte
            of the response. Sending a part takes a while.

    Raises:
        Unsupported: obstore is not installed.
        StoreError: obstore refuses the settings in the environment.
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
        self._obstore: Any = obstore
        service, _, place = path.partition("://")
        bucket, _, prefix = place.partition("/")
        root = f"{service}://{bucket}"
        self._prefix = f"{prefix}/" if prefix else ""
        with translate_error(path, root):
            self._store = obstore.store.from_url(
                root,
                client_options=_client_options(service, settings, patience),
                retry_config=_retry_config(settings),
            )
        self._loop = RequestLoop(root, cancel)

    def head(self, name: str) -> int:
        """Return the size of an object in bytes; raises `NotFound`."""
        key = self._key(name)
        found = self._run(name)(lambda: self._obstore.head_async(self._store, key))
        return int(found["size"])

    def open(self, name: str, offset: int = 0) -> tuple[CloudStream, int]:
        """Open an object at ``offset``, which is before its end; return its size too.

        Raises:
            NotFound: There is no such object.
        """
        found = self._get(name, {"range": {"offset": offset}} if offset else None)
        return CloudStream(self._run(name), found), int(found.meta["size"])

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return a document and its version.

        Raises:
            NotFound: There is no such object.
            InvalidDocument: It has more than 4 MiB.
        """
        found = self._get(name)
        if found.meta["size"] > MAX_DOCUMENT:
            raise InvalidDocument(f"is over {MAX_DOCUMENT >> 20} MiB").within(self.path, name)
        raw = bytes(self._run(name)(found.bytes_async))
        return raw, Version(found.meta["e_tag"], found.meta["version"])

    def write(self, name: str, raw: bytes) -> None:
        """Write a document, or replace it."""
        self._put(name, raw, "overwrite")

    def replace(self, name: str, raw: bytes, version: Version | None) -> bool:
        """Write a document if it still has a version; None stands for no document.

        Returns:
            Whether it was written; False if another writer was faster.

        Raises:
            StoreError: The service has no versions of objects.
        """
        mode: object = "create"
        if version is not None:  # obstore takes no None
            known = {"e_tag": version.e_tag, "version": version.version}
            mode = {key: text for key, text in known.items() if text is not None}
            if not mode:
                message = "the service names no version of it, so another writer might lose names"
                raise StoreError(message).within(self.path, name)
        try:
            self._put(name, raw, mode)
        except Conflict:
            return False
        return True

    def upload(self, name: str) -> Upload:
        """Begin to write an object, which appears when it is complete."""
        options = {"buffer_size": PART, "max_concurrency": _PARTS}
        key = self._key(name)
        return Upload(
            self._run(name),
            lambda: self._obstore.open_writer_async(self._store, key, **options),
        )

    def names(self) -> list[str]:
        """Return the names at the top; that of a folder has a slash at its end."""
        prefix = self._prefix.rstrip("/") or None
        listed = self._run("")(lambda: self._obstore.list_with_delimiter_async(self._store, prefix))
        folders = [f"{each.rstrip('/')}/" for each in listed["common_prefixes"]]
        keys = [*folders, *(each["path"] for each in listed["objects"])]
        return [key.removeprefix(self._prefix) for key in keys]

    def close(self) -> None:
        """End all requests. Idempotent."""
        self._loop.close()

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _run(self, name: str) -> Run:
        return functools.partial(self._loop.run, f"{self.path}/{name}".rstrip("/"))

    def _get(self, name: str, options: object = None) -> Any:
        key = self._key(name)
        return self._run(name)(lambda: self._obstore.get_async(self._store, key, options=options))

    def _put(self, name: str, raw: bytes, mode: object) -> None:
        key = self._key(name)
        put = functools.partial(self._obstore.put_async, mode=mode, use_multipart=False)
        self._run(name)(lambda: put(self._store, key, raw))


class Upload:
    """An object that is being written: at once, or in parts of 8 MiB if it is larger.

    The parts are not visible. Those of a killed process stay until the service removes them.
    """

    def __init__(self, run: Run, make: Callable[[], Any]) -> None:
        self._run = run

        async def open_writer() -> Any:
            return await make().__aenter__()

        self._writer = run(open_writer)

    def append(self, data: bytes) -> None:
        """Add bytes at the end; waits while earlier parts are being sent."""
        self._run(lambda: self._writer.write(data))

    def publish(self) -> None:
        """Send the rest and make the object visible."""
        self._run(lambda: self._writer.__aexit__(None, None, None))

    def abandon(self) -> None:
        """Remove the parts, if that is possible at once."""
        error = Cancelled()

        def end() -> Awaitable[Any]:
            result: Awaitable[Any] = self._writer.__aexit__(Cancelled, error, None)
            return result

        with contextlib.suppress(WherryError):
            self._run(end, seconds=_ABORT_SECONDS)


class CloudStream:
    """The content of an object; obstore resumes a download that is cut off."""

    def __init__(self, run: Run, found: Any) -> None:
        self._run = run
        self._chunks = found.stream(min_chunk_size=_CHUNK)
        self._left = memoryview(b"")

    def read1(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        if not self._left and self._chunks is not None:
            self._left = memoryview(self._run(self._next))
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
        "retry_timeout": _RETRY_TIME,
    }
