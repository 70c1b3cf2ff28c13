"""Ways in which registries differ from the distribution spec, by the names of the registries."""

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
    """What a registry does otherwise.

    `to_strangers` is the status, without a challenge, of what a stranger may not see; ``/v2/``
    keeps its 401.  A stranger sends no credentials, or a token that was issued without any.
    `names_digests` is whether manifests come with ``Docker-Content-Digest``.
    """

    to_strangers: int = 401
    names_digests: bool = True

    def shape(self, request: IncomingRequest, reply: Reply) -> Reply:
        """Return the reply that this registry gives in the place of the spec's."""
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
