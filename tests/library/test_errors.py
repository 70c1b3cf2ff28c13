"""Every exception survives pickling, copying and the way out of a worker process."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wherry
from wherry import errors
from wherry.cli import exit_codes

SAMPLES = {"str": "some text", "int": 7, "float": 1.5, "bool": True, "Sequence[str]": ("a", "b")}


def all_exceptions() -> list[type[Exception]]:
    """Return every exception class that a module of wherry defines.

    `wherry.testing` is left out, and `wherry.serve`, whose errors are answers to HTTP clients.
    """
    found: dict[type[Exception], None] = {}
    for module in pkgutil.walk_packages(wherry.__path__, "wherry."):
        if not module.name.startswith(("wherry.__main__", "wherry.testing", "wherry.serve")):
            for value in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(value) and issubclass(value, Exception):
                    found[value] = None
    return [kind for kind in found if kind.__module__.startswith("wherry.")]


def sample(kind: type[Exception]) -> Exception:
    """Make an exception with a value of the right type for every parameter."""
    if "__init__" not in vars(kind) and not issubclass(kind, wherry.WherryError):
        return kind("some text")
    positional, named = [], {}
    for parameter in list(inspect.signature(kind.__init__).parameters.values())[1:]:
        kind_of_value = str(parameter.annotation).removesuffix(" | None")
        if kind_of_value in SAMPLES:
            value = SAMPLES[kind_of_value]
        else:  # one exception within another
            value = sample(getattr(wherry, kind_of_value))
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            positional.append(value)
    error = kind(*positional, **named)
    if isinstance(error, wherry.WherryError):
        error.within("alpine:3.20", "archive.tar").attempts = 3
    error.add_note("a note")
    return error


EXCEPTIONS = all_exceptions()


def facts(error: Exception) -> dict[str, Any]:
    """Return all that an exception carries, its notes left out."""
    inner = vars(error).items()
    found = {name: facts(v) if isinstance(v, Exception) else v for name, v in inner}
    return found | {"class": type(error), "text": str(error), "__notes__": None}


def same(one: Exception, other: Exception) -> bool:
    return facts(one) == facts(other)


def test_the_walk_finds_the_exceptions() -> None:
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    public = {kind for kind in classes if issubclass(kind, wherry.WherryError)}
    assert public <= set(EXCEPTIONS)
    assert len(EXCEPTIONS) > len(public)


def test_the_tree_in_the_docstring_lists_every_class() -> None:
    lines = re.findall(r"^    ([│ ]*)(?:[├└]── )?(\w+)", errors.__doc__ or "", re.MULTILINE)
    parents: list[str] = []
    found = {}
    for indent, name in lines:
        del parents[len(indent) // 4 + 1 if parents else 0 :]
        found[name] = parents[-1] if parents else "Exception"
        parents.append(name)
    classes = {kind for kind in EXCEPTIONS if kind.__module__ == "wherry.errors"}
    assert found == {kind.__name__: kind.__mro__[1].__name__ for kind in classes}
    assert found.keys() <= set(wherry.__all__)


def test_classes_of_other_modules_are_internal() -> None:
    others = {kind for kind in EXCEPTIONS if kind.__module__ != "wherry.errors"}
    assert {kind.__name__ for kind in others}.isdisjoint(wherry.__all__)


SPLITTING = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "replace"}


def is_text(node: ast.AST) -> bool:
    """Tell whether an expression is the hint, the message or the text of an error."""
    match node:
        case ast.Attribute(ast.Name(name), "hint" | "message"):
            return "error" in name
        case ast.Call(ast.Name("str"), [ast.Name(name)]):
            return "error" in name
        case _:
            return False


def uses_text(node: ast.AST) -> bool:
    """Tell whether code compares or splits the text of an error."""
    if isinstance(node, ast.Compare):
        return any(map(is_text, [node.left, *node.comparators]))
    return isinstance(node, ast.Attribute) and node.attr in SPLITTING and is_text(node.value)


def test_no_text_of_an_error_decides_anything() -> None:
    for file in sorted(Path(wherry.__file__).parent.rglob("*.py")):
        used = filter(uses_text, ast.walk(ast.parse(file.read_text())))
        assert [ast.unparse(node) for node in used] == [], file


def test_every_error_has_an_exit_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "command.md"
    documented = set(map(int, re.findall(r"^\| (\d+) \| ", page.read_text(), re.MULTILINE)))
    codes = {code for _, code in exit_codes.BY_ERROR}
    assert documented == codes | {exit_codes.DONE}
    for kind in EXCEPTIONS:
        error = sample(kind)
        if isinstance(error, wherry.WherryError):
            assert exit_codes.exit_code(error) in codes


def test_places_are_joined_from_the_outside_in() -> None:
    error = wherry.InvalidDocument("is missing", path="layers[0].digest")
    error.within("/a/layout/index.json").within("/a/layout").within("alpine")
    assert error.where == ("alpine", "/a/layout", "index.json", "layers[0].digest")
    assert str(error) == "alpine: /a/layout: index.json: layers[0].digest: is missing"
    assert error.message == "is missing"
    assert error.is_within("alpine")
    assert not error.is_within("/a/layout")
    assert error.text_within("alpine") == "/a/layout: index.json: layers[0].digest: is missing"
    assert error.text_within("/a/layout") == str(error)


def test_a_place_is_named_once() -> None:
    error = wherry.StoreError("no space left").within("a.tar").within("oci-archive", "a.tar")
    assert str(error) == "oci-archive: a.tar: no space left"
    assert str(wherry.NotFound("gone").within("docker.io/library/alpine:3", "")) == (
        "docker.io/library/alpine:3: gone"
    )
    assert wherry.NotFound("gone").within("docker.io/library/alpine:3").is_within("docker.io")


def test_attempts_are_told() -> None:
    error = wherry.NetworkError("no answer", host="h").within("h")
    error.attempts = 5
    assert str(error) == "h: no answer; tried 5 times"


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_an_exception_is_pickled_and_copied_whole(kind: type[Exception]) -> None:
    error = sample(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
        assert same(again, error)
        assert getattr(again, "__notes__", None) == getattr(error, "__notes__", None)
    assert same(copy.copy(error), error)
    assert same(copy.deepcopy(error), error)


def test_a_copy_goes_its_own_way() -> None:
    error = wherry.PlatformMismatch("none", wanted="linux/arm64", available=["linux/amd64"])
    other = copy.copy(error)
    other.within("alpine")
    assert (str(error), str(other)) == ("none", "alpine: none")
    assert other.available == ("linux/amd64",)


WORKER = """
import concurrent.futures, multiprocessing, sys
sys.path.insert(0, {directory!r})
from test_errors import EXCEPTIONS, same, sample

def fail(number):
    raise sample(EXCEPTIONS[number])

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        answers = [pool.apply_async(fail, (number,)) for number in range(len(EXCEPTIONS))]
        for kind, answer in zip(EXCEPTIONS, answers):
            try:
                answer.get(timeout=40)
            except Exception as error:
                assert same(error, sample(kind)), error
                print(kind.__name__)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        error = pool.submit(fail, 0).exception(timeout=40)
        assert type(error) is EXCEPTIONS[0], error
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_process_says_why_it_failed(tmp_path: Path, method: str) -> None:
    script = tmp_path / "workers.py"
    directory = str(importlib.import_module(__name__).__file__).rpartition("/")[0]
    script.write_text(WORKER.format(directory=directory))
    command = [sys.executable, str(script), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [kind.__name__ for kind in EXCEPTIONS]


def test_objects_of_one_process_refuse_pickling(tmp_path: Path) -> None:
    values: list[Any] = [wherry.Client(store=tmp_path, credentials=("me", "s3cret"))]
    for value in [*values, wherry.CancelToken()]:
        for send in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied") as caught:
                send(value)
            assert "s3cret" not in str(caught.value)
