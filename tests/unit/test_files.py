"""State files: whole or not at all, and never believed when they are not what was written."""

import os
from pathlib import Path

import pytest

from rr import files


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "made" / "x.json"
    files.save(path, 1, {"b": [1, None], "a": {"c": 0.5}})
    assert files.load(path, 1) == {"b": [1, None], "a": {"c": 0.5}}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["x.json"]


def test_nothing_was_saved(tmp_path: Path) -> None:
    assert files.load(tmp_path / "x.json", 1) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"version": 1, "digest": "0", "content": {}}',
        "\x00" * 512,
    ],
)
def test_what_was_not_written_here_is_corrupt(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(files.Corrupt):
        files.load(path, 1)


def test_a_half_file_an_edited_one_and_another_version_are_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.save(path, 1, {"drained": "main"})
    whole = path.read_bytes()
    for other in (whole[:-3], whole.replace(b"main", b"mine")):
        path.write_bytes(other)
        with pytest.raises(files.Corrupt):
            files.load(path, 1)
    path.write_bytes(whole)
    with pytest.raises(files.Corrupt):
        files.load(path, 2)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    files.save(path, 1, {"a": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.save(path, 1, {"a": 2})
    assert os.listdir(tmp_path) == ["x.json"]
    monkeypatch.undo()
    assert files.load(path, 1) == {"a": 1}
