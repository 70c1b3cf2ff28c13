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


def _lines(why: NameReport) -> Iterator[str]:
    yield f"{why.reference}"
    yield _row("resolved by", why.source)
    yield from _looks("registries.conf", why.registries)
    if why.matched is not None:
        yield _row("prefix", f"{why.matched[0]}, in {why.matched[1]}")
    elif why.registries:
        yield _row("prefix", "none matches")
    for warning in why.warnings:
        yield _row("warning", warning)
    if why.error:
        yield _row("error", why.error)
    for number, place in enumerate(why.endpoints, 1):
        yield ""
        yield from _place_lines(number, place)
        yield _row("trusted", _trusted(why, place))
        if place.answer is not None:
            yield from _answer_lines(place.answer)


def _place_lines(number: int, place: EndpointReport) -> Iterator[str]:
    first, *others = place.addresses
    yield f"{number}. {first}" + ("  (a mirror)" if place.mirror else "")
    for other in others:
        yield f"   else {other}"
    yield from _looks("certs.d", place.certificates)
    for certificate, key in place.pairs:
        yield _row("client cert", f"{certificate} with {key}")
    yield from _looks("hosts.toml", place.hosts_toml)
    yield _row("proxy", place.proxy or "none")
    yield from _looks("credentials", place.lookups)
    yield _row("user", place.credentials or "anonymous")
    yield _row("scope", place.scope)


def _trusted(why: NameReport, place: EndpointReport) -> str:
    if not place.verify:
        return "any certificate (insecure)"
    own = [str(path) for path in place.authorities]
    return ", ".join([*own, why.trust or "the system's authorities"])


def _answer_lines(answer: EndpointResponse) -> Iterator[str]:
    if answer.error:
        yield _row("answer", answer.error)
    else:
        yield _row("answer", f"{answer.status} to HEAD {answer.url}")
    if answer.asks_for:
        yield _row("challenge", answer.asks_for)
    for name, value in answer.rate_limit.items():
        yield _row("", f"{name}: {value}")


def _looks(label: str, looks: Sequence[Lookup]) -> Iterator[str]:
    for number, look in enumerate(looks):
        yield _row("" if number else label, f"{look.place}: {look.outcome}")


def _row(label: str, text: str) -> str:
    return f"   {label.ljust(_LABEL)}  {text}".rstrip()


def _object(why: NameReport) -> dict[str, Any]:
    return {
        "reference": str(why.reference),
        "source": why.source,
        "registries_conf": [look._asdict() for look in why.registries],
        "prefix": None if why.matched is None else why.matched[0],
        "prefix_file": None if why.matched is None else str(why.matched[1]),
        "warnings": list(why.warnings),
        "error": why.error or None,
        "trust": why.trust or None,
        "endpoints": [_endpoint(place) for place in why.endpoints],
    }


def _endpoint(place: EndpointReport) -> dict[str, Any]:
    return {
        "addresses": list(place.addresses),
        "mirror": place.mirror,
        "verify": place.verify,
        "certs_d": [look._asdict() for look in place.certificates],
        "authorities": [str(path) for path in place.authorities],
        "client_certificates": [str(certificate) for certificate, _ in place.pairs],
        "hosts_toml": [look._asdict() for look in place.hosts_toml],
        "settings": {
            "private_realm": place.settings.private_realm,
            "schema1": place.settings.schema1 or None,
            "legacy": place.settings.legacy,
        },
        "proxy": place.proxy or None,
        "credentials": place.credentials or None,
        "looked": [look._asdict() for look in place.lookups],
        "scope": place.scope,
        "answer": None if place.answer is None else place.answer._asdict(),
    }
