"""Images that compose files and Kubernetes YAML name, with their positions in the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidReference, WherryError
from wherry.model.reference import Reference
from wherry.sync.found_image import FoundImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_MERGE = "<<"  # a key whose mappings are merged


def find_images(text: str, file: Path, warn: Callable[[str, str], None]) -> list[FoundImage]:
    """Return the images that a YAML file names, each position once, in order.

    A service of a compose file that is built, and a name with variables, are left out with a
    warning. Aliases count once, and mappings are merged as compose merges them.

    Args:
        text: The content of the file.
        file: Its path, for errors.
        warn: Called for each name that is left out, with its place and the reason.

    Raises:
        WherryError: It is not YAML, is neither a compose file nor for Kubernetes, or a name does
            not parse; the error has the line.
    """
    search = _Search(file, warn)
    for document in _compose(text, file):
        search.look_through(document)
    if not search.is_known:
        raise WherryError("is neither a compose file nor YAML for Kubernetes").within(file)
    found = {scalar.start_mark.index: (place, scalar) for place, scalar in search.scalars}
    images = (search.image(text, *found[index]) for index in sorted(found))
    return [image for image in images if image is not None]


def _compose(text: str, file: Path) -> list[Any]:
    """Parse YAML to nodes, which are shared where the text has aliases."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ModuleNotFoundError as error:
        hint = "install it with: pip install 'wherry[sync]'"
        raise WherryError(f"YAML needs the package {error.name}", hint=hint) from None
    try:
        return list(YAML(typ="safe", pure=True).compose_all(text))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f"line {mark.line + 1}: "
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise WherryError(f"not valid YAML ({place}{problem})").within(file) from None
    except RecursionError:
        raise WherryError("not valid YAML (nested too deeply)").within(file) from None
    except (ValueError, AttributeError, IndexError, KeyError, AssertionError) as error:
        raise WherryError(f"not valid YAML ({type(error).__name__})").within(file) from None


class _Search:
    """The scalars of a file that name images."""

    def __init__(self, file: Path, warn: Callable[[str, str], None]) -> None:
        self._file = file
        self._warn = warn
        self.is_known = False
        self.scalars: list[tuple[str, Any]] = []

    def look_through(self, document: Any) -> None:
        """Search one document."""
        keys = self._members(document)
        if "apiVersion" in keys and "kind" in keys:
            self.is_known = True
            self._look_through_pods(document)
        elif "services" in keys:
            self.is_known = True
            for name, service in self._members(keys["services"]).items():
                self._look_through_service(f"services.{name}", service)

    def _look_through_service(self, place: str, service: Any) -> None:
        keys = self._members(service)
        if "image" in keys and "build" in keys:
            self._leave_out(keys["image"], f"{place}.image is built, not pulled")
        elif "image" in keys:
            self._add(f"{place}.image", keys["image"])
        for number, volume in enumerate(_items(keys.get("volumes"))):
            fields = self._members(volume)
            if getattr(fields.get("type"), "value", None) == "image" and "source" in fields:
                self._add(f"{place}.volumes[{number}].source", fields["source"])

    def _look_through_pods(self, document: Any) -> None:
        """Search all pod specs below a node; aliases may lead back to it."""
        left, seen = [("", document)], set()
        while left:
            place, node = left.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            keys = self._members(node)
            for key in _CONTAINERS:
                self._look_through_list(f"{place}{key}", keys.get(key), ("image",))
            self._look_through_list(f"{place}volumes", keys.get("volumes"), ("image", "reference"))
            left += ((f"{place}{key}.", child) for key, child in keys.items())
            inside = place.removesuffix(".")
            left += ((f"{inside}[{n}].", child) for n, child in enumerate(_items(node)))

    def _look_through_list(self, place: str, node: Any, path: tuple[str, ...]) -> None:
        for number, item in enumerate(_items(node)):
            found = item
            for key in path:
                found = self._members(found).get(key)
            if found is not None:
                self._add(f"{place}[{number}].{'.'.join(path)}", found)

    def _add(self, place: str, node: Any) -> None:
        if not isinstance(getattr(node, "value", None), str):
            raise self._error("is not a string", place, node)
        if node.value and node.tag.rpartition(":")[2] != "null":
            self.scalars.append((place, node))

    def _members(self, node: Any) -> dict[str, Any]:
        """Return the members of a mapping with those that it merges; none of another node."""
        found: dict[str, Any] = {}
        left, seen = [node], set()
        while left:
            each = left.pop(0)
            if id(each) in seen or not _is_mapping(each):
                continue
            seen.add(id(each))
            own: dict[str, Any] = {}
            for key, value in each.value:
                if key.value == _MERGE:
                    left += value.value if _is_sequence(value) else [value]
                elif isinstance(key.value, str):
                    if key.value in own:
                        raise self._error(f"the key {key.value!r} appears twice", "", key)
                    own[key.value] = value
            found = own | found
        return found

    def image(self, text: str, place: str, node: Any) -> FoundImage | None:
        """Return the image that a scalar names; None if the name has variables."""
        name: str = node.value
        if "$" in name:
            self._leave_out(node, f"{place} has variables, which are not resolved")
            return None
        try:
            reference = Reference.parse(name)
        except InvalidReference as error:
            raise error.within(f"{self._file}:{node.start_mark.line + 1}", place) from None
        # The raw scalar may begin with an anchor or a tag.
        raw = text[node.start_mark.index : node.end_mark.index]
        quote = node.style if node.style in {"'", '"'} else ""
        start = node.end_mark.index - len(quote) - len(name)
        return FoundImage(
            place,
            node.start_mark.line + 1,
            reference,
            name,
            start,
            node.style not in {"|", ">"} and raw.endswith(f"{quote}{name}{quote}"),
        )

    def _leave_out(self, node: Any, reason: str) -> None:
        self._warn(f"{self._file}:{node.start_mark.line + 1}", f"{reason}; left out")

    def _error(self, message: str, place: str, node: Any) -> WherryError:
        return WherryError(message).within(f"{self._file}:{node.start_mark.line + 1}", place)


def _is_mapping(node: Any) -> bool:
    return getattr(node, "id", "") == "mapping"


def _is_sequence(node: Any) -> bool:
    return getattr(node, "id", "") == "sequence"


def _items(node: Any) -> Iterator[Any]:
    return iter(node.value if _is_sequence(node) else ())
