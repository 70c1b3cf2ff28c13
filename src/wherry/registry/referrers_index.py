"""Listing referrers where a registry does not: an index under the tag ``sha256-HEX``.

OCI distribution spec 1.1, Referrers Tag Schema. Other clients change the same index, and few
registries compare the ETag of a PUT: Distribution 2.8 sends ETags and ignores ``If-Match``. So
the index is read again after each change, and merged again if it lost an entry.
"""

from __future__ import annotations

import json
import random
import threading
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wherry.errors import InvalidDocument, NetworkError, NotFound, Unsupported, WherryError
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Index, parse
from wherry.model.record import Record
from wherry.registry.referrers import lists_referrers, referrers_tag
from wherry.registry.upload_errors import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wherry.content.cancel import CancelToken
    from wherry.registry.distribution_api import DistributionApi
    from wherry.registry.host_calls import HostCalls
    from wherry.registry.write_api import WriteApi

MAX_CHANGES = 20  # times that one index is written before the update fails
_LEAST, _MOST = 0.2, 5.0  # seconds between a change and the last look at it
_TIMES = 4  # the last look waits so many times as long as a change takes
_CHANGED = 412


class _Found(Record):
    """The index as it is: its JSON, its entries, and its ETag if there is a strong one."""

    value: Mapping[str, Any] = MappingProxyType({})
    entries: tuple[Descriptor, ...] = ()
    etag: str = ""

    def lacks(self, entry: Descriptor) -> bool:
        """Return whether an entry is not listed, or is listed without its type."""
        return not any(
            each.digest == entry.digest and (each.artifact_type or not entry.artifact_type)
            for each in self.entries
        )

    def merge(self, entries: Iterable[Descriptor]) -> bytes:
        """Return the index with more entries; all else stays as it is."""
        added = {str(entry.digest): _to_json(entry) for entry in entries}
        kept = [each for each in self.value.get("manifests") or () if each["digest"] not in added]
        index = {"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, **self.value}
        index["manifests"] = [*kept, *added.values()]
        return json.dumps(index, separators=(",", ":")).encode()


class _Subject:
    """The referrers that were stored for one subject, and the last change of their list."""

    def __init__(self) -> None:
        self.entries: dict[Digest, Descriptor] = {}
        self.is_settled = False
        self.changed = 0.0  # when it was written; 0 if it was not
        self.pause = _LEAST


class ReferrersIndexes:
    """Adds referrers to the indexes of a repository, all of a subject at once. Thread-safe.

    Args:
        api: The repository.
        reader: The same repository to read from.
        calls: Repeats calls.
        note: Is told what happens, for a detailed log.
    """

    def __init__(
        self,
        api: WriteApi,
        reader: DistributionApi,
        calls: HostCalls,
        note: Callable[[str], None],
    ) -> None:
        self._api = api
        self._reader = reader
        self._calls = calls
        self._note = note
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._subjects: dict[Digest, _Subject] = {}

    def add(self, subject: Digest, entry: Descriptor) -> None:
        """Note a referrer that is stored; `settle` adds it to the list of its subject."""
        with self._lock:
            known = self._subjects.setdefault(subject, _Subject())
            known.entries[entry.digest] = entry
            known.is_settled = False

    def settle(self, cancel: CancelToken) -> None:
        """Add the referrers that were noted to their lists, and look again at each list.

        A client that read a list before a change here may write it after that; its list then
        lacks the entries from here. What it takes a client to do so is little more than what it
        took here. So each list is read once more after a pause.

        Raises:
            Unsupported: A tag holds something else.
            NetworkError: A list does not keep what is added.
            RegistryError: The registry refuses a list.
        """
        with self._settling:
            with self._lock:
                unsettled = [each for each in self._subjects.items() if not each[1].is_settled]
            for subject, known in unsettled:
                self._tell(subject)
                known.changed = 0.0
                self._update(subject, known, cancel)
            for subject, known in unsettled:
                self._look_again(subject, known, cancel)
                known.is_settled = True

    def _tell(self, subject: Digest) -> None:
        self._note(
            f"{self._api.endpoint.name} has no list of referrers: they are kept under the tag "
            f"{referrers_tag(subject)}; if another client changes it at the same moment, one of "
            "the changes may be lost"
        )

    def _look_again(self, subject: Digest, known: _Subject, cancel: CancelToken) -> None:
        for _ in range(MAX_CHANGES):
            before = known.changed
            if not before:
                return  # the list had all entries
            due = before + known.pause * random.uniform(1, 1.5)  # noqa: S311 - not a secret
            cancel.sleep(due - monotonic())
            self._update(subject, known, cancel)
            if known.changed == before:
                return

    def _update(self, subject: Digest, known: _Subject, cancel: CancelToken) -> None:
        """Write the list until it has all entries that were noted."""
        tag, refused = referrers_tag(subject), ""
        for number in range(MAX_CHANGES + 1):
            if number > 1:
                cancel.sleep(random.uniform(0, known.pause))  # noqa: S311 - not a secret
            started = monotonic()
            found = self._read(subject, tag, cancel)
            missing = [entry for entry in known.entries.values() if found.lacks(entry)]
            if not missing:
                return
            if number == MAX_CHANGES:
                break
            if known.changed:
                self._note(f"{self._where(tag)}: another client has changed it; merged again")
            # A proxy may change ETags: one that was refused, and is served again, is left out.
            condition = found.etag if found.etag != refused else ""
            is_written = self._put(tag, found.merge(missing), condition, cancel)
            refused = "" if is_written else condition
            known.changed = monotonic()
            known.pause = min(max(_LEAST, _TIMES * (known.changed - started)), _MOST)
        raise NetworkError(
            "the list of referrers does not keep what is added to it",
            host=self._api.endpoint.name,
            transient=False,
            hint="other clients may be changing it: try again later",
        ).within(self._where(tag))

    def _put(self, tag: str, raw: bytes, condition: str, cancel: CancelToken) -> bool:
        """Write the list; return False if it is not what it was when it was read."""
        index = Descriptor.of(raw, mediatype.OCI_INDEX)
        try:
            self._calls.run(
                cancel,
                lambda: self._api.put_manifest(index, raw, cancel, tag=tag, if_match=condition),
            )
        except WherryError as error:
            if condition and status_of(error) == _CHANGED:
                return False
            raise
        return True

    def _read(self, subject: Digest, tag: str, cancel: CancelToken) -> _Found:
        try:
            return self._calls.run(cancel, lambda: self._read_once(subject, tag, cancel))
        except NotFound:
            return _Found()
        except (InvalidDocument, Unsupported):
            raise Unsupported(
                "the tag holds something other than a list of referrers, and is left as it is",
                hint="the registry has no other list of referrers: remove the tag, or rename it",
            ).within(self._where(tag)) from None

    def _read_once(self, subject: Digest, tag: str, cancel: CancelToken) -> _Found:
        served = self._reader.get_manifest(tag, cancel)
        if Digest.of(served.raw, subject.algorithm) == subject:
            return _Found()  # some registries mistake the tag for the digest
        with served.transient_if_truncated():
            index = parse(served.raw, served.media_type)
        if not isinstance(index, Index) or not lists_referrers(index, subject):
            raise Unsupported("the index does not list referrers")
        etag = served.etag if served.etag.startswith('"') else ""  # RFC 9110, 13.1.1
        return _Found(json.loads(served.raw), index.manifests, etag)

    def _where(self, tag: str) -> str:
        return f"{self._api.endpoint.name}/{self._api.endpoint.path}:{tag}"


def _to_json(entry: Descriptor) -> dict[str, Any]:
    found: dict[str, Any] = {
        "mediaType": entry.media_type,
        "digest": str(entry.digest),
        "size": entry.size,
    }
    if entry.annotations:
        found["annotations"] = dict(sorted(entry.annotations.items()))
    if entry.artifact_type:
        found["artifactType"] = entry.artifact_type
    return found
