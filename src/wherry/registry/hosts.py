"""From a name to the hosts that may serve it: endpoints, mirrors, short names."""

from __future__ import annotations

import ipaddress
import re
import threading
from typing import TYPE_CHECKING

from wherry.errors import Denied, InvalidReference, WherryError
from wherry.model.address import Address
from wherry.model.record import Record
from wherry.model.reference import Reference, is_short
from wherry.registry import hosts_toml
from wherry.registry.certs_d import HostCertificates, TlsSettings, find_certificates
from wherry.registry.hosts_toml import HostSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wherry.registry.hosts_toml import HostsFile
    from wherry.registry.http.proxies import ProxyAddress
    from wherry.registry.registries_conf import (
        Mirror,
        RegistriesConf,
        RegistriesFiles,
        RegistryTable,
    )

# The hosts of registries whose names in references differ.
_ENDPOINTS = {"docker.io": "registry-1.docker.io"}


class Endpoint(Record):
    """A repository on one host, and how to connect to it.

    Attributes:
        name: The host in references and in files of credentials.
        host: The host to connect to, with the port if it is not the default.
        path: The repository on that host; "" for the host itself.
        schemes: ``http`` and ``https`` in the order to try.
        tls: The TLS settings.
        own: Whether the reference names this host; if not, it is a mirror, which does not get
            the caller's credentials.
        settings: The host's settings in hosts.toml.
        proxy: The proxy that registries.conf names for it.
        legacy: Whether the v1 protocol may be used with it.
    """

    name: str
    host: str
    path: str = ""
    schemes: tuple[str, ...] = ("https",)
    tls: TlsSettings = TlsSettings()
    own: bool = True
    settings: HostSettings = HostSettings()
    proxy: ProxyAddress | None = None
    legacy: bool = False


class NameCandidate(Record):
    """An address that a name may stand for, and the reason: the file that says so."""

    address: Address
    source: str


