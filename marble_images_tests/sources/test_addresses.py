"""Which web addresses may be opened, and that no other is connected to."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from marble_images.errors import FileError, SettingsError, SourceUnavailable, UnsafeAddress, UnusableRecord
from marble_images.sources import AddressGuard, is_public, parse_address
from marble_images.sources.addresses import split_host
from marble_images_tests.sources.conftest import make_fetcher, nothing_left, settings, web_file
from marble_images_tests.sources.servers import ScriptedServer, good, listening, redirect


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTP://Example.ORG:80/A", "http://example.org/A"),
        ("https://example.org:443/a", "https://example.org/a"),
        (" https://example.org/a b.tif\n", "https://example.org/a%20b.tif"),
        ("https://example.org/a%20b.tif", "https://example.org/a%20b.tif"),
        ("https://example.org/100%.tif", "https://example.org/100%25.tif"),
        ("https://example.org/a%20b 100%.tif", "https://example.org/a%20b%20100%25.tif"),
        ("https://example.org/%2Fa%2fb", "https://example.org/%2Fa%2Fb"),
        ("https://example.org/Zürich.tif", "https://example.org/Z%C3%BCrich.tif"),
        ("https://example.org/a?b=c d&e=%26", "https://example.org/a?b=c%20d&e=%26"),
        ("https://example.org/a#part", "https://example.org/a"),
        ("https://example.org?x=1", "https://example.org/?x=1"),
        ('https://example.org/"quoted"<a>|b', "https://example.org/%22quoted%22%3Ca%3E%7Cb"),
        ("https://bücher.example/a", "https://xn--bcher-kva.example/a"),
        ("http://[2001:4860:4860::8888]/", "http://[2001:4860:4860::8888]/"),
    ],
)
def test_addresses_are_encoded_where_they_must_be_and_never_twice(text: str, url: str) -> None:
    assert parse_address(text).url == url
    assert parse_address(url).url == url


@hypothesis_settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=60))
@example("100%/a b%20c%zz")
def test_any_path_becomes_plain_ascii_that_means_the_same(path: str) -> None:
    address = parse_address(f"https://example.org/{path}")
    assert address.host == "example.org"
    assert address.url.isascii()
    assert " " not in address.url
    assert parse_address(address.url) == address


@hypothesis_settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_an_address_or_has_one_line_that_says_why_not(text: str) -> None:
    try:
        outcome = parse_address(text).scheme
    except (UnusableRecord, UnsafeAddress) as err:
        outcome = err.reason
    assert outcome in ("http", "https") or outcome.splitlines() == [outcome]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "folder/image.tif",
        "//example.org/a",
        "http://",
        "http:///a",
        "http:example.org",
        "http://exa mple.org/",
        "http://example.org:port/",
        "http://example.org:99999/",
        "http://a..b/",
        "http://[::1/",
        "http://example.org/a\r\nHost: x",
        "http://example.org/\x00",
        "http://" + "a" * 64 + ".org/",
    ],
)
def test_what_is_no_web_address_is_an_unusable_record(text: str) -> None:
    with pytest.raises(UnusableRecord):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "ftp://example.org/a",
        "gopher://127.0.0.1/",
        "data:image/png;base64,AA",
        "s3://b/k",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://example.org@10.0.0.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://example.1/",
    ],
)
def test_other_schemes_passwords_and_numbers_in_disguise_are_unsafe(text: str) -> None:
    with pytest.raises(UnsafeAddress) as caught:
        parse_address(text)
    assert "secret" not in caught.value.reason


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "129.74.1.1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.170",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
    ],
)
def test_all_other_addresses_are_not(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@hypothesis_settings(deadline=None)
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_public_that_python_calls_private(address: Any) -> None:
    private = address.is_private or address.is_loopback or address.is_link_local
    special = private or address.is_multicast or address.is_unspecified
    translated = address.version == 6 and address in ipaddress.ip_network("::ffff:0:0/96")
    assert translated or not (special and is_public(address))


@hypothesis_settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_inside_ipv6(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    translated = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | int(address))
    assert is_public(mapped) == is_public(translated) == is_public(address)


# --- nothing is connected to -----------------------------------------------------------------------

TRIES = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://foo.localhost:{port}/",
    "http://2130706433:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.01:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{port}/",
    "http://127。0。0。1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%00.example.org:{port}/",
    "http://example.org@127.0.0.1:{port}/",
    "http://example.org\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.org/",
    "http://127.0.0.1:{port}#@example.org/",
    "http://private.test:{port}/",
    "http://mixed.test:{port}/",
    "http://mapped.test:{port}/",
]

NAMES = {
    "private.test": ["127.0.0.1"],
    "mixed.test": ["93.184.215.14", "127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "metadata.test": ["169.254.169.254"],
}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name service that knows NAMES and asks the real one for the rest."""
    real, known = socket.getaddrinfo, dict(NAMES)

    def lookup(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in known:
            return real(host, port, *args, **kwargs)
        return [found for address in known[host] for found in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return known


@pytest.mark.parametrize("form", TRIES)
def test_no_form_of_a_private_address_is_connected_to(
    form: str, names: dict[str, list[str]], tmp_path: Path
) -> None:
    with listening() as listener:
        limits = settings(allowed_hosts=frozenset(), allowed_ports=frozenset({listener.port}))
        with pytest.raises((UnsafeAddress, UnusableRecord, SourceUnavailable)):
            make_fetcher(limits).fetch(web_file(form.format(port=listener.port)), tmp_path)
        assert listener.taken == []
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("form", TRIES)
def test_no_redirect_to_a_private_address_is_connected_to(
    form: str, web: ScriptedServer, names: dict[str, list[str]], tmp_path: Path
) -> None:
    with listening() as listener:
        web.script = [redirect(form.format(port=listener.port).encode().decode("latin-1"))]
        limits = settings(
            allowed_hosts=frozenset({f"127.0.0.1:{web.port}"}), allowed_ports=frozenset({listener.port})
        )
        with pytest.raises(FileError):
            make_fetcher(limits).fetch(web_file(web.url()), tmp_path)
        assert listener.taken == []


@pytest.mark.skipif(not socket.has_ipv6, reason="Python was built without IPv6")
def test_ipv6_loopback_is_not_connected_to(tmp_path: Path) -> None:
    try:
        listener_context = listening("::1", socket.AF_INET6)
        listener = listener_context.__enter__()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    try:
        limits = settings(allowed_hosts=frozenset({"127.0.0.1"}), allowed_ports=frozenset({listener.port}))
        with pytest.raises(UnsafeAddress):
            make_fetcher(limits).fetch(web_file(f"http://[::1]:{listener.port}/"), tmp_path)
        assert listener.taken == []
    finally:
        listener_context.__exit__(None, None, None)


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.170.2/v2/credentials/x",
        "http://169.254.169.254/latest/meta-data/",
        "https://metadata.test/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1%25lo]/",
        "http://10.0.0.1/",
    ],
)
def test_the_cloud_s_own_services_are_refused(uri: str, names: dict[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(UnsafeAddress, match="not public"):
        make_fetcher(settings(allowed_hosts=frozenset())).fetch(web_file(uri), tmp_path)


def test_a_name_whose_answer_changes_after_the_check_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with listening() as listener:
        real, asked = socket.getaddrinfo, []

        def rebinding(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            asked.append(host)
            return real("127.0.0.1" if len(asked) > 1 else "1.1.1.1", port, *args, **kwargs)

        def connects_nowhere(self: socket.socket, address: Any) -> None:
            connected.append(address[0])
            raise ConnectionRefusedError(111, "refused")

        connected: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        monkeypatch.setattr(socket.socket, "connect", connects_nowhere)
        limits = settings(allowed_hosts=frozenset(), allowed_ports=frozenset({listener.port}))
        with pytest.raises(UnsafeAddress, match=r"127\.0\.0\.1"):
            make_fetcher(limits).fetch(web_file(f"http://rebind.test:{listener.port}/"), tmp_path)
        monkeypatch.undo()
        assert listener.taken == []
        # The first answer was used for the first connection; the second one was judged anew and refused.
        assert connected == ["1.1.1.1"]


def test_an_allowed_host_is_allowed_by_its_very_name(
    web: ScriptedServer, picture: bytes, names: dict[str, list[str]], tmp_path: Path
) -> None:
    web.script = [good(picture)]
    by_name = make_fetcher(settings(allowed_hosts=frozenset({f"Private.test:{web.port}"})))
    fetched = by_name.fetch(web_file(web.url(host="private.TEST")), tmp_path / "a")
    assert fetched.path.read_bytes() == picture
    assert web.asked[0].headers["Host"] == f"private.test:{web.port}"
    for other in ("127.0.0.1", "localhost", "private.test.", "[::ffff:127.0.0.1]"):
        with pytest.raises((UnsafeAddress, UnusableRecord)):
            by_name.fetch(web_file(web.url(host=other)), tmp_path / "b")
    assert len(web.asked) == 1


@pytest.mark.parametrize("port", [22, 3306, 8080, 443])
def test_other_ports_of_public_hosts_are_refused(port: int, tmp_path: Path) -> None:
    with pytest.raises(UnsafeAddress, match=f"port {port}"):
        make_fetcher(settings(allowed_hosts=frozenset())).fetch(web_file(f"http://1.1.1.1:{port}/"), tmp_path)


def test_a_host_allowed_on_one_port_is_not_allowed_on_another(tmp_path: Path) -> None:
    with listening() as listener:
        limits = settings(allowed_hosts=frozenset({"127.0.0.1:1"}), allowed_ports=frozenset({listener.port}))
        with pytest.raises(UnsafeAddress):
            make_fetcher(limits).fetch(web_file(f"http://127.0.0.1:{listener.port}/"), tmp_path)
        assert listener.taken == []


@pytest.mark.parametrize(
    ("entry", "split"),
    [
        ("Example.org", ("example.org", None)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]", ("::1", None)),
        ("[::1]:8080", ("::1", 8080)),
        ("::1", ("::1", None)),
    ],
)
def test_allowed_hosts_are_read_in_every_form(entry: str, split: tuple[str, int | None]) -> None:
    assert split_host(entry) == split


@pytest.mark.parametrize("entry", ["", "http://example.org", "example.org:", "a/b", "a b", "host:port"])
def test_an_allowed_host_that_is_none_is_a_wrong_setting(entry: str) -> None:
    with pytest.raises(SettingsError, match="is no host"):
        AddressGuard([entry])
