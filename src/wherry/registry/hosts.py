"""From a reference to the endpoints to try, in order."""

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

# Where the registry behind a name of Docker Hub really is.
_ENDPOINTS = {"docker.io": "registry-1.docker.io"}


class Endpoint(Record):
    """A repository at one address; ``schemes`` are tried in order, the next one where allowed.

    ``name`` is how people and files of credentials call the host, ``path`` the repository
    there. ``own`` is whether it is the host that the reference names: credentials that the
    caller gives are for that one alone. ``settings`` are the host's in hosts.toml.
    ``proxy`` is the one that registries.conf names for it.
    """

    name: str
    host: str
    path: str = ""
    schemes: tuple[str, ...] = ("https",)
    tls: TlsSettings = TlsSettings()
    own: bool = True
    settings: HostSettings = HostSettings()
    proxy: ProxyAddress | None = None


class NameCandidate(Record):
    """An address that a name may stand for, and the reason: the file that says so."""

    address: Address
    source: str


class Hosts:
    """What files say about hosts, read when it is first asked for. Thread-safe.

    ``registries`` are the places of registries.conf, ``certificates`` the roots of ``certs.d``.
    ``host_files`` are the hosts.toml files, the one that decides first. ``insecure`` holds for
    all hosts.
    """

    def __init__(
        self,
        registries: RegistriesFiles | None = None,
        certificates: Sequence[Path] = (),
        host_files: Sequence[Path] = (),
        *,
        insecure: bool = False,
    ) -> None:
        self._files = registries
        self.certificate_roots = tuple(certificates)
        self._certificates: dict[str, HostCertificates] = {}
        self._host_files = tuple(host_files)
        self._read_host_files: tuple[HostsFile, ...] | None = None
        self._insecure = insecure
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._settings: dict[bool, RegistriesConf] = {}

    def settings(self, *, aliases: bool = False) -> RegistriesConf:
        """Return what registries.conf says; raises `WherryError` for a file that is wrong."""
        with self._lock:
            found = self._settings.get(True) or self._settings.get(aliases)
            if found is None:
                from wherry.registry.registries_conf import RegistriesFiles, load

                found = load(self._files or RegistriesFiles(), aliases=aliases)
                self._settings[aliases] = found
            return found

    def name_candidates(self, address: Address) -> tuple[NameCandidate, ...]:
        """Return what a name without a registry stands for, in the order to try.

        An alias decides, then the hosts to search, then Docker Hub
        (containers-registries.conf(5), "Short-Name Aliasing").

        Raises:
            WherryError: A file of registries.conf is wrong, or short names are enforced.
        """
        given = address.given
        if given is None or not address.short:
            return (NameCandidate(address, "as it is written"),)
        settings = self.settings(aliases=True)
        path = re.split(r"[:@]", address.name, maxsplit=1)[0]
        alias, file = settings.aliases.get(path, ("", None))
        if alias:
            full = Reference.parse(alias)._replace(tag=given.tag, digest=given.digest)
            return (NameCandidate(_as(address, full), f"a short name in {file}"),)
        if not settings.search:
            return (NameCandidate(address, "names without a registry are Docker Hub's"),)
        _check_search(settings, address.name)
        return tuple(
            NameCandidate(
                _as(address, Reference.complete(host, path, given.tag, given.digest)),
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
        """Return where to look for a repository: mirrors first, its own registry last.

        Raises `Denied` where registries.conf blocks it, `WherryError` where a file is wrong.
        """
        settings = self.settings()
        found = self._endpoints(reference, settings)
        if warn is not None:
            unused = [
                f"hosts.toml: {endpoint.name}: legacy {hosts_toml.NOT_USED}"
                for endpoint in found
                if endpoint.settings.legacy
            ]
            for warning in (*settings.warnings, *unused):
                if warning not in self._warned:
                    self._warned.add(warning)
                    warn(warning)
        return found

    def _endpoints(self, reference: Reference, settings: RegistriesConf) -> tuple[Endpoint, ...]:
        table = settings.find(reference.name)
        if table is None:
            return (self._endpoint(reference, reference, insecure=False),)
        if table.blocked:
            raise _blocked(reference, table)
        unwanted = "digest-only" if reference.digest is None else "tag-only"
        found = [
            self._moved(reference, table, mirror)
            for mirror in table.mirrors
            if mirror.pulls != unwanted
        ]
        registry = self._moved(reference, table, table)
        if registry is None:
            raise _blocked(reference, settings.find(table.location) or table)
        return (*(mirror for mirror in found if mirror is not None), registry)

    def _moved(
        self, reference: Reference, table: RegistryTable, to: Mirror | RegistryTable
    ) -> Endpoint | None:
        """Put a location in the place of the prefix; None where the location is blocked."""
        there = _renamed(reference, table, to.location) if to.location else reference
        its = self.settings().find(there.name)
        if its is not None and its.blocked:
            return None
        return self._endpoint(there, reference, insecure=to.insecure).replace(proxy=to.proxy)

    def login(self, name: str) -> Endpoint:
        """Return how to speak to a host itself; raises `Denied` where it is blocked."""
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
        """Return how to speak to a host, whatever is asked for there.

        Plain http: on this machine unless it has certificates, and where that is allowed and
        the peer does not speak TLS.
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
        return Endpoint(name, host, "", schemes, tls, settings=self.host_settings(name))

    def host_settings(self, name: str) -> HostSettings:
        """Return the settings of ``host[:port]`` in hosts.toml.

        Raises:
            WherryError: The file is wrong.
        """
        return hosts_toml.settings_of(self._hosts_files(), name)

    def explain_host(self, name: str) -> list[tuple[Path, str]]:
        """Return each hosts.toml and what it says about ``host[:port]``."""
        return list(hosts_toml.explain(self._hosts_files(), name))

    def _hosts_files(self) -> tuple[HostsFile, ...]:
        if self._read_host_files is None:
            self._read_host_files = hosts_toml.load(self._host_files)
        return self._read_host_files

    def certificates(self, name: str) -> HostCertificates:
        """Return the certificates that there are for ``host[:port]``, looked for once."""
        found = self._certificates.get(name)
        if found is None:
            found = self._certificates[name] = find_certificates(self.certificate_roots, name)
        return found


def _as(address: Address, reference: Reference) -> Address:
    """Return an address of the same place by its full name."""
    return address.replace(name=str(reference), given=reference, short=False)


def _check_search(settings: RegistriesConf, text: str) -> None:
    """Raise `WherryError` if the search list has no host, or several where one is enforced."""
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
                f"{settings.search_file}: unqualified-search-registries: {host!r} is no host "
                "(it has no dot and no port)"
            )


def _blocked(reference: Reference, table: RegistryTable) -> Denied:
    message = f"{table.prefix} is blocked in {table.file}"
    return Denied(message, host=reference.domain).within(reference.familiar)


def _renamed(reference: Reference, table: RegistryTable, location: str) -> Reference:
    """Put a location in the place of a table's prefix; raises `WherryError` if that is no name."""
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
        f"{location!r} in the place of {table.prefix!r} makes no name ({why})"
    ).within(table.file)


def is_loopback(host: str) -> bool:
    """Tell whether ``host[:port]`` is this machine."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
