"""Templates of ``--format``, and the Go structs that ``inspect`` passes to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wherry.cli.gotemplate import Struct, TemplateError, Time, fill, parse
from wherry.errors import InvalidReference
from wherry.model.gostruct import Field, Kind
from wherry.model.inspection import OCI_IMAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.model.inspection import Inspection

_LITERAL = re.compile(r"\{\{.*?\}\}|\\n|\\t", re.DOTALL)
_NAMES = {
    "created_by": "CreatedBy",
    "diff_ids": "DiffIDs",
    "empty_layer": "EmptyLayer",
    "os": "OS",
    "os.features": "OSFeatures",
    "os.version": "OSVersion",
    "rootfs": "RootFS",
}


class FormatTemplate:
    r"""A Go template from the command line.

    Outside of actions, ``\n`` and ``\t`` stand for a line break and a tab. A line break is added
    at the end if it is missing.
    """

    def __init__(self, text: str) -> None:
        """Parse a template.

        Raises:
            InvalidReference: The template is invalid; the error has the position.
        """
        text = _LITERAL.sub(_unescape, text.removeprefix("table "))
        self._text = text if text.endswith("\n") else text + "\n"
        try:
            self._nodes = parse(self._text)
        except TemplateError as error:
            raise self._invalid_reference(error) from None

    def image(self, image: Inspection) -> str:
        """Print an image with the fields of ``skopeo inspect``.

        Raises:
            InvalidReference: The template uses a field that does not exist.
        """
        return self.fill(_image(image))

    def config(self, image: Inspection) -> str:
        """Print the OCI config of an image; raises `InvalidReference` as `image` does."""
        return self.fill(go_struct(OCI_IMAGE, image.oci_config()))

    def plain(self, document: Mapping[str, Any]) -> str:
        """Print a JSON object; raises `InvalidReference` as `image` does."""
        return self.fill(_plain(document))

    def fill(self, value: Struct) -> str:
        """Print a struct; raises `InvalidReference` as `image` does."""
        try:
            return fill(self._nodes, value)
        except TemplateError as error:
            raise self._invalid_reference(error) from None

    def _invalid_reference(self, error: TemplateError) -> InvalidReference:
        at = 0 if error.at is None else error.at
        start = self._text.rfind("\n", 0, at) + 1
        line = self._text[start:].partition("\n")[0]
        return InvalidReference(f"invalid template: {error}", text=line, position=at - start)


def _unescape(match: re.Match[str]) -> str:
    return {"\\n": "\n", "\\t": "\t"}.get(match.group(), match.group())


def _image(image: Inspection) -> Struct:
    document = image.fields()
    fields = {"Name": "", "Tag": "", **document}
    fields["Created"] = None if image.created is None else Time(image.created)
    fields["RepoTags"] = image.repo_tags or ()
    fields["Labels"] = dict(image.labels)
    fields["Env"] = image.raw_env or ()
    fields["LayersData"] = [Struct(layer, layer) for layer in document["LayersData"]]
    return Struct(fields, document)


def _plain(document: Mapping[str, Any]) -> Struct:
    """Convert an object and the objects in it to structs."""
    fields = {
        key: [_plain(item) if isinstance(item, dict) else item for item in value]
        if isinstance(value, list)
        else value
        for key, value in document.items()
    }
    return Struct(fields, document)


def go_struct(fields_of: tuple[Field, ...], document: Mapping[str, Any]) -> Struct:
    """Convert a document to a Go struct; absent fields get their zero values."""
    fields = {}
    for field in fields_of:
        name = _NAMES.get(field.name) or field.name[:1].upper() + field.name[1:]
        fields[name] = _value(field, document.get(field.name))
    return Struct(fields, document)


def _value(field: Field, found: Any) -> Any:
    if isinstance(field.kind, tuple):
        if field.many:
            return [go_struct(field.kind, item) for item in found or ()]
        return None if found is None and field.pointer else go_struct(field.kind, found or {})
    match field.kind:
        case Kind.TIME:
            return None if found is None else Time(found)
        case Kind.BOOL:
            return bool(found)
        case Kind.STRING:
            return found or ""
        case Kind.MAP | Kind.SET:
            return found or {}
        case _:
            return found or []
