"""Write the tree of modules in docs/architecture.md from the source.

Run ``python tests/helpers/module_tree.py`` after a module was added, removed or renamed. The page
has the descriptions of the rooms; this program fills in the modules.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "wherry"
PAGE = ROOT / "docs" / "architecture.md"
_TREE = re.compile(r"(?<=## Modules\n```\n).*?(?=\n```)", re.DOTALL)
_NOT_LISTED = {"__init__.py", "__main__.py"}


def current_tree() -> str:
    """Return the tree as it is in the page."""
    found = _TREE.search(PAGE.read_text())
    assert found is not None
    return found.group()


def expected_tree() -> str:
    """Return the tree with the modules of the source.

    Raises:
        AssertionError: The page has no line for a file or directory, or one too many.
    """
    rooms = [line for line in current_tree().splitlines() if not line.startswith(" ")]
    there = {path.name for path in SOURCE.glob("*.py")} - _NOT_LISTED
    there |= {f"{path.parent.name}/" for path in SOURCE.glob("*/__init__.py")}
    assert {line.split()[0] for line in rooms} == there
    lines = []
    for line in rooms:
        lines.append(line)
        name = line.split()[0]
        if name.endswith("/"):
            lines += _listed(SOURCE / name, "", 4)
            for package in sorted((SOURCE / name).glob("*/__init__.py")):
                lines += _listed(package.parent, f"{package.parent.name}/: ", 8)
    return "\n".join(lines)


def _listed(directory: Path, title: str, indent: int) -> list[str]:
    names = sorted(path.stem for path in directory.glob("*.py") if path.name not in _NOT_LISTED)
    return textwrap.wrap(
        title + " ".join(names),
        width=96,
        initial_indent=" " * 4,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    tree = expected_tree()
    PAGE.write_text(_TREE.sub(lambda _: tree, PAGE.read_text()))
