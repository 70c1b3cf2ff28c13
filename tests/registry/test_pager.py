"""Lists of tags and referrers, with pages as registries and reverse proxies serve them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wherry.errors import RegistryError, WherryError
from wherry.testing import Cut, FakeRegistry, Fault, FixedReply, build_image, build_index, tar_layer
from wherry.testing._messages import IncomingRequest, Reply, json_reply
from wherry.testing.images import document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry import Client
    from wherry.testing import BuiltImage

IMAGE = build_image([tar_layer({"a": b"1"})])
ARM = build_image([tar_layer({"a": b"2"})], architecture="arm64")
INDEX = build_index(
    [
        (each, {"os": "linux", "architecture": name})
        for each, name in ((IMAGE, "amd64"), (ARM, "arm64"))
    ]
)
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = IMAGE.manifest.media_type


class Scripted(FakeRegistry):
    """A registry whose lists are what ``page`` returns for each request."""

    def __init__(self, page: Callable[[IncomingRequest], Reply | None]) -> None:
        super().__init__()
        self._page_of = page
        self.add_image("app", INDEX, "t")

    def answer(self, request: IncomingRequest) -> Reply:
        if "/manifests/" in request.path or "/blobs/" in request.path:
            return super().answer(request)
        return self._page_of(request) or super().answer(request)

    @property
    def lists(self) -> list[str]:
        """The requests for lists."""
        return [each.path for each in self.requests if "/v2/app/" in each.path]


def tags(*names: str, link: str = "", **more: Any) -> Reply:
    return json_reply(
        200, {"name": "app", "tags": list(names), **more}, {"Link": link} if link else {}
    )


def two_pages(link: str) -> Callable[[IncomingRequest], Reply]:
    """Make a list of the tags a and b; ``link`` leads to its second page."""

    def page(request: IncomingRequest) -> Reply:
        return tags("b") if request.value("last") == "a" else tags("a", link=link)

    return page


@pytest.mark.parametrize(
    "link",
    [
        '</v2/app/tags/list?last=a&n=1>; rel="next"',
        '<?last=a>; title="x"; REL=Next',
        '</v2/>; rel="up", <https://10.1.2.3/v2/app/tags/list?last=a>; rel="prev next"',
        '<http://x.example/v2/proxied/app/tags/list?last=%61>; rel="next"; rel="prev"',
    ],
)
def test_the_link_leads_to_the_next_page(client: Client, link: str) -> None:
    with Scripted(two_pages(link)) as fake:
        assert client.tags(f"{fake.host}/app") == ["a", "b"]
        assert len(fake.requests) == 2  # at this endpoint, whatever host the link names


def test_a_page_may_have_several_link_headers(client: Client) -> None:
    def page(request: IncomingRequest) -> Reply:
        reply = two_pages("")(request)
        if request.value("last") is None:
            reply.headers |= {"Link": '</v2/>; rel="up"', "link": '<?last=a>; rel="next"'}
        return reply

    with Scripted(page) as fake:
        assert client.tags(f"{fake.host}/app") == ["a", "b"]


@pytest.mark.parametrize("link", ["nonsense", "/v2/app/tags/list?last=a; rel=next", "<?last=a"])
def test_an_invalid_link_is_an_error(client: Client, link: str) -> None:
    with Scripted(two_pages(link)) as fake, pytest.raises(RegistryError, match="Link header"):
        client.tags(f"{fake.host}/app")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (lambda: tags("a", "b", link="<?last=b>; rel=next"), "repeats a page"),
        (lambda: tags("b", "a"), "repeats a page"),
        (lambda: tags("c", link="<?last=b>; rel=next"), "leads back to a page"),
    ],
)
def test_pages_in_a_circle_are_an_error(
    client: Client, second: Callable[[], Reply], words: str
) -> None:
    """A proxy that drops queries causes this: every page is the first one."""

    def page(request: IncomingRequest) -> Reply:
        return second() if request.query else tags("a", "b", link="<?last=b>; rel=next")

    with Scripted(page) as fake, pytest.raises(RegistryError, match=words):
        client.tags(f"{fake.host}/app")


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_page_that_fails_is_an_error(client: Client, status: int) -> None:
    with FakeRegistry(page_size=1) as fake:
        fake.add_image("app", IMAGE, "a", "b", "c")
        fake.inject(Fault(FixedReply(status), path="last=b"))
        with pytest.raises(WherryError):
            client.tags(f"{fake.host}/app")


def test_a_truncated_page_is_fetched_again(client: Client) -> None:
    with FakeRegistry(page_size=1) as fake:
        fake.add_image("app", IMAGE, "a", "b", "c")
        fake.inject(Fault(Cut(after=5), path="last=a", times=1))
        assert client.tags(f"{fake.host}/app") == ["a", "b", "c"]


@pytest.mark.parametrize("link", ["nonsense", "<?>; rel=next"])
def test_an_image_is_inspected_despite_a_broken_list(client: Client, link: str) -> None:
    heard: list[object] = []
    page = tags("t", link=link)
    with Scripted(lambda request: page if "/tags/" in request.path else None) as fake:
        shown = client.inspect(
            f"{fake.host}/app:t", platform="linux/amd64", tags=True, on_event=heard.append
        )
    assert str(shown.digest) == INDEX.digest
    assert shown.repo_tags is None
    assert any("the tags cannot be listed" in str(event) for event in heard)


# Pages without a link


def numbered(first: int, stop: int) -> list[str]:
    return [f"v{number:04}" for number in range(first, stop)]


@pytest.mark.parametrize("size", [50, 100, 250])
@pytest.mark.parametrize("more", [0, 1, 100, 260])
def test_a_page_that_may_have_been_cut_short_is_followed_by_a_request(
    client: Client, size: int, more: int
) -> None:
    names = numbered(0, size + more)

    def page(request: IncomingRequest) -> Reply:
        last = request.value("last") or ""
        return tags(*[name for name in names if name > last][:size])

    with Scripted(page) as fake:
        assert client.tags(f"{fake.host}/app") == names
        assert fake.lists[1] == f"/v2/app/tags/list?last=v{size - 1:04}"


@pytest.mark.parametrize(
    "second",
    [
        lambda: tags(*numbered(0, 100)),  # distribution 2.8 ignores `last`
        tags,
        lambda: Reply(400, {}, b"no such parameter"),
        lambda: Reply(404, {}, b""),
        lambda: Reply(200, {"Content-Type": "text/html"}, b"<html>"),
    ],
)
def test_a_registry_that_refuses_last_has_a_complete_list(
    client: Client, second: Callable[[], Reply]
) -> None:
    with Scripted(lambda request: second() if request.query else tags(*numbered(0, 100))) as fake:
        assert client.tags(f"{fake.host}/app") == numbered(0, 100)
        assert len(fake.lists) == 2


@pytest.mark.parametrize("size", [1, 49, 51, 99])
def test_pages_of_other_sizes_are_complete(client: Client, size: int) -> None:
    with Scripted(lambda _: tags(*numbered(0, size))) as fake:
        assert client.tags(f"{fake.host}/app") == numbered(0, size)
        assert len(fake.lists) == 1


def test_a_page_without_a_link_is_the_last_if_others_have_links(client: Client) -> None:
    with FakeRegistry(page_size=50) as fake:
        fake.add_image("app", IMAGE, *numbered(0, 100))
        assert client.tags(f"{fake.host}/app") == numbered(0, 100)
        assert len(fake.requests) == 2


# Bodies


@pytest.mark.parametrize(
    "body",
    ["{}", '{"name":"app"}', '{"errors":[]}', '{"repositories":["a"]}', "[]", "null", '"a"', "",
     '{"tags":""}', '{"tags":false}', '{"tags":0}', '{"tags":{}}', '{"tags":{"a":1}}',
     '{"tags":["a",null]}', '{"tags":["a"],"tags":[]}', '{"tags":["a"'],
)  # fmt: skip
def test_a_body_without_a_list_is_an_error(client: Client, body: str) -> None:
    reply = Reply(200, {"Content-Type": "application/json"}, body.encode())
    with Scripted(lambda _: reply) as fake, pytest.raises(RegistryError, match="cannot be read"):
        client.tags(f"{fake.host}/app")


@pytest.mark.parametrize("body", ['{"name":"app","tags":null}', '{"tags":[]}'])
def test_a_repository_may_have_no_tags(client: Client, body: str) -> None:
    reply = Reply(200, {"Content-Type": "application/json"}, body.encode())
    with Scripted(lambda _: reply) as fake:
        assert client.tags(f"{fake.host}/app") == []


# Referrers


SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"


def artifact(subject: dict[str, Any], kind: str) -> BuiltImage:
    return build_image([], manifest_extra={"artifactType": kind, "subject": subject})


OF_INDEX = [artifact(INDEX.index.descriptor(), kind) for kind in (SBOM, SIGNATURE)]
ENTRIES = [
    each.manifest.descriptor() | {"artifactType": kind}
    for each, kind in zip(OF_INDEX, (SBOM, SIGNATURE), strict=True)
]
TAG = INDEX.digest.replace(":", "-")


def index_of(entries: list[dict[str, Any]], **more: Any) -> bytes:
    return document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **more})


@pytest.fixture
def tagged() -> Iterator[FakeRegistry]:
    """A registry without the API, which has an index under the referrers tag."""
    with FakeRegistry() as fake:
        fake.add_image("app", INDEX, "t")
        for each in OF_INDEX:
            fake.add_image("app", each)
        fake.add_manifest("app", index_of(ENTRIES), OCI_INDEX, TAG)
        yield fake


def found(client: Client, fake: FakeRegistry, artifact_type: str = "") -> list[str]:
    asked = client.referrers(f"{fake.host}/app:t", artifact_type=artifact_type)
    return [str(each.digest) for each in asked]


BOTH = [each.digest for each in OF_INDEX]


def test_the_index_under_the_referrers_tag_is_read(client: Client, tagged: FakeRegistry) -> None:
    assert found(client, tagged) == BOTH
    assert found(client, tagged, SIGNATURE) == BOTH[1:]


def test_a_registry_may_mistake_the_tag_for_a_digest(client: Client, tagged: FakeRegistry) -> None:
    """GitLab serves the subject itself under ``sha256-HEX``."""
    tagged.tags["app"][TAG] = INDEX.digest
    assert found(client, tagged) == []
    assert client.referrers(f"{tagged.host}/app:t", platform="linux/arm64") == []
    tagged.tags["app"][ARM.digest.replace(":", "-")] = ARM.digest
    assert client.referrers(f"{tagged.host}/app:t", platform="linux/arm64") == []


CHILDREN = [IMAGE.manifest.descriptor(), ARM.manifest.descriptor()]


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (index_of(CHILDREN), OCI_INDEX),
        (index_of(CHILDREN, annotations={"of": "another tool"}), OCI_INDEX),
        (index_of([each | {"artifactType": SBOM} for each in CHILDREN]), OCI_INDEX),
        (index_of([INDEX.index.descriptor()]), OCI_INDEX),
        (index_of([INDEX.index.descriptor(), *ENTRIES]), OCI_INDEX),
        (index_of([]), OCI_INDEX),
        (ARM.manifest.data, ARM.manifest.media_type),  # as cosign stores signatures
    ],
)
def test_other_documents_under_the_tag_are_ignored(
    client: Client, tagged: FakeRegistry, raw: bytes, media_type: str
) -> None:
    tagged.add_manifest("app", raw, media_type, TAG)
    assert found(client, tagged) == []


def test_the_subject_beside_its_sibling_under_the_tag(client: Client, tagged: FakeRegistry) -> None:
    """The index of a subject for one platform: the image for another is no referrer."""
    tagged.tags["app"][ARM.digest.replace(":", "-")] = INDEX.digest
    assert client.referrers(f"{tagged.host}/app:t", platform="linux/arm64") == []


def test_a_docker_list_is_not_an_index_of_referrers(client: Client, tagged: FakeRegistry) -> None:
    kind = "application/vnd.docker.distribution.manifest.list.v2+json"
    raw = document({"schemaVersion": 2, "mediaType": kind, "manifests": ENTRIES})
    tagged.add_manifest("app", raw, kind, TAG)
    assert found(client, tagged) == []


def test_the_subjects_own_images_are_left_out(client: Client, tagged: FakeRegistry) -> None:
    tagged.add_manifest("app", index_of([*CHILDREN, *ENTRIES]), OCI_INDEX, TAG)
    assert found(client, tagged) == BOTH


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404, {"Content-Type": "text/html"}, b"<html>"),
        Reply(405, {}, b""),
        Reply(501, {}, b""),
        Reply(200, {"Content-Type": "text/html"}, b"<html>"),
        Reply(200, {"Content-Type": "text/plain"}, b"hello"),
        Reply(200, {}, b"<html>"),
        Reply(200, {"Content-Type": "application/json"}, b"{}"),
        Reply(200, {"Content-Type": "application/json"}, b'{"errors":[{"code":"UNSUPPORTED"}]}'),
        Reply(200, {"Content-Type": MANIFEST}, IMAGE.manifest.data),
    ],
    ids=lambda reply: f"{reply.status}-{reply.headers.get('Content-Type')}",
)
def test_other_responses_mean_that_there_is_no_api(client: Client, reply: Reply) -> None:
    """The response has to be an OCI index; otherwise the tag is requested."""
    with Scripted(lambda request: reply if "/referrers/" in request.path else None) as fake:
        fake.add_manifest("app", index_of(ENTRIES), OCI_INDEX, TAG)
        assert found(client, fake) == BOTH


@pytest.mark.parametrize("kind", [OCI_INDEX, "application/json", "text/plain", ""])
def test_an_index_may_have_a_generic_media_type(client: Client, kind: str) -> None:
    reply = Reply(200, {"Content-Type": kind} if kind else {}, index_of(ENTRIES))
    with Scripted(lambda request: reply if "/referrers/" in request.path else None) as fake:
        assert found(client, fake) == BOTH


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"Content-Type": OCI_INDEX}, b"{}"),
        Reply(200, {"Content-Type": OCI_INDEX}, b"<html>"),
        Reply(200, {"Content-Type": OCI_INDEX}, IMAGE.manifest.data),
        Reply(403, {}, b""),
        Reply(400, {}, b""),
    ],
    ids=lambda reply: f"{reply.status}-{len(reply.body)}",
)
def test_an_api_that_fails_is_an_error(client: Client, reply: Reply) -> None:
    with Scripted(lambda request: reply if "/referrers/" in request.path else None) as fake:
        fake.add_manifest("app", index_of(ENTRIES), OCI_INDEX, TAG)
        with pytest.raises(WherryError):
            found(client, fake)


@pytest.mark.parametrize("second", [404, 405])
def test_a_missing_page_is_an_error(client: Client, second: int) -> None:
    def page(request: IncomingRequest) -> Reply | None:
        if "/referrers/" not in request.path:
            return None
        headers = {"Content-Type": OCI_INDEX, "Link": "<?page=2>; rel=next"}
        return Reply(second) if request.query else Reply(200, headers, index_of(ENTRIES[:1]))

    with (
        Scripted(page) as fake,
        pytest.raises(WherryError, match="the next page of the list of referrers is not found"),
    ):
        found(client, fake)


def test_pages_of_referrers(client: Client) -> None:
    def page(request: IncomingRequest) -> Reply | None:
        if "/referrers/" not in request.path:
            return None
        link = f'<http://other{request.path}?page=2>; title="a,b"; rel="next"'
        headers = {"Content-Type": OCI_INDEX} | ({} if request.query else {"Link": link})
        return Reply(200, headers, index_of(ENTRIES[1:] if request.query else ENTRIES[:1]))

    with Scripted(page) as fake:
        assert found(client, fake) == BOTH


@pytest.mark.parametrize("applied", [True, False])
def test_entries_without_an_artifact_type(client: Client, applied: bool) -> None:
    """They match if the registry says that it has filtered; otherwise their documents decide."""
    entries = [each.manifest.descriptor() for each in OF_INDEX]
    headers = {"Content-Type": OCI_INDEX}
    headers |= {"OCI-Filters-Applied": "artifactType"} if applied else {}
    shown = entries[1:] if applied else entries
    reply = Reply(200, headers, index_of(shown))
    with Scripted(lambda request: reply if "/referrers/" in request.path else None) as fake:
        for each in OF_INDEX:
            fake.add_image("app", each)
        assert found(client, fake, SIGNATURE) == BOTH[1:]
        fetched = [each.path for each in fake.requests if "/manifests/sha256" in each.path]
        assert sum(digest in path for digest in BOTH for path in fetched) == (0 if applied else 2)
