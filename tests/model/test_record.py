"""Records: values that do not change, told apart by what is in them."""

import copy
import importlib
import inspect
import pickle
import pkgutil
import pydoc
from collections.abc import Iterator
from typing import Any

import pytest

import wherry
from wherry.model.record import Record


class Box(Record):
    width: int
    height: int = 2
    label: str = ""


class Crate(Record):
    width: int
    height: int = 2
    label: str = ""


class Chest(Box):
    lock: str = "none"
    height: int = 5


def test_a_record_has_the_fields_of_the_one_it_derives_from() -> None:
    assert Chest(1, 2, "x", "brass") == Chest(1, height=2, label="x", lock="brass")
    assert (Chest(1).height, Box(1).height) == (5, 2)
    assert repr(Chest(1)) == "Chest(width=1, height=5, label='', lock='none')"


def test_records_can_be_matched_by_position() -> None:
    match Box(1, label="x"):
        case Box(width, 2, label):
            assert (width, label) == (1, "x")
        case _:
            pytest.fail("it does not match")


def test_fields_are_given_by_position_or_name_and_have_defaults() -> None:
    assert Box(1) == Box(width=1) == Box(1, 2, label="")
    assert (Box(1, label="x").width, Box(1).height, Box(1, label="x").label) == (1, 2, "x")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((), {}),
        ((), {"height": 1}),
        ((1, 2, "", 4), {}),
        ((1,), {"width": 1}),
        ((1,), {"depth": 1}),
        ((), {"depth": 1}),
        ((), {"height": 2, "label": "", "depth": 1}),
    ],
)
def test_a_field_too_few_or_too_many_is_refused(
    values: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=r"takes width, height, label|multiple values"):
        Box(*values, **named)


def test_records_are_equal_and_hash_by_class_and_values() -> None:
    assert Box(1) != Box(2)
    assert Box(1) != Crate(1)
    assert Box(1) != (1, 2, "")
    assert len({Box(1), Box(height=2, width=1), Box(1, 3)}) == 2


def test_a_record_does_not_change() -> None:
    box = Box(1)
    with pytest.raises(AttributeError, match=r"Box\.width cannot be changed"):
        box.width = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match=r"Box\.width cannot be removed"):
        del box.width
    assert box.replace(width=2) == Box(2)
    assert box == Box(1)
    with pytest.raises(TypeError, match="takes"):
        box.replace(depth=1)


def test_records_can_be_shown_copied_and_pickled() -> None:
    box = Box(1, label="x")
    assert repr(box) == "Box(width=1, height=2, label='x')"
    assert copy.copy(box) == copy.deepcopy(box) == box
    assert pickle.loads(pickle.dumps(box)) == box  # noqa: S301 - our own


def records() -> Iterator[type[Record]]:
    """Yield every record of wherry."""
    for module in pkgutil.walk_packages(wherry.__path__, "wherry."):
        if module.name != "wherry.__main__":
            importlib.import_module(module.name)
    left = [Record]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            if kind.__module__.startswith("wherry."):
                yield kind


def test_every_record_shows_its_fields_in_its_signature() -> None:
    kinds = set(records())
    assert wherry.Layer in kinds
    assert len(kinds) > 50
    for kind in kinds:
        annotations: dict[str, Any] = {}
        for base in reversed(kind.__mro__):
            if issubclass(base, Record) and base is not Record:
                annotations |= inspect.get_annotations(base)
        signature = inspect.signature(kind)
        assert {name: each.annotation for name, each in signature.parameters.items()} == annotations
        for name, parameter in signature.parameters.items():
            assert parameter.default is getattr(kind, name, parameter.empty), (kind, name)


def test_a_signature_binds_what_makes_a_record() -> None:
    signature = inspect.signature(Chest)
    assert str(signature) == (
        "(width: int, height: int = 5, label: str = '', lock: str = 'none') -> None"
    )
    bound = signature.bind(1, label="x")
    assert Chest(*bound.args, **bound.kwargs) == Chest(1, label="x")
    with pytest.raises(TypeError, match="missing a required argument: 'width'"):
        signature.bind(label="x")


def test_help_shows_the_fields() -> None:
    assert "class Box(wherry.model.record.Record)\n |  Box(width: int, height: int = 2" in (
        pydoc.plain(pydoc.render_doc(Box))
    )


def test_copy_replaces_fields_too() -> None:
    # Python 3.13 has it.
    replace = getattr(copy, "replace", lambda box, **changes: box.__replace__(**changes))
    assert replace(Box(1), label="x") == Box(1).replace(label="x") == Box(1, label="x")
