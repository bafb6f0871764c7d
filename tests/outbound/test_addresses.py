"""One form of each host, which addresses are public, and what a pattern names."""

from __future__ import annotations

import pytest

from app.outbound.addresses import endpoint, is_loopback_host, is_public
from app.sessions.schemas import livekit_address

FORMS = {
    "ws://127.0.0.1:7880": "ws://127.0.0.1:7880",
    "http://2130706433:7880/": "ws://127.0.0.1:7880",
    "ws://0x7f.1:7880": "ws://127.0.0.1:7880",
    "ws://0177.0.0.1:7880": "ws://127.0.0.1:7880",
    "ws://127.1:7880": "ws://127.0.0.1:7880",
    "ws://0": "ws://0.0.0.0",
    "ws://[0:0:0:0:0:0:0:1]:7880": "ws://[::1]:7880",
    "ws://[::FFFF:127.0.0.1]:7880": "ws://[::ffff:7f00:1]:7880",
    "WSS://LK.Example.COM.:443/a/": "wss://lk.example.com/a",
    "ws://lk.example.com:80": "ws://lk.example.com",
    "https://lk.example.com:8443": "wss://lk.example.com:8443",
    "wss://xn--bcher-kva.example": "wss://xn--bcher-kva.example",
}


@pytest.mark.parametrize(("written", "form"), FORMS.items())
def test_an_address_has_one_form(written: str, form: str) -> None:
    assert livekit_address(written) == form
    assert livekit_address(form) == form


@pytest.mark.parametrize(
    "url",
    [
        "ws://user@host",
        "ws://user:pass@host",
        "ws://@host",
        "ws://127.0.0.1:7880@evil.example",
        "ws://evil.example\\@127.0.0.1",
        "ws://１２７.0.0.1",
        "ws://ⓛocalhost",
        "ws://bücher.example",
        "ws://%31%32%37.0.0.1",
        "ws://[fe80::1%25eth0]",
        "ws://[::1",
        "ws://999.1.1.1",
        "ws://1.2.3.4.5",
        "ws://a..b",
        "ws://host:99999",
        "ws://host/\x07",
        "ws://host\x00.example",
        "ws://host/#fragment",
        "ftp://host",
        "ws://",
    ],
)
def test_what_is_no_address_or_could_be_read_in_two_ways(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        livekit_address(url)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"),
        *("fec0::1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "::127.0.0.1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


def test_this_machine_by_its_form() -> None:
    for host in ("localhost", "a.localhost", "127.0.0.1", "127.3.2.1", "::1", "::ffff:7f00:1"):
        assert is_loopback_host(host)
    for host in ("localhost.example.com", "10.0.0.1", "lk.example.com", "::"):
        assert not is_loopback_host(host)


@pytest.mark.parametrize(
    ("pattern", "url", "named"),
    [
        ("*.livekit.cloud", "wss://mine.livekit.cloud", True),
        ("*.livekit.cloud", "wss://livekit.cloud", False),
        ("*.livekit.cloud", "wss://livekit.cloud.evil.example", False),
        ("lk.lan", "ws://lk.lan:7880", True),
        ("lk.lan:7880", "ws://lk.lan:7880", True),
        ("lk.lan:7880", "ws://lk.lan:6379", False),
        ("lk.lan:443", "wss://lk.lan", True),
        ("10.0.0.*", "ws://10.0.0.7:7880", True),
        ("10.0.0.*", "ws://10.0.0.evil.example:7880", False),
        ("10.*:7880", "ws://10.evil.example:7880", False),
        ("127.0.0.?", "ws://127.0.0.x", False),
        ("10.0.0.7", "ws://167772167", True),
        ("*:7880", "ws://lk.lan:7880", True),
        ("[::1]:7880", "ws://[::1]:7880", True),
        ("[::1]:7880", "ws://[::1]:7881", False),
        ("::1", "ws://[::1]:7881", True),
        ("*", "ws://anything", True),
    ],
)
def test_patterns(pattern: str, url: str, named: bool) -> None:
    assert endpoint(url).matches(pattern) is named
