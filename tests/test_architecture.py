"""Rules of imports, module sizes and start-up (docs/architecture.md)."""

import ast
import functools
import graphlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import wherry
from wherry import parameters
from wherry.testing import FakeRegistry, build_image, tar_layer

PACKAGE = Path(wherry.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 500

# The rooms that each room may import at run time. The siblings import neither each other nor
# `transfer`, which is beside them.
PURE = {"errors", "model"}
CORE = PURE | {"content"}
SIBLINGS = {"registry", "store", "archive", "unpack"}
ARROWS = {
    "errors": set(),
    "model": PURE,
    "content": CORE,
    **{sibling: CORE | {sibling} for sibling in SIBLINGS},
    "transfer": CORE | {"transfer"},
    "ops": CORE | SIBLINGS | {"transfer", "ops"},
    "serve": CORE | SIBLINGS | {"transfer", "ops", "serve"},
    "sync": CORE | SIBLINGS | {"transfer", "ops", "sync"},
    # The public modules.
    "config": PURE,
    "parameters": PURE,
    "_calls": CORE,
    "_values": CORE | {"sync"},
    "image": CORE | {"store", "ops"},
    "image_store": CORE | {"_values", "config", "parameters", "image", "store", "ops"},
    "_context": CORE | SIBLINGS | {"_calls", "config", "parameters", "image_store", "ops"},
    "plan": CORE | {"transfer", "ops"},
    "client_calls": CORE
    | {"_context", "_values", "config", "image", "image_store", "ops", "plan"}
    | {"client_calls", "registry", "serve", "sync", "transfer"},
    "client": CORE | {"_context", "client_calls", "config", "parameters"},
    "cli": CORE | {"cli", "client", "image_store", "config", "ops", "sync"},
    "testing": CORE | {"testing"},
    "__init__": set(),
    "types": set(),
    "__main__": {"cli"},
}
# Additional imports under TYPE_CHECKING: the command names records that public calls return, and
# `wherry` itself names its lazy attributes.
TYPES_ONLY = {
    "cli": {"image", "plan", "registry", "store", "transfer"},
    "__init__": {"client", "content", "errors", "image", "image_store", "model"}
    | {"plan", "types"},
    "types": CORE | SIBLINGS | {"image_store", "ops", "sync", "transfer"},
}
# Every room may import `wherry.__version__`: it is a literal and loads nothing.
FREE = {"__version__"}


@dataclass(frozen=True)
class Import:
    module: Path
    line: int
    name: str
    types_only: bool

    @property
    def room(self) -> str:
        """The room of the imported module; empty outside of wherry."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "wherry" and len(parts) > 1 else ""

    def __str__(self) -> str:
        return f"{self.module.relative_to(PACKAGE)}:{self.line} imports {self.name}"


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in {
        getattr(node.test, "id", None),
        getattr(node.test, "attr", None),
    }


def walk(node: ast.AST, *, types_only: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    yield node, types_only
    inside = types_only or is_type_checking(node)
    for child in ast.iter_child_nodes(node):
        guarded = inside and not (isinstance(node, ast.If) and child in node.orelse)
        yield from walk(child, types_only=guarded)


def imports_of(module: Path) -> Iterator[Import]:
    """Yield all imports of a module, also in functions and under TYPE_CHECKING."""
    package = ("wherry", *module.relative_to(PACKAGE).parent.parts)
    for node, types_only in walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*base, *([node.module] if node.module else [])])
            # `from wherry import x` and `from wherry.model import x` name a module or a name.
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (Import(module, node.lineno, name, types_only) for name in names)


@functools.cache  # at the first use: every worker process imports this module
def all_imports() -> list[Import]:
    return [found for module in MODULES for found in imports_of(module)]


def calls_of(module: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_every_room_has_a_rule() -> None:
    assert {room_of(module) for module in MODULES} <= set(ARROWS)


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_rooms_import_only_allowed_rooms(room: str) -> None:
    wrong = [
        str(found)
        for found in all_imports()
        if room_of(found.module) == room
        and found.room
        and found.room not in ARROWS[room] | FREE
        and not (found.types_only and found.room in TYPES_ONLY.get(room, set()))
    ]
    assert not wrong


def test_siblings_import_neither_each_other_nor_transfer() -> None:
    wrong = [
        str(found)
        for found in all_imports()
        if room_of(found.module) in SIBLINGS
        and found.room in (SIBLINGS | {"transfer", "ops"}) - {room_of(found.module)}
    ]
    assert not wrong


def test_the_rules_have_no_cycle() -> None:
    order: list[str] = []
    left = {room: allowed - {room} for room, allowed in ARROWS.items()}
    while left:
        free = [room for room, allowed in left.items() if not allowed - set(order)]
        free += [room for room in SIBLINGS if room not in left and room not in order]
        assert free, f"these import each other: {left}"
        order += free
        for room in free:
            left.pop(room, None)


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports in functions and under TYPE_CHECKING count too."""
    names = {".".join(["wherry", *module.relative_to(PACKAGE).with_suffix("").parts]): module
             for module in MODULES}  # fmt: skip
    modules = {name.removesuffix(".__init__"): module for name, module in names.items()}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    importers = {module: name for name, module in modules.items()}
    for found in all_imports():
        imported = found.name
        while imported and imported not in modules:  # a name in a module
            imported = imported.rpartition(".")[0]
        if imported not in {"", "wherry", importers[found.module]}:
            graph[importers[found.module]].add(imported)
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def test_modules_are_imported_by_name_only_where_loading_is_lazy() -> None:
    """The other tests do not see imports by name.

    Only the four lazy tables use them, and the entry for a module of the standard library.
    """
    users = {
        str(found.module.relative_to(PACKAGE))
        for found in all_imports()
        if found.name.startswith("importlib")
    }
    callers = {
        str(module.relative_to(PACKAGE))
        for module in MODULES
        if any(
            name.split(".")[-1] in {"__import__", "import_module"} for _, name in calls_of(module)
        )
    }
    assert users | callers <= {
        *("__init__.py", "types.py", "testing/__init__.py"),
        *("cli/main.py", "cli/entry.py"),
    }


def test_the_model_is_pure() -> None:
    """The model has no I/O, no threads, no clock and no environment."""
    impure = {
        *("asyncio", "concurrent", "io", "os", "pathlib", "random", "shutil", "signal"),
        *("socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib"),
    }
    wrong = [
        str(found)
        for found in all_imports()
        if room_of(found.module) == "model" and found.name.split(".")[0] in impure
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("http", {"registry", "testing"}),
        ("urllib3", set()),
        ("sqlite3", {"store"}),
        ("click", {"cli"}),
        ("rich", {"cli"}),
        ("isal", {"content/codec.py", "content/compress.py", "testing"}),
        ("zstandard", {"content/zstd.py", "content/compress.py", "testing"}),
        ("cryptography", {"model/schema1_signatures.py", "testing"}),
        ("python_socks", {"registry/http/socks.py"}),
        ("obstore", {"archive/cloud.py", "archive/cloud_errors.py"}),
        ("requests", set()),
        ("httpx", set()),
    ],
)
def test_each_library_is_used_in_one_place(library: str, homes: set[str]) -> None:
    users = {
        found.module.relative_to(PACKAGE)
        for found in all_imports()
        if found.name.split(".")[0] == library
    }
    wrong = [user for user in users if not {str(user), user.parts[0]} & homes]
    assert not wrong


