# ruff: noqa: PT017 - of any input either outcome is allowed, and looked at

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import InvalidDigest, WherryError
from wherry.model.digest import Digest

QUICK = settings(max_examples=150, deadline=None)
SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize("text", [SHA256, SHA512])
def test_a_digest_is_read_and_written_as_it_is(text: str) -> None:
    digest = Digest.parse(text)
    assert str(digest) == text
    assert digest.algorithm == text[:6]
    assert digest.short == "0123456789ab"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        ":" + "a" * 64,
        "a" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 63 + "\n",
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
        "sha256: " + "a" * 63,
        "SHA256:" + "a" * 64,
        "sha512:" + "a" * 64,
        "sha256:" + "a" * 128,
        "sha384:" + "a" * 96,
        "md5:" + "a" * 32,
        "sha256+b64:" + "a" * 64,
        "sha256:" + "\N{FULLWIDTH DIGIT ONE}" * 64,
        "sha256:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
        "sha256:sha256:" + "a" * 64,
        "sha256:../../" + "a" * 58,
    ],
)
def test_an_invalid_digest_is_refused(text: str) -> None:
    """Digests are sha256 or sha512 with lower-case hex (OCI image spec, descriptor.md)."""
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


def test_a_digest_cannot_be_made_wrong() -> None:
    with pytest.raises(InvalidDigest):
        Digest("sha256:short")


@pytest.mark.parametrize("wrong", [None, 7, SHA256.encode(), ["sha256"], ("sha256", "a" * 64)])
def test_only_a_string_makes_a_digest(wrong: object) -> None:
    for make in (Digest, Digest.parse):
        with pytest.raises(TypeError, match=f"text must be a str, not {type(wrong).__name__}"):
            make(wrong)  # type: ignore[arg-type]


def test_an_error_quotes_little_of_a_long_text_and_no_control_character() -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse("sha256:\x1b[31m\n" + "x" * 100_000)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_content_is_hashed_and_compared(algorithm: str) -> None:
    digest = Digest.of(b"abc", algorithm)
    assert digest.hex == hashlib.new(algorithm, b"abc").hexdigest()
    assert digest.matches(b"abc")
    assert digest.matches(memoryview(b"abc"))
    assert not digest.matches(b"abd")
    hasher = digest.hasher()
    hasher.update(b"ab")
    hasher.update(b"c")
    assert hasher.hexdigest() == digest.hex


def test_a_known_digest() -> None:
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert str(Digest.of(b"")) == empty


def test_digests_are_values() -> None:
    assert Digest.parse(SHA256) == Digest.parse(SHA256)
    assert len({Digest.parse(SHA256), Digest.parse(SHA256), Digest.parse(SHA512)}) == 2
    assert min(Digest.parse(SHA512), Digest.parse(SHA256)) == Digest.parse(SHA256)


def test_a_digest_is_its_text() -> None:
    digest = Digest.parse(SHA256)
    assert digest == SHA256
    assert SHA256 == digest  # noqa: SIM300 - from both sides
    assert hash(digest) == hash(SHA256)
    assert {SHA256: 1}[digest] == 1
    assert digest in {SHA256, SHA512}
    assert type(str(digest)) is str
    assert repr(digest) == f"Digest('{SHA256}')"
    assert Digest(digest) == digest


def test_a_digest_is_a_string_in_json() -> None:
    digest = Digest.parse(SHA256)
    assert json.loads(json.dumps({digest: [digest]})) == {SHA256: [SHA256]}


def test_a_digest_is_not_a_tuple() -> None:
    digest = Digest.parse(SHA256)
    pair: Any = ("sha256", digest.hex)
    assert digest != pair
    assert not isinstance(digest, tuple)
    assert len(digest) == len(SHA256)
    with pytest.raises(ValueError, match="too many values"):
        _, _ = digest
    with pytest.raises(TypeError):
        _ = digest < pair


@QUICK
@given(st.one_of(st.text(), st.from_regex(r"sha(256|512):[0-9a-fA-F]{60,130}", fullmatch=True)))
def test_any_text_is_a_digest_or_an_error_of_ours(text: str) -> None:
    """OCI image spec, descriptor.md: "algorithm ":" encoded"; what is read is what was written."""
    try:
        digest = Digest.parse(text)
    except WherryError as error:
        assert isinstance(error, InvalidDigest)
    else:
        assert str(digest) == text
        assert len(digest.hex) == {"sha256": 64, "sha512": 128}[digest.algorithm]
        assert set(digest.hex) <= set("0123456789abcdef")


def test_a_digest_is_formatted_as_text() -> None:
    digest = Digest.of(b"")
    assert f"{digest}" == str(digest)
    assert f"{digest:>80}" == str(digest).rjust(80)
    assert f"{digest:.13}" == str(digest)[:13]
