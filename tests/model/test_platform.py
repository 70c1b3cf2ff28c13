# ruff: noqa: PT017 - of any input either outcome is allowed, and looked at

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import InvalidReference, WherryError
from wherry.model.platform import HOST_SYSTEM, Platform

QUICK = settings(max_examples=150, deadline=None)
HOST = Platform("linux", "amd64", "v3")


def vector(text: str) -> list[str]:
    """Return the vector of a platform without the system that all of it shares."""
    return [str(found).removeprefix("linux/") for found in Platform.parse(text, HOST).vector()]


ARM = ["arm/v8", "arm/v7", "arm/v6", "arm/v5"]
ARM64_V8_5 = ["arm64/v8.5", "arm64/v8.4", "arm64/v8.3", "arm64/v8.2", "arm64/v8.1", "arm64"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("linux/amd64", ["amd64", "386"]),
        ("linux/amd64/v1", ["amd64", "386"]),
        ("linux/amd64/v2", ["amd64/v2", "amd64", "386"]),
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64", "386"]),
        ("linux/386", ["386"]),
        ("linux/arm/v5", ["arm/v5"]),
        ("linux/arm/v6", ["arm/v6", "arm/v5"]),
        ("linux/arm/v7", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm/v8", ARM),
        ("linux/arm64", ["arm64", *ARM]),
        ("linux/arm64/v8", ["arm64", *ARM]),
        ("linux/arm64/v8.2", ["arm64/v8.2", "arm64/v8.1", "arm64", *ARM]),
        ("linux/arm64/v9", ["arm64/v9", *ARM64_V8_5, *ARM]),
        ("linux/arm64/v9.0", ["arm64/v9", *ARM64_V8_5, *ARM]),
        (
            "linux/arm64/v9.2",
            ["arm64/v9.2", "arm64/v9.1", "arm64/v9", "arm64/v8.7", "arm64/v8.6", *ARM64_V8_5, *ARM],
        ),
        ("linux/riscv64", ["riscv64"]),
        ("linux/ppc64le", ["ppc64le"]),
        ("linux/arm64/odd", ["arm64/odd", *ARM]),
        ("linux/amd64/odd", ["amd64/odd", "386"]),
    ],
)
def test_the_vector_is_the_whole_one(wanted: str, expected: list[str]) -> None:
    """The order of containerd (platforms, ``Only``): v9.x is compatible with v8.{x+5}."""
    found = vector(wanted)
    assert found == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/armv7l", "linux/arm/v7"),
        ("linux/i386", "linux/386"),
        ("linux/i686", "linux/386"),
        ("LINUX/AMD64", "linux/amd64"),
        ("macos/arm64", "darwin/arm64"),
        ("windows/amd64", "windows/amd64"),
        ("arm64", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("s390x", "linux/s390x"),
        ("windows", "windows/amd64/v3"),
        ("linux", "linux/amd64/v3"),
        ("macos", "darwin/amd64/v3"),
        ("zos", "zos/amd64/v3"),
        ("wasm", "linux/wasm"),
        ("x86_64", "linux/amd64"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("i386", "linux/386"),
        ("mips64le", "linux/mips64le"),
        ("linux/i386/v5", "linux/386"),
        ("new/thing", "new/thing"),
    ],
)
def test_platforms_are_read_and_normalized(written: str, meant: str) -> None:
    """``--platform os[/arch[/variant]]``; the other parts are those of the host."""
    assert str(Platform.parse(written, HOST)) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("windows(10.0.17763)/amd64", ("windows", "amd64", "", "10.0.17763", ())),
        ("windows(10.0.17763+win32k)/amd64", ("windows", "amd64", "", "10.0.17763", ("win32k",))),
        ("linux(+b+a+b)/arm64/v8", ("linux", "arm64", "", "", ("a", "b"))),
        ("linux(1%2B2+%28x%29)/arm", ("linux", "arm", "v7", "1+2", ("(x)",))),
        ("linux()/amd64", ("linux", "amd64", "", "", ())),
        ("windows(10.0.17763)", ("windows", "amd64", "v3", "10.0.17763", ())),
        ("linux(+erofs)", ("linux", "amd64", "v3", "", ("erofs",))),
    ],
)
def test_an_os_may_have_a_version_and_features(written: str, meant: tuple[object, ...]) -> None:
    """containerd, platforms v1, "Parse"."""
    found = Platform.parse(written, HOST)
    assert tuple(found) == meant
    assert Platform.parse(found.specifier, HOST) == found


