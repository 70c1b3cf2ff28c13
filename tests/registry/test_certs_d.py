"""Certificates of hosts as containers-certs.d(5) describes them."""

from pathlib import Path

import pytest

from wherry.errors import WherryError
from wherry.model.reference import Reference
from wherry.registry.certs_d import HostCertificates, find_certificates
from wherry.registry.hosts import Hosts


def filled(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text("")
    return directory


def test_the_first_directory_of_the_host_counts(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("user", "none", "system")]
    filled(roots[2] / "h.example:5000", "b.crt", "a.crt")
    filled(roots[2] / "h.example", "other.crt")
    found = find_certificates(roots, "h.example:5000")
    assert found.directory == roots[2] / "h.example:5000"
    assert [path.name for path in found.authorities] == ["a.crt", "b.crt"]
    first = filled(roots[0] / "h.example:5000")
    assert find_certificates(roots, "h.example:5000") == HostCertificates(first)
    assert find_certificates(roots, "h.example").authorities[0].name == "other.crt"
    assert find_certificates(roots, "x.example") == HostCertificates()


def test_a_certificate_and_its_key_are_a_pair(tmp_path: Path) -> None:
    filled(tmp_path / "h", "b.cert", "b.key", "a.cert", "a.key", "ca.crt", "README")
    found = find_certificates([tmp_path], "h")
    assert [(one.name, two.name) for one, two in found.pairs] == [
        ("a.cert", "a.key"),
        ("b.cert", "b.key"),
    ]


@pytest.mark.parametrize("name", ["a.cert", "a.key"])
def test_an_incomplete_pair_is_named_in_the_error(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "h", name)
    with pytest.raises(WherryError, match=rf"h/{name}: there is no a\.") as caught:
        find_certificates([tmp_path], "h")
    assert ".crt" in caught.value.hint


@pytest.mark.parametrize("host", ["", ".", "..", "../h", "a/b"])
def test_no_host_name_leads_outside_of_the_roots(tmp_path: Path, host: str) -> None:
    filled(tmp_path / "root", "a.crt")
    filled(tmp_path / "h", "a.crt")
    assert find_certificates([tmp_path / "root"], host) == HostCertificates()


def test_a_loopback_host_with_certificates_uses_tls(tmp_path: Path) -> None:
    filled(tmp_path / "127.0.0.1:5000", "ca.crt")
    filled(tmp_path / "127.0.0.1:5001")
    found = Hosts(certificates=[tmp_path])
    for port, schemes in (("5000", ("https",)), ("5001", ("http", "https"))):
        (place,) = found.endpoints(Reference.parse(f"127.0.0.1:{port}/r"))
        assert place.schemes == schemes
