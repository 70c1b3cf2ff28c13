"""The members of archives and layouts whose sizes are known before they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from wherry.content.cancel import CancelToken

    Write: TypeAlias = Callable[[memoryview], object]
    Copy: TypeAlias = Callable[[Write, CancelToken], None]


class Entry(NamedTuple):
    """A member: ``data``, ``size`` bytes by ``copy``, a ``link`` or a directory.

    ``copy`` is called once with a function that writes a buffer. It may reuse the buffer after
    each call, and raises `IntegrityError` for wrong content.
    """

    name: str
    data: bytes | None = None
    size: int = 0
    copy: Copy | None = None
    link: str = ""

    def write_to(self, write: Write, cancel: CancelToken) -> None:
        """Write what ``copy`` gives; raises `IntegrityError` if it has another size."""
        assert self.copy is not None  # noqa: S101 - other entries have their data
        written = 0

        def count(data: memoryview) -> None:
            nonlocal written
            written += len(data)
            if written > self.size:
                raise self._wrong_size(f"more than {self.size:,}")
            write(data)

        self.copy(count, cancel)
        if written != self.size:
            raise self._wrong_size(f"{written:,}")

    def _wrong_size(self, actual: str) -> IntegrityError:
        return IntegrityError(
            f"it has {actual} bytes, {self.size:,} were recorded",
            expected=str(self.size),
            actual=actual,
        ).within(self.name)


class Task(NamedTuple):
    """A part of the writing that can run in parallel; ``size`` is in bytes."""

    size: int
    run: Callable[[CancelToken], None]
