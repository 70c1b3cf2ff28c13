"""Types that public calls take and return, besides the names of `wherry` itself.

>>> import wherry
>>> def count(report: wherry.types.ValidationReport) -> int:
...     return len(report.findings)

A type is imported when it is used, so that an annotation costs nothing at start-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from hashlib import _Hash
    from tarfile import TarFile as TarFile

    from wherry.content.pipeline import Limits as Limits
    from wherry.content.verify import RawLimit as RawLimit
    from wherry.image_store import StoreOrPath as StoreOrPath
    from wherry.model.address import Where as Where
    from wherry.model.compression import Compression as Compression
    from wherry.model.config import History as History
    from wherry.model.config import ImageConfig as ImageConfig
    from wherry.model.descriptor import Descriptor as Descriptor
    from wherry.model.manifest import Document as Document
    from wherry.model.manifest import Index as Index
    from wherry.model.manifest import Manifest as Manifest
    from wherry.model.problem import DocumentFault as DocumentFault
    from wherry.model.schema1 import Schema1 as Schema1
    from wherry.model.schema1 import Schema1Layer as Schema1Layer
    from wherry.model.schema1_signatures import Signature as Signature
    from wherry.ops.artifact_listing import ArtifactRecord as ArtifactRecord
    from wherry.ops.copy_choice import CopyArguments as CopyArguments
    from wherry.ops.delete import DeletePlan as DeletePlan
    from wherry.ops.delete import DeleteResult as DeleteResult
    from wherry.ops.history import HistoryStep as HistoryStep
    from wherry.ops.login import LogoutResult as LogoutResult
    from wherry.ops.members import ImageMember as ImageMember
    from wherry.ops.platforms import PlatformImage as PlatformImage
    from wherry.ops.repair import RepairReport as RepairReport
    from wherry.ops.save import SaveResult as SaveResult
    from wherry.ops.save_options import Format as Format
    from wherry.ops.tags import Order as Order
    from wherry.ops.unpack import UnpackResult as UnpackResult
    from wherry.ops.validate import Finding as Finding
    from wherry.ops.validate import ValidationReport as ValidationReport
    from wherry.ops.why import EndpointReport as EndpointReport
    from wherry.ops.why import EndpointResponse as EndpointResponse
    from wherry.ops.why import Lookup as Lookup
    from wherry.ops.why import NameReport as NameReport
    from wherry.registry.hosts import NameCandidate as NameCandidate
    from wherry.registry.hosts_toml import HostSettings as HostSettings
    from wherry.registry.http.response import Exchange as Exchange
    from wherry.store.check import CheckReport as CheckReport
    from wherry.store.check import StoreProblem as StoreProblem
    from wherry.store.gc import GarbageReport as GarbageReport
    from wherry.store.images import ImageRecord as ImageRecord
    from wherry.store.rebuild import RebuildReport as RebuildReport
    from wherry.store.removal import RemovalReport as RemovalReport
    from wherry.store.usage import Usage as Usage
    from wherry.sync.lock import LockChange as LockChange
    from wherry.sync.lock import LockResult as LockResult
    from wherry.sync.lock_file import Lock as Lock
    from wherry.sync.lock_file import LockedImage as LockedImage
    from wherry.sync.lock_file import LockedPlatform as LockedPlatform
    from wherry.sync.lock_file import LockOrPath as LockOrPath
    from wherry.sync.pin import PinnedImage as PinnedImage
    from wherry.transfer.execute import CopyResult as CopyResult
    from wherry.transfer.plan_values import Convert as Convert
    from wherry.transfer.plan_values import Mount as Mount
    from wherry.transfer.plan_values import Move as Move
    from wherry.transfer.plan_values import PlannedDocument as PlannedDocument
    from wherry.transfer.plan_values import Skip as Skip

    Hash: TypeAlias = _Hash

# The module of each type, and its name there if it differs.
_HOMES = {
    "ArtifactRecord": "wherry.ops.artifact_listing",
    "CheckReport": "wherry.store.check",
    "Compression": "wherry.model.compression",
    "Convert": "wherry.transfer.plan_values",
    "CopyArguments": "wherry.ops.copy_choice",
    "CopyResult": "wherry.transfer.execute",
    "DeletePlan": "wherry.ops.delete",
    "DeleteResult": "wherry.ops.delete",
    "Descriptor": "wherry.model.descriptor",
    "Document": "wherry.model.manifest",
    "DocumentFault": "wherry.model.problem",
    "EndpointReport": "wherry.ops.why",
    "EndpointResponse": "wherry.ops.why",
    "Exchange": "wherry.registry.http.response",
    "Finding": "wherry.ops.validate",
    "Format": "wherry.ops.save_options",
    "GarbageReport": "wherry.store.gc",
    "Hash": "_hashlib:HASH",
    "History": "wherry.model.config",
    "HistoryStep": "wherry.ops.history",
    "HostSettings": "wherry.registry.hosts_toml",
    "ImageConfig": "wherry.model.config",
    "ImageMember": "wherry.ops.members",
    "ImageRecord": "wherry.store.images",
    "Index": "wherry.model.manifest",
    "Schema1Layer": "wherry.model.schema1",
    "Limits": "wherry.content.pipeline",
    "Lock": "wherry.sync.lock_file",
    "LockChange": "wherry.sync.lock",
    "LockOrPath": "wherry.sync.lock_file",
    "LockResult": "wherry.sync.lock",
    "LockedImage": "wherry.sync.lock_file",
    "LockedPlatform": "wherry.sync.lock_file",
    "LogoutResult": "wherry.ops.login",
    "Lookup": "wherry.ops.why",
    "Manifest": "wherry.model.manifest",
    "Mount": "wherry.transfer.plan_values",
    "Move": "wherry.transfer.plan_values",
    "NameCandidate": "wherry.registry.hosts",
    "NameReport": "wherry.ops.why",
    "Order": "wherry.ops.tags",
    "PinnedImage": "wherry.sync.pin",
    "PlannedDocument": "wherry.transfer.plan_values",
    "PlatformImage": "wherry.ops.platforms",
    "RawLimit": "wherry.content.verify",
    "RebuildReport": "wherry.store.rebuild",
    "RemovalReport": "wherry.store.removal",
    "RepairReport": "wherry.ops.repair",
    "SaveResult": "wherry.ops.save",
    "Schema1": "wherry.model.schema1",
    "Signature": "wherry.model.schema1_signatures",
    "Skip": "wherry.transfer.plan_values",
    "StoreOrPath": "wherry.image_store",
    "StoreProblem": "wherry.store.check",
    "TarFile": "tarfile",
    "UnpackResult": "wherry.ops.unpack",
    "Usage": "wherry.store.usage",
    "Where": "wherry.model.address",
    "ValidationReport": "wherry.ops.validate",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and sees misspelt names

    def __getattr__(name: str) -> object:
        import importlib

        if name not in _HOMES:
            raise AttributeError(f"module 'wherry.types' has no attribute {name!r}")
        home, _, own_name = _HOMES[name].partition(":")
        module = importlib.import_module(home)
        if name == "Document":
            return module.Manifest | module.Index | __getattr__("Schema1")
        return getattr(module, own_name or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
