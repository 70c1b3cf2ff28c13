"""Endpoints of references: hosts, schemes and TLS."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.model.reference import Reference
from wherry.registry.hosts import Endpoint, Hosts, is_loopback


def endpoint(name: str, path: str, *schemes: str, host: str = "") -> Endpoint:
    return Endpoint(name, host or name, path, schemes or ("https",))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("alpine", endpoint("docker.io", "library/alpine", host="registry-1.docker.io")),
        ("index.docker.io/o/r", endpoint("docker.io", "o/r", host="registry-1.docker.io")),
        ("ghcr.io/o/r", endpoint("ghcr.io", "o/r")),
        ("h.example:5000/r", endpoint("h.example:5000", "r")),
        ("localhost:5000/r", endpoint("localhost:5000", "r", "http", "https")),
        ("localhost/r", endpoint("localhost", "r", "http", "https")),
        ("127.0.0.1:5000/r", endpoint("127.0.0.1:5000", "r", "http", "https")),
        ("[::1]:5000/r", endpoint("[::1]:5000", "r", "http", "https")),
    ],
)
def test_a_reference_has_an_endpoint(reference: str, expected: Endpoint) -> None:
    """Docker Hub is at registry-1.docker.io. Loopback hosts try http first."""
    assert Hosts().endpoints(Reference.parse(reference)) == (expected,)


@pytest.mark.parametrize("reference", ["ghcr.io/o/r", "localhost:5000/r", "alpine"])
def test_an_insecure_host_tries_https_without_verification_first(reference: str) -> None:
    """containers-registries.conf(5), insecure."""
    (found,) = Hosts(insecure=True).endpoints(Reference.parse(reference))
    assert found.schemes == ("https", "http")
    assert not found.tls.verify


@pytest.mark.parametrize("reference", ["ghcr.io/o/r", "10.0.0.1:5000/r", "alpine"])
def test_a_secure_host_is_never_asked_in_plain_http(reference: str) -> None:
    (found,) = Hosts().endpoints(Reference.parse(reference))
    assert found.schemes == ("https",)
    assert found.tls.verify


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.255.0.9:1", True),
        ("[::1]", True),
        ("[::1]:443", True),
        ("localhost.example", False),
        ("localhost.example:5000", False),
        ("127.0.0.1.example", False),
        ("127.0.0.1.example:80", False),
        ("128.0.0.1", False),
        ("10.0.0.1:5000", False),
        ("[::2]:443", False),
        ("[fe80::1]", False),
        ("0.0.0.1", False),
        ("ghcr.io", False),
        ("", False),
    ],
)
def test_loopback_hosts(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=20), st.text(alphabet="[]:.1localhost", max_size=20)))
def test_any_host_is_loopback_or_not(host: str) -> None:
    """Names other than ``localhost`` are other machines."""
    if is_loopback(host):
        assert (
            "localhost" in host or "127." in host or ":1]" in host or "::1" in host or "0" in host
        )
