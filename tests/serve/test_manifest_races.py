"""Manifests that several clients change at the same time, and collections meanwhile."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pushes import push, put_blobs, put_manifest
from wherry.testing import build_image, build_index, tar_layer

if TYPE_CHECKING:
    from asgi_client import AsgiClient
    from wherry.store import LocalStore

IMAGES = [build_image([tar_layer({"a": str(number).encode()})]) for number in range(6)]
INDEX = "application/vnd.oci.image.index.v1+json"
TAG = "/v2/acme/app/manifests/1.0"


def test_one_of_several_clients_creates_a_tag(api: AsgiClient, local: LocalStore) -> None:
    for image in IMAGES:
        put_blobs(local, "acme/app", image)
    with ThreadPoolExecutor(len(IMAGES)) as threads:
        answers = threads.map(
            lambda image: put_manifest(api, "acme/app", image, "1.0", {"If-None-Match": "*"}),
            IMAGES,
        )
        statuses = sorted(answer.status for answer in answers)
    assert statuses == [201] + [412] * (len(IMAGES) - 1)


def test_no_entry_of_a_shared_index_is_lost(api: AsgiClient) -> None:
    empty = build_index([])
    assert put_manifest(api, "acme/app", empty, "1.0").status == 201

    def add(number: int) -> None:
        entry = IMAGES[number].manifest.descriptor()
        while True:
            before = api("GET", TAG)
            document = json.loads(before.body)
            document["manifests"].append(entry)
            given = {"Content-Type": INDEX, "If-Match": before.headers["etag"]}
            answer = api("PUT", TAG, json.dumps(document).encode(), given)
            if answer.status == 201:
                return
            assert answer.status == 412

    with ThreadPoolExecutor(len(IMAGES)) as threads:
        list(threads.map(add, range(len(IMAGES))))
    found = {entry["digest"] for entry in json.loads(api("GET", TAG).body)["manifests"]}
    assert found == {image.digest for image in IMAGES}


def test_collections_do_not_disturb_pushes(api: AsgiClient, local: LocalStore) -> None:
    ended = threading.Event()
    collections = []

    def collect() -> None:
        while not ended.is_set():
            collections.append(local.gc())

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for image in IMAGES:
            push(api, local, "acme/app", image, image.digest[-8:])
            assert api("GET", f"/v2/acme/app/manifests/{image.digest}").status == 200
    finally:
        ended.set()
        collector.join()
    assert collections
    assert local.check().problems == []