@pytest.mark.parametrize("word", ["nonsense", "v8", "linus", "amd", "any", "unknown", "amd64(1)"])
def test_one_word_has_to_be_a_known_os_or_architecture(word: str) -> None:
    with pytest.raises(InvalidReference, match="not a known OS or architecture"):
        Platform.parse(word, HOST)


def test_an_entry_without_an_os_counts_as_the_hosts() -> None:
    assert Platform("linux", "amd64").rank(Platform("", "amd64")) == 0
    assert Platform("windows", "amd64").rank(Platform("", "amd64")) is None


def test_an_image_that_needs_more_os_features_does_not_run() -> None:
    mine = Platform("linux", "amd64")
    erofs = Platform("linux", "amd64", os_features=("erofs",))
    assert mine.rank(erofs) is None
    assert erofs.rank(erofs) == 0
    assert erofs.rank(mine) == 0
    win32k = Platform("windows", "amd64", os_features=("win32k",))
    assert Platform("windows", "amd64").rank(win32k) == 0


@pytest.mark.parametrize(
    ("written", "position"),
    [
        ("", 0),
        ("windows(10/amd64", 7),
        ("linux(+)/amd64", 5),
        ("li.nux/amd64", 2),
        ("linux/amd64(1)", 11),
        ("/amd64", 0),
        ("linux/", 6),
        ("linux//v8", 6),
        ("linux/arm64/", 12),
        ("linux/am d64", 8),
        ("li nux", 2),
        ("linux/arm64/v8/x", 14),
        ("linux/amd64\n", 11),
        ("linux,windows", 5),
    ],
)
def test_a_bad_platform_is_refused_at_the_offending_character(written: str, position: int) -> None:
    with pytest.raises(InvalidReference) as caught:
        Platform.parse(written, HOST)
    assert caught.value.position == position
    assert caught.value.text == written


@pytest.mark.parametrize(
    ("wanted", "candidate", "place"),
    [
        ("linux/amd64/v3", Platform("linux", "amd64"), 2),
        ("linux/amd64/v3", Platform("linux", "x86_64", "v1"), 2),
        ("linux/amd64", Platform("linux", "amd64", "v2"), None),
        ("linux/amd64", Platform("windows", "amd64"), None),
        ("linux/amd64", Platform("linux", "arm64"), None),
        ("linux/amd64", Platform("linux", "386"), 1),
        ("linux/386", Platform("linux", "amd64"), None),
        ("linux/arm64", Platform("linux", "arm64", "v8"), 0),
        ("linux/arm64", Platform("linux", "aarch64"), 0),
        ("linux/arm64", Platform("linux", "arm"), 2),
        ("linux/arm/v6", Platform("linux", "arm"), None),
        ("linux/amd64", Platform("unknown", "unknown"), None),
        ("linux/amd64", Platform("", ""), None),
    ],
)
def test_a_candidate_is_ranked_by_its_place_in_the_vector(
    wanted: str, candidate: Platform, place: int | None
) -> None:
    assert Platform.parse(wanted, HOST).rank(candidate) == place


