"""URLs of prefixes in object storage, as they are written in addresses."""

from __future__ import annotations

import re

from wherry.errors import InvalidReference

SCHEMES = ("s3://", "gs://", "az://")
# The names of the services allow less; what they refuse, they explain.
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,221}")
# Keys and passwords before an at sign, as in other URLs; a secret key may have a slash.
_CREDENTIALS = re.compile(r"[^/:]*(@|:[^@].*@(?!sha256:|sha512:))")
_PORT = re.compile(r":[0-9]{1,5}/")
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f\\?#%*]+")


def is_cloud_url(text: str) -> bool:
    """Tell whether a text begins as the URL of a place in object storage does."""
    return text.startswith(SCHEMES)


def find_url_end(text: str, start: int) -> int:
    """Check the URL of a layout that begins at ``start``; return the position of its end.

    The URL ends at the first colon after its scheme.

    Raises:
        InvalidReference: It has no bucket, or a prefix that cannot be one. The text of an error
            about credentials does not have them.
    """
    at = start + len(SCHEMES[0])
    if _CREDENTIALS.match(text, at):
        message = "invalid address: credentials do not belong in it"
        hint = "they are read from the environment: AWS_ACCESS_KEY_ID and so on"
        raise InvalidReference(message, text=text[:at], position=at, hint=hint)
    end = text.find(":", at)
    end = len(text) if end < 0 else end
    bucket, *segments = text[at:end].rstrip("/").split("/")
    if not bucket:
        raise _error("the bucket's name is missing", text, at)
    if not _BUCKET.fullmatch(bucket):
        raise _error(f"{bucket!r} is not the name of a bucket", text, at)
    if not segments and _PORT.match(text, end):
        hint = "the server is read from the environment: AWS_ENDPOINT_URL"
        raise _error("the server does not belong in it", text, at, hint)
    position = at + len(bucket) + 1
    for segment in segments:
        if segment in {"", ".", ".."} or not _SEGMENT.fullmatch(segment):
            raise _error(f"{segment!r} cannot be a part of a prefix", text, position)
        position += len(segment) + 1
    return end


def _error(message: str, text: str, position: int, hint: str = "") -> InvalidReference:
    return InvalidReference(f"invalid address: {message}", text=text, position=position, hint=hint)
