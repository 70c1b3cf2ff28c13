"""The file images.toml: what the reader takes, and that the JSON Schema takes the same."""

from __future__ import annotations

import importlib.resources
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from wherry.errors import WherryError
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.sync.image_list import ImageEntry, parse_image_list, read_image_list

FILE = Path("images.toml")
SCHEMA = json.loads(
    importlib.resources.files("wherry.sync").joinpath("images.schema.json").read_text("utf-8")
)
WHOLE = """
version = 1
[defaults]
platforms = ["linux/amd64", "linux/aarch64"]
destination = "registry.lan/mirror/{path}"
newest = 5
[[images]]
source = "docker.io/library/alpine:3.20"
[[images]]
source = "python"
tags = ["3.12", "3.12-slim"]
match = '^3\\.1[23]$'
semver = ">=3.11 <4"
newest = 3
by = "created"
allow = ["-slim$"]
deny = ["rc", "beta"]
platforms = "all"
referrers = true
format = "oci"
destination = "{registry}.lan/{name}:v{tag}"
"""


def parse(text: str) -> list[ImageEntry]:
    return parse_image_list(text.encode(), FILE)


def test_every_key_is_read() -> None:
    alpine, python = parse(WHOLE)
    platforms = (Platform("linux", "amd64"), Platform("linux", "arm64"))
    assert alpine == ImageEntry(
        "images[0]",
        Reference.parse("alpine:3.20"),
        newest=5,
        platforms=platforms,
        destination="registry.lan/mirror/{path}",
    )
    assert not alpine.is_repository
    assert not alpine.needs_tag_list
    assert python == ImageEntry(
        "images[1]",
        Reference.parse("python"),
        ("3.12", "3.12-slim"),
        r"^3\.1[23]$",
        ">=3.11 <4",
        3,
        "created",
        ("-slim$",),
        ("rc", "beta"),
        (),
        referrers=True,
        format="oci",
        destination="{registry}.lan/{name}:v{tag}",
    )
    jsonschema.validate(tomllib.loads(WHOLE), SCHEMA)


def test_destinations_come_from_the_template() -> None:
    alpine, python = parse(WHOLE)
    assert alpine.destination_of(alpine.source) == "registry.lan/mirror/library/alpine:3.20"
    tagged = python.source.with_tag("3.12")
    assert python.destination_of(tagged) == "docker.io.lan/python:v3.12"
    digest = "sha256:" + "0" * 64
    by_digest = Reference.parse(f"a/b@{digest}")
    assert alpine.destination_of(by_digest) == f"registry.lan/mirror/a/b@{digest}"


@pytest.mark.parametrize(
    ("more", "every", "listed"),
    [
        ("", True, True),
        ("newest = 2", True, True),
        ('tags = ["1"]', False, False),
        ('tags = ["1"]\nmatch = "2"', False, True),
        ('semver = "1.x"', False, True),
    ],
)
def test_an_entry_tells_whether_it_needs_the_list_of_tags(
    more: str, *, every: bool, listed: bool
) -> None:
    (entry,) = parse(f'[[images]]\nsource = "a"\n{more}')
    assert (entry.takes_every_tag, entry.needs_tag_list) == (every, listed)


@pytest.mark.parametrize("first", ["\ufeff", "# a comment\r\n"])
def test_files_of_windows_are_read(first: str) -> None:
    assert len(parse(first + WHOLE.replace("\n", "\r\n"))) == 2


