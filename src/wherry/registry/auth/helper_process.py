"""Running a credential helper, within limits of time and output.

A helper runs in its own process session, so that it can be killed together with its children.
Signals of the terminal do not reach it there; after an interrupt, wherry kills it.
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

MAX_OUTPUT = 64 * 1024  # bytes
MAX_ERRORS = 16 * 2**20  # bytes on stderr, of which the first MAX_OUTPUT are kept
_MISSING = "there is no such program in PATH"
_POLL = 0.05  # seconds between checks for a cancellation
_GRACE = 0.2  # seconds to read the remaining output after a helper has ended
_CHUNK = 64 * 1024  # bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class HelperResult(NamedTuple):
    """A helper's exit code, and what it wrote to stdout and stderr."""

    status: int
    output: bytes
    errors: bytes


def run(name: str, action: str, sent: bytes, cancel: CancelToken, patience: float) -> HelperResult:
    """Run a helper with ``sent`` on stdin for at most ``patience`` seconds.

    Raises:
        HelperFailure: The helper cannot be started, takes too long or writes too much.
        Cancelled: ``cancel`` was cancelled; the helper and its children have been killed.
    """
    if not _NAME.fullmatch(name):
        raise HelperFailure(f"{name!r} is not a valid name of a credential helper")
    with _started(name, action) as process, cancel.wake_on_cancel(lambda: _kill(process)):
        # The canceller kills it: an interrupted command may end before this thread runs again.
        return _HelperIo(name, process, sent, patience).run(cancel)


@contextlib.contextmanager
def _started(name: str, action: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a helper; kill it and its children if the block ends first."""
    program = f"docker-credential-{name}"
    try:
        process = subprocess.Popen(  # noqa: S603 - the program that the user's file names
            [program, action],
            executable=_find(program) or program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # searched for known causes, never shown
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
        _kill(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a helper and its children, unless it has ended."""
    if process.returncode is None:  # until it is waited for, no other process gets its number
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _find(program: str, mode: int = os.F_OK | os.X_OK) -> str | None:
    """Return the path of a program in PATH.

    A directory without permission has no programs. `Popen` alone would report that directory's
    error instead of the program's (execvp(3): EACCES outlives a later ENOENT).
    """
    import shutil

    return shutil.which(program, mode=mode)


class _HelperIo:
    """Writes a helper's input and reads its output at the same time."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], sent: bytes, patience: float
    ) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("the process has pipes")
        self._name = name
        self._process = process
        self._left = memoryview(sent)
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._output = bytearray()
        self._errors = bytearray()
        self._error_bytes = 0
        self._deadline = time.monotonic() + patience

    def run(self, cancel: CancelToken) -> HelperResult:
        """Run until the helper has ended; raises as `run` does."""
        with selectors.DefaultSelector() as selector:
            os.set_blocking(self._stdin.fileno(), False)
            selector.register(self._stdin, selectors.EVENT_WRITE)
            for stream in (self._stdout, self._stderr):
                selector.register(stream, selectors.EVENT_READ)
            grace_ends: float | None = None
            while True:
                cancel.check()
                now = time.monotonic()
                # A child of the helper may keep a pipe open and write to it.
                if grace_ends is None and self._process.poll() is not None:
                    grace_ends = now + _GRACE
                ready = self._select(selector)
                has_ended = grace_ends is not None
                if has_ended and (not ready or now > (grace_ends or 0)):
                    break
                if now > self._deadline:
                    raise helper_failure(self._name, "it took too long")
                for key in ready:
                    self._step(selector, key)
        return HelperResult(
            self._process.returncode, SecretBytes(self._output), SecretBytes(self._errors)
        )

    @staticmethod
    def _select(selector: selectors.BaseSelector) -> list[selectors.SelectorKey]:
        """Wait briefly for pipes; all may be closed while the helper still runs."""
        if not selector.get_map():
            time.sleep(_POLL)
            return []
        return [key for key, _ in selector.select(_POLL)]

    def _step(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        if key.fileobj is self._stdin:
            is_done = self._write()
        else:
            data = SecretBytes(os.read(key.fd, _CHUNK))
            self._keep(data, is_output=key.fileobj is self._stdout)
            is_done = not data
        if is_done:
            selector.unregister(key.fileobj)
            if key.fileobj is self._stdin:
                self._stdin.close()

    def _write(self) -> bool:
        """Write what the pipe accepts; return whether there is nothing more to write."""
        try:
            self._left = self._left[os.write(self._stdin.fileno(), self._left) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return not self._left

    def _keep(self, data: bytes, *, is_output: bool) -> None:
        if is_output:
            self._output += data
            if len(self._output) > MAX_OUTPUT:
                raise helper_failure(self._name, "its output is too long")
            return
        self._errors += data[: MAX_OUTPUT - len(self._errors)]
        self._error_bytes += len(data)
        if self._error_bytes > MAX_ERRORS and self._process.returncode is None:
            raise helper_failure(self._name, "it writes too much to stderr")
