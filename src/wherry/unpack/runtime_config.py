"""The runtime config of an image (OCI image spec, conversion.md)."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument
from wherry.model.record import Record
from wherry.unpack import runtime_defaults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wherry.model.config import ImageConfig
    from wherry.unpack.image_users import ContainerUser
    from wherry.unpack.isolation import Isolation
    from wherry.unpack.owners import IdRange

_IMAGE = "org.opencontainers.image"
# Annotations that change what crun, runc, gVisor, Kata or their callers do on the host.
_RUNTIMES = (
    "dev.gvisor.",
    "io.containerd.",
    "io.katacontainers.",
    "io.kubernetes.",
    "io.podman.",
    "module.wasm.",
    "org.criu.",
    "org.systemd.",
    "run.oci.",
)
_OWN_PLACES = ("/proc", "/sys", "/dev")  # of the runtime


class Volume(Record):
    """A volume of an image: an own file system in memory.

    Attributes:
        path: Where it is.
        options: The options of its mount, separated by spaces.
    """

    path: str
    options: str


def runtime_config(
    image: ImageConfig, user: ContainerUser, isolation: Isolation, volumes: Sequence[Volume]
) -> dict[str, Any]:
    """Return the runtime config of an image.

    Args:
        image: The config of the image.
        user: The user in the container.
        isolation: Its user namespace.
        volumes: Its volumes.

    Raises:
        InvalidDocument: The command, the environment or the directory has a NUL character.
    """
    kinds = {"user_namespace": bool(isolation.uids), "rootless": isolation.rootless}
    linux = runtime_defaults.linux(**kinds)
    if isolation.uids:
        linux["uidMappings"] = _mappings(isolation.uids)
        linux["gidMappings"] = _mappings(isolation.gids)
    mounts = runtime_defaults.mounts(**kinds)
    for each in volumes:
        mounts.append(runtime_defaults.mount(each.path, "tmpfs", "tmpfs", each.options))
    return {
        "ociVersion": runtime_defaults.OCI_VERSION,
        "process": _process(image, user) | runtime_defaults.process(),
        "root": {"path": "rootfs"},
        "hostname": runtime_defaults.HOSTNAME,
        "mounts": mounts,
        "annotations": dict(_annotations(image)),
        "linux": linux,
    }


def has_command(image: ImageConfig) -> bool:
    """Tell whether an image says what to run."""
    return bool(image.entrypoint or image.cmd)


def unsafe_labels(image: ImageConfig) -> list[str]:
    """Return the labels that would be settings of a runtime, and become no annotations."""
    return sorted(filter(_is_unsafe, image.labels))


def volume_paths(image: ImageConfig) -> list[str]:
    """Return the normalised paths of volumes, sorted."""
    return sorted({_absolute(each) for each in image.volumes})


def can_be_volume(path: str) -> bool:
    """Tell whether an image may have a volume at a normalised path without links."""
    below = (path == each or path.startswith(f"{each}/") for each in _OWN_PLACES)
    return path != "/" and not any(below)


def _process(image: ImageConfig, user: ContainerUser) -> dict[str, Any]:
    ids: dict[str, Any] = {"uid": user.uid, "gid": user.gid}
    if user.groups:
        ids["additionalGids"] = list(user.groups)
    command = [*(image.entrypoint or ()), *(image.cmd or ())] or list(runtime_defaults.ARGS)
    env = {"PATH": runtime_defaults.PATH} | dict(image.env)
    if user.home:
        env.setdefault("HOME", user.home)
    texts = {
        "args": command,
        "env": [f"{name}={value}" for name, value in env.items()],
        "cwd": [_absolute(image.working_dir)],
    }
    for name, values in texts.items():
        if any("\0" in value for value in values):
            raise InvalidDocument("has a NUL character", path=f"process.{name}")
    return {
        "terminal": False,
        "user": ids,
        "args": texts["args"],
        "env": texts["env"],
        "cwd": texts["cwd"][0],
    }


def _absolute(path: str) -> str:
    """Return a path from the root, without ``..`` and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))


def _annotations(image: ImageConfig) -> Iterator[tuple[str, str]]:
    """Yield what the image says of itself; its labels take precedence."""
    implied = {
        "os": image.os,
        "architecture": image.architecture,
        "variant": image.variant,
        "os.version": image.os_version,
        "os.features": ",".join(image.os_features),
        "author": image.author,
        "created": image.created,
        "stopSignal": image.stop_signal,
        "exposedPorts": ",".join(image.exposed_ports),
    }
    found = {f"{_IMAGE}.{name}": value for name, value in implied.items() if value}
    for key, value in sorted((found | dict(image.labels)).items()):
        if key and not _is_unsafe(key):
            yield key, value


def _is_unsafe(label: str) -> bool:
    return label.startswith(_RUNTIMES)


def _mappings(ranges: tuple[IdRange, ...]) -> list[dict[str, int]]:
    return [
        {"containerID": each.inside, "hostID": each.outside, "size": each.count} for each in ranges
    ]
