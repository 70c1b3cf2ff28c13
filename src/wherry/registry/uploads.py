"""Uploading one blob to a repository, and going on after failures and in later processes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.content.streams import open_bytes
from wherry.errors import (
    Cancelled,
    NetworkError,
    WherryError,
)
from wherry.model.secret import SecretUrl
from wherry.registry.http.redirect import is_http_url, leaves_tls
from wherry.registry.http.request_body import BodyEnded, StreamBody
from wherry.registry.upload_body import SourceFailure, UploadSource
from wherry.registry.upload_errors import (
    CHUNKS_REFUSED,
    NOT_FOUND,
    OUT_OF_RANGE,
    explained,
    status_of,
)
from wherry.registry.upload_location import UploadLocation, UploadState

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import Blob
    from wherry.model.digest import Digest
    from wherry.registry.upload_options import UploadOptions
    from wherry.registry.write_api import WriteApi

SMALL = 1024 * 1024  # bytes of a blob that is sent by one PUT
CHUNK = 4 * 1024 * 1024  # bytes; some registries refuse larger chunks
MAX_DROPPED = 4  # times the size of a blob that a registry may take without keeping it
PROGRESS = 1024 * 1024  # bytes after which a failure counts as the first one again


class _BeginAgain(Exception):
    """The upload cannot go on in its session, for the ``reason``; "" is not worth a word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def upload_blob(
    api: WriteApi,
    blob: Blob,
    options: UploadOptions,
    cancel: CancelToken,
    on_bytes: Callable[[int], None],
    begun: UploadState | None = None,
) -> int:
    """Upload a blob that the repository lacks, and return its size in bytes.

    Args:
        api: The repository.
        blob: The blob; its digest is verified.
        options: What the uploads to the repository share.
        cancel: Cancels the upload; its session is kept.
        on_bytes: Is told the bytes that have been sent; the number never goes down.
        begun: A session that is used instead of a new one, as a mount may start it.

    Raises:
        IntegrityError: The source does not have the digest, or the registry got other bytes.
        RegistryError: The registry refuses the blob.
        NetworkError: The registry did not answer, however often it was asked.
    """
    upload = _Upload(api, blob, options, cancel, on_bytes)
    if begun is not None:
        upload.use(begun)
    return upload.run()


def find_saved_session(
    api: WriteApi, digest: Digest, size: int | None, options: UploadOptions
) -> UploadLocation | None:
    """Return the session that an earlier process has left for a blob of ``size`` bytes."""
    endpoint = api.endpoint
    if options.sessions is None or (size is not None and size <= SMALL):
        return None
    found = options.sessions.load(f"{endpoint.host}/{endpoint.path}", digest)
    if found is None or not is_http_url(found):
        return None
    if leaves_tls(f"{endpoint.schemes[0]}://{endpoint.host}", found):
        return None
    return UploadLocation(SecretUrl(found), public_only=True)


