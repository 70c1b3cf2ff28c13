"""Commands that pull an image from this server, to copy from a page."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from wherry.model.reference import is_domain
from wherry.serve.repository_names import served_path

if TYPE_CHECKING:
    from starlette.requests import Request

    from wherry.model.reference import Reference
    from wherry.serve.context import Context

_LOOPBACK = ("localhost", "127.", "[::1]")


class Place(NamedTuple):
    """How a client reaches the server.

    Attributes:
        host: The host and the port.
        is_secure: Whether it serves https.
    """

    host: str
    is_secure: bool

    @classmethod
    def of(cls, request: Request, context: Context) -> Place:
        """Return the place that the person's browser has asked."""
        host = request.headers.get("host", "")
        return cls(host if is_domain(host) else context.name, request.url.scheme == "https")

    @property
    def is_trusted(self) -> bool:
        """Whether wherry asks it without an option."""
        return self.is_secure or self.host.startswith(_LOOPBACK)


def pull_commands(
    place: Place, name: str, reference: Reference, *, artifact: bool
) -> list[tuple[str, str]]:
    """Return programs, each with the command that pulls an image from the server.

    Engines pull only images. The list is empty if the server cannot serve the name.
    """
    path = served_path(name, reference.domain, reference.path)
    if path is None:
        return []
    address = f"{place.host}/{path}{_ending(reference)}"
    target = f"oci:{path.rpartition('/')[2]}" + (f":{reference.tag}" if reference.tag else "")
    plain = not place.is_secure
    words = {
        "wherry": ["wherry", "pull", *_option("--insecure", not place.is_trusted)],
        "podman": ["podman", "pull", *_option("--tls-verify=false", plain)],
        "docker": ["docker", "pull"],
    }
    found = [(program, shlex.join([*command, address])) for program, command in words.items()]
    copy = ["skopeo", "copy", *_option("--src-tls-verify=false", plain), f"docker://{address}"]
    if artifact:
        found = [("wherry", shlex.join(["wherry", "copy", *words["wherry"][2:], address, target]))]
    return [*found, ("skopeo", shlex.join([*copy, target]))]


def _ending(reference: Reference) -> str:
    return f"@{reference.digest}" if reference.digest else f":{reference.tag}"


def _option(option: str, given: bool) -> list[str]:  # noqa: FBT001 - the second of a pair
    return [option] if given else []
