"""Which files of registries.conf are read, and how they are merged."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.errors import Denied, WherryError
from wherry.model.address import Address
from wherry.model.reference import Reference
from wherry.registry.hosts import Hosts
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


def named(location: str) -> str:
    return f'[[registry]]\nprefix="h.example"\nlocation="{location}.example"\n'


class Tree:
    """The user's and the system's files in the order of the configuration."""

    def __init__(self, root: Path) -> None:
        self.user, self.etc, self.usr = (root / name for name in ("user", "etc", "usr"))
        self.special = self.etc / "registries.rootless.conf.d"
        self.files = RegistriesFiles(
            tuple(each / "registries.conf" for each in (self.user, self.etc, self.usr)),
            (
                self.user / "registries.conf.d",
                self.special / "1000",
                self.special,
                self.etc / "registries.conf.d",
                self.usr / "registries.conf.d",
            ),
        )

    def put(self, file: str, text: str) -> Path:
        path = self.user.parent / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def leads(self) -> str:
        """Return the host that ``h.example`` leads to."""
        (place,) = Hosts(self.files).endpoints(Reference.parse("h.example/r"))
        return place.name.removesuffix(".example")

    def load(self) -> RegistriesConf:
        return load(self.files, aliases=True)

    def consulted(self) -> dict[str, str]:
        found = self.load().consulted
        return {str(path.relative_to(self.user.parent)): said for path, said in found}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_first_main_file_counts(tree: Tree) -> None:
    """The user's, or else the administrator's, or else the distribution's."""
    tree.put("usr/registries.conf", named("usr"))
    assert tree.leads() == "usr"
    etc = tree.put("etc/registries.conf", named("etc"))
    assert tree.leads() == "etc"
    assert tree.consulted() == {
        "user/registries.conf": "not there",
        "etc/registries.conf": "read: the main file",
        "usr/registries.conf": f"not read: {etc} is the main file",
    }
    tree.put("user/registries.conf", "# nothing")
    assert tree.leads() == "h"
    assert tree.consulted()["user/registries.conf"] == "read: the main file (nothing in it)"


def test_drop_ins_of_all_directories_are_merged_by_base_name(tree: Tree) -> None:
    """Of files with the same name, the one nearest to the user counts."""
    tree.put("user/registries.conf", named("main"))
    tree.put("usr/registries.conf.d/50.conf", named("usr-50"))
    assert tree.leads() == "usr-50"  # whichever main file is read
    tree.put("user/registries.conf.d/10.conf", named("user-10"))
    assert tree.leads() == "usr-50"  # the order is by name, not by directory
    for directory in ("etc/registries.conf.d", "etc/registries.rootless.conf.d",
                      "etc/registries.rootless.conf.d/1000", "user/registries.conf.d"):  # fmt: skip
        winner = tree.put(f"{directory}/50.conf", named(directory.replace("/", "-")))
        assert tree.leads() == directory.replace("/", "-")
    said = tree.consulted()
    assert said["user/registries.conf.d/50.conf"] == "read: a drop-in"
    assert said["usr/registries.conf.d/50.conf"] == f"not read: {winner} has the same name"
    tree.put("usr/registries.conf.d/50.conf.bak", "not TOML [[[")
    tree.put("usr/registries.conf.d/directory.conf/x", "")
    assert tree.leads() == "user-registries.conf.d"


def test_an_empty_file_replaces_another_with_its_name(tree: Tree) -> None:
    tree.put("usr/registries.conf.d/50.conf", named("usr"))
    tree.put("etc/registries.conf.d/50.conf", "")
    assert tree.leads() == "h"


def test_a_drop_in_that_is_a_symbolic_link_is_skipped_with_a_warning(tree: Tree) -> None:
    """containers/image 5.40 reads only regular files."""
    target = tree.put("elsewhere.conf", named("linked"))
    link = tree.user / "registries.conf.d" / "10.conf"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    assert tree.leads() == "h"
    said: list[str] = []
    Hosts(tree.files).endpoints(Reference.parse("h.example/r"), warn=said.append)
    (warning,) = said
    assert warning == f"{link} is not read: drop-ins that are symbolic links have no effect"
    (tree.user / "registries.conf").symlink_to(target)  # a main file may be a link
    assert tree.leads() == "linked"
    link.unlink()
    link.symlink_to("/nowhere")  # a lock file of an editor
    assert load(tree.files, aliases=True).warnings == ()


def test_later_files_add_and_replace(tree: Tree) -> None:
    """containers-registries.conf.d(5): tables by prefix, aliases by name, lists as a whole."""
    tree.put(
        "etc/registries.conf",
        'unqualified-search-registries=["a.example"]\ncredential-helpers=["one"]\n'
        'short-name-mode="disabled"\n[aliases]\n"x"="a.example/x"\n"y"="a.example/y"\n',
    )
    tree.put("etc/registries.conf.d/1.conf", '[aliases]\n"x"="b.example/x"\n"y"=""\n')
    last = tree.put(
        "etc/registries.conf.d/2.conf",
        'unqualified-search-registries=[]\ncredential-helpers=["two", "three"]\n'
        'short-name-mode="permissive"\n[[registry]]\nlocation="q.r"\n',
    )
    found = tree.load()
    assert {name: value for name, (value, _) in found.aliases.items()} == {
        "x": "b.example/x",
        "y": "",
    }
    assert (found.search, found.search_file) == ((), last)
    assert found.helpers == ("two", "three")
    assert (found.short_names, found.short_names_file) == ("permissive", last)
    assert [
        each.address.name for each in Hosts(tree.files).name_candidates(Address.parse("y"))
    ] == ["y"]
    tree.put("etc/registries.conf.d/3.conf", "credential-helpers=[]\n")
    assert tree.load().helpers is None  # the default


