"""Password files: what is read, and the exact sentence for each that is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rr.config.load import load
from rr.config.secrets import read_secret, read_token
from rr.errors import ConfigError, SecretError

HERE = Path(__file__).parent


def secret(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("data", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
def test_the_end_of_the_line_is_no_part_of_the_password(tmp_path: Path, data: bytes) -> None:
    assert read_secret(secret(tmp_path / "md5", data)) == "s3cret"


def test_eighty_bytes_fit(tmp_path: Path) -> None:
    assert read_secret(secret(tmp_path / "md5", b"x" * 80)) == "x" * 80


@pytest.mark.parametrize(
    ("data", "mode", "sentence"),
    [
        (b"", 0o600, "{} is empty; write the password into it"),
        (b" \n", 0o600, "{} is empty; write the password into it"),
        (b"a\nb\n", 0o600, "{} has more than one line; keep only the password"),
        (b"x" * 81, 0o600, "the password in {} has 81 bytes, and TCP-MD5 takes 80; choose a shorter one"),
        (b"\xff", 0o600, "the password in {} is not UTF-8; choose one of letters and digits"),
        (b"a\0b", 0o600, "the password in {} has unprintable characters; choose one without"),
        (b"x", 0o640, ("{0} is open to others than its owner (mode 0640); chmod 600 {0}, and change the password if "
         "others could read it")),
        (b"x", 0o604, ("{0} is open to others than its owner (mode 0604); chmod 600 {0}, and change the password if "
         "others could read it")),
    ],
)  # fmt: skip
def test_a_password_file_is_refused(tmp_path: Path, data: bytes, mode: int, sentence: str) -> None:
    path = secret(tmp_path / "md5", data, mode)
    with pytest.raises(SecretError) as caught:
        read_secret(path)
    assert str(caught.value) == sentence.format(path)


def test_a_missing_password_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "md5"
    with pytest.raises(
        SecretError, match=r"there is no file .*md5; create it: install -m 600 /dev/null .*md5"
    ):
        read_secret(path)


def test_a_directory_is_no_password_file(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="is a directory; name a file"):
        read_secret(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_password_file_is_refused(tmp_path: Path) -> None:
    path = secret(tmp_path / "md5", b"x", 0o000)
    with pytest.raises(
        SecretError, match="may not be read by this user; make the user of the service its owner"
    ):
        read_secret(path)


def test_the_configuration_says_which_key_names_it(tmp_path: Path) -> None:
    good = (HERE / "good.yaml").read_text()
    path = tmp_path / "rr.yaml"
    path.write_text(
        good.replace("{address: 10.1.0.1}", f"{{address: 10.1.0.1, password_file: {tmp_path}/md5}}")
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}:13:48: instances.main.racks.rack-1.tors[0].password_file: there is no file {tmp_path}/md5; "
        f"create it: install -m 600 /dev/null {tmp_path}/md5"
    )


def with_kubeconfig(tmp_path: Path, kubeconfig: Path) -> Path:
    good = (HERE / "good.yaml").read_text()
    path = tmp_path / "rr.yaml"
    source = f"{{type: kubernetes, kubeconfig: {kubeconfig}}}"
    path.write_text(good.replace("{type: file, path: /etc/rr/allocations.yaml}", source))
    return path


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (None, ("{} cannot be read (No such file or directory); write the kubeconfig there, for the user of the "
         "service alone")),
        (0o644, ("{0} is open to others than its owner (mode 0644); chmod 600 {0}, and renew its token if others could "
         "read it")),
    ],
)  # fmt: skip
def test_a_kubeconfig_is_refused(tmp_path: Path, mode: int | None, sentence: str) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if mode is not None:
        secret(kubeconfig, b"", mode)
    path = with_kubeconfig(tmp_path, kubeconfig)
    with pytest.raises(ConfigError) as caught:
        load(path)
    wrong = sentence.format(kubeconfig)
    assert str(caught.value) == f"{path}:24:38: ipam.sources[0].kubeconfig: {wrong}"


def test_a_kubeconfig_of_ones_own_is_taken(tmp_path: Path) -> None:
    path = with_kubeconfig(tmp_path, secret(tmp_path / "kubeconfig", b"", 0o600))
    assert load(path).ipam.sources[0].place == f"kubernetes:{tmp_path}/kubeconfig"


@pytest.mark.parametrize("data", [b"nbt_4F9DAo.zjebxBPz", b"0123456789abcdef\n", b"  abc\r\n", b"x" * 4000])
def test_a_token_is_read_as_it_is_sent(tmp_path: Path, data: bytes) -> None:
    assert read_token(secret(tmp_path / "token", data)) == data.decode().strip()


@pytest.mark.parametrize(
    ("data", "mode", "sentence"),
    [
        (b"", 0o600, "{} is empty; write the token into it"),
        (b"a\nb\n", 0o600, "{} has more than one line; keep only the token"),
        (b"Bearer abc", 0o600, ("what is in {} is no token: one has no spaces and only ASCII; write the token alone "
         "into it, without a word such as Bearer before it")),
        (b"x" * 20000, 0o600, ("what is in {} is no token: one has no spaces and only ASCII; write the token alone "
         "into it, without a word such as Bearer before it")),
        (b"x", 0o640, ("{0} is open to others than its owner (mode 0640); chmod 600 {0}, and change the token if "
         "others could read it")),
    ],
)  # fmt: skip
def test_a_token_file_is_refused(tmp_path: Path, data: bytes, mode: int, sentence: str) -> None:
    path = secret(tmp_path / "token", data, mode)
    with pytest.raises(SecretError) as caught:
        read_token(path)
    assert str(caught.value) == sentence.format(path)


def test_the_configuration_says_which_token_file_cannot_be_used(tmp_path: Path) -> None:
    good = (HERE / "good.yaml").read_text()
    path = tmp_path / "rr.yaml"
    source = f'{{type: http, url: "https://ipam.example.net/", token_file: {tmp_path}/token}}'
    path.write_text(good.replace("{type: file, path: /etc/rr/allocations.yaml}", source))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}:24:66: ipam.sources[0].token_file: there is no file {tmp_path}/token; "
        f"create it: install -m 600 /dev/null {tmp_path}/token"
    )
