"""Types that calls of dray take and return, beside those that `dray` itself names.

>>> import dray
>>> def count(report: dray.types.Report) -> int:
...     return len(report.findings)

A type is imported when it is first used, so that an annotation costs nothing at start-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from hashlib import _Hash
    from tarfile import TarFile as TarFile

    from dray.content.pipeline import Limits as Limits
    from dray.content.verify import RawLimit as RawLimit
    from dray.image import StoreOrPath as StoreOrPath
    from dray.model.config import History as History
    from dray.model.config import ImageConfig as ImageConfig
    from dray.model.descriptor import Descriptor as Descriptor
    from dray.model.manifest import Document as Document
    from dray.model.manifest import Index as Index
    from dray.model.manifest import Manifest as Manifest
    from dray.model.problem import Problem as _DocumentProblem
    from dray.model.schema1 import Layer1 as Layer1
    from dray.model.schema1 import Schema1 as Schema1
    from dray.model.schema1 import Signature as Signature
    from dray.ops.history import Step as Step
    from dray.ops.login import LoggedOut as LoggedOut
    from dray.ops.platforms import PlatformImage as PlatformImage
    from dray.ops.repair import Repaired as Repaired
    from dray.ops.save import Format as Format
    from dray.ops.save import Saved as Saved
    from dray.ops.tags import Order as Order
    from dray.ops.validate import Finding as Finding
    from dray.ops.validate import Report as Report
    from dray.ops.why import Answer as Answer
    from dray.ops.why import Look as Look
    from dray.ops.why import Place as Place
    from dray.ops.why import Why as Why
    from dray.registry.host_settings import HostSettings as HostSettings
    from dray.registry.hosts import Meaning as Meaning
    from dray.registry.transport import Exchange as Exchange
    from dray.store.check import Checked as Checked
    from dray.store.check import Problem as Problem
    from dray.store.facts import Facts as Facts
    from dray.store.gc import Collected as Collected
    from dray.store.images import ImageRecord as ImageRecord
    from dray.store.ingest import Ingest as Ingest
    from dray.store.listing import Listed as Listed
    from dray.store.rebuild import Rebuilt as Rebuilt
    from dray.store.refs import Ref as Ref
    from dray.store.removal import Removed as Removed
    from dray.store.usage import Usage as Usage

    DocumentProblem: TypeAlias = _DocumentProblem
    Hash: TypeAlias = _Hash

# The module of each type, and its name there if that is another one.
_HOMES = {
    "Answer": "dray.ops.why",
    "Checked": "dray.store.check",
    "Collected": "dray.store.gc",
    "Descriptor": "dray.model.descriptor",
    "Document": "dray.model.manifest",
    "DocumentProblem": "dray.model.problem:Problem",
    "Exchange": "dray.registry.transport",
    "Facts": "dray.store.facts",
    "Finding": "dray.ops.validate",
    "Format": "dray.ops.save",
    "Hash": "_hashlib:HASH",
    "History": "dray.model.config",
    "HostSettings": "dray.registry.host_settings",
    "ImageConfig": "dray.model.config",
    "ImageRecord": "dray.store.images",
    "Index": "dray.model.manifest",
    "Ingest": "dray.store.ingest",
    "Layer1": "dray.model.schema1",
    "Limits": "dray.content.pipeline",
    "Listed": "dray.store.listing",
    "LoggedOut": "dray.ops.login",
    "Look": "dray.ops.why",
    "Manifest": "dray.model.manifest",
    "Meaning": "dray.registry.hosts",
    "Order": "dray.ops.tags",
    "Place": "dray.ops.why",
    "PlatformImage": "dray.ops.platforms",
    "Problem": "dray.store.check",
    "RawLimit": "dray.content.verify",
    "Rebuilt": "dray.store.rebuild",
    "Ref": "dray.store.refs",
    "Removed": "dray.store.removal",
    "Repaired": "dray.ops.repair",
    "Report": "dray.ops.validate",
    "Saved": "dray.ops.save",
    "Schema1": "dray.model.schema1",
    "Signature": "dray.model.schema1",
    "Step": "dray.ops.history",
    "StoreOrPath": "dray.image",
    "TarFile": "tarfile",
    "Usage": "dray.store.usage",
    "Why": "dray.ops.why",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and sees misspelt names

    def __getattr__(name: str) -> object:
        import importlib

        if name not in _HOMES:
            raise AttributeError(f"module 'dray.types' has no attribute {name!r}")
        home, _, own_name = _HOMES[name].partition(":")
        module = importlib.import_module(home)
        if name == "Document":
            return module.Manifest | module.Index | __getattr__("Schema1")
        return getattr(module, own_name or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
