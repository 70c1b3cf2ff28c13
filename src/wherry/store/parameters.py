"""What the parameters of a store's calls take, by their names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import wherry
from wherry.model.arguments import CALLABLE, FLAG, TEXT, Rule, instance
from wherry.model.digest import Digest

_DIGEST = instance("a wherry.Digest", Digest)


def _are(kind: type) -> Rule:
    def fits(value: Any) -> bool:
        return isinstance(value, Collection) and not isinstance(value, str | bytes)

    words = f"a list of {kind.__name__}"
    return Rule(words, fits, lambda value: all(isinstance(each, kind) for each in value))


RULES = {
    "cancel": Rule("a wherry.CancelToken", lambda value: isinstance(value, wherry.CancelToken)),
    "columns": _are(str),
    "digest": _DIGEST,
    "digests": _are(str),
    "dry_run": FLAG,
    "force": FLAG,
    "manifest": _DIGEST,
    "on_progress": CALLABLE,
    "prefix": TEXT,
    "records": _are(object),
    "ref": Rule("a wherry.types.Ref", lambda value: isinstance(value, wherry.types.Ref)),
    "reference": Rule("a wherry.Reference", lambda value: isinstance(value, wherry.Reference)),
    "root": _DIGEST,
    "tagged": FLAG,
    "unnamed": FLAG,
}
