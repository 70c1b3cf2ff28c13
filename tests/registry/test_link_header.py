"""Links to next pages (RFC 8288) as registries and reverse proxies write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.registry.link_header import next_target

URL = "http://h.example:5000/v2/a/app/tags/list?n=2"
PATH = "/v2/a/app/tags/list"
NEXT = f"{PATH}?last=b&n=2"
TARGET = f"<{NEXT}>"


def target(*headers: str, url: str = URL, path: str = PATH) -> str | None:
    return next_target(headers, url, path)


@pytest.mark.parametrize(
    "header",
    [
        f'{TARGET}; rel="next"',
        f"{TARGET};rel=next",
        f"{TARGET} ; rel = next ",
        f'{TARGET}\t;\trel\t=\t"next"',
        f'{TARGET}; REL="Next"',
        f"{TARGET}; Rel=NEXT",
        f'{TARGET}; rel="prev next"',
        f"{TARGET}; rel='next'",
        f"{TARGET}; rel='prev next'; title=x",
        f'{TARGET}; rel="next last"',
        f'{TARGET}; rel="  prev\tnext  "',
        f'{TARGET}; rel="\\next"',
        f'{TARGET}; title="a, b; rel=prev"; rel="next"',
        f'{TARGET}; title="a \\", \\\\"; rel="next"',
        f"{TARGET}; title=\"<x>; rel='prev'\"; rel=next",
        f"{TARGET}; title*=UTF-8''n%c3%a4; type=\"text/html\"; rel=next",
        f"{TARGET}; type=text/html; rel=next",
        f"{TARGET}; crossorigin; rel=next",
        f"{TARGET};; rel=next;",
        f'{TARGET}; rel="next"; rel="prev"',  # only the first one counts
        f'{TARGET}; rel="next"; anchor=""',
        f'{TARGET}; rel="next"; anchor="{URL}"',
        f'</v2/>; rel="first", {TARGET}; rel="next"',
        f'{TARGET}; rel="next", </v2/>; rel="first"',
        f'</v2/>; rel="prev",{TARGET};rel=next,</v2/>;rel=last',
        f'</v2/?a,b;c>; rel="prev", {TARGET}; rel="next"',
        f'</x>; title="a, <y>; rel=next"; rel=prev, {TARGET}; rel="next"',
        f",, {TARGET}; rel=next ,,",
        f"{TARGET}; rel=next, nonsense",  # it comes before the syntax error
    ],
)
def test_forms_of_a_link(header: str) -> None:
    assert target(header) == NEXT


@pytest.mark.parametrize(
    "header",
    [
        "",
        " , ",
        f"{TARGET}",
        f"{TARGET}; rel",
        f'{TARGET}; rel=""',
        f"{TARGET}; rel=next-page",
        f'{TARGET}; rel="next-page prev"',
        f"{TARGET}; rel=prenext",
        f'{TARGET}; rel="prev"; rel="next"',
        f'{TARGET}; rev="next"',
        f'{TARGET}; title="rel=next"',
        f'{TARGET}; title="; rel=next"',
        f'{TARGET}; xrel="next"',
        f'{TARGET}; rel="http://x.example/next"',
        f'{TARGET}; rel="next"; anchor="/v2/other/tags/list"',
        "</?rel=next>; rel=prev",
        "</style.css>; rel=preload; as=style",
    ],
)
def test_other_links_are_ignored(header: str) -> None:
    assert target(header) is None


@pytest.mark.parametrize(
    "header",
    [
        "nonsense",
        f"{NEXT}; rel=next",
        f"<{NEXT}; rel=next",
        f"{TARGET} rel=next",
        f'{TARGET}; rel="next',
        f'{TARGET}; title="a; rel="next"',
        f"</x>; rel=prev {TARGET}; rel=next",
        "<http://[::1/x>; rel=next",
    ],
)
def test_a_syntax_error_is_an_error(header: str) -> None:
    """It may be the link to the next page; without an error the list would end early."""
    with pytest.raises(ValueError, match=r"."):
        target(header)
    assert target(header, f"{TARGET}; rel=next") == NEXT
    assert target(f"{TARGET}; rel=next", header) == NEXT


def test_the_link_may_be_in_any_of_several_headers() -> None:
    others = ("</x>; rel=first", "</y>; rel=last")
    assert target(*others) is None
    assert target(*others, f"{TARGET}; rel=next") == NEXT
    assert target(f"{TARGET}; rel=next", *others) == NEXT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("?last=b", f"{PATH}?last=b"),
        ("list?last=b", f"{PATH}?last=b"),
        ("/v2/a/app/tags/list?last=b", f"{PATH}?last=b"),
        ("//other.example/v2/a/app/tags/list?last=b", f"{PATH}?last=b"),
        ("https://h.example/v2/a/app/tags/list?last=b#x", f"{PATH}?last=b"),
        ("http://10.0.0.1:8080/v2/a/app/tags/list?last=b", f"{PATH}?last=b"),
        ("http://user:pw@upstream/v2/app/tags/list?last=b", f"{PATH}?last=b"),
        # a reverse proxy has added or removed a prefix of the path
        ("/v2/mirror/a/app/tags/list?last=b", f"{PATH}?last=b"),
        ("/artifactory/api/docker/a/v2/app/tags/list?last=b", f"{PATH}?last=b"),
        ("/v2/a/app/tags/%6cist?last=b", f"{PATH}?last=b"),
        ("?last=%41%2Fb%20c&x=%", f"{PATH}?last=%41%2Fb%20c&x=%"),
        ("?last=a b", f"{PATH}?last=a%20b"),
        ("?last=\xe4", f"{PATH}?last=%E4"),  # bytes of a header are kept
        ("", f"{PATH}?n=2"),  # the page itself
        ("/v2/a/app/tags/list", PATH),
        ("/v2/a/app/tags/list/2", "/v2/a/app/tags/list/2"),
        ("/pages/2?x=y", "/pages/2?x=y"),
        ("../../../../../x?y", "/x?y"),
    ],
)
def test_the_target_is_a_path_at_the_same_endpoint(text: str, expected: str) -> None:
    assert target(f"<{text}>; rel=next") == expected


def test_a_query_alone_applies_to_the_list_even_after_a_redirect() -> None:
    assert target("<?last=b>; rel=next", url="http://x/y/z") == f"{PATH}?last=b"


def test_a_link_of_a_list_of_referrers() -> None:
    digest = f"sha256:{'0' * 64}"
    path = f"/v2/app/referrers/{digest}"
    link = f"</v2/x/app/referrers/{digest.replace(':', '%3A')}?page=2>; rel=next"
    assert target(link, url=f"http://h{path}", path=path) == f"{path}?page=2"


@given(st.text(st.sampled_from('<>;,="\\ relnxt/?a')))
def test_any_header_is_parsed_or_a_value_error(header: str) -> None:
    try:
        found = target(header)
    except ValueError:
        return
    assert found is None or found.startswith("/")
