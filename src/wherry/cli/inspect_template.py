"""Templates of ``--format``, and what ``inspect`` hands to them under its names in Go."""

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
    r"""A template as people write it on a command line.

    Outside of actions ``\n`` and ``\t`` are a line's end and a tab; the last line needs no end.
    """

    def __init__(self, text: str) -> None:
        """Read a template; raises `InvalidReference`, which knows the offending place."""
        text = _LITERAL.sub(_unescaped, text.removeprefix("table "))
        self._text = text if text.endswith("\n") else text + "\n"
        try:
            self._nodes = parse(self._text)
        except TemplateError as error:
            raise self._refused(error) from None

    def image(self, image: Inspection) -> str:
        """Fill in what ``skopeo inspect`` has; raises `InvalidReference` for what is not there."""
        return self.fill(_image(image))

    def config(self, image: Inspection) -> str:
        """Fill in an OCI config; raises `InvalidReference`."""
        return self.fill(go_struct(OCI_IMAGE, image.oci_config()))

    def plain(self, document: Mapping[str, Any]) -> str:
        """Fill in an object; raises `InvalidReference`."""
        return self.fill(_plain(document))

    def fill(self, value: Struct) -> str:
        """Fill in a value with its fields; raises `InvalidReference`."""
        try:
            return fill(self._nodes, value)
        except TemplateError as error:
            raise self._refused(error) from None

    def _refused(self, error: TemplateError) -> InvalidReference:
        at = 0 if error.at is None else error.at
        start = self._text.rfind("\n", 0, at) + 1
        line = self._text[start:].partition("\n")[0]
        return InvalidReference(f"invalid template: {error}", text=line, position=at - start)


def _unescaped(match: re.Match[str]) -> str:
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
    """Return an object, with the objects in it, as structs of the same names."""
    fields = {
        key: [_plain(item) if isinstance(item, dict) else item for item in value]
        if isinstance(value, list)
        else value
        for key, value in document.items()
    }
    return Struct(fields, document)


def go_struct(fields_of: tuple[Field, ...], document: Mapping[str, Any]) -> Struct:
    """Return what a Go struct holds, absent fields with their zero values."""
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
