"""Addresses, not names, decide where credentials go: a registry with a public address."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOSTS = """
127.0.0.1 localhost private.example metadata.internal two.example
93.184.216.34 public.example auth.example two.example rebind.example
"""
SET_UP = """
ip link set lo up && ip addr add 93.184.216.34/32 dev lo &&
mount --bind {hosts} /etc/hosts && exec "$@"
"""
IN_A_NETWORK = ["unshare", "--map-root-user", "--net", "--mount"]


def pull(directory: Path, *arguments: str) -> Any:
    """Pull in a network namespace: registry, realm, and "user" or "anonymous"."""
    if subprocess.run([*IN_A_NETWORK, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no networks for tests")
    hosts = directory / "hosts"
    hosts.write_text(HOSTS)
    script = str(Path(__file__).with_name("public_registry.py"))
    done = subprocess.run(
        [
            *IN_A_NETWORK,
            *("sh", "-c", SET_UP.format(hosts=hosts), "sh", sys.executable, script),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.peer("unshare", "ip")
@pytest.mark.parametrize("realm", ["metadata.internal", "two.example", "localhost", "127.0.0.1"])
def test_a_public_registry_cannot_send_a_password_to_a_private_address(
    tmp_path: Path, realm: str
) -> None:
    """The second name has a public address as well, where nothing listens."""
    said = pull(tmp_path, "public.example", realm, "user")
    assert said["error"].startswith("Unauthorized: ")
    assert "is in a private network" in said["error"]
    assert "private-realm" in said["hint"]
    assert said["sent"] == []


@pytest.mark.peer("unshare", "ip")
@pytest.mark.parametrize(
    ("registry", "realm", "user"),
    [
        ("public.example", "metadata.internal", "anonymous"),
        ("public.example", "auth.example", "user"),
        ("private.example", "metadata.internal", "user"),
        ("private.example", "auth.example", "user"),
    ],
)
def test_realms_that_get_credentials(tmp_path: Path, registry: str, realm: str, user: str) -> None:
    """Companies run registries under public names with private addresses (split DNS)."""
    said = pull(tmp_path, registry, realm, user)
    assert said["error"] == ""
    assert set(said["sent"]) == {user == "user"}


@pytest.mark.peer("unshare", "ip")
def test_a_name_that_resolves_differently_the_second_time(tmp_path: Path) -> None:
    """Each connection is judged by its own address, so an earlier DNS response does not count."""
    said = pull(tmp_path, "public.example", "rebind.example", "user")
    assert "is in a private network" in said["error"]
    assert said["sent"] == [True]  # for the first pull, at the public address
