"""Exceptions that wherry raises.

::

    WherryError
    ├── InvalidReference     a name, platform, filter, template or change that does not parse
    ├── InvalidDigest        a digest that is not ``algorithm:hex``
    ├── InvalidDocument      a manifest, index or config that breaks its format's rules
    ├── NotFound             the registry, the store or the archive does not have it
    │   ├── Ambiguous        several images have the name or the id
    │   └── PlatformMismatch the image does not exist for the requested platform
    ├── Unauthorized         credentials are missing or were refused
    ├── Denied               the credentials are valid, but the access is not allowed
    ├── RateLimited          the registry limits the number of requests
    ├── RegistryError        any other response that is not a success
    ├── NetworkError         no response: refused, timed out, cut off, not trusted
    ├── IntegrityError       content that does not match its digest, size or DiffID
    │   └── UnsafeArchive    an archive or layout that points outside of itself
    ├── StillTagged          a manifest has other tags, which would go with it
    ├── Unsupported          well formed, but this operation cannot handle it
    ├── StoreError           the local store or an archive cannot be read or written
    │   └── StoreFull        no space is left on the disk
    └── Cancelled            the caller stopped the operation

The class says what a caller can do about the error, and the fields hold the facts. No field and
no message contains a credential. Some packages derive private classes from these. Callers catch
them by the class in the tree.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Self, TypeAlias

Places: TypeAlias = tuple[str, ...]  # from the outside in


class WherryError(Exception):
    """The base class of all errors of wherry.

    ``str(error)`` is one line: where it happened, then what went wrong. Its parts:

    Attributes:
        message: What went wrong, without the place.
        where: The places where it happened, from the outside in: an image, a host or a file, and
            what is inside it. Empty where there is no place.
        attempts: How many times the operation was tried.
        hint: What the user can try, in one or more lines; may be empty.
        transient: Whether the same request may succeed when it is made again.
    """

    transient: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where: Places = ()
        self.attempts = 1
        self.hint = hint

    def __str__(self) -> str:
        return self._text(self.where)

    def _text(self, where: Places) -> str:
        text = ": ".join([*where, self.message])
        return f"{text}; tried {self.attempts} times" if self.attempts > 1 else text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy without calling ``__init__``, which takes keywords only."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def within(self, *places: object) -> Self:
        """Add the places that enclose the error, from the outside in, and return the error.

        A place that the error has already moves outwards, so that it is shown once. A path below
        a new place is shown relative to it.
        """
        for place in reversed(list(filter(None, map(str, places)))):
            inner = [each.removeprefix(f"{place}/") for each in self.where if each != place]
            self.where = (place, *inner)
        return self

    def add_hint(self, hint: str) -> None:
        """Add a line to the hint; an empty one changes nothing."""
        self.hint = "\n".join(filter(None, (self.hint, hint)))

    def is_within(self, place: str) -> bool:
        """Tell whether the outermost place of the error is a place or below it.

        A repository and a tag of it are below a host, a file is below its directory.
        """
        outermost = self.where[0] if self.where else ""
        return outermost == place or outermost.startswith((f"{place}/", f"{place}:", f"{place}@"))

    def text_within(self, place: str) -> str:
        """Return the text of the error without a place that the reader knows already."""
        is_known = self.where[:1] == (place,)
        return self._text(self.where[1:] if is_known else self.where)


class InvalidReference(WherryError):
    """A text that does not parse.

    Attributes:
        text: The whole text.
        position: The index of the character that is wrong.
    """

    def __init__(self, message: str, *, text: str, position: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.position = position


class InvalidDigest(WherryError):
    """A digest that is not sha256 or sha512 with lower-case hex digits of the right length."""


class InvalidDocument(WherryError):
    """A document that breaks the rules of its format.

    Attributes:
        path: The field that is wrong: ``layers[3].digest``.
    """

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.within(path)


class NotFound(WherryError):
    """The registry, the store or the archive does not have it.

    Attributes:
        codes: The error codes of the registry's response.
    """

    def __init__(self, message: str, *, codes: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.codes = tuple(codes)


class Ambiguous(NotFound):
    """Several images have the name or the id."""


class PlatformMismatch(NotFound):
    """The image does not exist for the requested platform.

    Attributes:
        wanted: The requested platform.
        available: The platforms that the image exists for.
    """

    def __init__(
        self, message: str, *, wanted: str, available: Sequence[str] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.wanted = wanted
        self.available = tuple(available)


class Unauthorized(WherryError):
    """Credentials are missing or were refused.

    Attributes:
        host: The registry, ``host[:port]``.
        scope: The scope of the token, such as ``repository:a/b:pull``; may be empty.
    """

    def __init__(self, message: str, *, host: str, scope: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.scope = scope


class Denied(WherryError):
    """The credentials are valid, but the access is not allowed.

    Attributes:
        host: The registry, ``host[:port]``.
    """

    def __init__(self, message: str, *, host: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.host = host


class RegistryError(WherryError):
    """A response that is not a success.

    Attributes:
        status: The HTTP status.
        method: The HTTP method.
        url: The address of the request, without credentials.
        codes: The error codes of the registry's response.
        retry_after: Seconds to wait before another attempt; None if the response has none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        method: str,
        url: str,
        codes: Sequence[str] = (),
        retry_after: float | None = None,
        transient: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.method = method
        self.url = url
        self.codes = tuple(codes)
        self.retry_after = retry_after
        self.transient = transient


class RateLimited(WherryError):
    """The registry limits the number of requests.

    Attributes:
        host: The registry, ``host[:port]``.
        retry_after: Seconds to wait before another attempt; None if the response has none.
    """

    transient = True

    def __init__(
        self, message: str, *, host: str, retry_after: float | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.retry_after = retry_after


class NetworkError(WherryError):
    """No usable response came; ``transient`` is false if another attempt cannot help.

    Attributes:
        host: The peer, ``host[:port]``.
        answered: Whether the peer sent a response that no registry sends, such as a web page.
    """

    def __init__(
        self,
        message: str,
        *,
        host: str,
        transient: bool = True,
        answered: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.transient = transient
        self.answered = answered


class IntegrityError(WherryError):
    """Content does not match its digest, its size or its DiffID.

    Attributes:
        expected: What was announced.
        actual: What was found.
        altered: Whether the source sent other bytes than the descriptor's digest or size says.
            Such bytes were altered on the way or are damaged at the source. It is false if the
            bytes are the announced ones but break another rule, such as their DiffID.
    """

    def __init__(
        self, message: str, *, expected: str, actual: str, altered: bool = False, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.actual = actual
        self.altered = altered


class UnsafeArchive(IntegrityError):
    """An archive or layout points outside of itself, or has two contents under one name.

    Attributes:
        member: The name of the member.
    """

    def __init__(self, message: str, *, member: str, hint: str = "") -> None:
        super().__init__(message, expected="a safe archive", actual=message, hint=hint)
        self.member = member
        self.within(member)


class StillTagged(WherryError):
    """A manifest is not deleted, because other tags of its repository would go with it.

    Attributes:
        tags: The other tags.
    """

    def __init__(self, message: str, *, tags: Sequence[str], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.tags = tuple(tags)


class Unsupported(WherryError):
    """The content is well formed, but this operation cannot handle it."""


class StoreError(WherryError):
    """The local store or an archive on the disk cannot be read or written."""


class StoreFull(StoreError):
    """No space is left: the disk is full, or a quota or the file size limit is reached."""


class Cancelled(WherryError):
    """The caller stopped the operation before it was complete."""

    def __init__(self, message: str = "cancelled", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
