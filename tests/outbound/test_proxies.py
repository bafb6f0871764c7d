"""What the environment says of proxies, read in one way."""

from __future__ import annotations

import pytest

from app.outbound.addresses import endpoint
from app.outbound.proxies import Proxies, ProxyUnusable

BOTH = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2"}


def towards(environment: dict[str, str], url: str) -> str | None:
    proxy = Proxies.of(environment).towards(endpoint(url))
    return None if proxy is None else f"{proxy.host}:{proxy.port}"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "ws://lk.example", None),
        (BOTH, "ws://lk.example", "plain:1"),
        (BOTH, "wss://lk.example", "secure:2"),
        ({"http_proxy": "low:3"}, "ws://lk.example", "low:3"),
        ({"http_proxy": "http://low:3", **BOTH}, "ws://lk.example", "plain:1"),
        ({"HTTP_PROXY": "", "http_proxy": "http://low:3"}, "ws://lk.example", "low:3"),
        ({"ALL_PROXY": "http://all:4"}, "wss://lk.example", "all:4"),
        ({"all_proxy": "http://all:4", **BOTH}, "wss://lk.example", "secure:2"),
        ({"HTTPS_PROXY": "http://bare"}, "wss://lk.example", "bare:80"),
        ({"HTTP_PROXY": "http://[::1]:5"}, "ws://lk.example", "::1:5"),
    ],
)
def test_which_variable_counts(environment: dict[str, str], url: str, proxy: str | None) -> None:
    assert towards(environment, url) == proxy


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:7880", "ws://127.1", "ws://localhost", "wss://[::1]:443"]
)
def test_this_machine_is_never_behind_a_proxy(url: str) -> None:
    assert towards(BOTH, url) is None


@pytest.mark.parametrize(
    ("direct", "url", "proxied"),
    [
        ("*", "ws://lk.example", False),
        ("lk.example", "ws://lk.example", False),
        ("lk.example", "ws://a.lk.example", False),
        ("lk.example", "ws://elk.example", True),
        (".example", "ws://lk.example", False),
        ("*.example", "ws://lk.example", False),
        ("LK.Example", "ws://lk.example", False),
        ("other, lk.example", "ws://lk.example", False),
        ("other lk.example", "ws://lk.example", False),
        ("lk.example:7880", "ws://lk.example:7880", False),
        ("lk.example:7880", "ws://lk.example", True),
        ("10.0.0.0/8", "ws://10.2.3.4", False),
        ("10.0.0.0/8", "ws://11.2.3.4", True),
        ("10.2.3.4", "ws://10.2.3.4:7880", False),
        ("[2001:db8::1]:80", "ws://[2001:db8::1]", False),
        ("2001:db8::/32", "ws://[2001:db8::1]", False),
        ("", "ws://lk.example", True),
        (" , ", "ws://lk.example", True),
    ],
)
def test_no_proxy(direct: str, url: str, proxied: bool) -> None:
    assert (towards({**BOTH, "NO_PROXY": direct}, url) is not None) is proxied
    assert (towards({**BOTH, "no_proxy": direct}, url) is not None) is proxied


@pytest.mark.parametrize("value", ["socks5://p:1080", "https://p:443", "http://", "http://p:x"])
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(value: str) -> None:
    with pytest.raises(ProxyUnusable, match="HTTPS_PROXY"):
        towards({"HTTPS_PROXY": value}, "wss://lk.example")


def test_credentials_are_sent_and_not_shown() -> None:
    environment = {"HTTP_PROXY": "http://ann:p%40ss@p:1"}
    proxy = Proxies.of(environment).towards(endpoint("ws://lk.example"))
    assert proxy is not None
    assert proxy.credentials == "ann:p@ss"
    assert proxy.authorization() == "Proxy-Authorization: Basic YW5uOnBAc3M=\r\n"
    assert "p@ss" not in f"{proxy} {proxy!r}"