def test_a_windows_version_counts_where_both_sides_name_one() -> None:
    """containerd, platforms (Windows): the build must be the same, the revision may differ."""
    mine = Platform("windows", "amd64", os_version="10.0.17763.1")
    assert mine.rank(Platform("windows", "amd64", os_version="10.0.17763.999")) == 0
    assert mine.rank(Platform("windows", "amd64", os_version="10.0.20348.1")) is None
    assert mine.rank(Platform("windows", "amd64")) == 0
    assert Platform("windows", "amd64").rank(mine) == 0


def test_features_that_an_image_needs_must_be_there() -> None:
    mine = Platform("windows", "amd64", os_features=("win32k",))
    assert mine.rank(Platform("windows", "amd64", os_features=("win32k",))) == 0
    assert mine.rank(Platform("windows", "amd64", os_features=("other",))) is None


parts = st.one_of(
    st.sampled_from(["linux", "windows", "amd64", "arm64", "arm", "386", "v8", "v9.4", "v3", "8"]),
    st.text(max_size=6),
    st.integers(0, 10**30).map(lambda number: f"v{number}"),
)
any_platform = st.builds(Platform, parts, parts, parts)


@QUICK
@given(st.lists(parts, max_size=5).map("/".join))
def test_any_text_is_a_platform_or_an_error_that_points_into_it(text: str) -> None:
    """``--platform os[/arch[/variant]]``; a parsed platform is normalized."""
    try:
        found = Platform.parse(text, HOST)
    except WherryError as error:
        assert isinstance(error, InvalidReference)
        assert 0 <= error.position <= len(text)
    else:
        assert found.normalized() == found


@QUICK
@given(any_platform, any_platform)
def test_a_platform_from_a_document_never_fails_to_compare(one: Platform, other: Platform) -> None:
    """An index may hold anything for a platform: it suits or it does not.

    containerd, platforms: "Normalize" is idempotent, a platform matches itself first.
    """
    assert one.normalized().normalized() == one.normalized()
    assert one.rank(one) == 0
    place = other.rank(one)
    found = list(other.vector())
    assert len(found) < 1000
    # What only Windows images carry may differ: it is looked at where both sides name it.
    named = (one.normalized().os or HOST_SYSTEM, *one.normalized()[1:3])
    assert place is None or (found[place].os or HOST_SYSTEM, *found[place][1:3]) == named


def test_a_platform_is_formatted_as_text() -> None:
    assert f"{Platform('linux', 'arm64'):<14}|" == "linux/arm64   |"


def test_a_list_of_platforms() -> None:
    """``--platform`` takes a list, such as ``linux/amd64,linux/arm64``."""
    found = Platform.parse_list("arm64,linux/arm,windows", HOST)
    assert [str(each) for each in found] == ["linux/arm64", "linux/arm/v7", "windows/amd64/v3"]
    assert Platform.parse_list("s390x", HOST) == (Platform.parse("s390x", HOST),)


@pytest.mark.parametrize(
    ("written", "position"),
    [
        ("linux/amd64,", 12),
        (",linux/amd64", 0),
        ("a/b,,c/d", 4),
        ("linux/amd64,linux/?", 18),
        ("linux/amd64, linux/arm64", 12),
        ("", 0),
    ],
)
def test_a_bad_list_is_shown_whole_with_the_place_that_is_bad(written: str, position: int) -> None:
    with pytest.raises(InvalidReference) as caught:
        Platform.parse_list(written, HOST)
    assert (caught.value.text, caught.value.position) == (written, position)


@pytest.mark.parametrize("text", ["linux/arm64", "linux/arm/v6", "windows/amd64", "macos/aarch64"])
def test_a_whole_platform_needs_no_default(text: str) -> None:
    assert Platform.parse(text) == Platform.parse(text, HOST)


@pytest.mark.parametrize("text", ["linux", "arm64", "windows"])
def test_without_a_default_one_word_leaves_a_gap(text: str) -> None:
    with pytest.raises(InvalidReference, match="expected both os/architecture") as caught:
        Platform.parse(text)
    assert caught.value.position == len(text)
