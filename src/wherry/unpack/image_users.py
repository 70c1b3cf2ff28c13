"""The user of a container: ``User`` of an image's config, looked up in the image's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import NotFound
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWD, GROUP = "/etc/passwd", "/etc/group"

_LAST_ID = 2**31 - 1  # as runc and umoci have it
_ID_DIGITS = 10
_PASSWD_FIELDS, _GROUP_FIELDS = 7, 4


class ContainerUser(Record):
    """The user as whom a container runs.

    Attributes:
        uid: The number of the user.
        gid: The number of the group.
        groups: Further groups.
        home: The home directory; empty if the image does not know the user.
    """

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = ""


class _User(Record):
    name: str
    uid: int
    gid: int
    home: str


class _Group(Record):
    name: str
    gid: int
    members: tuple[str, ...]


def find_user(text: str, passwd: bytes, group: bytes) -> ContainerUser:
    """Look up a user (OCI image spec, config.md, "User").

    A number needs no entry. Without a group, the group and the further groups are those of the
    user's entries. Malformed lines of the files are skipped.

    Args:
        text: ``USER`` or ``USER:GROUP``, names or numbers; empty for root.
        passwd: The content of the image's ``/etc/passwd``.
        group: The content of its ``/etc/group``.

    Raises:
        NotFound: There is no such user or group.
    """
    name, _, group_name = text.partition(":")
    number = _number(name or "0")
    known = next((each for each in _users(passwd) if number == each.uid or name == each.name), None)
    if number is None and known is None:
        raise NotFound(
            f"the image has no user {name!r} in {PASSWD}", hint=f"its config has the user {text!r}"
        )
    found = ContainerUser(number or 0)
    if known is not None:
        found = ContainerUser(known.uid, known.gid, home=known.home)
    if group_name:
        return found.replace(gid=_find_group(group_name, group))
    if known is None:
        return found
    groups = dict.fromkeys(each.gid for each in _groups(group) if known.name in each.members)
    return found.replace(groups=tuple(groups))


def _find_group(name: str, group: bytes) -> int:
    number = _number(name)
    if number is not None:
        return number
    for each in _groups(group):
        if each.name == name:
            return each.gid
    raise NotFound(f"the image has no group {name!r} in {GROUP}")


def _users(passwd: bytes) -> Iterator[_User]:
    """Parse lines of ``name:password:uid:gid:comment:home:shell`` (passwd(5))."""
    for name, _, uid, gid, _, home, *_ in _lines(passwd, _PASSWD_FIELDS):
        numbers = _number(uid), _number(gid)
        if name and numbers[0] is not None and numbers[1] is not None:
            yield _User(name, numbers[0], numbers[1], home)


def _groups(group: bytes) -> Iterator[_Group]:
    """Parse lines of ``name:password:gid:member,member`` (group(5))."""
    for name, _, gid, members, *_ in _lines(group, _GROUP_FIELDS):
        number = _number(gid)
        if name and number is not None:
            yield _Group(name, number, tuple(members.split(",")))


def _lines(content: bytes, count: int) -> Iterator[list[str]]:
    """Yield the fields of each line; missing ones are empty."""
    for line in content.decode(errors="replace").split("\n"):
        fields = line.strip().split(":")
        yield fields + [""] * (count - len(fields))


def _number(text: str) -> int | None:
    """Return the number of a user or group; None for everything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS):
        return None
    number = int(text)
    return number if number <= _LAST_ID else None
