import datetime as dt
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.cli.render import age, clock, columns, describe_error, sizes, table
from wherry.errors import (
    Cancelled,
    InvalidDocument,
    InvalidReference,
    NotFound,
    PlatformMismatch,
    WherryError,
)
from wherry.model.manifest import Index, parse
from wherry.model.platform import Platform
from wherry.model.quantity import size
from wherry.model.reference import Reference
from wherry.testing import build_image, build_index, document
from wherry.transfer.graph import select

QUICK = settings(max_examples=200, deadline=None)


def describe(error: WherryError) -> str:
    """Return an error as the command shows it."""
    message, lines = describe_error(error)
    return "\n".join([f"wherry: {message}", *(f"  {line}" for line in lines)])


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1234, "1.23 kB"),
        (12_345, "12.3 kB"),
        (123_456, "123 kB"),
        (999_499, "999 kB"),
        (999_999, "1.00 MB"),
        (29_100_000, "29.1 MB"),
        (1_500_000_000, "1.50 GB"),
        (2 * 10**12, "2.00 TB"),
        (3 * 10**15, "3.00 PB"),
    ],
)
def test_sizes_have_three_significant_digits(count: int, expected: str) -> None:
    assert size(count) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(9_996, "10.0 kB"), (99_960, "100 kB"), (999_600, "1.00 MB"), (5 * 10**18, "5000 PB")],
)
def test_sizes_at_the_edge_of_a_digit(count: int, expected: str) -> None:
    assert size(count) == expected


@QUICK
@given(st.integers(1000, 10**17))
def test_every_size_has_three_significant_digits(count: int) -> None:
    """The text is close to the number."""
    shown = size(count)
    assert re.fullmatch(r"(\d\.\d\d|\d\d\.\d|\d\d\d) [kMGTP]B", shown)
    number, unit = shown.split()
    value = float(number) * 1000 ** ("BkMGTP".index(unit[0]))
    assert abs(value - count) <= count * 0.0051


@pytest.mark.parametrize("number", [0, 1, 499, 500, 501, 1200])
def test_tables_of_any_length(number: int) -> None:
    """Lines come in batches. All batches have the same column widths."""
    cells = [f"{n}" for n in range(number)]
    width = max(5, *map(len, cells), 0)
    shown = "".join(columns({"COUNT": cells, "X": [""] * number}))
    assert shown.splitlines() == [f"{'COUNT':{width}}  X", *cells]
    assert shown.endswith("\n")


@pytest.mark.parametrize(
    ("current", "total", "expected"),
    [
        (14_200_000, 33_000_000, "14.2/33.0 MB"),
        (0, 33_000_000, "0.0/33.0 MB"),
        (500, 33_000_000, "0.0/33.0 MB"),
        (5, 10, "5/10 B"),
        (1, 2000, "0.0/2.0 kB"),
        (1234, None, "1.23 kB"),
        (0, 0, "0 B"),
    ],
)
def test_progress_is_in_the_unit_of_its_total(
    current: int, total: int | None, expected: str
) -> None:
    assert sizes(current, total) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0:00"),
        (0.4, "0:00"),
        (0.6, "0:01"),
        (59.4, "0:59"),
        (59.5, "1:00"),
        (61, "1:01"),
        (3599.6, "1:00:00"),
        (3600, "1:00:00"),
        (36_061, "10:01:01"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert clock(seconds) == expected


NOW = dt.datetime(2024, 6, 15, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2024-06-15T12:00:00Z", "just now"),
        ("2024-06-15T11:59:01Z", "just now"),
        ("2024-06-15T11:59:00Z", "1 minute ago"),
        ("2024-06-15T11:00:01Z", "59 minutes ago"),
        ("2024-06-15T11:00:00Z", "1 hour ago"),
        ("2024-06-14T12:00:00Z", "1 day ago"),
        ("2024-06-09T12:00:00Z", "6 days ago"),
        ("2024-05-25T12:00:00Z", "3 weeks ago"),
        ("2024-05-15T12:00:00Z", "1 month ago"),
        ("2023-06-16T12:00:00Z", "1 year ago"),
        ("2020-01-01T00:00:00Z", "4 years ago"),
        ("2024-06-15T13:00:00+02:00", "1 hour ago"),
        ("2024-06-15T10:00:00.123456789Z", "1 hour ago"),
        ("2024-06-15T10:00:00", "2 hours ago"),
        ("2030-01-01T00:00:00Z", "just now"),
        ("1970-01-01T00:00:00Z", "-"),
        ("0001-01-01T00:00:00Z", "-"),
        ("", "-"),
        ("yesterday", "-"),
        ("2024-13-01T00:00:00Z", "-"),
    ],
)
def test_ages(created: str, expected: str) -> None:
    assert age(created, NOW) == expected


@QUICK
@given(
    st.one_of(
        st.text(max_size=30),
        st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        st.builds(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format,
            st.integers(0, 9999),
            st.integers(0, 13),
            st.integers(0, 32),
            st.integers(0, 24),
            st.integers(0, 60),
            st.integers(0, 60),
            st.sampled_from(["Z", "+23:59", "-23:59", "", ".5Z", ".123456789+01:00"]),
        ),
    )
)
def test_any_text_has_an_age(created: str) -> None:
    """The `created` of a config may be any text."""
    assert re.fullmatch(
        r"-|just now|\d+ (year|month|week|day|hour|minute)s? ago", age(created, NOW)
    )
    assert age(created)


