"""Pulls from a real registry that requires tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wherry as library
from auth_files import entry, write_file
from wherry import Client, Unauthorized
from wherry.testing import Distribution, TokenServer, build_image, pseudo_random_files, tar_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Wherry

pytestmark = pytest.mark.peer("docker-registry")

PASSWORD = "correct horse"
TARS = [tar_layer(pseudo_random_files(seed, 40_000, 2)) for seed in range(8)]
IMAGE = build_image(TARS[:2])
WIDE = build_image(TARS)


class TokenRegistry:
    """A registry that requires tokens, and its token server."""

    def __init__(self, registry: Distribution, tokens: TokenServer) -> None:
        self.registry = registry
        self.tokens = tokens

    def name(self, repository: str) -> str:
        return f"{self.registry.host}/{repository}:t"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenRegistry]:
    with (
        TokenServer(
            users={"me": PASSWORD}, public=["pub/app"], refresh_tokens={"identity": "me"}
        ) as tokens,
        Distribution(tmp_path_factory.mktemp("tokens"), tokens=tokens) as registry,
    ):
        registry.push("pub/app", WIDE, "t")
        registry.push("private/app", WIDE, "t")
        yield TokenRegistry(registry, tokens)


class TestTokens:
    @pytest.fixture
    def guarded(self, servers: TokenRegistry) -> TokenRegistry:
        servers.registry.clear()
        servers.tokens.clear()
        servers.tokens.grants.issued = 0
        return servers

    def test_public_images_need_no_credentials(
        self, guarded: TokenRegistry, client: Client
    ) -> None:
        assert str(client.pull(guarded.name("pub/app")).id) == WIDE.id
        assert guarded.tokens.issued == 1
        request = guarded.tokens.requests[0]
        assert "scope=repository%3Apub%2Fapp%3Apull" in request.path
        assert "authorization" not in request.headers
        # After one refusal, every request has the token.
        assert [line for line in guarded.registry.requests() if line[2] == 401] == [
            ("HEAD", "/v2/pub/app/manifests/t", 401)
        ]

    def test_a_second_pull_needs_no_second_token(
        self, guarded: TokenRegistry, client: Client
    ) -> None:
        client.pull(guarded.name("pub/app"))
        client.pull(guarded.name("pub/app"))
        assert guarded.tokens.issued == 1

    def test_each_repository_has_its_token(
        self, guarded: TokenRegistry, store: library.Store
    ) -> None:
        with Client(store=store, credentials=("me", PASSWORD)) as client:
            client.pull(guarded.name("pub/app"))
            client.pull(guarded.name("private/app"))
        assert guarded.tokens.issued == 2

    def test_private_images_need_credentials(self, guarded: TokenRegistry, wherry: Wherry) -> None:
        done = wherry("pull", "-q", guarded.name("private/app"))
        assert done.returncode == 4
        first, *hints = done.stderr.splitlines()
        assert f"{guarded.registry.host}/private/app" in first
        assert hints

    def test_a_user_may(self, guarded: TokenRegistry, wherry: Wherry) -> None:
        done = wherry("pull", "--creds", f"me:{PASSWORD}", guarded.name("private/app"))
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{WIDE.id}\n"
        assert guarded.tokens.issued == 1
        assert guarded.tokens.requests[0].headers["authorization"].startswith("Basic ")

    def test_a_bad_password(self, guarded: TokenRegistry, store: library.Store) -> None:
        with (
            Client(store=store, credentials=("me", "no")) as client,
            pytest.raises(Unauthorized) as caught,
        ):
            client.pull(guarded.name("private/app"))
        assert caught.value.host == guarded.registry.host
        assert guarded.tokens.issued == 0
        assert len(guarded.tokens.requests) == 1  # a refused password is not sent again

    def test_a_bad_password_exits_with_4(self, guarded: TokenRegistry, wherry: Wherry) -> None:
        done = wherry("pull", "-q", "--creds", "me:no", guarded.name("pub/app"))
        assert done.returncode == 4
        assert "401" in done.stderr.splitlines()[0]

    def test_an_identity_token(
        self, guarded: TokenRegistry, wherry: Wherry, tmp_path: Path
    ) -> None:
        auth = {"auth": "", "identitytoken": "identity"}
        file = write_file(tmp_path / "auth.json", {"auths": {guarded.registry.host: auth}})
        done = wherry("pull", "--authfile", str(file), guarded.name("private/app"))
        assert done.returncode == 0, done.stderr
        assert [request.method for request in guarded.tokens.requests] == ["POST"]
        assert b"refresh_token=identity" in guarded.tokens.requests[0].body
        assert guarded.tokens.issued == 1

    def test_an_identity_token_with_a_user_name(
        self, guarded: TokenRegistry, wherry: Wherry, tmp_path: Path
    ) -> None:
        # `docker login` writes the user "<token>" without a password.
        auth = entry("<token>", "") | {"identitytoken": "identity"}
        file = write_file(tmp_path / "auth.json", {"auths": {guarded.registry.host: auth}})
        done = wherry("pull", "--authfile", str(file), guarded.name("private/app"))
        assert done.returncode == 0, done.stderr

    def test_an_identity_token_that_is_not_known(
        self, guarded: TokenRegistry, wherry: Wherry, tmp_path: Path
    ) -> None:
        auth = {"identitytoken": "revoked-identity"}
        file = write_file(tmp_path / "auth.json", {"auths": {guarded.registry.host: auth}})
        done = wherry("--debug", "pull", "--authfile", str(file), guarded.name("private/app"))
        assert done.returncode == 4
        assert "revoked-identity" not in done.stdout + done.stderr

    def test_tokens_that_live_for_a_second(self, tmp_path: Path, client: Client) -> None:
        with (
            TokenServer(public=True, expires_in=1) as tokens,
            Distribution(tmp_path / "registry", tokens=tokens) as registry,
        ):
            registry.push("app", WIDE, "t")
            client.pull(f"{registry.host}/app:t")
            assert tokens.issued == 1

    def test_tokens_that_are_refused_do_not_go_round_in_circles(
        self, tmp_path: Path, client: Client
    ) -> None:
        with (
            TokenServer(public=True, expires_in=-1000) as tokens,
            Distribution(tmp_path / "registry", tokens=tokens) as registry,
        ):
            with pytest.raises(RuntimeError, match="401"):
                registry.push("app", IMAGE, "t")
            with pytest.raises(Unauthorized):
                client.pull(f"{registry.host}/app:t")
            assert tokens.issued <= 4
