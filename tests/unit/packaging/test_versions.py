"""Which engine versions are understood, and which will do."""

import pytest

from engine.versions import Version, best, from_package, from_program


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("gobgpd version 4.8.0\n", Version(4, 8, 0)),
        ("gobgpd version 4.10\n", Version(4, 10, 0)),
        ("gobgpd version v4.9.2-dirty", Version(4, 9, 2)),
        ("gobgpd version 4.8.0-rc1", Version(4, 8, 0, released=False)),
        ("flag provided but not defined: -version", None),
        ("", None),
    ],
)
def test_the_program_tells_its_version(output: str, version: Version | None) -> None:
    assert from_program(output) == version


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("4.8.0-1", Version(4, 8, 0)),
        ("1:4.9.1-2+b3", Version(4, 9, 1)),
        ("4.8.0-1~bpo13+1", Version(4, 8, 0)),
        ("4.8.0~rc1-1", Version(4, 8, 0, released=False)),
        ("4.8", Version(4, 8, 0)),
        ("nonsense", None),
    ],
)
def test_a_package_version_has_an_upstream_part(package: str, version: Version | None) -> None:
    assert from_package(package) == version


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        (Version(3, 36, 0), False),
        (Version(4, 7, 9), False),
        (Version(4, 8, 0, released=False), False),
        (Version(4, 8, 0), True),
        (Version(4, 12, 3), True),
        (Version(5, 0, 0, released=False), False),
        (Version(5, 0, 0), False),
    ],
)
def test_only_4_8_up_to_5_will_do(version: Version, supported: bool) -> None:
    assert version.supported is supported


def test_the_newest_supported_package_is_taken() -> None:
    assert best(["5.0.0-1", "4.10.0-1", "4.9.0-1", "3.36.0-1"]) == "4.10.0-1"


def test_a_package_of_the_engines_own_version_is_preferred() -> None:
    assert best(["4.10.0-1", "4.9.0-2", "4.9.0-1"], like=Version(4, 9, 0)) == "4.9.0-2"


def test_of_two_builds_of_a_release_the_first_listed_is_taken() -> None:
    assert best(["4.8.0-2", "4.8.0-1"]) == "4.8.0-2"


def test_no_supported_package_is_no_package() -> None:
    assert best(["5.0.0-1", "3.36.0-1"]) is None
