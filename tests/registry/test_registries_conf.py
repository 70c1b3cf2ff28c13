"""One registries.conf as containers-registries.conf(5) describes it."""

from pathlib import Path

import pytest

from wherry.errors import Denied, WherryError
from wherry.model.address import Address
from wherry.model.reference import Reference
from wherry.registry.hosts import Hosts
from wherry.registry.http.proxies import ProxyAddress
from wherry.registry.registries_conf import RegistriesConf, RegistriesFiles
from wherry.registry.registries_conf_files import load

DIGEST = "sha256:" + "0" * 64


def parsed(tmp_path: Path, text: str, *, aliases: bool = True) -> RegistriesConf:
    file = tmp_path / "registries.conf"
    file.write_text(text)
    return load(RegistriesFiles(named=("--registries-conf", file)), aliases=aliases)


def hosts(tmp_path: Path, text: str) -> Hosts:
    file = tmp_path / "registries.conf"
    file.write_text(text)
    return Hosts(RegistriesFiles(named=("--registries-conf", file)))


def places(found: Hosts, name: str) -> list[str]:
    return [
        f"{place.host}/{place.path}" + ("" if place.tls.verify else " insecure")
        for place in found.endpoints(Reference.parse(name))
    ]


MIRRORED = """
[[registry]]
prefix = "docker.io"
location = "registry-1.docker.io"
[[registry.mirror]]
location = "mirror.example/hub/"
[[registry.mirror]]
location = "mirror.example:5000"
insecure = true
[[registry]]
location = "plain.example"
insecure = true
[[registry]]
prefix = "docker.io/team/app"
location = "ghcr.io/other/app"
[[registry]]
prefix = "*.wild.example"
[[registry.mirror]]
location = "mirror.example/wild"
[[registry]]
prefix = "*.moved.example"
location = "moved.to.example"
[[registry]]
location = "bad.example/x"
blocked = true
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "alpine",
            [
                "mirror.example/hub/library/alpine",
                "mirror.example:5000/library/alpine insecure",
                "registry-1.docker.io/library/alpine",
            ],
        ),
        ("plain.example/r", ["plain.example/r insecure"]),
        ("plain.example:5000/r", ["plain.example:5000/r insecure"]),
        ("plain.examples/r", ["plain.examples/r"]),
        # The longest prefix counts; it ends at the end of a path component.
        ("team/app:1", ["ghcr.io/other/app"]),
        (f"team/app@{DIGEST}", ["ghcr.io/other/app"]),
        ("team/app/more", ["ghcr.io/other/app/more"]),
        ("team/apps", ["mirror.example/hub/team/apps", "mirror.example:5000/team/apps insecure",
                       "registry-1.docker.io/team/apps"]),
        ("a.wild.example/r", ["mirror.example/wild/r", "a.wild.example/r"]),
        ("a.b.wild.example/r", ["mirror.example/wild/r", "a.b.wild.example/r"]),
        ("wild.example/r", ["wild.example/r"]),
        ("x.example/a.wild.example/r", ["x.example/a.wild.example/r"]),
        ("a.moved.example/o/r:t", ["moved.to.example/o/r"]),
        ("bad.example/y", ["bad.example/y"]),
    ],
)  # fmt: skip
def test_a_name_has_endpoints(tmp_path: Path, name: str, expected: list[str]) -> None:
    """containers-registries.conf(5): prefix, location, mirror, insecure."""
    assert places(hosts(tmp_path, MIRRORED), name) == expected


def test_a_port_cannot_end_up_within_a_path(tmp_path: Path) -> None:
    with pytest.raises(WherryError, match="makes an invalid name"):
        places(hosts(tmp_path, MIRRORED), "a.wild.example:5000/r")


def test_a_blocked_name_is_denied(tmp_path: Path) -> None:
    with pytest.raises(Denied, match=r"bad\.example/x is blocked in .*registries\.conf") as caught:
        places(hosts(tmp_path, MIRRORED), "bad.example/x/y:1")
    assert caught.value.host == "bad.example"


def test_the_callers_credentials_are_not_sent_to_mirrors(tmp_path: Path) -> None:
    found = hosts(tmp_path, MIRRORED)
    for name, own in [("alpine", [False, False, False]), ("plain.example/r", [True])]:
        assert [place.own for place in found.endpoints(Reference.parse(name))] == own
    moved = hosts(tmp_path, '[[registry]]\nlocation="h.example/a"\nprefix="h.example"\n')
    assert [place.own for place in moved.endpoints(Reference.parse("h.example/r"))] == [True]


@pytest.mark.parametrize(
    ("line", "pulls", "by_tag", "by_digest"),
    [
        ("", "", True, True),
        ("mirror-by-digest-only = true", "", False, True),
        ("", 'pull-from-mirror = "digest-only"', False, True),
        ("", 'pull-from-mirror = "tag-only"', True, False),
        ("", 'pull-from-mirror = "all"', True, True),
    ],
)
def test_mirrors_for_tags_and_for_digests(
    tmp_path: Path, line: str, pulls: str, *, by_tag: bool, by_digest: bool
) -> None:
    """containers-registries.conf(5): pull-from-mirror, mirror-by-digest-only."""
    text = (
        f'[[registry]]\nlocation="h.example"\n{line}\n[[registry.mirror]]\nlocation="m.example"\n'
    )
    found = hosts(tmp_path, text + pulls)
    for reference, mirrored in [("h.example/r:t", by_tag), ("h.example/r", by_tag),
                                (f"h.example/r@{DIGEST}", by_digest),
                                (f"h.example/r:t@{DIGEST}", by_digest)]:  # fmt: skip
        expected = ["m.example/r"] * mirrored + ["h.example/r"]
        assert places(found, reference) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[registry]]", "registry[0].prefix: is missing"),
        ('[[registry]]\nprefix="h.example"', "registry[0].location: is missing"),
        ('[[registry]]\nlocation="https://h.example"', "registry[0].location: is 'https://h.exam"),
        ("[[registry]]\nlocation=1", "registry[0].location: is a number, expected a string"),
        ('[[registry]]\nlocation="h.example"\ninsecure="yes"', "registry[0].insecure"),
        ('[[registry]]\nlocation="h.example"\npull-from-mirror="all"', "belongs to a mirror"),
        ('[[registry]]\nlocation="h.*.example"', "*"),
        ('[[registry]]\nlocation="h.example"\n[[registry.mirror]]', "mirror[0].location"),
        ('[[registry]]\nlocation="h"\n[[registry.mirror]]\nlocation="*.m"', "mirror[0].location"),
        (('[[registry]]\nlocation="h"\n[[registry.mirror]]\nlocation="m.x"\n'
         'pull-from-mirror="some"'), "digest-only"),
        (('[[registry]]\nlocation="h"\nmirror-by-digest-only=true\n[[registry.mirror]]\n'
         'location="m.x"\npull-from-mirror="all"'), "mirror-by-digest-only"),
        ('[[registry]]\nlocation="h"\nproxy="p.example:80"', "[0].proxy: is not an address"),
        ('[[registry]]\nlocation="h"\nproxy="ftp://p"', "registry[0].proxy: ftp proxies are not"),
        ('[[registry]]\nlocation="h"\nproxy="http://"', "registry[0].proxy: not an address"),
        ('[[registry]]\nlocation="h"\nproxy=1', "registry[0].proxy: is a number"),
        (('[[registry]]\nlocation="h"\n[[registry.mirror]]\nlocation="m.x"\n'
         'proxy="socks4://p"'), "registry[0].mirror[0].proxy: socks4 proxies are not supported"),
        ('registry = "x"', "registry: is a string"),
        ("unqualified-search-registries = [1]", "unqualified-search-registries[0]"),
        ('[aliases]\n"a"=1', "aliases.a"),
        ('[aliases]\n"h.example/A"="x/y"', "not a short name"),
        ('[aliases]\n"a"="y"', "expected HOST/REPOSITORY"),
        ('[aliases]\n"a"="x/y"', "expected HOST/REPOSITORY"),
        ('[aliases]\n"a"="h.example/y:1"', "expected HOST/REPOSITORY"),
        ('[aliases]\n"a"="h.example/UP"', "expected HOST/REPOSITORY"),
        ('[aliases]\n"a:1"="h.example/y"', "not a short name"),
        ('[aliases]\n"localhost/a"="h.example/y"', "not a short name"),
        ('[aliases]\n""="h.example/y"', "not a short name"),
        ('unqualified-search-registries=["docker.io/library"]', "[0]: is 'docker.io/library', exp"),
        ('unqualified-search-registries=["a.b", ""]', "unqualified-search-registries[1]: is ''"),
        ('unqualified-search-registries=["https://a.b"]', "is 'https://a.b', expected HOST"),
        ('unqualified-search-registries=["a.b:port"]', "is 'a.b:port', expected HOST"),
        ('short-name-mode="ask"', "short-name-mode: is 'ask', expected one of permissive, enf"),
        ("short-name-mode=true", "short-name-mode: is a boolean, expected a string"),
        ('[[registry]]\nprefix="*.a.example/b"\nlocation="c.example"', "expected *.HOST"),
        ('[[registry]]\nprefix="*.a.example:80"', "expected *.HOST"),
        ("[registries.search]\nregistries=['a.b/c']", "registries.search.registries[0]"),
        ("[registries.search]\nregistries=[]\n[[registry]]\nlocation='h'", "version 1"),
        ("registries = 5", "registries"),
        ("registry = [", "not valid TOML"),
        ("registry = [[[" + "[" * 5000, "not valid TOML"),
    ],
)  # fmt: skip
def test_the_error_for_an_invalid_file_names_the_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(WherryError) as caught:
        parsed(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/registries.conf: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"registry = '\xff'"])
def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "f").write_bytes(b"registry=[]\n" + raw)
    with pytest.raises(WherryError, match="UTF-8"):
        load(RegistriesFiles((tmp_path / "f",)), aliases=True)


def test_version_1_is_read_with_a_warning(tmp_path: Path) -> None:
    """podman and skopeo refuse it."""
    found = hosts(
        tmp_path,
        """
        [registries.search]
        registries = ["one.example", "docker.io"]
        [registries.insecure]
        registries = ["plain.example", "both.example"]
        [registries.block]
        registries = ["bad.example", "both.example"]
    """,
    )
    said: list[str] = []
    for _ in range(2):
        found.endpoints(Reference.parse("ghcr.io/o/r"), warn=said.append)
    assert len(said) == 1
    assert "registries.conf" in said[0]
    assert "version 1" in said[0]
    assert found.settings().search == ("one.example", "docker.io")
    assert places(found, "plain.example/r") == ["plain.example/r insecure"]
    for blocked in ("bad.example/r", "both.example/r"):
        with pytest.raises(Denied):
            places(found, blocked)


def test_a_location_that_makes_an_invalid_name_is_an_error(tmp_path: Path) -> None:
    for location in ("UPPER/Case", "nohost", "h.example/UP"):
        found = hosts(tmp_path, f'[[registry]]\nprefix="a.example"\nlocation="{location}"\n')
        with pytest.raises(
            WherryError, match=r"registries\.conf: '.*' in the place of 'a\.example'"
        ):
            places(found, "a.example/r")


def test_unknown_keys_have_a_warning(tmp_path: Path) -> None:
    """A misspelt ``blocked`` must not go unnoticed; podman and skopeo ignore such keys."""
    text = """
        unknown = 1
        additional-layer-store-auth-helper = "x"
        [[registry]]
        location = "h.example"
        block = true
        [[registry.mirror]]
        location = "m.example"
        blocked = true
    """
    file = tmp_path / "registries.conf"
    assert parsed(tmp_path, text).warnings == tuple(
        f"{file}: {key}: unknown key, no effect"
        for key in ("unknown", "registry[0].block", "registry[0].mirror[0].blocked")
    )
    assert parsed(tmp_path, MIRRORED).warnings == ()


# Conflicting tables


def pair(first: str, second: str) -> str:
    return f"[[registry]]\n{first}\n[[registry]]\n{second}\n"


@pytest.mark.parametrize("key", ["blocked", "insecure"])
@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ('prefix="h.example"\nlocation="a.example"', 'prefix="h.example"\nlocation="b.example"',
         "prefix 'h.example'"),
        ('location="h.example"', 'location="h.example"', "prefix 'h.example'"),
        ('location="h.example"', 'location="h.example/"', "prefix 'h.example'"),
        ('prefix="*.h.example"', 'prefix="*.h.example"', "prefix '*.h.example'"),
        ('prefix="x.example"\nlocation="h.example"', 'prefix="y.example"\nlocation="h.example"',
         "location 'h.example'"),
    ],
)  # fmt: skip
def test_tables_with_the_same_prefix_or_location_must_agree(
    tmp_path: Path, key: str, one: str, other: str, what: str
) -> None:
    """The last table must not unblock a name that the first one blocks."""
    for text in (pair(f"{one}\n{key}=true", other), pair(one, f"{other}\n{key}=true")):
        with pytest.raises(WherryError) as caught:
            parsed(tmp_path, text)
        said = f"registry[1].{key}: an earlier table with the {what} says otherwise"
        assert str(caught.value) == f"{tmp_path}/registries.conf: {said}"
    parsed(tmp_path, pair(f"{one}\n{key}=true", f"{other}\n{key}=true"))


def test_tables_with_the_same_location_must_have_the_same_proxy(tmp_path: Path) -> None:
    text = pair(
        'prefix="x.example"\nlocation="h.example"\nproxy="http://me:secret-pw@p.example"',
        'prefix="y.example"\nlocation="h.example"',
    )
    with pytest.raises(WherryError, match=r"registry\[1\]\.proxy: an earlier table") as caught:
        parsed(tmp_path, text)
    assert "secret-pw" not in str(caught.value)


def test_the_first_of_two_tables_with_the_same_prefix_counts(tmp_path: Path) -> None:
    text = pair(
        'prefix="h.example"\nlocation="first.example"',
        'prefix="h.example"\nlocation="second.example"',
    )
    assert places(hosts(tmp_path, text), "h.example/r") == ["first.example/r"]


def test_prefixes_of_the_same_length_count_in_alphabetical_order(tmp_path: Path) -> None:
    """``*.reg.example`` is as long as ``x.reg.example``; the order in the file does not matter."""
    wild = 'prefix="*.reg.example"\nlocation="wild.example"'
    exact = 'prefix="x.reg.example"\nlocation="exact.example"'
    for text in (pair(wild, exact), pair(exact, wild)):
        assert places(hosts(tmp_path, text), "x.reg.example/r") == ["wild.example/r"]


# Proxies


def test_a_proxy_belongs_to_a_registry_or_to_a_mirror(tmp_path: Path) -> None:
    text = """
        [[registry]]
        location = "h.example"
        proxy = "socks5://me:secret-pw@p.example"
        [[registry.mirror]]
        location = "m.example"
        proxy = "https://q.example:8443"
        [[registry.mirror]]
        location = "n.example"
    """
    found = hosts(tmp_path, text)
    first, second, own = found.endpoints(Reference.parse("h.example/r"))
    file = str(tmp_path / "registries.conf")
    assert first.proxy == ProxyAddress("https", "q.example", 8443, variable=file)
    assert second.proxy is None
    # containers-registries.conf(5): "name resolution always happens remotely"
    assert own.proxy == ProxyAddress("socks5h", "p.example", 1080, "me", "secret-pw", file)
    assert found.registry("h.example").proxy == own.proxy
    assert "secret-pw" not in repr(found.settings()) + repr(own)


# Short names


def test_a_host_to_search_may_have_a_trailing_slash(tmp_path: Path) -> None:
    found = hosts(tmp_path, 'unqualified-search-registries=["a.example/", "b.example:5000"]')
    names = [str(each.address.given) for each in found.name_candidates(Address.parse("app"))]
    assert names == ["a.example/app", "b.example:5000/app"]


def test_a_host_to_search_needs_a_dot_or_a_port(tmp_path: Path) -> None:
    found = hosts(tmp_path, 'unqualified-search-registries=["team"]')
    with pytest.raises(WherryError, match=r"registries\.conf: .*'team' is not a host"):
        found.name_candidates(Address.parse("app"))


@pytest.mark.parametrize("mode", ["permissive", "disabled"])
def test_short_names_are_searched_without_a_prompt(tmp_path: Path, mode: str) -> None:
    text = f'short-name-mode="{mode}"\nunqualified-search-registries=["a.example","b.example"]'
    assert len(hosts(tmp_path, text).name_candidates(Address.parse("app"))) == 2


def test_enforcing_rejects_an_ambiguous_name(tmp_path: Path) -> None:
    """podman prompts on a terminal, and fails without one."""
    text = 'short-name-mode="enforcing"\nunqualified-search-registries=["a.example"'
    assert len(hosts(tmp_path, f"{text}]").name_candidates(Address.parse("app"))) == 1
    found = hosts(tmp_path, f'{text}, "b.example"]\n[aliases]\n"known"="c.example/known"')
    assert len(found.name_candidates(Address.parse("known"))) == 1
    with pytest.raises(WherryError, match="short-name-mode is enforcing") as caught:
        found.name_candidates(Address.parse("app:1"))
    assert caught.value.hint == "name one of them: a.example/app:1 b.example/app:1"
