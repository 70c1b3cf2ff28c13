"""The command ``wherry why``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.main import global_options
from wherry.cli.options import make_client, registry_options
from wherry.cli.param_types import RegistryName
from wherry.cli.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.model.address import Address
    from wherry.ops.why import EndpointReport, EndpointResponse, Lookup, NameReport

EXAMPLES = """\b
Examples:
  wherry why alpine
  wherry why --offline ghcr.io/acme/app:1.4.2
  wherry why --json acme/priv | jq '.[0].endpoints[].credentials'
"""
_LABEL = 15  # columns


@click.command("why", epilog=EXAMPLES)
@click.argument("name", type=RegistryName(), metavar="NAME[:TAG|@DIGEST]")
@click.option("--offline", is_flag=True, help="Send no request; explain files and variables only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@registry_options
@click.pass_context
def command(
    ctx: click.Context, /, name: Address, offline: bool, as_json: bool, **registry: Any
) -> None:
    """Explain how a name is resolved.

    Shows configuration files, endpoints, proxies, certificates and credentials, but no secret.
    Unless --offline is given, the registry is asked too, with a request that does not count against
    its rate limit.
    """
    options = global_options(ctx)
    registry["retries"] = registry["retries"] or 1  # a diagnosis should answer quickly
    with make_client(options, None, registry) as client:
        found = client.why(name, offline=offline)
    if as_json:
        sys.stdout.write(json.dumps([_object(each) for each in found], indent=2) + "\n")
        return
    for number, each in enumerate(found):
        text = "\n".join(printable(line) for line in _lines(each))
        sys.stdout.write(("\n" if number else "") + text + "\n")


def _lines(report: NameReport) -> Iterator[str]:
    yield str(report.reference)
    yield _row("resolved by", report.source)
    yield from _lookup_rows("registries.conf", report.registries)
    if report.matched is not None:
        yield _row("prefix", f"{report.matched[0]}, in {report.matched[1]}")
    elif report.registries:
        yield _row("prefix", "none matches")
    for warning in report.warnings:
        yield _row("warning", warning)
    if report.error:
        yield _row("error", report.error)
    for number, endpoint in enumerate(report.endpoints, 1):
        yield ""
        yield from _endpoint_lines(number, endpoint)
        yield _row("trusted", _trusted(report, endpoint))
        if endpoint.answer is not None:
            yield from _response_lines(endpoint.answer)


def _endpoint_lines(number: int, endpoint: EndpointReport) -> Iterator[str]:
    first, *others = endpoint.addresses
    yield f"{number}. {first}" + ("  (a mirror)" if endpoint.mirror else "")
    for other in others:
        yield f"   else {other}"
    yield from _lookup_rows("certs.d", endpoint.certificates)
    for certificate, key in endpoint.pairs:
        yield _row("client cert", f"{certificate} with {key}")
    yield from _lookup_rows("hosts.toml", endpoint.hosts_toml)
    yield _row("legacy v1", f"allowed by {endpoint.legacy}" if endpoint.legacy else "not allowed")
    yield _row("proxy", endpoint.proxy or "none")
    yield from _lookup_rows("credentials", endpoint.lookups)
    yield _row("user", endpoint.credentials or "anonymous")
    yield _row("scope", endpoint.scope)


def _trusted(report: NameReport, endpoint: EndpointReport) -> str:
    if not endpoint.verify:
        return "any certificate (insecure)"
    own = [str(path) for path in endpoint.authorities]
    return ", ".join([*own, report.trust or "the system's authorities"])


def _response_lines(response: EndpointResponse) -> Iterator[str]:
    if response.error:
        yield _row("response", response.error)
    else:
        yield _row("response", f"{response.status} to HEAD {response.url}")
    if response.asks_for:
        yield _row("challenge", response.asks_for)
    for name, value in response.rate_limit.items():
        yield _row("", f"{name}: {value}")


def _lookup_rows(label: str, lookups: Sequence[Lookup]) -> Iterator[str]:
    for number, lookup in enumerate(lookups):
        yield _row("" if number else label, f"{lookup.place}: {lookup.outcome}")


def _row(label: str, text: str) -> str:
    return f"   {label.ljust(_LABEL)}  {text}".rstrip()


def _object(report: NameReport) -> dict[str, Any]:
    return {
        "reference": str(report.reference),
        "source": report.source,
        "registries_conf": [lookup._asdict() for lookup in report.registries],
        "prefix": None if report.matched is None else report.matched[0],
        "prefix_file": None if report.matched is None else str(report.matched[1]),
        "warnings": list(report.warnings),
        "error": report.error or None,
        "trust": report.trust or None,
        "endpoints": [_endpoint(endpoint) for endpoint in report.endpoints],
    }


def _endpoint(endpoint: EndpointReport) -> dict[str, Any]:
    return {
        "addresses": list(endpoint.addresses),
        "mirror": endpoint.mirror,
        "verify": endpoint.verify,
        "certs_d": [lookup._asdict() for lookup in endpoint.certificates],
        "authorities": [str(path) for path in endpoint.authorities],
        "client_certificates": [str(certificate) for certificate, _ in endpoint.pairs],
        "hosts_toml": [lookup._asdict() for lookup in endpoint.hosts_toml],
        "settings": {
            "private_realm": endpoint.settings.private_realm,
            "schema1": endpoint.settings.schema1 or None,
            "legacy": endpoint.settings.legacy,
        },
        "legacy": endpoint.legacy or None,
        "proxy": endpoint.proxy or None,
        "credentials": endpoint.credentials or None,
        "looked": [lookup._asdict() for lookup in endpoint.lookups],
        "scope": endpoint.scope,
        "answer": None if endpoint.answer is None else endpoint.answer._asdict(),
    }