class _Upload:
    """One upload: a session, and how far it is.

    ``acknowledged`` bytes have certainly arrived. A session is in doubt after a failure: only
    its status tells how far it is, and chunks go on from there, since they name their offset.
    """

    def __init__(
        self,
        api: WriteApi,
        blob: Blob,
        options: UploadOptions,
        cancel: CancelToken,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._api = api
        self._digest = blob.descriptor.digest
        self._options = options
        self._cancel = cancel
        self._source = UploadSource(blob, cancel, on_bytes)
        self._repository = f"{api.endpoint.host}/{api.endpoint.path}"
        self._location: UploadLocation | None = None
        self._chunk = CHUNK
        self._acknowledged = 0
        self._is_in_doubt = self._is_stored = self._is_continued = False
        self._may_be_there = False
        self._takes_chunks = True
        self._reason = ""  # why the upload begins again
        self._times_out_of_range = 0
        self._failures = 0
        self._counted_from = 0
        self._restarts = 0
        self._dropped = 0  # bytes that were accepted and have to be sent again
        self._patience = options.policy.patience

    def run(self) -> int:
        """Try until the blob is there."""
        if self._location is None:
            self._resume()
        while True:
            try:
                self._attempt()
            except SourceFailure as failure:
                self._give_up()
                raise failure.error from failure.error.__cause__
            except _BeginAgain as problem:
                self._begin_again(problem.reason)
            except Cancelled:
                raise
            except WherryError as error:
                self._recover(error)
            else:
                self._forget()
                size = self._source.size or 0
                self._source.report(size)
                return size

    def use(self, state: UploadState) -> None:
        """Go on in the session that an answer names."""
        self._location = state.location
        self._chunk = max(self._chunk, state.chunk_min_length)
        if self._options.sessions is not None and not self._is_small:
            self._options.sessions.save(self._repository, self._digest, state.location.url)

    def _resume(self) -> None:
        """Take the session of an earlier process, if there is one."""
        self._location = find_saved_session(
            self._api, self._digest, self._source.size, self._options
        )
        if self._location is None:
            return
        self._is_in_doubt = self._is_stored = True

    @property
    def _is_small(self) -> bool:
        return self._source.size is not None and self._source.size <= SMALL

    # One attempt

    def _attempt(self) -> None:
        self._wait()
        if self._may_be_there and self._api.has_blob(self._digest, self._cancel):
            return  # the answer to PUT was lost, maybe that to an earlier process
        self._may_be_there = False
        if self._location is not None and self._is_in_doubt:
            self._ask_status(self._location)
        elif self._location is None:
            self._warn_again()
            self.use(self._api.start_upload(self._digest, self._cancel))
        assert self._location is not None  # noqa: S101 - `use` has set it
        if self._is_small and not self._acknowledged:
            self._finish_small(self._location, self._source.size or 0)
            return
        if not self._is_continued:
            self._send(self._location, None, self._source.size)
        while self._source.size is not None and self._acknowledged < self._source.size:
            left = self._source.size - self._acknowledged
            self._send(self._location, self._acknowledged, min(self._chunk, left))
        if not self._source.check_end():
            raise _BeginAgain("")
        self._finish(self._location)

    def _wait(self) -> None:
        """Wait if the registry has asked any upload to pause."""
        self._cancel.check()
        self._options.pauses.wait(self._api.endpoint.host, self._cancel)

    def _ask_status(self, location: UploadLocation) -> None:
        """Find out how far the upload is; only the new address goes on from there."""
        self._is_continued = True
        if not self._takes_chunks or self._source.size is None:
            raise _BeginAgain("the registry cannot continue it")
        state = self._api.get_upload_status(location, self._digest, self._cancel)
        sent = self._source.size if not self._source.furthest else self._source.furthest
        if state.received is not None:
            if state.received > max(sent, self._acknowledged):
                raise _BeginAgain("the registry has more bytes than were sent")
            # Some registries name the end of the first chunk for ever.
            self._acknowledged = max(self._acknowledged, state.received)
        self.use(state)
        self._is_in_doubt = self._is_stored = False

    def _send(self, location: UploadLocation, start: int | None, length: int | None) -> None:
        """Send a chunk that begins at ``start``, or the whole blob as a stream."""
        self._wait()
        self._is_in_doubt = True
        first = start or 0
        body = self._source.body(first, length)
        try:
            state = self._api.send(location, self._digest, body, self._cancel, start=start)
        except BodyEnded:
            self._source.shorten()
            raise _BeginAgain("") from None
        expected = self._source.furthest if length is None else first + length
        received = state.received
        if received is None or received <= first:
            received = expected  # the range does not advance: the status alone counts
        if received > expected:
            raise _BeginAgain("the registry has more bytes than were sent")
        self._count_dropped(expected - received)
        self._acknowledged = received
        self._times_out_of_range = 0
        self.use(state)
        self._is_in_doubt = False

    def _count_dropped(self, size: int) -> None:
        """Count bytes that a registry has accepted and did not keep, so that it ends some time.

        Raises:
            NetworkError: They are many times the blob.
        """
        self._dropped += size
        if self._dropped > MAX_DROPPED * (self._source.size or self._source.furthest) + CHUNK:
            endpoint = self._api.endpoint
            raise NetworkError(
                f"it keeps too little of what it is sent: {self._dropped:,} bytes of blob "
                f"{self._digest} were sent again",
                host=endpoint.name,
                transient=False,
            ).within(f"{endpoint.name}/{endpoint.path}")

    def _finish(self, location: UploadLocation) -> None:
        self._wait()
        self._is_in_doubt = self._may_be_there = True
        self._api.finish(location, self._digest, self._cancel)

    def _finish_small(self, location: UploadLocation, size: int) -> None:
        """Send the whole blob with the request that finishes the upload."""
        data = self._source.read_whole(size)
        if len(data) < size:
            self._source.shorten()
        elif not self._source.check_end():
            raise _BeginAgain("")
        self._is_in_doubt = self._may_be_there = True
        body = StreamBody(len(data), lambda: open_bytes(data, 0).stream)
        self._api.finish(location, self._digest, self._cancel, body)

    # After a failure

    def _recover(self, error: WherryError) -> None:
        """Wait, or begin again, or raise the error if neither helps."""
        self._cancel.check()
        if error.transient:
            if self._pause(error):
                return
            if not self._is_stored:
                error.attempts = self._failures
                raise error
            self._failures, self._location = 0, None
            self._begin_again("the session of an earlier process cannot be reached", error)
            return
        status = status_of(error)
        if self._location is not None and self._is_in_doubt and status == OUT_OF_RANGE:
            self._times_out_of_range += 1
            if self._times_out_of_range == 1:
                return  # the status may tell another offset
        reason = self._reason_to_begin_again(status)
        if not reason:
            self._give_up()
            raise explained(error, self._digest)
        self._begin_again(reason, error)

    def _reason_to_begin_again(self, status: int | None) -> str:
        """Return why a refusal ends the session; "" if another session would not help."""
        if self._location is None or not self._is_in_doubt:
            return ""  # it is not the session that was refused
        if status == NOT_FOUND:
            self._location, self._may_be_there = None, True
            return "the registry has dropped it"
        if status == OUT_OF_RANGE:
            return "the registry refuses to go on where it stood"
        if status in CHUNKS_REFUSED and self._is_continued:
            self._takes_chunks = False
            return "the registry refuses to go on with it"
        return "the session of an earlier process cannot be used" if self._is_stored else ""

    def _pause(self, error: WherryError) -> bool:
        """Wait before the next attempt; return False if there is to be none."""
        policy = self._options.policy
        if self._acknowledged - self._counted_from >= PROGRESS:
            self._failures, self._counted_from = 0, self._acknowledged
        self._failures += 1
        pause = policy.pause(self._failures, error)
        if pause is None or pause > self._patience:
            return False
        self._patience -= pause
        self._options.pauses.note(self._api.endpoint.host, pause, error)
        self._options.on_retry(pause, error)
        self._cancel.sleep(pause)
        return True

    def _begin_again(self, reason: str, error: WherryError | None = None) -> None:
        """Drop the session and start from the first byte."""
        self._restarts += 1
        if self._restarts >= self._options.policy.attempts:
            self._give_up()
            name = self._api.endpoint.name
            message = f"the upload of blob {self._digest} failed {self._restarts} times: {reason}"
            raise error or NetworkError(message, host=name, transient=False).within(name)
        self._reason = reason
        self._drop_session()

    def _warn_again(self) -> None:
        """Tell the caller why the upload begins again, if it does."""
        if self._reason:
            name, what = f"{self._api.endpoint.name}/{self._api.endpoint.path}", self._digest
            self._options.warn(f"{name}: the upload of blob {what} begins again: {self._reason}")
            self._reason = ""

    def _drop_session(self) -> None:
        location, self._location = self._location, None
        self._is_in_doubt = self._is_stored = self._is_continued = False
        self._acknowledged = self._counted_from = self._times_out_of_range = 0
        self._source.restart()
        if location is not None:
            with contextlib.suppress(WherryError):
                self._api.cancel_upload(location, self._digest, self._cancel)

    def _give_up(self) -> None:
        """Delete the session: the upload will not go on."""
        self._drop_session()
        self._forget()

    def _forget(self) -> None:
        if self._options.sessions is not None:
            self._options.sessions.forget(self._repository, self._digest)
