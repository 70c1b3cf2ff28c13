"""Why a name leads where it leads: files, endpoints, certificates, proxies, credentials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import wherry
from wherry.errors import Cancelled, Denied, Unauthorized, WherryError
from wherry.model import mediatype
from wherry.model.reference import Reference
from wherry.registry.requester import Call

if TYPE_CHECKING:
    from wherry.content.cancel import CancelToken
    from wherry.registry.auth.credential_store import CredentialLookup
    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.proxies import ProxySettings
    from wherry.registry.session import Session

_LIMITS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Docker-RateLimit-Source")


class Lookup(NamedTuple):
    """A file or directory that was looked at, and what became of it."""

    place: str
    outcome: str


class EndpointResponse(NamedTuple):
    """What an endpoint says when it is asked for the name; ``error`` where that was nothing.

    ``asks_for`` is how it wants to know who is asking: ``Bearer, from https://…``.
    ``rate_limit`` holds its ``RateLimit-*`` headers.
    """

    status: int | None = None
    url: str = ""
    asks_for: str = ""
    rate_limit: dict[str, str] = {}  # noqa: RUF012 - never changed
    error: str = ""


class EndpointReport(NamedTuple):
    """One endpoint, in the order in which they are tried.

    ``addresses`` are tried in order too. ``credentials`` is whose are sent: a user's name, "an
    identity token", or "" for nobody's; ``lookups`` are where they were looked for.
    ``hosts_toml`` are the files with settings for the host, which are ``settings``.
    """

    addresses: tuple[str, ...]
    mirror: bool
    verify: bool
    certificates: tuple[Lookup, ...]
    authorities: tuple[Path, ...]
    pairs: tuple[tuple[Path, Path], ...]
    hosts_toml: tuple[Lookup, ...]
    settings: wherry.types.HostSettings
    proxy: str
    credentials: str
    lookups: tuple[Lookup, ...]
    scope: str
    answer: EndpointResponse | None = None


class NameReport(NamedTuple):
    """All that decides where ``reference`` is looked for; holds no secret.

    ``source`` is by whose word the name means that reference. ``matched`` is the prefix of
    registries.conf that holds for it and the file that it is in. ``trust`` is the variable that
    names authorities, "" for the system's. Where a file blocks the name, ``error`` says so.
    """

    reference: Reference
    source: str
    registries: tuple[Lookup, ...]
    warnings: tuple[str, ...]
    matched: tuple[str, Path] | None
    trust: str
    endpoints: tuple[EndpointReport, ...]
    error: str = ""


def why(
    session: Session,
    reference: Reference,
    source: str,
    cancel: CancelToken,
    *,
    offline: bool,
) -> NameReport:
    """Explain a name, which by ``source`` is what was meant; with ``offline`` nobody is asked.

    Raises `InvalidReference`, and `WherryError` for a file that is wrong.
    """
    reference = reference.with_default_tag()
    settings = session.hosts.settings(aliases=True)
    table = settings.find(reference.name)
    places: tuple[EndpointReport, ...] = ()
    error = ""
    try:
        endpoints = session.hosts.endpoints(reference)
        places = tuple(
            _place(session, endpoint, cancel, mirror=endpoint != endpoints[-1])
            for endpoint in endpoints
        )
        if not offline:
            asked = [_ask(session, endpoint, reference, cancel) for endpoint in endpoints]
            places = tuple(
                place._replace(answer=answer) for place, answer in zip(places, asked, strict=True)
            )
    except Denied as denied:
        error = str(denied)
    return NameReport(
        reference,
        source,
        tuple(Lookup(str(file), said) for file, said in settings.consulted),
        settings.warnings,
        None if table is None else (table.prefix, table.file),
        ""
        if session.ca_bundle is None
        else f"{session.ca_bundle.variable}={session.ca_bundle.path}",
        places,
        error,
    )


def _place(
    session: Session, endpoint: Endpoint, cancel: CancelToken, *, mirror: bool
) -> EndpointReport:
    certificates = session.hosts.certificates(endpoint.name)
    lookups = session.credentials.look_up(
        endpoint.name, endpoint.path, own=endpoint.own, cancel=cancel
    )
    call = Call("HEAD", "", endpoint.path)
    return EndpointReport(
        tuple(f"{scheme}://{endpoint.host}/v2/{endpoint.path}" for scheme in endpoint.schemes),
        mirror,
        endpoint.tls.verify,
        tuple(_roots(session.hosts.certificate_roots, endpoint.name, certificates.directory)),
        certificates.authorities,
        certificates.pairs,
        tuple(Lookup(str(file), said) for file, said in session.hosts.explain_host(endpoint.name)),
        endpoint.settings,
        _proxy(endpoint, session.proxies),
        _whose(lookups),
        tuple(Lookup(place.place, place.outcome) for place in lookups),
        call.scope,
    )


def _roots(roots: Sequence[Path], host: str, used: Path | None) -> list[Lookup]:
    found = []
    for root in roots:
        directory = root / host
        found.append(Lookup(str(directory), "used" if directory == used else "not there"))
        if directory == used:
            break
    return found


def _proxy(endpoint: Endpoint, proxies: ProxySettings) -> str:
    from urllib.parse import urlsplit

    if endpoint.proxy is not None:
        return f"{endpoint.proxy}, by {endpoint.proxy.variable}"
    scheme = endpoint.schemes[0]
    parts = urlsplit(f"{scheme}://{endpoint.host}")
    found = proxies.choose(scheme, parts.hostname or "", parts.port)
    return "" if found is None else str(found)


def _whose(lookups: Sequence[CredentialLookup]) -> str:
    found = lookups[-1].credentials if lookups else None
    if found is None:
        return ""
    return "an identity token" if found.identity_token else found.username


def _ask(
    session: Session, endpoint: Endpoint, reference: Reference, cancel: CancelToken
) -> EndpointResponse:
    """Ask for the manifest by HEAD, which counts against no limit."""
    wanted = reference.digest or reference.tag
    path = f"/v2/{endpoint.path}/manifests/{wanted}"
    # A registry has no manifest of a type that nobody says they take.
    call = Call("HEAD", path, endpoint.path, headers={"Accept": ", ".join(mediatype.ACCEPT)})
    try:
        response = session.send(endpoint, call, cancel)
    except Cancelled:
        raise
    except WherryError as error:
        status = 401 if isinstance(error, Unauthorized) else None
        return EndpointResponse(
            status, asks_for=session.describe_challenges(endpoint), error=str(error)
        )
    response.drain()
    limits = {name: response.header(name) for name in _LIMITS if response.header(name)}
    return EndpointResponse(
        response.status, response.url, session.describe_challenges(endpoint), limits
    )
