"""The tree of modules in docs/architecture.md is that of the source."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "wherry"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TREE = PAGE.partition("## Modules\n```\n")[2].partition("```")[0]
NOT_LISTED = {"__init__.py", "__main__.py"}


def listed() -> dict[str, set[str]]:
    """Return the modules that the tree lists, by directory; "." for single files."""
    found: dict[str, set[str]] = {".": set()}
    room = package = ""
    for line in TREE.splitlines():
        name, _, text = line.strip().partition(" ")
        if not line.startswith(" "):
            room = package = name if name.endswith("/") else ""
            if room:
                found[room] = set()
            else:
                found["."].add(name.removesuffix(".py"))
            continue
        if name.endswith("/:"):
            package = room + name.removesuffix(":")
            found[package] = set()
        else:
            text = line
            package = package if line.startswith(" " * 8) else room
        found[package] |= set(text.split())
    return found


def test_the_tree_lists_every_module() -> None:
    there: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        directory = path.parent.relative_to(SOURCE).as_posix()
        name = directory if directory == "." else f"{directory}/"
        if path.name not in NOT_LISTED:
            there.setdefault(name, set()).add(path.stem)
    assert listed() == there


def test_paths_in_the_page_exist() -> None:
    paths = set(re.findall(r"`([a-z_0-9]+/[a-z_0-9/]+\.py)`", PAGE))
    assert paths
    assert {path for path in paths if not any((d / path).exists() for d in (ROOT, SOURCE))} == set()


def test_modules_in_the_page_exist() -> None:
    rooms = "|".join(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
    names = set(re.findall(rf"`((?:{rooms})(?:\.[a-z_0-9]+)+)[.A-Za-z]*`", PAGE))
    assert names
    for name in names:
        path = SOURCE / name.replace(".", "/")
        # The last part may be a function.
        assert path.with_suffix(".py").exists() or path.parent.with_suffix(".py").exists(), name