def test_a_table_has_columns() -> None:
    rows = [["a", "long value", "x"], ["longer", "b", ""]]
    assert table(["NAME", "ID", "LAST"], rows).splitlines() == [
        "NAME    ID          LAST",
        "a       long value  x",
        "longer  b",
    ]
    assert table(["NAME", "ID"], []) == "NAME  ID"


def test_an_error_is_one_line_with_hints_below() -> None:
    """docs/command.md, "Output and errors"."""
    assert describe(NotFound("no image x")) == "wherry: no image x"
    hinted = NotFound("no image x", hint="try a\nor b")
    assert describe(hinted) == "wherry: no image x\n  try a\n  or b"
    hinted.within("alpine:3")
    assert describe(hinted).startswith("wherry: alpine:3: no image x\n")
    assert describe(Cancelled()) == "wherry: cancelled"


@pytest.mark.parametrize(
    ("text", "character"), [("ghcr.io/o/Repo:tag", "R"), ("a b", " "), ("a:t\tx", "\t")]
)
def test_the_caret_is_under_the_offending_character(text: str, character: str) -> None:
    """docs/command.md, "Output and errors"."""
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    _, quoted, caret = describe(caught.value).splitlines()[:3]
    assert caret.index("^") == text.index(character) + 2
    assert len(quoted) == len(text) + 2
    assert quoted.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "me:s3cret@h.example/x",
        "https://me:s3cret@h.example/x",
        "docker://me:s3cret@h.example:5000/x@sha256:ab",
        "me:s3cret/+=@h.example/x",
        "me:s3cret@@localhost/x",
        "me:s3cret@shadow.example/x",
    ],
)
def test_a_password_in_a_name_is_masked(text: str) -> None:
    """docs/security.md, "Where secrets go"."""
    shown = describe(InvalidReference("no", text=text, position=len(text)))
    assert "s3cret" not in shown
    assert shown.splitlines()[2].index("^") == len(shown.splitlines()[1])


@pytest.mark.parametrize(
    "text",
    ["h.example:5000/x@sha256:AB", "h.example:5000/x@nodigest", "oci:/home/me@h.example/x:a b"],
)
def test_a_name_without_a_password_is_not_changed(text: str) -> None:
    assert describe(InvalidReference("no", text=text, position=0)).splitlines()[1] == f"  {text}"


@QUICK
@given(st.text(max_size=30))
def test_any_bad_reference_is_shown_without_control_characters(text: str) -> None:
    """docs/security.md, "What terminals see"."""
    try:
        Reference.parse(text)
    except InvalidReference as error:
        caught = error
    else:
        return
    lines = describe(caught).split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == (3 if text else 1) + len(caught.hint.splitlines())


EVIL = "\x1b[2Jx\r\ny\x07\x9b31m\u2028"


def evil_errors() -> list[WherryError]:
    """Return errors with text from untrusted documents."""
    image = build_image([])
    key = document({"schemaVersion": 2})[:-1] + b',"\\u001b[2J\\nx":1,"\\u001b[2J\\nx":1}'
    found: list[WherryError] = []
    for raw, served in (
        (key, ""),
        (document({"schemaVersion": 2, "layers": [], "config": {}, EVIL: {EVIL: {}}}), ""),
        (document({"mediaType": EVIL}), ""),
        (document({"mediaType": EVIL, "layers": []}), "text/plain"),
        (document({"schemaVersion": 2, "manifests": [{"digest": EVIL, "size": 1}]}), ""),
        (
            document(
                {
                    "schemaVersion": 2,
                    "layers": [],
                    "config": {"digest": image.id, "size": 1, "annotations": {EVIL: 1}},
                }
            ),
            "",
        ),
    ):
        with pytest.raises(WherryError) as caught:
            parse(raw, served)
        found.append(caught.value)
    for root in (
        build_image([], config_media_type=EVIL).manifest,
        build_image(
            [],
            config_media_type="application/vnd.oci.empty.v1+json",
            manifest_extra={"artifactType": EVIL},
        ).manifest,
        build_index([(image, {"os": EVIL, "architecture": EVIL})]).index,
    ):
        parsed = parse(root.data, root.media_type)
        digest = Reference.parse(f"a@{root.digest}").digest
        assert digest is not None
        with pytest.raises(WherryError) as caught:
            select(digest, parsed, Platform("linux", "amd64"), lambda _: Index(b"", "", ()))
        found.append(caught.value)
    return found


@pytest.mark.parametrize("number", range(9))
def test_control_characters_in_errors_are_replaced(number: int) -> None:
    """docs/security.md, "What terminals see"."""
    lines = describe(evil_errors()[number]).split("\n")
    assert all(line.isprintable() for line in lines)


def test_an_error_with_line_breaks_is_one_line() -> None:
    error = InvalidDocument("two\nlines", path="a\nb")
    error.within("x\ny")
    assert len(describe(error).splitlines()) == 1
    mismatch = PlatformMismatch("none", wanted="a", available=["b"], hint="it has: b\x1b[2J")
    assert describe(mismatch).replace("\n", "").isprintable()
