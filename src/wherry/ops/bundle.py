"""Make the runtime config of a bundle from an image and its unpacked files."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

from wherry.errors import Unsupported
from wherry.transfer.graph import config_problems
from wherry.unpack.image_file import located, read_file, resolve
from wherry.unpack.image_users import GROUP, PASSWD, find_user
from wherry.unpack.runtime_config import (
    Volume,
    can_be_volume,
    has_command,
    runtime_config,
    unsafe_labels,
    volume_paths,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry.model.config import ImageConfig
    from wherry.unpack.image_users import ContainerUser
    from wherry.unpack.isolation import Isolation

ROOT = "rootfs"
_CONFIG = "config.json"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def check_bundle(config: ImageConfig) -> None:
    """Raise `Unsupported` for an image that Linux cannot run."""
    if config.os not in {"", "linux"}:
        raise Unsupported(
            f"a bundle is for Linux, and the image for {config.os}",
            hint="without --bundle, its files are unpacked",
        )


def make_root(directory: int) -> int:
    """Make the directory for the root file system, and open it."""
    os.mkdir(ROOT, 0o700, dir_fd=directory)
    return os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)


def write_config(
    directory: int,
    root: int,
    config: ImageConfig,
    isolation: Isolation,
    warn: Callable[[str], None],
) -> None:
    """Write the runtime config of an image whose files are unpacked.

    Args:
        directory: A descriptor of the directory of the bundle.
        root: A descriptor of its root file system; no other process may write there.
        config: The config of the image.
        isolation: How the container is separated from the host.
        warn: Is told what the config of the image says and the runtime config does not.

    Raises:
        NotFound: The image has no such user or group.
        InvalidDocument: The config of the image has texts that no process can have.
        UnsafeArchive: The image's file of users or groups cannot be one.
        Unsupported: A map of users lacks the user.
        OSError: The disk fails.
    """
    user = _user(root, config, isolation, warn)
    volumes = list(_volumes(root, config, isolation, warn))
    document = runtime_config(config, user, isolation, volumes)
    for problem in config_problems(config.id, config.problems):
        warn(problem)
    for label in unsafe_labels(config):
        warn(f"the label {label!r} is left out: it would be a setting of the runtime")
    if not has_command(config):
        warn(f"the image has no command: process.args in {_CONFIG} is sh")
    file = os.open(_CONFIG, _CREATE, 0o666, dir_fd=directory)
    with open(file, "w", encoding="ascii") as opened:  # noqa: PTH123 - a descriptor
        opened.write(json.dumps(document, indent=4) + "\n")


def _user(
    root: int, config: ImageConfig, isolation: Isolation, warn: Callable[[str], None]
) -> ContainerUser:
    wanted = find_user(config.user, read_file(root, PASSWD), read_file(root, GROUP))
    found = isolation.user(wanted)
    if found.uid != wanted.uid or found.gid != wanted.gid:
        warn(
            f"the user {wanted.uid}:{wanted.gid} of the image is root in the bundle: "
            "without a map, its user namespace has only root"
        )
    return found


def _volumes(
    root: int, config: ImageConfig, isolation: Isolation, warn: Callable[[str], None]
) -> Iterator[Volume]:
    for path in volume_paths(config):
        if "\0" in path:
            warn(f"{path!r} cannot be a volume: it has a NUL character")
        elif can_be_volume(resolve(root, path)):
            yield _volume(root, path, isolation)
        else:
            warn(f"{path!r} cannot be a volume: the runtime has its own mounts there")


def _volume(root: int, path: str, isolation: Isolation) -> Volume:
    """Return a volume with the owner, the mode and the content of its directory."""
    options = "nosuid nodev relatime"
    with located(root, path) as directory:
        if directory is None or not stat.S_ISDIR((about := os.fstat(directory)).st_mode):
            return Volume(path, f"{options} mode=755")
        uid, gid = isolation.inside(about.st_uid, about.st_gid)
        options += f" mode={stat.S_IMODE(about.st_mode):o} uid={uid} gid={gid}"
        if not _is_empty(directory):
            options += " tmpcopyup"  # an option of runtimes: start with these files
    return Volume(path, options)


def _is_empty(directory: int) -> bool:
    try:
        with os.scandir(f"/proc/self/fd/{directory}") as entries:
            return next(entries, None) is None
    except PermissionError:  # the image denies it to its owner
        return True