def test_only_the_command_prints_or_exits() -> None:
    forbidden = {
        *("print", "input", "exit", "quit", "sys.exit", "os._exit", "os.abort", "SystemExit"),
        *("click.echo", "sys.stdout.write", "sys.stderr.write", "warnings.warn"),
    }
    wrong = [
        f"{module.relative_to(PACKAGE)}:{line} calls {name}"
        for module in MODULES
        if room_of(module) not in {"cli", "testing"}
        for line, name in calls_of(module)
        if name in forbidden
    ]
    wrong += [
        f"{module.relative_to(PACKAGE)}:{node.lineno} uses {ast.unparse(node)}"
        for module in MODULES
        if room_of(module) not in {"cli", "testing"}
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node) in {"sys.stdout", "sys.stderr", "SystemExit"}
    ]
    assert not wrong


def test_only_config_reads_the_environment() -> None:
    readers = {"environ", "environb", "getenv", "getenvb", "expanduser", "expandvars", "home"}
    wrong = [
        f"{module.relative_to(PACKAGE)}:{node.lineno} uses {ast.unparse(node)}"
        for module in MODULES
        if room_of(module) not in {"config", "testing"}
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if (
            isinstance(node, ast.Attribute)
            and node.attr in readers
            and ast.unparse(node.value).split("(")[0] in {"os", "os.path", "Path", "pathlib.Path"}
        )
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and _names(node) & readers)
    ]
    assert not wrong


def _names(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_of_bounded_length_and_opens_with_its_purpose(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text))


