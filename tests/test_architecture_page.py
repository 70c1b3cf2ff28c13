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


def test_names_in_the_page_exist() -> None:
    rooms = "|".join(path.parent.name for path in SOURCE.glob("*/__init__.py"))
    names = set(re.findall(rf"`((?:{rooms})(?:\.[a-z_0-9]+)+)((?:\.[A-Z]\w*)?)[.a-z]*`", TEXT))
    assert names
    for name, class_name in names:
        parts = name.split(".")
        path = SOURCE.joinpath(*parts).with_suffix(".py")
        if not path.exists():  # the last part is a function
            path = SOURCE.joinpath(*parts[:-1]).with_suffix(".py")
            assert f"def {parts[-1]}" in path.read_text(), name
        if class_name:
            assert re.search(rf"^class {class_name[1:]}\b", path.read_text(), re.MULTILINE), name
