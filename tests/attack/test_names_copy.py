"""Copies of a store's names that are large, or written by another user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from peak_memory import run
from wherry.store import backup
from wherry.store.root_directory import open_store
from wherry.testing.images import document, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from peak_memory import Outcome

MIB = 2**20
MOST = 90  # MiB that a rebuild may take, for any copy
MANY = 100_000  # names
OCI = "application/vnd.oci.image."
CONFIG = document(
    {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
)
MANIFEST = document(
    {
        "schemaVersion": 2,
        "mediaType": f"{OCI}manifest.v1+json",
        "config": {
            "mediaType": f"{OCI}config.v1+json",
            "digest": sha256(CONFIG),
            "size": len(CONFIG),
        },
        "layers": [],
    }
)
ROOT = sha256(MANIFEST)
OTHER = sha256(b"not there")
START, END = b'{"version":1,"names":[', b"]}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """Make a store with an image, but without database and names."""
    path = tmp_path / "rebuilt"
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (MANIFEST, CONFIG):
        (blobs / sha256(blob).removeprefix("sha256:")).write_bytes(blob)
    yield path
    shutil.rmtree(path)


def row(name: str, root: str = ROOT) -> bytes:
    """Return a row in the form of the file."""
    return json.dumps([name, root, root, 1], separators=(",", ":")).encode()


def number(count: int, root: str = ROOT) -> bytes:
    """Return rows of numbered names."""
    names = (f"registry.example/team/app{at // 10:07}:1.{at % 10}" for at in range(count))
    return b",".join(row(name, root) for name in names)


def write(store: Path, *parts: bytes) -> None:
    with (store / "names.json").open("wb") as file:
        file.writelines(parts)


def rebuild(environment: dict[str, str], store: Path) -> Outcome:
    outcome = run(environment, "--store", str(store), "fsck", "--rebuild")
    assert "internal error" not in outcome.stderr
    assert outcome.peak < MOST
    return outcome


def listed(environment: dict[str, str], store: Path) -> set[str]:
    command = [sys.executable, "-m", "wherry", "--store", str(store), "images", "--format"]
    done = subprocess.run(
        [*command, "{{.Repository}}:{{.Tag}}"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return set(done.stdout.splitlines())


# Many names


def test_many_names_come_back_and_are_copied_again(
    environment: dict[str, str], store: Path
) -> None:
    write(store, START, number(MANY), END)
    before = json.loads((store / "names.json").read_bytes())["names"]
    outcome = rebuild(environment, store)
    assert (outcome.code, outcome.stdout) == (0, b"Rebuilt: 1 image, %d names\n" % MANY)
    os.utime(store / "names.json", (0, 0))  # a store with many names copies them once a minute
    tagged = run(environment, "--store", str(store), "tag", before[0][0], "registry.example/a:1")
    assert tagged.code == 0
    assert tagged.peak < MOST
    after = json.loads((store / "names.json").read_bytes())["names"]
    assert after == [["registry.example/a:1", ROOT, ROOT, 1], *before]


def test_many_names_that_are_lost(environment: dict[str, str], store: Path) -> None:
    write(store, START, number(MANY, OTHER), END)
    outcome = rebuild(environment, store)
    assert (outcome.code, outcome.stdout) == (1, b"Rebuilt: 1 image, 0 names\n")
    lines = outcome.stderr.splitlines()
    assert sum(line.endswith("its image is incomplete; pull it again") for line in lines) == 10_000
    assert f"lost: {MANY - 10_000} more names: names.json lists them until a name changes" in lines
    assert listed(environment, store) == {"<none>:<none>"}


@pytest.mark.long
def test_the_largest_copy_that_is_read(environment: dict[str, str], store: Path) -> None:
    """Of a million rows for one name, the last one counts."""
    again = row("registry.example/app:t", OTHER) + b","
    last = row("registry.example/app:t") + END
    write(store, START, again * ((256 * MIB - len(START + last)) // len(again)), last)
    outcome = rebuild(environment, store)
    assert (outcome.code, outcome.stdout) == (0, b"Rebuilt: 1 image, 1 name\n")


# Copies that wherry does not write

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "one text": (lambda: b'["' + b"a" * (100 * MIB), "has a row of more than 4,194,304 bytes"),
    "one row": (lambda: b'["a"' + b",1" * (50 * MIB), "has a row of more than 4,194,304 bytes"),
    "an address": (lambda: b'["[' + b"a" * (100 * MIB), "has a row of more than 4,194,304 bytes"),
    "nested objects": (lambda: b'{"a":' * (20 * MIB), "has a row of more than 4,194,304 bytes"),
    "objects": (lambda: b"[" + b"{}," * MIB + b"1]", "is damaged in more than one row"),
    "nested objects in a row": (lambda: b"[" + b'{"a":' * 800_000, "is damaged in more than one"),
    "wide characters": (
        lambda: b'["' + "\U0001f600".encode() * 900_000 + b'",1,1,1]',
        "is damaged in more than one row",
    ),
    "a long number": (lambda: b"[1,1,1," + b"9" * (4 * MIB - 99) + b"]", "is damaged in more than"),
    "a long host": (
        lambda: row(f"{'a' * (4 * MIB - 300)}.example/A:t"),
        "is damaged in more than one row",
    ),
    "damaged rows": (lambda: b"[1]," * (25 * MIB), "is damaged in more than one row"),
}
CUT_OFF = "is cut off or damaged"


@pytest.mark.parametrize("form", HOSTILE)
def test_hostile_copies(environment: dict[str, str], store: Path, form: str) -> None:
    make, reason = HOSTILE[form]
    write(store, START, make(), END)
    outcome = rebuild(environment, store)
    assert outcome.code == 1
    assert f"names.json: the copy of the names {reason}" in outcome.stderr
    assert not (store / "wherry.db").exists()


UNREADABLE: dict[str, tuple[Callable[[], tuple[bytes, ...]], str]] = {
    "truncated": (lambda: (START, row("registry.example/app:t"), b","), CUT_OFF),
    "brackets alone": (lambda: (b"[" * (100 * MIB),), CUT_OFF),
    "spaces before": (lambda: (b" " * (100 * MIB), START, END), CUT_OFF),
    "spaces behind": (lambda: (START, END, b" " * MIB), CUT_OFF),
    "too large": (
        lambda: (START, b" " * (256 * MIB), END),
        "has more than 268,435,456 bytes",
    ),
}


@pytest.mark.parametrize("form", UNREADABLE)
def test_an_unreadable_copy_of_the_names(
    environment: dict[str, str], store: Path, form: str
) -> None:
    make, reason = UNREADABLE[form]
    write(store, *make())
    outcome = rebuild(environment, store)
    assert outcome.code == 1
    assert f"names.json: the copy of the names {reason}" in outcome.stderr
    assert not (store / "wherry.db").exists()


def test_many_names_and_then_nothing(environment: dict[str, str], store: Path) -> None:
    write(store, START, number(50_000), b",[")
    outcome = rebuild(environment, store)
    assert outcome.code == 1
    assert CUT_OFF in outcome.stderr
    write(store, START, number(50_000), b',[1],["a"]', END)
    outcome = rebuild(environment, store)
    assert outcome.code == 1
    assert "is damaged in more than one row" in outcome.stderr
    assert sorted(path.name for path in store.glob("wherry.db*")) == []


def test_lost_names_that_are_long(environment: dict[str, str], store: Path) -> None:
    """The list of lost names ends after 4 Mi characters."""
    hosts = (f"{at}.{'a' * MIB}.example/app:t" for at in range(20))
    write(store, START, b",".join(row(host, OTHER) for host in hosts), END)
    outcome = rebuild(environment, store)
    assert outcome.code == 1
    assert "lost: 17 more names: names.json lists them until a name changes" in outcome.stderr


# Nothing is lost


def test_rows_that_two_chunks_share(store: Path, record_property: Callable[..., None]) -> None:
    """A chunk has 256 KiB; names of IPv6 registries contain brackets."""
    names = ["[::1]:5000/app:t", "[2001:db8::1]/app:t", "registry.example/app:t"]
    rows = b",".join(row(name) for name in names)
    for part in range(0, len(rows) + 1, 3):
        write(store, START, b" " * (2**18 - len(START) - part), rows, END)
        found = list(backup.load(open_store(str(store))))
        read = [str(each.reference) for each in found if isinstance(each, backup.SavedName)]
        assert read == names
        assert len(found) == len(names)
    record_property("tries", len(rows) // 3 + 1)


def test_the_form_with_spaces(environment: dict[str, str], store: Path) -> None:
    """`json.dump` with an indent writes this form."""
    names = [["registry.example/app:t", ROOT, ROOT, 1], ["[::1]/app:t", ROOT, ROOT, 0]]
    write(store, json.dumps({"version": 1, "names": names}, indent=2).encode(), b"\n")
    outcome = rebuild(environment, store)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert listed(environment, store) == {"registry.example/app:t", "[::1]/app:t"}


@pytest.mark.parametrize("name", ["registry.example/app", f"registry.example/app:t@{ROOT}"])
def test_names_that_a_store_does_not_have(
    environment: dict[str, str], store: Path, name: str
) -> None:
    write(store, START, row(name), b",", row("registry.example/app:t"), END)
    outcome = rebuild(environment, store)
    assert outcome.code == 1
    assert f'pull or tag its image again: "{name}",' in outcome.stderr
    assert listed(environment, store) == {"registry.example/app:t"}
