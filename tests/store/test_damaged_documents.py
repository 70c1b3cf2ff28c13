"""Damaged documents: each reader reports them, and a pull or load replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import wherry as library
    from conftest import Wherry
    from wherry.testing import (
        FakeRegistry,
    )
from stored_images import FIRST, INDEX, damage, file_of, kinds, overwrite


@pytest.mark.parametrize("spoil", [overwrite, damage])
@pytest.mark.parametrize("which", ["config", "manifest"])
def test_every_command_names_a_damaged_document(
    wherry: Wherry,
    store: library.Store,
    name: str,
    spoil: Callable[[library.Store, str], None],
    which: str,
    tmp_path: Path,
) -> None:
    digest = FIRST.config.digest if which == "config" else FIRST.digest
    spoil(store, digest)
    (tmp_path / "empty").write_bytes(b"")
    for words in (
        ["history", name],
        ["show", name],
        ["config", f"store:{name}"],
        ["inspect", f"store:{name}"],
        ["save", name, "-o", str(tmp_path / "saved")],
        ["import", "--parent", name, str(tmp_path / "empty"), "made:1"],
    ):
        done = wherry(*words)
        assert done.returncode == 5, (words, done.stderr)
        assert f"wherry: {digest}: the store's copy is damaged" in done.stderr, words
        assert "wherry fsck --repair" in done.stderr, words
        assert file_of(store, digest).exists()  # reading alone removes nothing


@pytest.mark.parametrize("spoil", [overwrite, damage])
@pytest.mark.parametrize("which", ["config", "manifest", "index"])
@pytest.mark.parametrize("how", ["pull", "digest", "other", "incomplete", "load", "load docker"])
def test_pull_and_load_replace_a_damaged_document(
    client: library.Client,
    store: library.Store,
    fake: FakeRegistry,
    multi: str,
    spoil: Callable[[library.Store, str], None],
    which: str,
    how: str,
    tmp_path: Path,
) -> None:
    form = "docker" if how == "load docker" else "oci"
    client.save(multi, tmp_path / "saved", format=form)  # type: ignore[arg-type]
    if form == "docker":  # otherwise the name would keep its index
        store.remove(multi, force=True)
    client.load(tmp_path / "saved")
    image = store.get(multi)
    digest = {
        "config": str(image.id),
        "manifest": str(image.record.manifest),
        "index": str(image.digest),
    }[which]
    before = file_of(store, digest).read_bytes()
    spoil(store, digest)
    if how == "incomplete":
        file_of(store, FIRST.layers[1].digest).unlink()
    if how.startswith("load"):
        client.load(tmp_path / "saved")
    elif how in {"pull", "incomplete"}:
        client.pull(multi, platform="linux/arm64,linux/amd64")
    elif how == "digest":
        client.pull(
            f"{multi.removesuffix(':t')}@{INDEX.digest}", platform="linux/amd64,linux/arm64"
        )
    else:  # under another name, with the same documents
        fake.add_image("team/other", INDEX, "t")
        client.pull(f"{fake.host}/team/other:t", platform="linux/amd64,linux/arm64")
    assert file_of(store, digest).read_bytes() == before
    assert kinds(store) == []


def test_a_truncated_config_in_a_layout_is_an_error(
    wherry: Wherry, client: library.Client, name: str, tmp_path: Path
) -> None:
    client.save(name, tmp_path / "saved", format="oci")
    file = tmp_path / "saved" / "blobs" / FIRST.config.digest.replace(":", "/")
    file.write_bytes(file.read_bytes()[:7])
    done = wherry("inspect", f"oci:{tmp_path / 'saved'}")
    assert done.returncode == 5
    where = f"{tmp_path / 'saved'}: {FIRST.config.digest}"
    assert done.stderr.startswith(f"wherry: {where}: content does not match its digest")


@pytest.mark.parametrize("spoil", [overwrite, damage])
@pytest.mark.parametrize("which", ["signed", "made", "config"])
def test_pull_replaces_a_damaged_document_of_schema1(
    client: library.Client,
    store: library.Store,
    old: str,
    spoil: Callable[[library.Store, str], None],
    which: str,
) -> None:
    image = store.get(old)
    signed = next(
        f"sha256:{path.name}"
        for path in (store.path / "blobs" / "sha256").iterdir()
        if b'"signatures"' in path.read_bytes()
    )
    made = {"signed": signed, "made": str(image.record.manifest), "config": str(image.id)}
    spoil(store, made[which])
    assert client.pull(old) == image
    assert kinds(store) == []
