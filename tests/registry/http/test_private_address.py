"""Private addresses, which a public registry must not have credentials sent to."""

import pytest

from wherry.registry.http.private_address import is_private


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "x.localhost", "10.0.0.1", "172.16.0.1"),
        *("192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "::1", "::", "fe80::1"),
        *("fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        # IPv4 within IPv6: NAT64 (RFC 6052), 6to4 (RFC 3056).
        *("::10.0.0.1", "fec0::1", "ff02::1", "224.0.0.1", "3fff::1", "5f00::1", "64:ff9b:1::1"),
        *("192.0.0.8", "198.18.0.1", "240.0.0.1", "255.255.255.255", "2001:db8::1"),
        *("64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "2002:0a00:0001::1"),
        # A trailing dot changes nothing (RFC 1034, 3.1).
        *("localhost.", "x.localhost."),
        # Look-ups accept these as addresses (inet_aton, POSIX).
        *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "10.1", "0"),
    ],
)
def test_private_hosts_are_private(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        *("a.example", "8.8.8.8", "localhost.example", "1.1.1.1.1", "a10.0", "2606:4700::1"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:0808:0808::1"),
    ],
)
def test_public_hosts_are_not_private(host: str) -> None:
    assert not is_private(host)
