"""Errors of obstore as errors of wherry.

obstore has few classes of errors. The rest of the facts (the status, and the code and message in
the body of the response) are only in their text, with the URL of the request. The URL may
contain a signature, so nothing else of the text is shown.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from wherry.errors import (
    Denied,
    NetworkError,
    NotFound,
    RegistryError,
    StoreError,
    Unauthorized,
    Unsupported,
    WherryError,
)
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXTRA = "pip install 'wherry[cloud]'"
_STATUS = re.compile(r"status code: ([1-5][0-9]{2})( [A-Z][A-Za-z ]{1,40})?")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_METHOD = re.compile(r"Error performing ([A-Z]{3,7}) ")
_MISSING_BUCKETS = {"NoSuchBucket", "ContainerNotFound"}
_CONFLICTS = {409, 412}
_SETTINGS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class Conflict(Exception):
    """A conditional write failed: the object has another version."""


class _Answer(Record):
    """What the text of an error says; ``status`` is 0 if there was no response."""

    method: str = ""
    status: int = 0
    reason: str = ""
    code: str = ""
    message: str = ""

    @classmethod
    def parse(cls, text: str) -> _Answer:
        method, status = _METHOD.search(text), _STATUS.search(text)
        if status is None:
            return cls(method[1] if method else "")
        code, message = (found.search(text, status.end()) for found in (_CODE, _MESSAGE))
        return cls(
            method[1] if method else "",
            int(status[1]),
            (status[2] or "").strip(),
            code[1] if code else "",
            " ".join(message[1].split()).rstrip(".") if message else "",
        )

    def __str__(self) -> str:
        said = ": ".join(filter(None, (self.code, self.message)))
        return f"{self.status} {self.reason}".rstrip() + (f", {said}" if said else "")


def missing_extra(error: ModuleNotFoundError) -> Unsupported:
    """Make the error for a package of the extra that is not installed."""
    package = (error.name or "").partition(".")[0]
    return Unsupported(f"object storage needs the package {package}", hint=_EXTRA)


@contextlib.contextmanager
def translate_error(where: str, root: str) -> Iterator[None]:
    """Turn errors of obstore into `WherryError`, or `Conflict` for a conditional write.

    Args:
        where: The URL of the object, or of the prefix.
        root: The URL of the bucket.

    Raises:
        NotFound: There is no such object.
        Denied: The access is not allowed.
        Unauthorized: Credentials are missing or were refused.
        NetworkError: No response came.
        RegistryError: The response is an error of the service.
        StoreError: There is no such bucket, or obstore refuses the settings in the environment.
    """
    from obstore import exceptions

    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
        raise Conflict from None
    except (exceptions.BaseError, FileNotFoundError, ValueError) as error:
        answer = _Answer.parse(str(error))
        if answer.status in _CONFLICTS:
            raise Conflict from None
        if answer.code in _MISSING_BUCKETS:
            raise StoreError("there is no such bucket", hint=_hint(root)).within(root) from None
        kind = _Kinds(
            missing=isinstance(error, FileNotFoundError),
            denied=isinstance(error, exceptions.PermissionDeniedError),
            unknown=isinstance(error, exceptions.UnauthenticatedError),
        )
        raise _made(answer, kind, where, root).within(where) from None


class _Kinds(Record):
    """What the class of an error says."""

    missing: bool
    denied: bool
    unknown: bool


def _hint(root: str) -> str:
    variables = _SETTINGS.get(root.partition(":")[0], "the variables of the service")
    return f"credentials and endpoints come from the environment:\n{variables}"


def _made(answer: _Answer, kind: _Kinds, where: str, root: str) -> WherryError:
    hint = _hint(root)
    if kind.missing:
        return NotFound("there is no such object")
    if kind.denied:
        return Denied(f"access is denied ({answer})", host=root, hint=hint)
    if kind.unknown:
        return Unauthorized(f"credentials were refused ({answer})", host=root, hint=hint)
    if answer.status:
        return RegistryError(
            f"the service answered {answer}",
            status=answer.status,
            method=answer.method,
            url=where,
        )
    if answer.method:
        message = "no answer from the service, or from that of credentials"
        return NetworkError(message, host=root, transient=False, hint=hint)
    return StoreError("the settings of object storage are invalid", hint=hint)
