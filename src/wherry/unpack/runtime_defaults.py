"""What a runtime config has that no image decides: as ``runc spec`` writes it.

Differences: the root can be written, there is no terminal, no ambient capabilities (as in runc
1.2), and always a namespace for cgroups (runc has one where the host uses cgroup v2).
"""

from __future__ import annotations

from typing import Any

OCI_VERSION = "1.0.2"
HOSTNAME = "wherry"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARGS = ("sh",)

_TTY_GROUP = "gid=5"
_NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def process() -> dict[str, Any]:
    """Return the limits of the process."""
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    kinds = ("bounding", "effective", "permitted")
    return {
        "capabilities": {kind: list(capabilities) for kind in kinds},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def mounts(*, user_namespace: bool, rootless: bool) -> list[dict[str, Any]]:
    """Return the mounts of every container."""
    terminals = "nosuid noexec newinstance ptmxmode=0666 mode=0620"
    if not user_namespace:  # there, the group need not exist
        terminals += f" {_TTY_GROUP}"
    system = mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro")
    if rootless:  # the kernel allows sysfs only with an own network
        system = mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")
    return [
        mount("/proc", "proc", "proc"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        mount("/dev/pts", "devpts", "devpts", terminals),
        mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),  # noqa: S108 - in the container
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        system,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
    ]


def mount(destination: str, kind: str, source: str, options: str = "") -> dict[str, Any]:
    """Return a mount; options are separated by spaces."""
    found: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    return found | {"options": options.split()} if options else found


def linux(*, user_namespace: bool, rootless: bool) -> dict[str, Any]:
    """Return the settings of Linux, without the mappings of a user namespace."""
    kinds = [kind for kind in _NAMESPACES if not (rootless and kind == "network")]
    if user_namespace:
        kinds.append("user")
    found: dict[str, Any] = {}
    if not rootless:  # other users may set no limits
        found["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return found | {
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
