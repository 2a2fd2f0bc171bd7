"""The machine's own apt sources are read in both formats, and Debian's archive is found in them."""

from pathlib import Path

import pytest

from engine.sources import Source, debian_mirrors, parse_deb822, parse_one_line

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian http://other.example/debian
Suites: bookworm
 bookworm-updates
Components: main contrib
# in the middle
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
"""


def write(directory: Path, files: dict[str, str]) -> Path:
    (directory / "sources.list.d").mkdir()
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def test_deb822_stanzas_with_comments_and_continuation_lines() -> None:
    first, second = parse_deb822(DEB822)
    assert first == Source(
        ("http://mirror.example/debian", "http://other.example/debian"),
        ("bookworm", "bookworm-updates"),
        ("main", "contrib"),
        "/usr/share/keyrings/debian-archive-keyring.gpg",
    )
    assert second.suites == ("bookworm-security",)


@pytest.mark.parametrize(
    "stanza", ["Types: deb-src\nURIs: u\nSuites: sid", "Enabled: no\n" + DEB822[12:200], ""]
)
def test_a_stanza_that_gives_no_binary_packages_is_passed_over(stanza: str) -> None:
    assert list(parse_deb822(stanza)) == []


def test_an_embedded_key_is_read_as_one_field() -> None:
    stanza = DEB822.split("Signed-By")[0] + "Signed-By:\n -----BEGIN\n .\n abc:\n"
    (source,) = parse_deb822(stanza)
    assert source.signed_by.split() == ["-----BEGIN", ".", "abc:"]
    assert not source.is_debian_archive


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("deb http://m.example/debian sid main", Source(("http://m.example/debian",), ("sid",), ("main",))),
        (
            "  deb [ arch=amd64 signed-by=/k.gpg ] http://m.example/debian trixie main contrib # why",
            Source(("http://m.example/debian",), ("trixie",), ("main", "contrib"), "/k.gpg"),
        ),
        ("deb-src http://m.example/debian sid main", None),
        ("# deb http://m.example/debian sid main", None),
        ("debris", None),
    ],
)
def test_one_line_entries(line: str, source: Source | None) -> None:
    assert list(parse_one_line(line)) == ([source] if source else [])


def test_the_mirrors_come_in_apts_order_and_once(tmp_path: Path) -> None:
    apt = write(
        tmp_path,
        {
            "sources.list": "deb cdrom:[disc]/ sid main\ndeb http://first.example/debian bookworm main\n",
            "sources.list.d/a.sources": DEB822,
            "sources.list.d/b.list": "deb http://first.example/debian bookworm-updates main\n",
            "sources.list.d/b.list.disabled": "deb http://disabled.example/debian bookworm main\n",
        },
    )
    assert debian_mirrors(apt) == [
        "http://first.example/debian",
        "http://mirror.example/debian",
        "http://other.example/debian",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "deb http://m.example/debian-security bookworm-security main",
        "deb http://m.example/debian-security/ bookworm main",
        "deb http://m.example/debian bookworm contrib",
        "deb http://m.example/ubuntu noble main",
        "deb http://m.example/node nodistro main",
        "deb [signed-by=/usr/share/keyrings/somebody.gpg] http://m.example/apt bookworm main",
    ],
)
def test_what_is_not_debians_main_archive_is_passed_over(line: str, tmp_path: Path) -> None:
    assert debian_mirrors(write(tmp_path, {"sources.list": line + "\n"})) == []


def test_a_machine_without_apt_has_no_mirrors(tmp_path: Path) -> None:
    assert debian_mirrors(tmp_path / "none") == []
