"""Weights of the hub: with a network, without one, from the cache."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest
import timm
from huggingface_hub import constants
from reid_common.errors import UserError
from transreid import TransReIDBackbone
from transreid.modeling.vits import create_vit
from transreid.weights import pretrained

NAME = "vit_tiny_patch16_224"


@pytest.fixture
def backbone() -> TransReIDBackbone:
    return TransReIDBackbone(create_vit(NAME, 1), (64, 32))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A hub at a port where nobody listens, and an empty cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers with 403, as a hub that wants a token."""

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_without_a_network_it_ends_at_once(backbone, no_network, monkeypatch) -> None:
    """The hub's client is offline: it does not try again and again."""
    asked: list[bool] = []
    create = timm.create_model

    def spying(*args, **kwargs):
        asked.append(constants.HF_HUB_OFFLINE)
        return create(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", spying)
    message = rf"weights for '{NAME}': http://127.0.0.1:\d+ does not answer, and .*PRETRAIN_PATH"
    with pytest.raises(UserError, match=message) as error:
        pretrained.load_timm_pretrained(backbone, NAME)
    assert "\n" not in str(error.value)
    assert asked == [True]
    assert constants.HF_HUB_OFFLINE is False


def test_without_a_network_cached_weights_are_used(backbone, no_network, monkeypatch) -> None:
    cached = timm.create_model(NAME, num_classes=0, depth=1)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: cached)
    report = pretrained.load_timm_pretrained(backbone, NAME)
    assert report is not None
    assert (backbone.blocks[0].attn.qkv.weight == cached.blocks[0].attn.qkv.weight).all()


def test_with_a_network_the_hub_is_asked(backbone, server, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    offline: list[bool] = []
    made = timm.create_model(NAME, num_classes=0, depth=1)

    def create(*_, **__):
        offline.append(constants.HF_HUB_OFFLINE)
        return made

    monkeypatch.setattr(timm, "create_model", create)
    pretrained.load_timm_pretrained(backbone, NAME)
    assert offline == [False]


def test_any_answer_counts(server, no_network) -> None:
    assert pretrained.answers(server)
    assert not pretrained.answers(constants.ENDPOINT)
    assert not pretrained.answers("nonsense")


def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not pretrained.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", patience=0.2)