IMAGE = '[[images]]\nsource = "a/b"\n'
# The file, the place of the error and words of it. The schema refuses these too.
WRONG = [
    ("", "", "there are no images"),
    ("images = []", "", "there are no images"),
    ("version = 2\n" + IMAGE, "version", "expected 1"),
    ('version = "1"\n' + IMAGE, "version", "is a string, expected an integer"),
    ("more = 1\n" + IMAGE, "more", "unknown key"),
    ("images = 5", "images", "is an integer, expected an array"),
    ("images = [5]", "images[0]", "is an integer, expected a table"),
    ("defaults = 5\n" + IMAGE, "defaults", "is an integer, expected a table"),
    ('[defaults]\nsource = "a"\n' + IMAGE, "defaults.source", "unknown key"),
    ('[defaults]\ntags = ["a"]\n' + IMAGE, "defaults.tags", "unknown key"),
    ("[defaults]\nnewest = 0\n" + IMAGE, "defaults.newest", "expected at least 1"),
    ("[[images]]\n", "images[0]", "source is missing"),
    ('[[images]]\nsource = ""', "images[0].source", "is empty"),
    ("[[images]]\nsource = 5", "images[0].source", "is an integer, expected a string"),
    (IMAGE + 'tags = "1"', "images[0].tags", "is a string, expected an array"),
    (IMAGE + "tags = []", "images[0].tags", "is empty"),
    (IMAGE + "tags = [1]", "images[0].tags[0]", "is an integer, expected a string"),
    (IMAGE + 'tags = [""]', "images[0].tags[0]", "is empty"),
    (IMAGE + "match = ['a']", "images[0].match", "is an array, expected a string"),
    (IMAGE + "newest = true", "images[0].newest", "is true or false, expected an integer"),
    (IMAGE + "newest = 1.5", "images[0].newest", "is a number, expected an integer"),
    (IMAGE + "newest = -1", "images[0].newest", "is -1, expected at least 1"),
    (IMAGE + 'by = "name"', "images[0].by", "is 'name', expected 'version' or 'created'"),
    (IMAGE + "deny = {}", "images[0].deny", "is a table, expected an array"),
    (IMAGE + 'platforms = "linux/amd64"', "images[0].platforms", 'expected "all" or an array'),
    (IMAGE + "platforms = 2020-01-01", "images[0].platforms", "is a date or time"),
    (IMAGE + "platforms = []", "images[0].platforms", "is empty"),
    (IMAGE + 'referrers = "yes"', "images[0].referrers", "is a string, expected true or false"),
    (IMAGE + 'format = "v2s1"', "images[0].format", "expected 'oci' or 'docker'"),
    (IMAGE + "platform = 1", "images[0].platform", "unknown key"),
]
# The schema cannot know these.
WRONG_TEXTS = [
    ('[[images]]\nsource = "A"', "images[0].source", "lower-case"),
    ('[[images]]\nsource = "https://a/b"', "images[0].source", "without https://"),
    (IMAGE + 'tags = ["1", "a b"]', "images[0].tags[1]", "invalid tag"),
    (IMAGE + "match = '('", "images[0].match", "invalid regular expression"),
    (IMAGE + "allow = ['a', '*']", "images[0].allow[1]", "invalid regular expression"),
    (IMAGE + 'semver = ">>1"', "images[0].semver", "invalid range of versions"),
    (IMAGE + 'platforms = ["linux"]', "images[0].platforms[0]", "invalid platform"),
    (IMAGE + 'destination = "a/{tga}"', "images[0].destination", "{tga} is not known"),
    (IMAGE + 'destination = "a/{tag!r}"', "images[0].destination", "{tag} is not known"),
    (IMAGE + 'destination = "a/{tag.x}"', "images[0].destination", "{tag.x} is not known"),
    (IMAGE + 'destination = "a/{"', "images[0].destination", "has a brace"),
    (IMAGE + 'destination = "a/B{path}"', "images[0].destination", "invalid reference"),
    ('[[images]]\nsource = "a:1"\nnewest = 1', "images[0].newest", "without a tag or digest"),
    ('[[images]]\nsource = "a:1"\ntags = ["1"]', "images[0].tags", "without a tag or digest"),
]


@pytest.mark.parametrize(("text", "place", "words"), [*WRONG, *WRONG_TEXTS])
def test_what_is_wrong_has_one_line_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(WherryError) as caught:
        parse(text)
    assert caught.value.where == tuple(filter(None, ("images.toml", place)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [text for text, _, _ in WRONG])
def test_the_schema_refuses_it_too(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), SCHEMA)


def test_the_schema_has_the_keys_of_the_reader() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    keys = set(SCHEMA["properties"]["images"]["items"]["properties"])
    assert keys == {*SCHEMA["properties"]["defaults"]["properties"], "source", "tags"}
    assert keys == set(ImageEntry._fields) - {"place"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[[images]]\nsource = 'a'\nsource = 'b'", "not valid TOML"),
        (b"\xff", "not UTF-8"),
        (b"a." * 5000 + b"b = 1", "too many dots"),
        (b"#" * (2**20 + 1), "over 1 MiB"),
        (b"#" * (2**22 + 1), "over 4 MiB"),
        (b"a = " + b"[" * 5000, "not valid TOML"),
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "images.toml"
    file.write_bytes(content)
    with pytest.raises(WherryError, match=words):
        read_image_list(file)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WherryError, match=r"images\.toml: there is no such file"):
        read_image_list(tmp_path / "images.toml")
