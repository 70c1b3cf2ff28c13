"""Running a credential helper: one question, one answer, and nothing left of it afterwards.

A helper runs in a session of its own, so that it can be killed together with the processes it
has started. It gets no signal of the terminal then: an interrupt reaches wherry, which kills it.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from wherry.model.secret import SecretBytes
from wherry.registry.auth.helper_failure import HelperFailure, helper_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.content.cancel import CancelToken

MAX_ANSWER = 64 * 1024  # bytes
MAX_ERRORS = 16 * 2**20  # bytes on stderr, of which the first MAX_ANSWER are kept
_MISSING = "there is no such program in PATH"
_LOOK = 0.05  # seconds between two looks at whether the caller cancels
_REST = 0.2  # seconds to read what a helper has written before it ended
_PIECE = 64 * 1024  # bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class HelperResult(NamedTuple):
    """How a helper ended: its exit code, and what it wrote to stdout and to stderr."""

    status: int
    answer: bytes
    errors: bytes


def run(name: str, action: str, given: bytes, cancel: CancelToken, patience: float) -> HelperResult:
    """Run a helper with ``given`` on stdin for at most ``patience`` seconds.

    Raises:
        HelperFailed: it cannot be started, takes too long or writes too much.
        Cancelled: ``cancel`` was cancelled. The helper is killed then, with its children.
    """
    if not _NAME.fullmatch(name):
        raise HelperFailure(f"{name!r} is no name of a credential helper")
    with _started(name, action) as process:
        return _Conversation(name, process, given, patience).run(cancel)


@contextlib.contextmanager
def _started(name: str, action: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a helper; kill it and its children where the block ends before it does."""
    program = f"docker-credential-{name}"
    try:
        process = subprocess.Popen(  # noqa: S603 - the program that the user's file names
            [program, action],
            executable=_find(program) or program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # searched for known words and never shown
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise helper_failure(name, _MISSING) from None
    except OSError as error:
        if isinstance(error, PermissionError) and not _find(program, os.F_OK):
            raise helper_failure(name, _MISSING) from None
        raise helper_failure(name, (error.strerror or "it cannot be started").lower()) from None
    try:
        yield process
    finally:
        if process.returncode is None:  # not waited for: nothing else has its number
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_REST)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _find(program: str, mode: int = os.F_OK | os.X_OK) -> str | None:
    """Return the path of a program in PATH.

    A directory that may not be searched has none. `Popen` alone would report that directory's
    error in place of the program's own (execvp(3): EACCES outlives a later ENOENT).
    """
    import shutil

    return shutil.which(program, mode=mode)


class _Conversation:
    """Writes what a helper is given, and reads what it says, as far as either goes on."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], given: bytes, patience: float
    ) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("all of them are pipes")
        self._name = name
        self._process = process
        self._left = memoryview(given)
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._answer = bytearray()
        self._errors = bytearray()
        self._error_bytes = 0
        self._ends = time.monotonic() + patience

    def run(self, cancel: CancelToken) -> HelperResult:
        """Go on until the helper has ended, or raise what `run` does."""
        with selectors.DefaultSelector() as selector:
            os.set_blocking(self._stdin.fileno(), False)
            selector.register(self._stdin, selectors.EVENT_WRITE)
            for stream in (self._stdout, self._stderr):
                selector.register(stream, selectors.EVENT_READ)
            rest_ends: float | None = None
            while True:
                cancel.check()
                now = time.monotonic()
                # A child of the helper may keep a pipe open, and may even write to it.
                if rest_ends is None and self._process.poll() is not None:
                    rest_ends = now + _REST
                ready = self._select(selector)
                ended = rest_ends is not None
                if ended and (not ready or now > (rest_ends or 0)):
                    break
                if now > self._ends:
                    raise helper_failure(self._name, "it took longer than it may")
                for key in ready:
                    self._step(selector, key)
        return HelperResult(
            self._process.returncode, SecretBytes(self._answer), SecretBytes(self._errors)
        )

    @staticmethod
    def _select(selector: selectors.BaseSelector) -> list[selectors.SelectorKey]:
        """Wait a little for pipes; there may be none left while the helper goes on."""
        if not selector.get_map():
            time.sleep(_LOOK)
            return []
        return [key for key, _ in selector.select(_LOOK)]

    def _step(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._stdin:
            is_over = self._write()
        else:
            data = SecretBytes(os.read(key.fd, _PIECE))
            self._take(data, is_answer=key.fileobj is self._stdout)
            is_over = not data
        if is_over:
            selector.unregister(key.fileobj)
            if key.fileobj is self._stdin:
                self._stdin.close()

    def _write(self) -> bool:
        """Write what the pipe takes; tell whether nothing is left, or the helper reads no more."""
        try:
            self._left = self._left[os.write(self._stdin.fileno(), self._left) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not self._left

    def _take(self, data: bytes, *, is_answer: bool) -> None:
        if is_answer:
            self._answer += data
            if len(self._answer) > MAX_ANSWER:
                raise helper_failure(self._name, "its answer is too long")
            return
        self._errors += data[: MAX_ANSWER - len(self._errors)]
        self._error_bytes += len(data)
        if self._error_bytes > MAX_ERRORS and self._process.returncode is None:
            raise helper_failure(self._name, "it writes too much to stderr")
