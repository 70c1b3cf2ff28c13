# ruff: noqa: PT017 - of any input either outcome is allowed, and looked at

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from wherry.errors import InvalidReference, WherryError
from wherry.model.digest import Digest
from wherry.model.reference import Reference

QUICK = settings(
    max_examples=200,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
HEX = "0123456789abcdef" * 4
SHA256 = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("written", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine", "alpine"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("library/alpine", "docker.io/library/alpine", "alpine"),
        ("docker.io/alpine", "docker.io/library/alpine", "alpine"),
        ("docker.io/library/alpine:a", "docker.io/library/alpine:a", "alpine:a"),
        ("index.docker.io/alpine", "docker.io/library/alpine", "alpine"),
        ("index.docker.io/o/r", "docker.io/o/r", "o/r"),
        ("o/r", "docker.io/o/r", "o/r"),
        ("library/o/r", "docker.io/library/o/r", "library/o/r"),
        ("ghcr.io/o/r:tag", "ghcr.io/o/r:tag", "ghcr.io/o/r:tag"),
        ("ghcr.io/r", "ghcr.io/r", "ghcr.io/r"),
        ("localhost/r", "localhost/r", "localhost/r"),
        ("localhost:5000/r:1", "localhost:5000/r:1", "localhost:5000/r:1"),
        ("host:5000", "docker.io/library/host:5000", "host:5000"),
        ("Host/r", "Host/r", "Host/r"),
        ("hosT/r", "hosT/r", "hosT/r"),
        ("127.0.0.1:5000/r", "127.0.0.1:5000/r", "127.0.0.1:5000/r"),
        ("[::1]:5000/r", "[::1]:5000/r", "[::1]:5000/r"),
        ("[fe80::1]/o/r", "[fe80::1]/o/r", "[fe80::1]/o/r"),
        ("h.io/a/b/c/d", "h.io/a/b/c/d", "h.io/a/b/c/d"),
        ("a__b/c-d.e--f", "docker.io/a__b/c-d.e--f", "a__b/c-d.e--f"),
        ("r:_A.-", "docker.io/library/r:_A.-", "r:_A.-"),
        ("r:" + "t" * 128, "docker.io/library/r:" + "t" * 128, "r:" + "t" * 128),
        (f"r@{SHA256}", f"docker.io/library/r@{SHA256}", f"r@{SHA256}"),
        (f"r:t@{SHA256}", f"docker.io/library/r:t@{SHA256}", f"r:t@{SHA256}"),
        (f"{HEX}:latest", f"docker.io/library/{HEX}:latest", f"{HEX}:latest"),
        (f"{HEX[1:]}", f"docker.io/library/{HEX[1:]}", HEX[1:]),
    ],
)
def test_references_are_completed(written: str, full: str, familiar: str) -> None:
    """The grammar of distribution/reference, and the defaults of Docker Hub."""
    reference = Reference.parse(written)
    assert str(reference) == full
    assert reference.familiar == familiar
    assert Reference.parse(full) == reference
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    ("written", "position"),
    [
        ("", 0),
        ("Alpine", 0),
        ("alPine", 2),
        ("o/Repo", 2),
        ("ghcr.io/o/rEpo:tag", 11),
        ("ghcr.io/", 8),
        ("ghcr.io//r", 8),
        ("a/", 2),
        ("/a", 0),
        ("a//b", 2),
        ("-a", 0),
        ("_a", 0),
        (".a/b", 0),
        ("a b", 1),
        (" a", 0),
        ("a ", 1),
        ("a\n", 1),
        ("a:", 2),
        ("a:-t", 2),
        ("a:.t", 2),
        ("a:t t", 3),
        ("a:b:c", 3),
        ("a:t\n", 3),
        ("a:t/b", 1),
        ("a:" + "t" * 129, 130),
        ("a@", 2),
        ("a@sha256:short", 9),
        (f"a@{SHA256.upper()}", 2),
        (f"a@{SHA256}:t", 9),
        (f"@{SHA256}", 0),
        (":tag", 0),
        (HEX, 0),
        ("http://a/b", 0),
        ("h.io:port/r", 4),
        ("h.io:/r", 4),
        ("h.io:65536/r", 5),
        ("localhost:99999/r", 10),
        ("h..io/r", 1),
        ("h_x.io/r", 1),
        ("[::1/r", 0),
        ("caf\u00e9", 3),
        ("o/" + "a" * 256, 255),
        ("h.io/" + "a" * 256 + ":t", 5 + 255),
        ("h.io/" + "a/" * 127 + "aa", 5 + 255),
    ],
)
def test_a_bad_reference_is_refused_at_the_offending_character(written: str, position: int) -> None:
    """The error has the position of the offending character."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(written)
    assert caught.value.text == written
    assert caught.value.position == position


@pytest.mark.parametrize("scheme", ["https://", "http://", "HTTPS://"])
def test_a_name_has_no_scheme(scheme: str) -> None:
    """The address of a registry's page is what people have at hand."""
    with pytest.raises(InvalidReference, match=f"names are written without {scheme}$"):
        Reference.parse(f"{scheme}h.io:5000/o/r:t")


