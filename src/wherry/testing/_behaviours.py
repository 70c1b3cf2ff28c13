"""Deviations of known registries from the OCI distribution spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry.testing._messages import error_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.testing._messages import IncomingRequest, Reply

__all__ = ["BEHAVIOURS", "Behaviour"]


@dataclass(frozen=True)
class Behaviour:
    """The deviations of one registry.

    Attributes:
        to_strangers: The status, without a challenge, for what an anonymous client may not see.
            ``/v2/`` still answers 401. A client is anonymous without credentials, and with a
            token that was issued without any.
        names_digests: Whether manifests have ``Docker-Content-Digest``.
    """

    to_strangers: int = 401
    names_digests: bool = True

    def shape(self, request: IncomingRequest, reply: Reply) -> Reply:
        """Return the reply of this registry; ``reply`` is the one that the spec asks for."""
        if self._hides(request, reply):
            code = {403: "DENIED", 404: "NAME_UNKNOWN"}[self.to_strangers]
            return error_reply(self.to_strangers, code)
        if not self.names_digests:
            reply.drop("Docker-Content-Digest")
        return reply

    def _hides(self, request: IncomingRequest, reply: Reply) -> bool:
        if self.to_strangers == 401 or reply.status != 401 or request.path in {"/v2/", "/v2"}:
            return False
        known = "authorization" in request.headers
        return not known or 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]


BEHAVIOURS: Mapping[str, Behaviour] = {
    "artifactory": Behaviour(to_strangers=404, names_digests=False),
    "harbor": Behaviour(to_strangers=404),
    "keppel": Behaviour(to_strangers=403),
}
