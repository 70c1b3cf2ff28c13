"""Empty paths, such as ``"$DIR"`` if it is not set, and the current directory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

import wherry as library
from wherry.testing import tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry

TAR = tar_layer({"a": b"a"})


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--store", "", "images"), "--store"),
        (("import", "", "x:1"), "FILE|DIR|-"),
        (("import", "--config", "", "-", "x:1"), "--config"),
        (("load", "-i", ""), "-i"),
        (("save", "-o", "", "x:1"), "-o"),
        (("blob", "-o", "", "x:1"), "-o"),
        (("pull", "--authfile", "", "x:1"), "--authfile"),
        (("pull", "--registries-conf", "", "x:1"), "--registries-conf"),
        (("login", "--authfile", ""), "--authfile"),
        (("logout", "--authfile", ""), "--authfile"),
    ],
)
def test_an_empty_path_is_a_usage_error(
    wherry: Wherry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    option: str,
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    done = wherry(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    first, *hints = done.stderr.splitlines()
    assert option in first
    assert "the path is empty" in first
    assert all(hint.startswith("  ") for hint in hints)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda _: library.Store(""),
        lambda _: library.Client(store=""),
        lambda _: library.Client(authfile=""),
        lambda _: library.Client(registries_conf=""),
        lambda _: library.pull("x:1", store=""),
        lambda client: client.load(""),
        lambda client: client.import_("", "x:1"),
        lambda client: client.save("x:1", ""),
    ],
)
def test_an_empty_path_in_python(
    client: library.Client, call: Callable[[library.Client], Any]
) -> None:
    with pytest.raises(ValueError, match=r"path.*, not ''$"):
        call(client)


def test_an_empty_variable_is_not_set(
    wherry: Wherry, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tar").write_bytes(TAR)
    done = wherry("import", str(tmp_path / "tar"), "x:1", env={"WHERRY_STORE": ""})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "home" / "data" / "wherry" / "wherry.db").exists()
    assert environment["XDG_DATA_HOME"] == str(tmp_path / "home" / "data")


def test_the_current_directory_as_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with library.Client(store=library.Store(".")) as client:
        image = client.import_(io.BytesIO(TAR), "x:1")
        image.store.tag("x:1", "y:1")
        assert len(image.store.images()) == 1
        image.store.close()
    assert (tmp_path / "here" / "wherry.db").exists()


@pytest.mark.parametrize("path", ["/images/app", "./app", "../app"])
def test_a_path_without_its_kind(wherry: Wherry, path: str) -> None:
    done = wherry("copy", "localhost:1/app", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"  write a path after its kind: oci:{path}, " in done.stderr
