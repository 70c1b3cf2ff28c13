"""What the parameters of a store's calls take, by their names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import dray
from dray.model.arguments import CALLABLE, FLAG, TEXT, Rule, instance
from dray.model.digest import Digest

_DIGEST = instance("a dray.Digest", Digest)


def _are(kind: type) -> Rule:
    def fits(value: Any) -> bool:
        return isinstance(value, Collection) and not isinstance(value, str | bytes)

    words = f"a list of {kind.__name__}"
    return Rule(words, fits, lambda value: all(isinstance(each, kind) for each in value))


RULES = {
    "cancel": Rule("a dray.CancelToken", lambda value: isinstance(value, dray.CancelToken)),
    "columns": _are(str),
    "digest": _DIGEST,
    "digests": _are(str),
    "dry_run": FLAG,
    "force": FLAG,
    "manifest": _DIGEST,
    "on_progress": CALLABLE,
    "prefix": TEXT,
    "records": _are(object),
    "ref": Rule("a dray.types.Ref", lambda value: isinstance(value, dray.types.Ref)),
    "reference": Rule("a dray.Reference", lambda value: isinstance(value, dray.Reference)),
    "root": _DIGEST,
    "tagged": FLAG,
    "unnamed": FLAG,
}
