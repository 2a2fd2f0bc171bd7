"""Certificates and the channel between two halves, over real TLS on loopback."""

import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rr.config.model import Pair
from rr.config.types import HostPort
from rr.continuity.pair import tls
from rr.continuity.pair.certificates import CannotMake, make, renew
from rr.continuity.pair.channel import Answering, Unanswered, ask
from rr.continuity.pair.word import Word

WORD = Word("rr-b", "1.0", 1000.0, "digest", {})


def pair_in(folder: Path, name: str, other: str = "rr-b", ca: Path | None = None) -> Pair:
    return Pair.model_validate({
        "name": other, "listen": "127.0.0.1:9633", "connect": "127.0.0.1:9634", "ca": str(ca or folder / "ca.crt"),
        "certificate": str(folder / f"{name}.crt"), "key": str(folder / f"{name}.key"),
    })  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "pair", ["rr-a", "rr-b"], 30)
    return tmp_path / "pair"


@pytest.fixture
async def answering(folder: Path) -> AsyncIterator[HostPort]:
    """rr-b, that answers rr-a."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = HostPort(host="127.0.0.1", port=free.getsockname()[1])
    server = Answering("rr-a", lambda: WORD)
    await server.start(listen, tls.load(pair_in(folder, "rr-b"), "rr-b").server)
    yield listen
    await server.stop()


def client(folder: Path, name: str = "rr-a", **more: Any) -> ssl.SSLContext:
    return tls.load(pair_in(folder, name, **more), name).client


async def refused(connect: HostPort, context: ssl.SSLContext, name: str = "rr-b") -> str:
    with pytest.raises(Unanswered) as caught:
        await ask(connect, name, context)
    return str(caught.value)


async def test_the_halves_know_each_other(answering: HostPort, folder: Path) -> None:
    assert await ask(answering, "rr-b", client(folder)) == WORD


async def test_a_certificate_for_another_name_is_not_the_other_halfs(
    answering: HostPort, folder: Path
) -> None:
    said = await refused(answering, client(folder), "rr-c")
    assert said.startswith("its certificate is not accepted: Hostname mismatch")


async def test_whoever_has_no_certificate_for_the_other_halfs_name_is_told_nothing(
    answering: HostPort, folder: Path
) -> None:
    said = await refused(answering, client(folder, "rr-b"))
    assert said == "it refuses: the certificate is for rr-b, not for rr-a"


async def test_a_certificate_of_another_ca_is_accepted_by_neither_side(
    answering: HostPort, folder: Path, tmp_path: Path
) -> None:
    make(tmp_path / "strange", ["rr-a", "rr-b"], 30)
    strange = tmp_path / "strange"
    said = await refused(answering, client(strange))
    assert said == "its certificate is not accepted: self-signed certificate in certificate chain"
    said = await refused(answering, client(strange, ca=folder / "ca.crt"))
    assert said.startswith(("it does not accept our certificate", "it closes the connection"))


async def test_whoever_shows_no_certificate_is_told_nothing(answering: HostPort, folder: Path) -> None:
    bare = ssl.create_default_context(cafile=folder / "ca.crt")
    said = await refused(answering, bare)
    assert said.startswith(("it does not accept our certificate", "it closes the connection"))


async def test_nobody_listening_is_said_as_it_is(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        connect = HostPort(host="127.0.0.1", port=free.getsockname()[1])
    assert "refused" in await refused(connect, client(folder))


def bad(pair: Pair, name: str = "rr-a") -> str:
    with pytest.raises(tls.BadCertificate) as caught:
        tls.load(pair, name)
    return str(caught.value)


def test_each_file_that_cannot_be_used_is_named_with_the_way_out(folder: Path) -> None:
    pair = pair_in(folder, "rr-a")
    right = "; make new ones: rrctl pair certificates"
    assert bad(pair, "rr-c") == f"{pair.certificate} is for rr-a, and this half is rr-c{right}"
    pair.key.chmod(0o640)
    assert bad(pair) == f"{pair.key} is open to others than its owner; chmod 600 {pair.key}"
    pair.key.chmod(0o600)
    good = pair.key.read_bytes()
    pair.key.write_bytes((folder / "rr-b.key").read_bytes())
    assert bad(pair).startswith(f"{pair.certificate} and {pair.key} are no certificate with its key in PEM (")
    pair.key.write_bytes(good)
    pair.ca.write_text("nothing")
    assert bad(pair) == f"{pair.ca} holds no certificate in PEM{right}"
    pair.ca.unlink()
    assert bad(pair) == f"there is no file {pair.ca}{right}"


def test_an_expired_certificate_is_said_to_be(folder: Path) -> None:
    make(folder / "old", ["rr-a", "rr-b"], 0)
    assert " expired at " in bad(pair_in(folder / "old", "rr-a"))


def test_our_certificates_end_is_known_and_its_exchange_noticed(folder: Path) -> None:
    pair = pair_in(folder, "rr-a")
    before = tls.signature(pair)
    assert tls.load(pair, "rr-a").expires == pytest.approx(time.time() + 30 * 86400, abs=60)
    assert tls.signature(pair) == before
    renew(folder, ["rr-a", "rr-b"], 60)
    assert tls.signature(pair) != before
    assert tls.load(pair, "rr-a").expires == pytest.approx(time.time() + 60 * 86400, abs=60)


# Making certificates


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {
        "ca.crt": 0o644, "ca.key": 0o600, "rr-a.crt": 0o644, "rr-a.key": 0o600, "rr-b.crt": 0o644, "rr-b.key": 0o600,
    }  # fmt: skip
    assert folder.stat().st_mode & 0o077 == 0


def test_nothing_that_is_there_is_overwritten(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(
        CannotMake, match=r"ca\.crt is there already, and nothing is overwritten; use --renew"
    ):
        make(folder, ["rr-c", "rr-d"], 30)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_renewal_keeps_the_ca(folder: Path) -> None:
    ca, own = (folder / "ca.crt").read_bytes(), (folder / "rr-a.crt").read_bytes()
    assert [path.name for path in renew(folder, ["rr-a"], 30)] == ["rr-a.crt", "rr-a.key"]
    assert (folder / "ca.crt").read_bytes() == ca
    assert (folder / "rr-a.crt").read_bytes() != own
    tls.load(pair_in(folder, "rr-a"), "rr-a")


def test_a_renewal_needs_the_ca(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotMake, match=r"there is no .*ca\.crt; renew where ca\.crt and ca\.key are"):
        renew(tmp_path / "elsewhere", ["rr-a"], 30)
    os.replace(folder / "rr-a.key", folder / "ca.key")
    with pytest.raises(CannotMake, match=r"ca\.key in .* is not the key of ca\.crt"):
        renew(folder, ["rr-b"], 30)
