"""Names of images in registries (distribution/reference, ``reference.go``)."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from wherry.errors import InvalidDigest, InvalidReference
from wherry.model.arguments import TEXT, checked, instance
from wherry.model.digest import HEX_LENGTHS, Digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_PORT = 65535
MAX_PATH = 255  # characters of a path, without the host

_HOST_LABEL = r"[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*"
_DOMAIN = rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_IDENTIFIER = r"[0-9a-f]{64}"

_compiled = functools.cache(re.compile)  # on demand: listing images needs none of them


def is_tag(text: str) -> bool:
    """Tell whether a text is a tag (OCI distribution spec, "Pulling manifests")."""
    return _compiled(_TAG).fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Tell whether a text is the path of a repository (OCI distribution spec, "Pull")."""
    return len(text) <= MAX_PATH and (
        _compiled(f"{_COMPONENT}(?:/{_COMPONENT})*").fullmatch(text) is not None
    )


def is_domain(text: str) -> bool:
    """Tell whether a text is ``host[:port]``, as at the beginning of a full name."""
    return _compiled(_DOMAIN).fullmatch(text) is not None


class Reference(NamedTuple):
    """A repository in a registry, with or without a tag and a digest.

    Made by `parse`.

    Attributes:
        domain: ``host[:port]``, without a scheme.
        path: The full path in the registry, such as ``library/alpine``.
        tag: The tag.
        digest: The digest.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    @checked({"text": TEXT})
    def parse(cls, text: str) -> Reference:
        """Parse a reference in short or full form, and complete it.

        Raises:
            InvalidReference: The text is not a reference; the error has the position.
        """
        return _ReferenceParser(text).parse()

    @classmethod
    @checked({"text": TEXT})
    def parse_name(cls, text: str) -> Reference:
        """Parse the name of a repository, without tag and digest.

        Raises:
            InvalidReference: The text is not such a name; the error has the position.
        """
        return cls.parse(text).as_name(text)

    @classmethod
    @checked({"text": TEXT})
    def parse_new(cls, text: str) -> Reference:
        """Parse a name to give to an image, with ``latest`` as the default tag.

        Raises:
            InvalidReference: The text is not such a name; the error has the position.
        """
        return cls.parse(text).as_new(text)

    @classmethod
    def complete(
        cls, domain: str, path: str, tag: str | None = None, digest: Digest | None = None
    ) -> Reference:
        """Return a reference from valid parts, with ``library/`` for docker.io."""
        if domain == "index.docker.io":
            domain = DEFAULT_DOMAIN
        if domain == DEFAULT_DOMAIN and "/" not in path:
            path = f"library/{path}"
        return cls(domain, path, tag, digest)

    def as_name(self, text: str | None = None) -> Reference:
        """Return the reference if it has neither tag nor digest.

        Raises:
            InvalidReference: It has; the error quotes ``text``, as the reference was written.
        """
        if not self.is_name_only:
            text = text or str(self)
            message = "invalid reference: only a name with neither tag nor digest is meant here"
            at = len(text) - len(str(self)) + len(self.name)
            raise InvalidReference(message, text=text, position=at)
        return self

    def as_new(self, text: str | None = None) -> Reference:
        """Return the reference as a name to give to an image, with ``latest`` by default.

        Raises:
            InvalidReference: It has a digest, which belongs to one content; the error quotes
                ``text``, as the reference was written.
        """
        found = self.with_default_tag()
        if found.digest is not None:
            text = text or str(self)
            message = "a digest is not a name that can be given"
            raise InvalidReference(message, text=text, position=text.index("@"))
        return found

    @property
    def name(self) -> str:
        """The full name of the repository: ``docker.io/library/alpine``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The short name of the repository, as people write it: ``alpine``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        first, _, rest = self.path.partition("/")
        if first == "library" and "/" not in rest:
            return rest
        return self.name if _reads_as_host(first) else self.path

    @property
    def familiar(self) -> str:
        """The short form of the reference: ``alpine:3.20``."""
        name = self.familiar_name
        if self.is_name_only and _reads_as_identifier(name):
            return self.path  # alone, the name would be read as an image id
        return name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{tag}@{self.digest}" if self.digest is not None else tag

    @property
    def is_name_only(self) -> bool:
        """Whether there is neither a tag nor a digest."""
        return self.tag is None and self.digest is None

    def with_default_tag(self) -> Reference:
        """Return the reference with ``latest`` if it has neither tag nor digest."""
        return self.with_tag(DEFAULT_TAG) if self.is_name_only else self

    @checked({"tag": TEXT})
    def with_tag(self, tag: str) -> Reference:
        """Return the repository with only this tag; raises `InvalidReference`."""
        if not _compiled(_TAG).fullmatch(tag):
            match = _compiled(_TAG).match(tag)
            raise InvalidReference("invalid tag", text=tag, position=match.end() if match else 0)
        return self._replace(tag=tag, digest=None)

    @checked({"digest": instance("a wherry.Digest", Digest)})
    def with_digest(self, digest: Digest) -> Reference:
        """Return the repository with only this digest."""
        return self._replace(tag=None, digest=digest)

    def __str__(self) -> str:
        return self.name + self._suffix

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def is_short(text: str) -> bool:
    """Tell whether a name leaves out the registry: ``alpine``, ``o/r:tag``."""
    first, slash, _ = text.partition("/")
    return not slash or not (_reads_as_host(first) or first.startswith("["))