def imported(*arguments: str) -> set[str]:
    """Return the modules that an interpreter reports as imported, even after `os._exit`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def loaded_by(*arguments: str) -> set[str]:
    """Return the imported modules, without those of a bare interpreter."""
    return imported(*arguments) - imported("-c", "pass")


LIBRARIES = {"rich", "sqlite3", "http.client", "click", "isal", "zstandard", "cryptography"}
HEAVY = LIBRARIES | {"bz2", "lzma", "ssl", "tarfile", "asyncio", "importlib.metadata"}


def test_importing_the_library_loads_no_other_library() -> None:
    assert not loaded_by("-c", "import wherry") & HEAVY


def test_importing_the_library_loads_none_of_its_rooms() -> None:
    found = {name for name in loaded_by("-c", "import wherry") if name.startswith("wherry.")}
    assert not found


def test_a_name_of_the_library_loads_no_more_than_it_needs() -> None:
    """A caller that only parses references loads nothing else."""
    loaded = loaded_by("-c", "import wherry; wherry.Reference.parse('alpine'); wherry.WherryError")
    assert not loaded & HEAVY


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_the_command_starts_light(arguments: list[str]) -> None:
    """docs/architecture.md, "Start-up": of the libraries, only click is loaded."""
    loaded = loaded_by("-m", "wherry", *arguments)
    assert "wherry.cli.main" in loaded
    assert "click" in loaded
    # The help gets the terminal's width from shutil, which imports the standard codecs.
    assert not loaded & (LIBRARIES | {"ssl", "asyncio", "importlib.metadata"}) - {"click"}
    assert not {name for name in loaded if name.startswith(("wherry.registry", "wherry.store"))}


def test_a_pull_loads_no_more_than_it_needs(fake: FakeRegistry, tmp_path: Path) -> None:
    """Imports take half of the time of a small pull."""
    fake.add_image("app", build_image([tar_layer({"a": b"x"})]), "t")
    arguments = ["--store", str(tmp_path / "store"), "pull", "-q", f"{fake.host}/app:t"]
    loaded = loaded_by("-m", "wherry", *arguments)
    assert {"http.client", "click", "sqlite3"} <= loaded
    # Modules that libraries may import; click suggests spellings with difflib.
    assert not loaded & {"importlib.metadata", "logging", "zipfile", "difflib"}
    assert not loaded & {"rich", "cryptography", "asyncio"}


@pytest.mark.parametrize("command", ["inspect", "digest", "manifest", "config"])
def test_a_remote_image_is_read_without_the_store(fake: FakeRegistry, command: str) -> None:
    fake.add_image("app", build_image([tar_layer({"a": b"x"})]), "t")
    loaded = loaded_by("-m", "wherry", command, f"{fake.host}/app:t")
    assert "http.client" in loaded
    assert not {name for name in loaded if name.startswith(("sqlite3", "wherry.store"))}


def test_a_copy_between_registries_does_not_load_the_store(fake: FakeRegistry) -> None:
    fake.add_image("app", build_image([tar_layer({"a": b"x"})]), "t")
    loaded = loaded_by("-m", "wherry", "copy", f"{fake.host}/app:t", f"{fake.host}/other:t")
    assert "other" in fake.tags
    assert not {name for name in loaded if name.startswith(("sqlite3", "wherry.store"))}
    assert not loaded & {"importlib.metadata", "logging", "difflib", "rich", "tempfile", "tarfile"}


def test_every_public_name_is_where_the_library_says() -> None:
    assert all(hasattr(wherry, name) for name in wherry.__all__)
    assert set(wherry.__all__) <= set(dir(wherry))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = getattr(wherry, "no_such_name")  # noqa: B009 - type checkers refuse the plain form


def _is_elapsed(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and ".monotonic()" in ast.unparse(node.left)


def test_no_test_asserts_that_little_time_has_passed() -> None:
    """Such a test fails on a busy machine; let the fault outlast the wait instead."""
    tests = Path(__file__).parent
    wrong = [
        f"{module.relative_to(tests)}:{node.lineno}"
        for module in tests.rglob("test_*.py")
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for smaller, operator in zip([node.left, *node.comparators], node.ops, strict=False)
        if isinstance(operator, ast.Lt | ast.LtE) and _is_elapsed(smaller)
    ]
    assert not wrong


@pytest.mark.parametrize("kind", [wherry.Client, wherry.Store])
def test_each_parameter_of_a_public_call_has_a_rule(kind: type) -> None:
    """docs/architecture.md, "Arguments of public calls"."""
    ruled = {"self", "options", *parameters.RULES}
    assert set(wherry.types.CopyArguments.__annotations__) <= ruled
    for name, call in inspect.getmembers(kind, callable):
        if name == "__init__" or not name.startswith("_"):
            assert set(inspect.signature(call).parameters) <= ruled, name