class Hosts:
    """The configuration of hosts, read from files on first use. Thread-safe.

    Args:
        registries: The paths of registries.conf.
        certificates: The root directories of ``certs.d``.
        host_files: The hosts.toml files; earlier ones take precedence.
        insecure: Whether all hosts may have invalid certificates or speak plain http.
        legacy: Whether the v1 protocol may be used with all hosts.
    """

    def __init__(
        self,
        registries: RegistriesFiles | None = None,
        certificates: Sequence[Path] = (),
        host_files: Sequence[Path] = (),
        *,
        insecure: bool = False,
        legacy: bool = False,
    ) -> None:
        self._files = registries
        self.certificate_roots = tuple(certificates)
        self._certificates: dict[str, HostCertificates] = {}
        self._host_files = tuple(host_files)
        self._read_host_files: tuple[HostsFile, ...] | None = None
        self._insecure = insecure
        self._legacy = legacy
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._settings: dict[bool, RegistriesConf] = {}

    def settings(self, *, aliases: bool = False) -> RegistriesConf:
        """Return the content of registries.conf, its aliases only on request.

        Raises:
            WherryError: A file is invalid.
        """
        with self._lock:
            found = self._settings.get(True) or self._settings.get(aliases)
            if found is None:
                from wherry.registry.registries_conf import RegistriesFiles
                from wherry.registry.registries_conf_files import load

                found = load(self._files or RegistriesFiles(), aliases=aliases)
                self._settings[aliases] = found
            return found

    def name_candidates(self, address: Address) -> tuple[NameCandidate, ...]:
        """Return the addresses that a short name may stand for, in the order to try.

        The name is resolved by its alias, or else by the registries to search, or else as a
        name of Docker Hub (containers-registries.conf(5), Short-Name Aliasing).

        Raises:
            WherryError: Several registries may have the image and ``short-name-mode`` is
                ``enforcing``, or a file is invalid.
        """
        given = address.given
        if given is None or not address.short:
            return (NameCandidate(address, "as it is written"),)
        settings = self.settings(aliases=True)
        path = re.split(r"[:@]", address.name, maxsplit=1)[0]
        alias, file = settings.aliases.get(path, ("", None))
        if alias:
            full = Reference.parse(alias)._replace(tag=given.tag, digest=given.digest)
            return (NameCandidate(_with_reference(address, full), f"a short name in {file}"),)
        if not settings.search:
            return (NameCandidate(address, "names without a registry are Docker Hub's"),)
        _check_search(settings, address.name)
        return tuple(
            NameCandidate(
                _with_reference(address, Reference.complete(host, path, given.tag, given.digest)),
                f"{settings.search_file} searches there",
            )
            for host in settings.search
        )

    def endpoints(
        self,
        reference: Reference,
        *,
        warn: Callable[[str], None] | None = None,
    ) -> tuple[Endpoint, ...]:
        """Return the endpoints of a repository: mirrors first, its own registry last.

        Args:
            reference: The repository, with the tag or digest to pull.
            warn: Called once for each warning about the files.

        Raises:
            Denied: registries.conf blocks the repository.
            WherryError: A file is invalid.
        """
        settings = self.settings()
        found = self._endpoints(reference, settings)
        if warn is not None:
            for warning in settings.warnings:
                if warning not in self._warned:
                    self._warned.add(warning)
                    warn(warning)
        return found

    def _endpoints(self, reference: Reference, settings: RegistriesConf) -> tuple[Endpoint, ...]:
        table = settings.find(reference.name)
        if table is None:
            return (self._endpoint(reference, reference, insecure=False),)
        if table.blocked:
            raise _blocked_error(reference, table)
        unwanted = "digest-only" if reference.digest is None else "tag-only"
        found = [
            self._relocate(reference, table, mirror)
            for mirror in table.mirrors
            if mirror.pulls != unwanted
        ]
        registry = self._relocate(reference, table, table)
        if registry is None:
            raise _blocked_error(reference, settings.find(table.location) or table)
        return (*(mirror for mirror in found if mirror is not None), registry)

    def _relocate(
        self, reference: Reference, table: RegistryTable, to: Mirror | RegistryTable
    ) -> Endpoint | None:
        """Replace the prefix by a location; None if that name is blocked."""
        there = _replace_prefix(reference, table, to.location) if to.location else reference
        its = self.settings().find(there.name)
        if its is not None and its.blocked:
            return None
        return self._endpoint(there, reference, insecure=to.insecure).replace(proxy=to.proxy)

    def registry(self, name: str) -> Endpoint:
        """Return the endpoint of a registry, without a repository.

        Raises:
            Denied: registries.conf blocks the host.
        """
        table = self.settings().find(name)
        if table is not None and table.blocked:
            raise Denied(f"{name} is blocked in {table.file}", host=name)
        if table is None:
            return self.host(name)
        return self.host(name, insecure=table.insecure).replace(proxy=table.proxy)

    def _endpoint(self, there: Reference, wanted: Reference, *, insecure: bool) -> Endpoint:
        own = there.domain == wanted.domain
        return self.host(there.domain, insecure=insecure).replace(path=there.path, own=own)

    def host(self, name: str, *, insecure: bool = False) -> Endpoint:
        """Return the endpoint of a host, without a repository.

        Plain http is tried first on this machine if there are no certificates for it, and
        second if the host is insecure.
        """
        host = _ENDPOINTS.get(name, name)
        found = self.certificates(name)
        insecure = insecure or self._insecure
        tls = TlsSettings(not insecure, found.authorities, found.pairs)
        schemes: tuple[str, ...] = ("https",)
        if insecure:
            schemes = ("https", "http")
        elif is_loopback(host) and not (found.authorities or found.pairs):
            schemes = ("http", "https")
        settings = self.host_settings(name)
        legacy = self._legacy or settings.legacy
        return Endpoint(name, host, "", schemes, tls, settings=settings, legacy=legacy)

    def host_settings(self, name: str) -> HostSettings:
        """Return the settings of ``host[:port]`` in hosts.toml.

        Raises:
            WherryError: A file is invalid.
        """
        return hosts_toml.settings_of(self._hosts_files(), name)

    def explain_host(self, name: str) -> list[tuple[Path, str]]:
        """Return the path of each hosts.toml and what it sets for ``host[:port]``."""
        return list(hosts_toml.explain(self._hosts_files(), name))

    def explain_legacy(self, name: str) -> str:
        """Return what allows the v1 protocol for ``host[:port]``; empty if it is not allowed."""
        if self._legacy:
            return "--legacy or WHERRY_LEGACY"
        is_set = self.host_settings(name).legacy
        file = hosts_toml.deciding_file(self._hosts_files(), name, "legacy")
        return str(file) if is_set and file is not None else ""

    def _hosts_files(self) -> tuple[HostsFile, ...]:
        if self._read_host_files is None:
            self._read_host_files = hosts_toml.load(self._host_files)
        return self._read_host_files

    def certificates(self, name: str) -> HostCertificates:
        """Return the certificates for ``host[:port]`` in ``certs.d``, which are read once."""
        found = self._certificates.get(name)
        if found is None:
            found = self._certificates[name] = find_certificates(self.certificate_roots, name)
        return found


def _with_reference(address: Address, reference: Reference) -> Address:
    """Return the address with a full name in the place of a short one."""
    return address.replace(name=str(reference), given=reference, short=False)


def _check_search(settings: RegistriesConf, text: str) -> None:
    """Raise `WherryError` for an invalid host to search or an ambiguous name."""
    hosts = settings.search or ()
    names = [f"{host}/{text}" for host in hosts]
    if len(names) > 1 and settings.short_names == "enforcing":
        raise WherryError(
            f"{text}: {len(names)} registries may have it, and short-name-mode is enforcing "
            f"in {settings.short_names_file}",
            hint=f"name one of them: {' '.join(names)}",
        )
    for host, name in zip(hosts, names, strict=True):
        if is_short(name):
            raise WherryError(
                f"{settings.search_file}: unqualified-search-registries: {host!r} is not a host "
                "(it has no dot and no port)"
            )


def _blocked_error(reference: Reference, table: RegistryTable) -> Denied:
    message = f"{table.prefix} is blocked in {table.file}"
    return Denied(message, host=reference.domain).within(reference.familiar)


def _replace_prefix(reference: Reference, table: RegistryTable, location: str) -> Reference:
    """Replace a prefix by a location; raise `WherryError` if the name is invalid."""
    name = str(reference)
    moved = location + name[table.match(reference.name) or 0 :]
    why = "its host has no dot and no port"
    try:
        there = Reference.parse(moved)
        if moved.partition("/")[0] in {there.domain, "index.docker.io"}:
            return there
    except InvalidReference as error:
        why = error.message
    raise WherryError(
        f"{location!r} in the place of {table.prefix!r} makes an invalid name ({why})"
    ).within(table.file)


def is_loopback(host: str) -> bool:
    """Return whether ``host[:port]`` is this machine."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
