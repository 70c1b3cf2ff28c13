"""Which repositories of the store a path of the registry stands for."""

from __future__ import annotations

from typing import NamedTuple

from wherry.model.reference import DEFAULT_DOMAIN, Reference, is_domain, is_path

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Repository(NamedTuple):
    """One repository of the store.

    Attributes:
        domain: The first part of its full name, such as ``localhost:5000`` or ``docker.io``.
        path: The rest, such as ``acme/app`` or ``library/alpine``.
        own: Whether the server's own name is its domain: only these are written.
    """

    domain: str
    path: str
    own: bool = False

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.domain}/{self.path}"

    @property
    def reference(self) -> Reference:
        """The full name as a reference without tag and digest."""
        return Reference(self.domain, self.path)

    def tagged(self, tag: str) -> Reference:
        """Return the name with a tag."""
        return Reference.complete(self.domain, self.path, tag)


def candidates(name: str, path: str) -> tuple[Repository, ...]:
    """Return the repositories that may answer for ``path``, the server's own first.

    These are ``NAME/PATH``; then ``PATH`` itself, where its first component is a host (with
    ``host_5000`` for ``host:5000``, since a path has no colon); else docker.io's. A name of
    this machine also stands for its other names with the same port.
    """
    found = [_repository(name, path)._replace(own=True)]
    host, _, port = name.rpartition(":")
    if host in _LOOPBACK:
        found += [Repository(f"{other}:{port}", path) for other in _LOOPBACK if other != host]
    first, _, rest = path.partition("/")
    domain = read_host(first)
    if domain is not None and rest:
        found.append(_repository(domain, rest))
    else:
        found.append(_repository(DEFAULT_DOMAIN, path))
    return tuple(found)


def in_namespace(name: str, domain: str, path: str) -> Repository:
    """Return the repository that a client means by ``?ns=DOMAIN``, as containerd sends it."""
    return _repository(domain, path)._replace(own=domain == name)


def served_path(name: str, domain: str, path: str) -> str | None:
    """Return the path under which a repository of the store is served, or None.

    That is ``PATH`` for the server's own, and ``HOST/PATH`` for others.
    """
    repository = Repository(domain, path)
    own = candidates(name, path)
    if any(each.name == repository.name for each in own if each.domain != DEFAULT_DOMAIN):
        found = path
    else:
        found = f"{domain.replace(':', '_')}/{path}"
    served = is_path(found) and repository.name in {each.name for each in candidates(name, found)}
    return found if served else None


def read_host(component: str) -> str | None:
    """Return the host that the first component of a path stands for, or None."""
    host, underscore, port = component.rpartition("_")
    if underscore and port.isdigit() and is_domain(host):
        return f"{host}:{port}"
    if component == "localhost" or ("." in component and is_domain(component)):
        return component
    return None


def _repository(domain: str, path: str) -> Repository:
    complete = Reference.complete(domain, path)
    return Repository(complete.domain, complete.path)
