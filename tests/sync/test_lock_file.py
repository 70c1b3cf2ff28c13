"""The file images.lock: what is written is read again, and nothing else is."""

from __future__ import annotations

import datetime
import tomllib
from typing import TYPE_CHECKING

import pytest

from wherry import Digest, Platform, Reference, WherryError
from wherry.errors import NotFound
from wherry.sync.lock_file import Lock, LockedImage, LockedPlatform

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
NOW = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.UTC)
LOCK = Lock(
    (
        LockedImage(
            Reference.parse("alpine:3.20"),
            ONE,
            "application/vnd.oci.image.index.v1+json",
            1234,
            NOW,
            (Platform("linux", "arm64"),),
            (LockedPlatform("linux/arm64", TWO, 5), LockedPlatform('odd"\\\x7f\n', TWO)),
        ),
        LockedImage(Reference.parse(f"a.b/c@{TWO}"), TWO, "type", 0, NOW),
    )
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "images.lock"
    LOCK.write(file)
    assert Lock.read(file) == LOCK
    assert (
        LOCK.to_json()
        == tomllib.loads(
            file.read_text().replace("2026-11-30T12:00:00Z", '"2026-11-30T12:00:00Z"')
        )["images"]
    )
    assert file.read_text().startswith(
        'lock-version = "1.0"\n'
        'created-by = "wherry"\n'
        "\n"
        "[[images]]\n"
        'name = "docker.io/library/alpine:3.20"\n'
        'source = "docker.io/library/alpine"\n'
        f'digest = "{ONE}"\n'
        'media-type = "application/vnd.oci.image.index.v1+json"\n'
        "size = 1234\n"
        "locked-at = 2026-11-30T12:00:00Z\n"
        'selected = ["linux/arm64"]\n'
        "\n"
        "[[images.platforms]]\n"
        'platform = "linux/arm64"\n'
        f'digest = "{TWO}"\n'
        "size = 5\n"
    )


def test_a_name_has_the_digest_of_the_lock() -> None:
    assert LOCK.digest_of(Reference.parse("alpine:3.20")) == ONE
    assert LOCK.digest_of(Reference.parse(f"alpine:3.20@{TWO}")) == TWO
    for name in ("alpine", "alpine:3.21", "a.b/c"):
        with pytest.raises(NotFound, match="is not locked"):
            LOCK.digest_of(Reference.parse(name))


def test_there_may_be_no_file(tmp_path: Path) -> None:
    assert Lock.read(tmp_path / "images.lock") is None
    with pytest.raises(WherryError, match=r"images\.lock: there is no such file"):
        Lock.read_existing(tmp_path / "images.lock")


def test_later_minor_versions_may_have_more_keys(tmp_path: Path) -> None:
    text = LOCK.to_toml().replace("[[images", 'more = "x"\n[[images')
    with pytest.raises(WherryError, match="more: unknown key"):
        Lock.parse(text.encode(), tmp_path)
    assert Lock.parse(text.replace('"1.0"', '"1.1"').encode(), tmp_path) == LOCK


IMAGE = (
    f'[[images]]\nname = "a.b/c:1"\ndigest = "{ONE}"\nmedia-type = "t"\nsize = 1\n'
    "locked-at = 2026-11-30T12:00:00Z\n"
)


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ('lock-version = "1.0"', "", "", "lock-version is missing"),
        ('"1.0"', '"2.0"', "lock-version", "expected '1.0'"),
        ('"1.0"', "1.0", "lock-version", "is a number, expected a string"),
        ('name = "a.b/c:1"', "", "images[0]", "name is missing"),
        ("a.b/c:1", "a.b/C", "images[0].name", "lower-case"),
        ("a.b/c:1", "a.b/c", "images[0].name", "a full name with a tag"),
        ("a.b/c:1", "alpine:1", "images[0].name", "a full name with a tag"),
        ("a.b/c:1", f"a.b/c@{TWO}", "images[0].digest", "another one than in the name"),
        (str(ONE), "sha256:1", "images[0].digest", "sha256"),
        ("size = 1", "size = -1", "images[0].size", "at least 0"),
        ("size = 1", "", "images[0]", "size is missing"),
        (":00Z", ":00", "images[0].locked-at", "no offset"),
        ("2026-11-30T12:00:00Z", '"now"', "images[0].locked-at", "is a string"),
        (IMAGE, IMAGE + IMAGE, "images[1].name", "there twice"),
        (IMAGE, IMAGE + 'selected = ["x"]', "images[0].selected[0]", "invalid platform"),
        (IMAGE, IMAGE + "platforms = [{}]", "images[0].platforms[0]", "platform is missing"),
        (IMAGE, IMAGE + "[images.more]", "images[0].more", "unknown key"),
    ],
)
def test_what_is_wrong_has_one_line_with_its_place(
    tmp_path: Path, old: str, new: str, place: str, words: str
) -> None:
    whole = f'lock-version = "1.0"\n{IMAGE}'
    assert old in whole
    with pytest.raises(WherryError) as caught:
        Lock.parse(whole.replace(old, new, 1).encode(), tmp_path / "images.lock")
    assert caught.value.where == tuple(filter(None, (str(tmp_path / "images.lock"), place)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "images.lock"
    with file.open("wb") as output:
        output.truncate(100 * 2**20)
    with pytest.raises(WherryError, match="over 16 MiB"):
        Lock.read(file)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WherryError, match=r"images\.lock: No such file or directory"):
        LOCK.write(tmp_path / "missing" / "images.lock")
