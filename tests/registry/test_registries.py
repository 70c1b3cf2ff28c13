"""registries.conf, as containers-registries.conf(5) describes it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dray.errors import Denied, DrayError
from dray.model.reference import Reference
from dray.registry.hosts import Hosts
from dray.registry.registries import Settings, load

DIGEST = "sha256:" + "0" * 64


def parsed(tmp_path: Path, text: str, *, aliases: bool = True) -> Settings:
    file = tmp_path / "registries.conf"
    file.write_text(text)
    return load([(file, [])], required=True, aliases=aliases)


def hosts(tmp_path: Path, text: str) -> Hosts:
    file = tmp_path / "registries.conf"
    file.write_text(text)
    return Hosts([(file, [])], required=True)


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
        # The longest prefix counts, at the borders of names alone.
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
def test_where_names_lead(tmp_path: Path, name: str, expected: list[str]):
    """SPEC: "prefixes (wildcard subdomains too), `location`, mirrors, … `insecure`"."""
    assert places(hosts(tmp_path, MIRRORED), name) == expected


def test_a_port_that_lands_in_the_middle_of_a_path(tmp_path: Path):
    with pytest.raises(DrayError, match="makes no name"):
        places(hosts(tmp_path, MIRRORED), "a.wild.example:5000/r")


def test_what_is_blocked_is_denied(tmp_path: Path):
    with pytest.raises(Denied, match=r"bad\.example/x is blocked in .*registries\.conf") as caught:
        places(hosts(tmp_path, MIRRORED), "bad.example/x/y:1")
    assert caught.value.host == "bad.example"


def test_credentials_of_the_caller_are_for_the_host_that_was_named(tmp_path: Path):
    """SPEC: "Credentials go to the host that they are for and to nobody else"."""
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
):
    """SPEC: "`pull-from-mirror`, `mirror-by-digest-only`"."""
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
        ('registry = "x"', "registry: is a string"),
        ("unqualified-search-registries = [1]", "unqualified-search-registries[0]"),
        ('[aliases]\n"a"=1', "aliases.a"),
        ('[aliases]\n"h.example/A"="x/y"', "no short name"),
        ('[aliases]\n"a"="y"', "names no registry"),
        ("[registries.search]\nregistries=[]\n[[registry]]\nlocation='h'", "version 1"),
        ("registries = 5", "registries"),
        ("registry = [", "not valid TOML"),
        ("registry = [[[" + "[" * 5000, "not valid TOML"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_an_error_that_says_where(tmp_path: Path, text: str, words: str):
    with pytest.raises(DrayError) as caught:
        parsed(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/registries.conf: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"registry = '\xff'"])
def test_a_file_that_is_not_utf_8(tmp_path: Path, raw: bytes):
    (tmp_path / "f").write_bytes(b"registry=[]\n" + raw)
    with pytest.raises(DrayError, match="UTF-8"):
        load([(tmp_path / "f", [])], required=True, aliases=True)


def test_version_1_is_read_with_a_warning(tmp_path: Path):
    """SPEC: "(v1 is read with a warning)"."""
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


def test_a_location_that_makes_no_name(tmp_path: Path):
    for location in ("UPPER/Case", "nohost", "h.example/UP"):
        found = hosts(tmp_path, f'[[registry]]\nprefix="a.example"\nlocation="{location}"\n')
        with pytest.raises(DrayError, match=r"registries\.conf: '.*' in the place of 'a\.example'"):
            places(found, "a.example/r")


# Which files


def named(location: str) -> str:
    return f'[[registry]]\nprefix="h.example"\nlocation="{location}.example"\n'


@pytest.fixture
def tree(tmp_path: Path) -> list[tuple[Path, list[Path]]]:
    """The user's file and directory, then the system's, as the configuration lists them."""
    user, system = tmp_path / "user", tmp_path / "system"
    for directory in (user, system):
        (directory / "registries.conf.d").mkdir(parents=True)
    own, common = user / "registries.conf.d", system / "registries.conf.d"
    return [(user / "registries.conf", [own]), (system / "registries.conf", [common, own])]


def test_the_users_file_replaces_the_systems(tree: list[tuple[Path, list[Path]]]):
    """SPEC: "the user's file replaces the system's, and then only the user's `.d` is read"."""
    (user, [own]), (system, [common, _]) = tree
    system.write_text(named("system"))
    assert places(Hosts(tree), "h.example/r") == ["system.example/r"]
    (common / "b.conf").write_text(named("system-d"))
    (common / "a.conf").write_text(named("earlier"))
    (common / "z.conf.bak").write_text("not TOML at all [[[")
    assert places(Hosts(tree), "h.example/r") == ["system-d.example/r"]
    (own / "a.conf").write_text(named("user-d"))
    assert places(Hosts(tree), "h.example/r") == ["user-d.example/r"]
    user.write_text("# nothing")
    (own / "a.conf").unlink()
    assert places(Hosts(tree), "h.example/r") == ["h.example/r"]
    (own / "a.conf").write_text(named("user-d"))
    assert places(Hosts(tree), "h.example/r") == ["user-d.example/r"]


def test_directories_count_without_the_file(tree: list[tuple[Path, list[Path]]]):
    (common := tree[1][1][0]).joinpath("a.conf").write_text(named("system-d"))
    assert common.is_dir()
    assert places(Hosts(tree), "h.example/r") == ["system-d.example/r"]


def test_later_files_add_and_replace(tree: list[tuple[Path, list[Path]]]):
    """containers-registries.conf.d(5): tables by prefix, aliases by name, lists as a whole."""
    common = tree[1][1][0]
    tree[1][0].write_text(
        'unqualified-search-registries=["a.example"]\n[aliases]\n"x"="a.example/x"\n"y"="a.example/y"'
    )
    (common / "1.conf").write_text('[aliases]\n"x"="b.example/x"\n"y"=""\n')
    (common / "2.conf").write_text('unqualified-search-registries=[]\n[[registry]]\nlocation="q.r"')
    found = Hosts(tree).settings(aliases=True)
    assert {name: value for name, (value, _) in found.aliases.items()} == {
        "x": "b.example/x",
        "y": "",
    }
    assert found.search == ()
    assert found.search_file == common / "2.conf"
    assert [path.name for path, _ in found.consulted] == [
        "registries.conf", "registries.conf", "1.conf", "2.conf"
    ]  # fmt: skip
    assert next(said for _, said in found.consulted) == "not there"


def test_version_1_in_a_directory_is_refused(tree: list[tuple[Path, list[Path]]]):
    (tree[1][1][0] / "1.conf").write_text("[registries.search]\nregistries=[]")
    with pytest.raises(DrayError, match=r"1\.conf: registries: belongs to version 1"):
        Hosts(tree).settings()


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path: Path):
    with pytest.raises(DrayError, match="none: no such file"):
        Hosts([(tmp_path / "none", [])], required=True).settings()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(DrayError, match=tmp_path.name):
        Hosts([(tmp_path, [])]).settings()


def test_files_of_short_names_are_parsed_for_short_names_alone(tmp_path: Path):
    """A pull by a full name must not pay for what it does not need."""
    text = '# comment\n[aliases]\n"registry" = "docker.io/library/registry"\nbroken ['
    assert parsed(tmp_path, text, aliases=False).consulted[0][1] == "read, short names only"
    with pytest.raises(DrayError, match="not valid TOML"):
        parsed(tmp_path, text, aliases=True)
    only_comments = "# [[registry]]\n  # location = 'x'\n\n"
    assert parsed(tmp_path, only_comments).consulted[0][1] == "read, nothing"


@pytest.mark.parametrize(
    "text",
    ['registry = [{location="h.example", insecure=true}]',
     '"registry" = [{location="h.example", insecure=true}]',
     "[[ registry ]]\nlocation='h.example'\ninsecure=true",
     "\t[['registry']]\r\nlocation='h.example'\r\ninsecure=true",
     "[registries.insecure]\nregistries=['h.example']",
     "registries.insecure.registries=['h.example']"],
)  # fmt: skip
def test_however_a_table_is_written_it_is_seen(tmp_path: Path, text: str):
    (table,) = parsed(tmp_path, text, aliases=False).tables
    assert (table.prefix, table.insecure) == ("h.example", True)


values = st.recursive(
    st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "h.example", "*.x", "a/b", "://", "é"]),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
keys = ["prefix", "location", "insecure", "blocked", "mirror-by-digest-only", "pull-from-mirror"]


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.dictionaries(st.sampled_from(keys), values), max_size=2),
    st.lists(st.dictionaries(st.sampled_from(keys), values), max_size=2),
    st.sampled_from(["h.example/r", "alpine", f"a.x/b@{DIGEST}"]),
)
def test_any_file_leads_somewhere_or_to_an_error_of_ours(
    tmp_path: Path, tables: list[dict[str, object]], mirrors: list[dict[str, object]], name: str
):
    lines: list[str] = []
    for kind, entries in (("registry", tables), ("registry.mirror", mirrors if tables else [])):
        for entry in entries:
            lines += [f"[[{kind}]]", *(f"{key} = {toml(value)}" for key, value in entry.items())]
    try:
        found = hosts(tmp_path, "\n".join(lines)).endpoints(Reference.parse(name))
    except DrayError as error:
        assert "registries.conf" in str(error)  # noqa: PT017 - either outcome is allowed
    else:
        assert found
        assert all(place.host and place.path for place in found)
