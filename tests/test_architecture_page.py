"""docs/architecture.md names modules that exist, and its tree has all of them."""

import re

from module_tree import PAGE, ROOT, SOURCE, current_tree, expected_tree

TEXT = PAGE.read_text()


def test_the_tree_has_every_module() -> None:
    assert current_tree() == expected_tree(), "run: python tests/helpers/module_tree.py"


def test_paths_in_the_page_exist() -> None:
    paths = set(re.findall(r"`([a-z_0-9]+/[a-z_0-9/]+\.py)`", TEXT))
    assert paths
    assert {path for path in paths if not any((d / path).exists() for d in (ROOT, SOURCE))} == set()


def test_modules_in_the_page_exist() -> None:
    rooms = "|".join(path.parent.name for path in SOURCE.glob("*/__init__.py"))
    names = set(re.findall(rf"`((?:{rooms})(?:\.[a-z_0-9]+)+)[.A-Za-z]*`", TEXT))
    assert names
    for name in names:
        path = SOURCE / name.replace(".", "/")
        # The last part may be a function.
        assert path.with_suffix(".py").exists() or path.parent.with_suffix(".py").exists(), name
