"""Error answers of the registry, by the codes of the distribution spec ("Error Codes")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

# The codes that this registry uses, with the status of each. The specification allows others than
# its own: PAGINATION_NUMBER_INVALID (of docker), PRECONDITION_FAILED, UNKNOWN.
STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "PRECONDITION_FAILED": 412,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNAVAILABLE": 503,
    "UNKNOWN": 500,
    "UNSUPPORTED": 405,
}


class ApiError(Exception):
    """An error that a client gets as a JSON body.

    Args:
        code: A key of `STATUS`.
        message: One line for people.
        status: The HTTP status, if it is not the one that the code usually has.
        detail: Facts for programs, as JSON.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = STATUS[code] if status is None else status
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> Response:
        """Return the answer."""
        error = {"code": self.code, "message": self.message, "detail": self.detail}
        return JSONResponse({"errors": [error]}, self.status, headers=dict(self.headers))
