"""The copy of a store's names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from wherry.errors import StoreError
from wherry.store import backup
from wherry.store.root_directory import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    import wherry as library
    from conftest import Wherry
from stored_images import lose, names


def rows(store: library.Store) -> list[backup.SavedName | backup.DamagedRow]:
    return list(backup.load(open_store(str(store.path))))


def saved(store: library.Store) -> list[str]:
    return [str(row.reference) for row in rows(store) if isinstance(row, backup.SavedName)]


def test_the_names_are_copied_after_each_change(
    store: library.Store, client: library.Client, name: str
) -> None:
    assert saved(store) == names(store)
    store.tag(name, "mine")
    assert saved(store) == names(store)
    store.untag("mine")
    assert saved(store) == names(store)
    written = (store.path / backup.FILE).stat()
    client.pull(name)  # nothing new
    assert (store.path / backup.FILE).stat() == written
    store.remove(name)
    assert saved(store) == names(store) == []


def test_many_names_are_not_copied_at_each_change(
    store: library.Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "MANY", 1)
    store.tag(name, "mine")
    assert "docker.io/library/mine:latest" not in saved(store)
    monkeypatch.setattr(backup, "INTERVAL", 0.0)
    store.gc()
    assert saved(store) == names(store)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.replace(b"sha256:", b"sha257:"),
        lambda row: row.replace(b"/", b"/\xff\xfe\0"),
        lambda row: row.replace(b'"', b"!"),
        lambda row: row.replace(b",", b",7,"),
        lambda row: b"{" + row[1:],  # this and the next also damage the bounds of the row
        lambda row: row[:-1] + b"!",
        lambda _: b'["x"]',
        lambda _: b"null",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_damaged_row_of_the_copy_loses_one_name(
    wherry: Wherry, store: library.Store, name: str, place: int, spoil: Callable[[bytes], bytes]
) -> None:
    store.tag(name, "mine")
    before = names(store)
    lose(store, "gone")
    copy = store.path / backup.FILE
    text = copy.read_bytes()
    row = re.findall(rb"\[[^\[\]]+\]", text)[place]
    copy.write_bytes(text.replace(row, spoil(row)))
    done = wherry("fsck", "--rebuild")
    assert (done.returncode, done.stdout) == (1, "Rebuilt: 1 image, 2 names\n")
    (told,) = done.stderr.splitlines()
    assert told.startswith("lost: a damaged entry of names.json; pull or tag its image again: ")
    assert names(store) == [known for known in before if known != json.loads(row)[0]]


def test_a_copy_of_the_names_that_is_cut_off(store: library.Store, name: str) -> None:
    store.tag(name, "mine")
    count = len(names(store))
    copy = store.path / backup.FILE
    text = copy.read_bytes()
    for length in range(len(text)):
        copy.write_bytes(text[:length])
        with pytest.raises(StoreError, match="cut off"):
            rows(store)
    copy.write_bytes(text)
    assert len(saved(store)) == len(rows(store)) == count


def test_an_unfinished_copy_of_the_names_is_replaced(
    client: library.Client, store: library.Store, name: str
) -> None:
    """A killed process leaves it; the next operation replaces it even if no name changes."""
    complete = rows(store)
    (store.path / backup.FILE).unlink()
    (store.path / "names.new").write_text("{")
    client.pull(name)
    assert not (store.path / "names.new").exists()
    assert rows(store) == complete != []
