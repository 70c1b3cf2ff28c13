"""The pages for people, without a browser."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from asgi_client import AsgiClient
from html_page import HtmlPage
from pushes import HOST, push, put_blob
from wherry.config import host_platform
from wherry.model.digest import Digest
from wherry.model.reference import Reference
from wherry.serve.app import create_app
from wherry.serve.context import Context
from wherry.serve.pages.image_view import instruction
from wherry.serve.pages.pull_commands import Place, pull_commands
from wherry.store import LocalStore, cached, refs
from wherry.testing import Piece, build_image, build_index, document, sha256, tar_layer

if TYPE_CHECKING:
    from asgi_client import Answer

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
LAYERS = [tar_layer({"etc/motd": b"hello"}), tar_layer({"srv/app": b"x" * 5000})]


def image(architecture: str = "amd64", **options: Any) -> Any:
    history = [
        {"created": "2024-01-02T03:04:05Z", "created_by": "/bin/sh -c #(nop) ADD file:4f in / "},
        {"created_by": 'CMD ["run"]', "empty_layer": True},
        {"created_by": "RUN /bin/sh -c make app # buildkit"},
    ]
    return build_image(LAYERS, architecture=architecture, **{"history": history, **options})


def show(api: AsgiClient, target: str, status: int = 200) -> HtmlPage:
    answer = api("GET", target)
    assert answer.status == status, answer.body
    return checked(answer)


def checked(answer: Answer) -> HtmlPage:
    """Parse a page. Nothing in it runs, and its headers allow nothing but its own style."""
    page = HtmlPage(answer.body)
    assert page.active == ["link", "style"]  # the icon and the page's own
    policy = answer.headers["content-security-policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]{44}'; img-src data:;"
        r" form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        policy,
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    return page


def add_names(local: LocalStore, names: list[str]) -> None:
    """Add names of one image."""
    built = image()
    digest = put_blob(local, "a", built.manifest.data)
    with local.ingest() as ingest, ingest.db.write() as connection:
        for name in names:
            refs.set_ref(connection, refs.read_name(name), digest, digest)


class TestRepositories:
    def test_an_empty_store_says_how_to_push(self, api: AsgiClient) -> None:
        assert f"wherry push app:1 {HOST}/app:1" in show(api, "/").text

    def test_a_read_only_server_does_not(self, local: LocalStore) -> None:
        context = Context(local, HOST, host_platform(), read_only=True)
        assert "push" not in show(AsgiClient(create_app(context)), "/").text

    def test_its_own_come_first(self, api: AsgiClient, local: LocalStore) -> None:
        add_names(local, ["a.example/b:1", f"{HOST}/x/y:1", f"{HOST}/x/y:2", f"{HOST}/b:1"])
        page = show(api, "/")
        names = [f"{HOST}/b", f"{HOST}/x/y", "a.example/b"]
        assert page.links[1:] == [f"/repository/{name}" for name in names]
        assert "x/y 2 tags · just now" in page.text

    def test_ten_thousand_are_paged_and_searched(self, api: AsgiClient, local: LocalStore) -> None:
        add_names(local, [f"{HOST}/r{number:05}:1" for number in range(10_000)])
        first = show(api, "/")
        assert "Repositories 10,000" in first.text
        assert len(first.links) == 102  # with the brand and the next page
        assert first.links[-1] == "?page=2"
        last = show(api, "/?page=100")
        assert f"/repository/{HOST}/r09999" in last.links
        assert last.links[-1] == "?page=99"
        assert show(api, "/?q=R0012&page=1").links[1:] == [
            f"/repository/{HOST}/r0012{digit}" for digit in range(10)
        ]
        assert "No repository here has a name with “zzz”" in show(api, "/?q=zzz").text

    @pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 400, "%D9%A3"])
    def test_any_page_number_is_answered(self, api: AsgiClient, number: str) -> None:
        assert "There is no image yet" in show(api, f"/?page={number}").text

    def test_there_are_none_without_pages(self, local: LocalStore) -> None:
        api = AsgiClient(create_app(Context(local, HOST, host_platform(), has_pages=False)))
        for path in ("/", "/repository/a", "/image/a:1"):
            assert api("GET", path).status == 404
        assert api("GET", "/v2/").status == 200

    def test_they_cannot_be_written(self, api: AsgiClient) -> None:
        assert api("POST", "/").status == 405
        assert api("HEAD", "/").status == 200


class TestRepository:
    def test_tags_with_platforms_and_sizes(self, api: AsgiClient, local: LocalStore) -> None:
        one, other = image(), image("arm64")
        entries = [
            (each, {"os": "linux", "architecture": name})
            for each, name in ((one, "amd64"), (other, "arm64"))
        ]
        push(api, local, "acme/app", build_index(entries), "2")
        push(api, local, "acme/app", one, "1")
        page = show(api, f"/repository/{HOST}/acme/app?sort=name")
        assert "Tags 2" in page.text
        assert "Without a tag" not in page.text
        assert re.search(r"1 linux/amd64 [\d.]+ k?B .* 2 linux/amd64 linux/arm64", page.text)
        assert f"/image/{HOST}/acme/app:2" in page.links

    def test_ten_thousand_tags(self, api: AsgiClient, local: LocalStore) -> None:
        add_names(local, [f"{HOST}/a:t{number:05}" for number in range(10_000)])
        page = show(api, f"/repository/{HOST}/a?page=100&sort=name")
        assert f"/image/{HOST}/a:t09999" in page.links
        assert page.links[-1] == "?sort=name&page=99"
        assert "Page 100 of 100" in page.text
        assert f"/image/{HOST}/a:t00077" in show(api, f"/repository/{HOST}/a?q=0077").links
        assert "No tag here contains “x”" in show(api, f"/repository/{HOST}/a?q=x").text

    def test_digests_without_a_tag(self, api: AsgiClient, local: LocalStore) -> None:
        loose, tagged = image(), image("arm64")
        push(api, local, "a", loose)
        push(api, local, "a", tagged, "1")
        page = show(api, f"/repository/{HOST}/a?show=digests")
        assert "Without a tag 1" in page.text
        assert f"/image/{HOST}/a@{loose.digest}" in page.links

    def test_what_is_cached_is_listed(self, api: AsgiClient, local: LocalStore) -> None:
        built = image()
        push(api, local, "a", built, "1")
        with local.ingest() as ingest, ingest.db.write() as connection:
            for name in ("ghcr.io/x/y:7", f"ghcr.io/x/y@{built.digest}"):
                cached.record(connection, Reference.parse(name), Digest.parse(built.digest))
        assert "/repository/ghcr.io/x/y" in show(api, "/").links
        page = show(api, "/repository/ghcr.io/x/y")
        assert "/image/ghcr.io/x/y:7" in page.links
        assert "Without a tag" not in page.text
        assert "docker pull localhost:5000/ghcr.io/x/y:7" in show(api, "/image/ghcr.io/x/y:7").text
        assert built.digest in show(api, f"/image/ghcr.io/x/y@{built.digest}").text

    @pytest.mark.parametrize("name", ["none/here", "UPPER", "a:1", "..", "%3Cscript%3E", "%00"])
    def test_others_are_not_found(self, api: AsgiClient, name: str) -> None:
        show(api, f"/repository/{name}", 404)


class TestImage:
    def test_an_image(self, api: AsgiClient, local: LocalStore) -> None:
        built = image(entrypoint=["/srv/app"], env=["A=b c"], labels={"team": "red"})
        push(api, local, "acme/app", built, "1")
        text = show(api, f"/image/{HOST}/acme/app:1").text
        assert f"Digest {built.digest} Type application/vnd.oci.image.manifest.v1+json" in text
        assert "Platform linux/amd64" in text
        assert "docker pull localhost:5000/acme/app:1" in text
        small, large = (layer.digest[7:19] for layer in built.layers)
        steps = rf'ADD file:4f in / \d+ B {small} CMD \["run"\] RUN make app \d+ B {large}'
        assert re.search(steps, text)
        for part in ("Entrypoint /srv/app", "A b c", "team red", '"schemaVersion": 2'):
            assert part in text

    def test_the_platforms_of_an_index(self, api: AsgiClient, local: LocalStore) -> None:
        names = ("amd64", "arm64", "s390x")
        images = {name: image(name) for name in names}
        entries = [(images[name], {"os": "linux", "architecture": name}) for name in names]
        index = build_index(entries, extra={"annotations": {"note": "all"}})
        push(api, local, "a", index, "1")
        (local.path / "blobs" / "sha256" / images["s390x"].digest[7:]).unlink()
        target = f"/image/{HOST}/a:1"
        page = show(api, f"{target}?manifest={images['arm64'].digest}")
        assert f"Manifest {images['arm64'].digest} Platform linux/arm64" in page.text
        assert "note all" in page.text
        assert [link for link in page.links if "?manifest=" in link] == [
            f"{target}?manifest={images[name].digest}" for name in names[:2]
        ]
        assert f"Manifest {images[host_platform().architecture].digest}" in show(api, target).text
        for other in (sha256(b"x"), "sha256:x", EVIL):
            show(api, f"{target}?manifest={other}", 404)

    def test_an_artifact_and_its_subject(self, api: AsgiClient, local: LocalStore) -> None:
        built = image()
        push(api, local, "a", built, "1")
        blob = Piece("text/x-sbom", b"parts")
        put_blob(local, "a", blob.data)
        put_blob(local, "a", b"{}")
        config = Piece("application/vnd.oci.empty.v1+json", b"{}")
        title = {"annotations": {"org.opencontainers.image.title": "sbom.json"}}
        raw = document(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "example/sbom",
                "config": config.descriptor(),
                "layers": [blob.descriptor() | title],
                "subject": built.manifest.descriptor(),
            }
        )
        digest = sha256(raw)
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        assert api("PUT", f"/v2/a/manifests/{digest}", raw, kind).status == 201
        page = show(api, f"/image/{HOST}/a:1")
        assert "Referrers Type Digest Size example/sbom" in page.text
        assert f"/image/{HOST}/a@{digest}" in page.links
        assert "Without a tag" not in show(api, f"/repository/{HOST}/a").text
        page = show(api, f"/image/{HOST}/a@{digest}")
        assert "an artifact of type example/sbom" in page.text
        assert "sbom.json text/x-sbom 5 B" in page.text
        assert "example/sbom 7 B updated" in page.text
        assert f"wherry copy {HOST}/a@{digest} oci:a" in page.text

    def test_what_is_missing_or_damaged(self, api: AsgiClient, local: LocalStore) -> None:
        built = image()
        push(api, local, "a", built, "1")
        blobs = local.path / "blobs" / "sha256"
        (blobs / built.config.digest[7:]).unlink()
        text = show(api, f"/image/{HOST}/a:1").text
        assert "This cannot be shown: the config is not in the store." in text
        path = blobs / built.manifest.digest[7:]
        path.chmod(0o600)
        path.write_bytes(b"{}")
        answer = api("GET", f"/image/{HOST}/a:1")
        assert "cannot be read" in checked(answer).text
        assert str(local.path).encode() not in answer.body

    def test_a_damaged_store_is_no_traceback(self, api: AsgiClient, local: LocalStore) -> None:
        push(api, local, "a", image(), "1")
        local.close()
        (local.path / "wherry.db").write_bytes(b"no database" * 1000)
        answer = api("GET", "/")
        assert answer.status == 503
        assert "The store cannot be read" in checked(answer).text
        assert str(local.path).encode() not in answer.body

    @pytest.mark.parametrize(
        "name", ["none:1", "a:", "a@sha256:0", "A:1", "%3Cscript%3E", "a:1%0a"]
    )
    def test_others_are_not_found(self, api: AsgiClient, name: str) -> None:
        show(api, f"/image/{name}", 404)


class TestHostile:
    def test_texts_of_images_are_only_text(self, api: AsgiClient, local: LocalStore) -> None:
        built = image(
            env=[f"{EVIL}={EVIL}"],
            entrypoint=[EVIL],
            cmd=[EVIL],
            labels={EVIL: EVIL},
            history=[
                {"created_by": EVIL, "comment": EVIL, "created": "2024-01-02T03:04:05Z"},
                {"created_by": EVIL},
            ],
            created=EVIL,
            layer_media_types=[EVIL, EVIL],
            config_extra={"author": EVIL},
            manifest_extra={"annotations": {EVIL: EVIL}},
        )
        index = build_index(
            [(built, {"os": EVIL, "architecture": EVIL, "variant": EVIL})],
            extra={"annotations": {EVIL: EVIL}, "artifactType": EVIL},
        )
        push(api, local, "a", index, "1")
        page = show(api, f"/image/{HOST}/a:1")
        assert page.text.count("<script>alert(1)</script>") >= 12
        show(api, f"/image/{HOST}/a@{built.digest}")
        show(api, f"/repository/{HOST}/a")

    def test_artifacts_too(self, api: AsgiClient, local: LocalStore) -> None:
        note = {EVIL: EVIL, "org.opencontainers.image.title": EVIL}
        built = image(
            manifest_extra={"artifactType": EVIL, "annotations": note},
            config_media_type="application/vnd.oci.empty.v1+json",
        )
        push(api, local, "a", built, "1")
        assert f"an artifact of type {EVIL}" in show(api, f"/image/{HOST}/a:1").text

    @pytest.mark.parametrize("text", [EVIL, "javascript:alert(1)", "\u202egnp.exe", "{{7*7}}"])
    def test_texts_of_requests(self, api: AsgiClient, local: LocalStore, text: str) -> None:
        add_names(local, [f"{HOST}/a:1"])
        for target in ("/image/", "/repository/"):
            page = show(api, target + quote(text, ""), 404)
            assert all(link.startswith("/") for link in page.links)
        for target in ("/?q=", f"/repository/{HOST}/a?q="):
            page = show(api, target + quote(text, ""))
            assert all(link.startswith(("/", "?")) for link in page.links)
        answer = api("GET", f"/image/{HOST}/a:1", headers={"Host": EVIL})
        assert f"pull {HOST}/a:1" in checked(answer).text

    def test_long_lists_are_cut(self, api: AsgiClient, local: LocalStore) -> None:
        built = image(labels={f"l{number:04}": "x" for number in range(3000)})
        push(api, local, "a", built, "1")
        text = show(api, f"/image/{HOST}/a:1").text
        assert "… and 2,500 more" in text
        assert "l0499" in text
        assert "l0500" not in text


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("localhost:5000/acme/app", "acme/app"),
        ("docker.io/library/alpine", "docker.io/library/alpine"),
        ("registry:5000/a", "registry_5000/a"),
    ],
)
def test_commands_have_the_path_of_the_server(name: str, path: str) -> None:
    place, reference = Place(HOST, is_secure=False), Reference.parse(f"{name}:1")
    found = dict(pull_commands(place, HOST, reference, artifact=False))
    assert found["docker"] == f"docker pull {HOST}/{path}:1"


def test_a_name_without_a_path_has_no_commands() -> None:
    place, reference = Place(HOST, is_secure=False), Reference.parse("[::1]:5001/a:1")
    assert pull_commands(place, HOST, reference, artifact=False) == []


def test_commands_for_plain_http_and_tls() -> None:
    reference = Reference.parse(f"{HOST}/acme/app:1")
    found = dict(pull_commands(Place("r.lan", is_secure=False), HOST, reference, artifact=False))
    assert found == {
        "wherry": "wherry pull --insecure r.lan/acme/app:1",
        "podman": "podman pull --tls-verify=false r.lan/acme/app:1",
        "docker": "docker pull r.lan/acme/app:1",
        "skopeo": "skopeo copy --src-tls-verify=false docker://r.lan/acme/app:1 oci:app:1",
    }
    found = dict(pull_commands(Place("r.lan", is_secure=True), HOST, reference, artifact=False))
    assert found["wherry"] == "wherry pull r.lan/acme/app:1"
    assert found["skopeo"] == "skopeo copy docker://r.lan/acme/app:1 oci:app:1"


@pytest.mark.parametrize(
    ("created_by", "text"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c apk add curl", "RUN apk add curl"),
        ("RUN /bin/sh -c apk add curl # buildkit", "RUN apk add curl"),
        ("RUN |1 A=b /bin/sh -c make # buildkit", "RUN |1 A=b /bin/sh -c make"),
        ("COPY . /srv # buildkit", "COPY . /srv"),
        ("", ""),
    ],
)
def test_instructions(created_by: str, text: str) -> None:
    assert instruction(created_by) == text


def test_a_document_is_shown_as_it_is(api: AsgiClient, local: LocalStore) -> None:
    built = image(manifest_extra={"annotations": {"a": "é"}})
    push(api, local, "a", built, "1")
    shown = show(api, f"/image/{HOST}/a:1").text
    expected = json.dumps(json.loads(built.manifest.data), indent=2, ensure_ascii=False)
    assert " ".join(expected.split()) in shown