def test_a_drop_in_may_unblock_a_name(tree: Tree) -> None:
    """The table of a later file replaces that of an earlier one as a whole."""
    tree.put("etc/registries.conf", '[[registry]]\nlocation="h.example"\nblocked=true\n')
    with pytest.raises(Denied):
        tree.leads()
    tree.put("etc/registries.conf.d/1.conf", '[[registry]]\nlocation="h.example"\n')
    assert tree.leads() == "h"


def test_a_named_file_replaces_all_but_the_last(tree: Tree) -> None:
    """``CONTAINERS_REGISTRIES_CONF`` and ``CONTAINERS_REGISTRIES_CONF_OVERRIDE`` do this."""
    tree.put("user/registries.conf", "broken [")
    tree.put("user/registries.conf.d/99.conf", "broken [")
    alone = tree.put("alone.conf", named("alone"))
    tree.files = tree.files.replace(named=("VARIABLE", alone))
    assert tree.leads() == "alone"
    assert tree.consulted() == {"alone.conf": "read: VARIABLE names it"}
    tree.files = tree.files.replace(last=("LAST", tree.put("last.conf", named("last"))))
    assert tree.leads() == "last"
    tree.files = tree.files.replace(named=None)
    tree.put("user/registries.conf", named("user"))
    tree.put("user/registries.conf.d/99.conf", named("drop-in"))
    assert tree.leads() == "last"
    assert tree.consulted()["last.conf"] == "read last: LAST names it"


@pytest.mark.parametrize("place", ["named", "last"])
def test_a_named_file_has_to_exist(tree: Tree, place: str) -> None:
    tree.files = tree.files.replace(**{place: ("VARIABLE", tree.user / "none")})
    with pytest.raises(WherryError, match="none: no such file") as caught:
        tree.load()
    assert caught.value.hint == "VARIABLE names it"


def test_version_1_in_a_drop_in_is_an_error(tree: Tree) -> None:
    tree.put("etc/registries.conf.d/1.conf", "[registries.search]\nregistries=[]")
    with pytest.raises(WherryError, match=r"1\.conf: registries: belongs to version 1"):
        tree.load()


def test_an_invalid_drop_in_is_named(tree: Tree) -> None:
    file = tree.put("usr/registries.conf.d/1.conf", "registry = [")
    with pytest.raises(WherryError, match="not valid TOML") as caught:
        tree.load()
    assert str(caught.value).startswith(f"{file}: ")


def test_an_unreadable_file_is_named(tree: Tree) -> None:
    (tree.user / "registries.conf").mkdir(parents=True)
    with pytest.raises(WherryError, match=r"user/registries\.conf: Is a directory"):
        tree.load()


def test_a_file_instead_of_a_directory_is_named(tree: Tree) -> None:
    tree.put("etc/registries.conf.d", "")
    with pytest.raises(WherryError, match=r"etc/registries\.conf\.d: Not a directory"):
        tree.load()


def test_a_home_that_is_not_a_directory_has_no_files() -> None:
    """Services have the home /dev/null."""
    below = Path("/dev/null/.config/containers")
    found = load(
        RegistriesFiles((below / "registries.conf",), (below / "registries.conf.d",)), aliases=True
    )
    assert found.tables == ()


def test_files_with_only_aliases_are_parsed_only_for_short_names(tmp_path: Path) -> None:
    """A pull by a full name must not take the time for them."""
    text = '# comment\n[aliases]\n"registry" = "docker.io/library/registry"\nbroken ['
    assert parsed(tmp_path, text, aliases=False).consulted[0][1].endswith("(short names only)")
    with pytest.raises(WherryError, match="not valid TOML"):
        parsed(tmp_path, text, aliases=True)
    only_comments = "# [[registry]]\n  # location = 'x'\n\n"
    assert parsed(tmp_path, only_comments).consulted[0][1].endswith("(nothing in it)")


@pytest.mark.parametrize(
    "text",
    ['registry = [{location="h.example", insecure=true}]',
     '"registry" = [{location="h.example", insecure=true}]',
     "[[ registry ]]\nlocation='h.example'\ninsecure=true",
     "\t[['registry']]\r\nlocation='h.example'\r\ninsecure=true",
     "[registries.insecure]\nregistries=['h.example']",
     "registries.insecure.registries=['h.example']"],
)  # fmt: skip
def test_tables_are_found_in_every_syntax(tmp_path: Path, text: str) -> None:
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
def test_any_file_gives_endpoints_or_a_wherry_error(
    tmp_path: Path, tables: list[dict[str, object]], mirrors: list[dict[str, object]], name: str
) -> None:
    lines: list[str] = []
    for kind, entries in (("registry", tables), ("registry.mirror", mirrors if tables else [])):
        for entry in entries:
            lines += [f"[[{kind}]]", *(f"{key} = {toml(value)}" for key, value in entry.items())]
    try:
        found = hosts(tmp_path, "\n".join(lines)).endpoints(Reference.parse(name))
    except WherryError as error:
        assert "registries.conf" in str(error)  # noqa: PT017 - either outcome is allowed
    else:
        assert found
        assert all(place.host and place.path for place in found)
