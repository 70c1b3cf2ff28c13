"""Explain where a name leads, and with which settings."""

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
    """A file, directory or helper that was consulted, and the outcome."""

    place: str
    outcome: str


class EndpointResponse(NamedTuple):
    """The response of an endpoint to a HEAD request for the manifest.

    Attributes:
        status: The status; None without a response.
        url: The URL that responded, after redirects.
        asks_for: The challenge of the endpoint, such as ``Bearer from https://…``, or empty.
        rate_limit: The ``RateLimit-*`` headers.
        error: The error, or empty.
    """

    status: int | None = None
    url: str = ""
    asks_for: str = ""
    rate_limit: dict[str, str] = {}  # noqa: RUF012 - never changed
    error: str = ""


class EndpointReport(NamedTuple):
    """One endpoint of a name: a mirror, or the registry.

    Attributes:
        addresses: The URLs of the repository, in the order in which they are tried.
        mirror: Whether the endpoint is a mirror.
        verify: Whether certificates are verified.
        certificates: The directories of ``certs.d`` that were consulted.
        authorities: The files of certificate authorities for this host.
        pairs: The client certificates, each with its key.
        hosts_toml: The files with settings for the host.
        settings: The settings of these files.
        legacy: What allows the v1 protocol: a file, or the option; empty if it is not allowed.
        proxy: The proxy, and the variable or file that names it; empty without a proxy.
        credentials: The user's name, or "an identity token"; empty without credentials.
        lookups: Where credentials were looked up.
        scope: The scope of the token.
        answer: The response to a HEAD request; None offline.
    """

    addresses: tuple[str, ...]
    mirror: bool
    verify: bool
    certificates: tuple[Lookup, ...]
    authorities: tuple[Path, ...]
    pairs: tuple[tuple[Path, Path], ...]
    hosts_toml: tuple[Lookup, ...]
    settings: wherry.types.HostSettings
    legacy: str
    proxy: str
    credentials: str
    lookups: tuple[Lookup, ...]
    scope: str
    answer: EndpointResponse | None = None


class NameReport(NamedTuple):
    """What decides where a reference is looked for; holds no secrets.

    Attributes:
        reference: The reference that the name stands for.
        source: Why the name stands for this reference: a rule, or a file.
        registries: The files of registries.conf that were consulted.
        warnings: Warnings about these files.
        matched: The prefix in registries.conf that applies, and its file; None without one.
        trust: The variable that names certificate authorities; empty for the system's.
        endpoints: The endpoints, in the order in which they are tried.
        error: The error if a file blocks the name, or empty.
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
    """Explain a name; ``source`` tells why it stands for the reference.

    With ``offline`` no request is sent.

    Raises:
        WherryError: A configuration file is wrong.
    """
    reference = reference.with_default_tag()
    settings = session.hosts.settings(aliases=True)
    table = settings.find(reference.name)
    ca_bundle = session.ca_bundle
    reports: tuple[EndpointReport, ...] = ()
    error = ""
    try:
        endpoints = session.hosts.endpoints(reference)
        reports = tuple(
            _report(session, endpoint, cancel, mirror=endpoint != endpoints[-1])
            for endpoint in endpoints
        )
        if not offline:
            responses = [_ask(session, endpoint, reference, cancel) for endpoint in endpoints]
            reports = tuple(
                report._replace(answer=response)
                for report, response in zip(reports, responses, strict=True)
            )
    except Denied as denied:
        error = str(denied)
    return NameReport(
        reference,
        source,
        tuple(Lookup(str(file), said) for file, said in settings.consulted),
        settings.warnings,
        None if table is None else (table.prefix, table.file),
        "" if ca_bundle is None else f"{ca_bundle.variable}={ca_bundle.path}",
        reports,
        error,
    )


def _report(
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
        session.hosts.explain_legacy(endpoint.name),
        _proxy(endpoint, session.proxies),
        _user(lookups),
        tuple(Lookup(lookup.place, lookup.outcome) for lookup in lookups),
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


def _user(lookups: Sequence[CredentialLookup]) -> str:
    found = lookups[-1].credentials if lookups else None
    if found is None:
        return ""
    return "an identity token" if found.identity_token else found.username


def _ask(
    session: Session, endpoint: Endpoint, reference: Reference, cancel: CancelToken
) -> EndpointResponse:
    """Request the manifest with HEAD, which does not count against rate limits."""
    wanted = reference.digest or reference.tag
    path = f"/v2/{endpoint.path}/manifests/{wanted}"
    # Registries respond 404 for a manifest of a type that the client does not accept.
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
