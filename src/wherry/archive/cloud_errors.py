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
_RETRIES = re.compile(r" after ([0-9]{1,4}) retries")
_MISSING_BUCKETS = {"NoSuchBucket", "ContainerNotFound"}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _PRECONDITION = 401, 403, 404, 409, 412
_SETTINGS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class Conflict(RegistryError):
    """A conditional write failed: the object has another version."""


class _Answer(Record):
    """What the text of an error says; ``status`` is 0 if there was no response."""

    method: str = ""
    attempts: int = 1
    status: int = 0
    reason: str = ""
    code: str = ""
    message: str = ""

    @classmethod
    def parse(cls, text: str, *, conflict: bool) -> _Answer:
        method, status = _METHOD.search(text), _STATUS.search(text)
        retries = _RETRIES.search(text)
        made = cls(method[1] if method else "", int(retries[1]) + 1 if retries else 1)
        if status is None:
            return made.replace(status=_PRECONDITION) if conflict else made
        code, message = (found.search(text, status.end()) for found in (_CODE, _MESSAGE))
        return made.replace(
            status=int(status[1]),
            reason=(status[2] or "").strip(),
            code=code[1] if code else "",
            message=" ".join(message[1].split()).rstrip(".") if message else "",
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
    """Turn errors of obstore into `WherryError`.

    Args:
        where: The URL of the object, or of the prefix.
        root: The URL of the bucket.

    Raises:
        NotFound: There is no such object.
        Denied: The access is not allowed.
        Unauthorized: Credentials are missing or were refused.
        NetworkError: No response came.
        Conflict: The condition of a write does not hold.
        RegistryError: The response is another error of the service.
        StoreError: There is no such bucket, or obstore refuses the settings in the environment.
    """
    from obstore import exceptions

    try:
        yield
    except (exceptions.BaseError, OSError, ValueError) as error:
        kinds = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
        answer = _Answer.parse(str(error), conflict=isinstance(error, kinds))
        if answer.code in _MISSING_BUCKETS:
            raise StoreError("there is no such bucket", hint=_hint(root)).within(root) from None
        made = _made(answer, where, root)
        made.attempts = answer.attempts
        raise made.within(where) from None


def _hint(root: str) -> str:
    variables = _SETTINGS.get(root.partition(":")[0], "the variables of the service")
    return f"credentials and endpoints come from the environment:\n{variables}"


def _made(answer: _Answer, where: str, root: str) -> WherryError:
    hint = _hint(root)
    status = answer.status
    if status == _NOT_FOUND:
        return NotFound("there is no such object")
    if status == _FORBIDDEN:
        return Denied(f"access is denied ({answer})", host=root, hint=hint)
    if status == _UNAUTHORIZED:
        return Unauthorized(f"credentials were refused ({answer})", host=root, hint=hint)
    if status:
        kind = Conflict if status in {_CONFLICT, _PRECONDITION} else RegistryError
        message = f"the service answered {answer}"
        return kind(message, status=status, method=answer.method, url=where)
    if answer.method:
        message = "no answer from the service, or from that of credentials"
        return NetworkError(message, host=root, transient=False, hint=hint)
    return StoreError("the settings of object storage are invalid", hint=hint)