def _reads_as_identifier(name: str) -> bool:
    return _compiled(_IDENTIFIER).fullmatch(name) is not None


def _reads_as_host(component: str) -> bool:
    """Tell whether a first component is a host and not part of a path."""
    return component == "localhost" or any(c in ".:" or c.isupper() for c in component)


def split_name(name: str) -> tuple[str, str | None]:
    """Split a full name into repository and tag; no tag if it has a digest."""
    if "@" in name:
        return name.partition("@")[0], None
    repository, _, tag = name.rpartition(":")
    return repository, tag


@functools.lru_cache(10_000)
def familiar_name(repository: str) -> str:
    """Return the short name of a repository."""
    domain, _, path = repository.partition("/")
    return Reference(domain, path).familiar_name


def familiar(name: str) -> str:
    """Return the short form of a full name with a tag or digest."""
    repository, _ = split_name(name)
    return familiar_name(repository) + name[len(repository) :]


class _ReferenceParser:
    """Parses one text; positions are indices into it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def parse(self) -> Reference:
        if not self.text:
            raise self.error("it is empty", 0)
        domain = self.domain()
        start = self.at
        path = self.path(domain)
        tag = self.tag()
        digest = self.digest()
        if self.at < len(self.text):
            raise self.unexpected()
        if domain is None and tag is None and digest is None and _reads_as_identifier(path):
            raise self.error("64 hex digits are an image id, not a repository name", start)
        found = Reference.complete(domain or DEFAULT_DOMAIN, path, tag, digest)
        if len(found.path) > MAX_PATH:
            added = len(found.path) - len(path)
            raise self.error(
                f"the repository path is over {MAX_PATH} characters", start + MAX_PATH - added
            )
        return found

    def domain(self) -> str | None:
        first, _, _ = self.text.partition("/")
        if is_short(self.text):
            return None
        if (scheme := _compiled(r"https?://", re.IGNORECASE).match(self.text)) is not None:
            raise self.error(f"names are written without {scheme.group()}", 0)
        match = _compiled(_DOMAIN).match(first)
        if match is None or match.end() < len(first):
            raise self.error("invalid host name", match.end() if match else 0)
        if first.startswith("["):
            self.check_address(first[1 : first.index("]")])
        _, colon, port = first.rpartition(":")
        if colon and port.isdecimal() and (len(port) > 5 or int(port) > MAX_PORT):  # noqa: PLR2004
            raise self.error(f"a port is at most {MAX_PORT}", len(first) - len(port))
        self.at = len(first) + 1
        return first

    def check_address(self, text: str) -> None:
        import ipaddress

        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            raise self.error("invalid IPv6 address", 1) from None

    def path(self, domain: str | None) -> str:
        start = self.at
        while True:
            match = _compiled(_COMPONENT).match(self.text, self.at)
            if match is None:
                raise self.unexpected(domain)
            self.at = match.end()
            if self.at == len(self.text) or self.text[self.at] in ":@":
                return self.text[start : self.at]
            if self.text[self.at] != "/":
                raise self.unexpected(domain)
            self.at += 1

    def tag(self) -> str | None:
        if not self.text.startswith(":", self.at):
            return None
        match = _compiled(_TAG).match(self.text, self.at + 1)
        if match is None:
            raise self.error("invalid tag", min(self.at + 1, len(self.text)))
        self.at = match.end()
        if self.at < len(self.text) and self.text[self.at] != "@":
            long = len(match.group()) == 128  # noqa: PLR2004 - the length the grammar allows
            raise self.error("a tag is at most 128 characters" if long else "invalid tag", self.at)
        return match.group()

    def digest(self) -> Digest | None:
        if not self.text.startswith("@", self.at):
            return None
        start = self.at + 1
        try:
            digest = Digest.parse(self.text[start:])
        except InvalidDigest as error:
            colon = self.text.find(":", start)
            known = self.text[start:colon] in HEX_LENGTHS if colon > 0 else False
            at = colon + 1 if known else start
            raise self.error(error.message, min(at, len(self.text))) from None
        self.at = len(self.text)
        return digest

    def unexpected(self, domain: str | None = None) -> InvalidReference:
        at = self.at
        if at >= len(self.text):
            return self.error("the repository name is incomplete", len(self.text))
        character = self.text[at]
        if character.isupper():
            return self.error("repository names are lower-case", at)
        if character in "/:@._-":
            return self.error("a name's parts begin and end with a letter or digit", at)
        where = "" if domain is None else " in a repository name"
        return self.error(f"{character!r} is not allowed{where}", at)

    def error(self, message: str, position: int) -> InvalidReference:
        return InvalidReference(f"invalid reference: {message}", text=self.text, position=position)