@pytest.mark.parametrize(
    "written", ["a-", "a_", "a.", "a..b", "a___b", "a._b", "a-/b", "a:t@", "a@:"]
)
def test_separators_stand_between_letters_or_digits(written: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(written)
    assert 0 < caught.value.position <= len(written)


@pytest.mark.parametrize(
    ("written", "length"),
    [("h.io/" + "a" * 255, 255), ("o/" + "a" * 253, 255), ("a" * 247, 255)],
)
def test_a_path_has_at_most_255_characters_the_host_not_counted(written: str, length: int) -> None:
    assert len(Reference.parse(written).path) == length
    with pytest.raises(InvalidReference, match="255"):
        Reference.parse(written + "a")


def test_the_caret_is_under_the_first_character_too_many_of_a_completed_path() -> None:
    """A path has at most 255 characters, with ``library/`` and without the host."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("a" * 250 + ":latest")
    assert caught.value.position == 255 - len("library/")


def test_64_hex_digits_are_a_name_only_with_something_else() -> None:
    """A bare name of 64 hex digits is an image id (distribution/reference)."""
    with pytest.raises(InvalidReference, match="image id"):
        Reference.parse(HEX)
    assert Reference.parse(f"o/{HEX}").path == f"o/{HEX}"
    assert Reference.parse(f"docker.io/library/{HEX}").path == f"library/{HEX}"


@pytest.mark.parametrize(
    "full",
    [
        f"docker.io/library/{HEX}",
        "docker.io/foo.bar/baz",
        "docker.io/localhost/baz",
        "docker.io/library/localhost",
        "docker.io/library/foo.bar",
        "docker.io/library/localhost/x",
        "docker.io/library/foo.bar/x",
        "docker.io/library/library",
        "docker.io/library/library/x",
    ],
)
def test_the_familiar_form_means_the_same_repository(full: str) -> None:
    reference = Reference.parse(full)
    assert Reference.parse(reference.familiar) == reference


def test_latest_is_for_names_alone() -> None:
    """The tag ``latest`` is the default for a name without tag and digest."""
    assert Reference.parse("a").with_default_tag().tag == "latest"
    assert Reference.parse("a:1").with_default_tag().tag == "1"
    assert Reference.parse(f"a@{SHA256}").with_default_tag().tag is None
    assert Reference.parse("a").is_name_only
    assert not Reference.parse("a:1").is_name_only


def test_a_tag_or_digest_replaces_both() -> None:
    reference = Reference.parse(f"a:1@{SHA256}")
    assert reference.with_tag("2").familiar == "a:2"
    other = Digest.of(b"")
    assert reference.with_digest(other).familiar == f"a@{other}"


@pytest.mark.parametrize(
    ("tag", "position"), [("", 0), ("-a", 0), ("a b", 1), ("a/b", 1), ("a" * 129, 128), ("a\n", 1)]
)
def test_a_bad_tag_is_refused_where_it_is_bad(tag: str, position: int) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("a").with_tag(tag)
    assert caught.value.position == position


component = st.from_regex(r"[a-z0-9]{1,5}((\.|_{1,2}|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
host = st.one_of(
    st.from_regex(r"[a-zA-Z0-9]{1,5}(\.[a-zA-Z0-9]{1,5}){1,2}(:[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["localhost", "localhost:5000", "Host", "[::1]:80", "docker.io", "a:1"]),
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True)
digests = st.sampled_from([SHA256, f"sha512:{HEX}{HEX}"])


@st.composite
def references(draw: st.DrawFn) -> str:
    name = "/".join(draw(st.lists(component, min_size=1, max_size=3)))
    bare = draw(st.booleans()) and "." not in name  # else it begins with a host
    text = name if bare else f"{draw(host)}/{name}"
    text += f":{draw(tags)}" if draw(st.booleans()) else ""
    return text + (f"@{draw(digests)}" if draw(st.booleans()) else "")


@QUICK
@given(references())
def test_full_and_familiar_forms_are_read_as_the_same_reference(text: str) -> None:
    """People see the familiar form, JSON has the full form."""
    reference = Reference.parse(text)
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@QUICK
@given(
    st.one_of(
        st.text(),
        st.text(alphabet="aA0/:@.-_[] \n\t\0", max_size=30),
        st.builds(
            lambda text, at, c: text[:at] + c + text[at:],
            references(),
            st.integers(0, 90),
            st.characters(),
        ),
    )
)
def test_any_text_is_a_reference_or_an_error_that_points_into_it(text: str) -> None:
    """The error has the position of the offending character."""
    try:
        reference = Reference.parse(text)
    except WherryError as error:
        assert isinstance(error, InvalidReference)
        assert 0 <= error.position <= len(text)
        assert str(error).isprintable()
    else:
        assert str(reference).isprintable()
        assert " " not in str(reference)
        assert len(reference.path) <= 255
        assert Reference.parse(str(reference)) == reference


def test_a_reference_is_formatted_as_text() -> None:
    assert f"{Reference.parse('ghcr.io/o/r:t'):>15}" == "  ghcr.io/o/r:t"
