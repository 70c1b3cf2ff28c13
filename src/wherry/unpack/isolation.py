"""The user namespace of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Unsupported
from wherry.model.record import Record
from wherry.unpack.image_users import ContainerUser
from wherry.unpack.owners import IdRange

if TYPE_CHECKING:
    from wherry.unpack.owners import Owners

_ALL = IdRange(0, 0, 2**32 - 1)


class Isolation(Record):
    """How a container is separated from the host.

    Attributes:
        uids: The users of its user namespace; empty if it has none.
        gids: The groups likewise.
        rootless: Whether a user without privileges runs it.
        has_one_user: Whether the namespace has only root, because no map was given.
    """

    uids: tuple[IdRange, ...] = ()
    gids: tuple[IdRange, ...] = ()
    rootless: bool = False
    has_one_user: bool = False

    @classmethod
    def choose(cls, owners: Owners, caller: tuple[int, int], *, rootless: bool) -> Isolation:
        """Return the namespace for the maps that owners have.

        Args:
            owners: Whose the unpacked files are.
            caller: The user and group of this process.
            rootless: Whether a user without privileges runs the container. Without a map, root
                in the container is the caller.
        """
        if owners.uids or owners.gids:
            return cls(owners.uids or (_ALL,), owners.gids or (_ALL,), rootless)
        if not rootless:
            return cls()
        uid, gid = caller
        return cls((IdRange(0, uid, 1),), (IdRange(0, gid, 1),), rootless, has_one_user=True)

    def user(self, wanted: ContainerUser) -> ContainerUser:
        """Return the user in the container: root if the namespace has only root.

        Raises:
            Unsupported: The map lacks the user or the group.
        """
        groups = wanted.groups
        if self.rootless:  # user_namespaces(7): setgroups(2) is denied
            groups = ()
        if not self.uids:
            return wanted
        if not (_has(self.uids, wanted.uid) and _has(self.gids, wanted.gid)):
            if self.has_one_user:
                return ContainerUser(home=wanted.home)
            raise Unsupported(
                f"no range of the map has the user {wanted.uid}:{wanted.gid} of the image",
                hint="add one with --uid-map and --gid-map",
            )
        groups = tuple(each for each in groups if _has(self.gids, each))
        return wanted.replace(groups=groups)

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the numbers in the container of an owner of files; root for others."""
        return _inside(self.uids, uid), _inside(self.gids, gid)


def _has(ranges: tuple[IdRange, ...], number: int) -> bool:
    return any(each.inside <= number < each.inside + each.count for each in ranges)


def _inside(ranges: tuple[IdRange, ...], number: int) -> int:
    for each in ranges:
        if each.outside <= number < each.outside + each.count:
            return each.inside + number - each.outside
    return 0 if ranges else number
