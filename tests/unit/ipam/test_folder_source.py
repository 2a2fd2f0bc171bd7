"""A folder of allocations on a real file system, changed in every way that tools do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rr.ipam.reading import Reading
from rr.ipam.sources.folder import FolderSource

SOON = 0.6
"""Seconds: less than the look each second, so that what comes in time came from inotify."""


def text(node: int, number: int = 1) -> str:
    return f"nodes: {{node-{node}: {{addresses: [10.2.0.{node}], prefixes: [10.{number}.{node}.0/24]}}}}\n"


def prefixes(reading: Reading) -> set[str]:
    assert reading.allocations is not None, reading.trouble
    return {str(p) for node in reading.allocations.nodes.values() for p in node.prefixes}


class Feed:
    """Readings as they come."""

    def __init__(self, path: Path, look_every: float = 1.0) -> None:
        self.readings: AsyncIterator[Reading] = aiter(FolderSource(path, look_every=look_every))

    async def next(self, within: float = SOON) -> Reading:
        return await asyncio.wait_for(anext(self.readings), within)

    async def until(self, wanted: set[str], within: float = 3.0) -> Reading:
        """The reading that says this, whatever comes before it."""
        async with asyncio.timeout(within):
            while True:
                reading = await anext(self.readings)
                if reading.allocations and prefixes(reading) == wanted:
                    return reading


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "allocations.d"
    folder.mkdir()
    (folder / "a.yaml").write_text(text(1))
    (folder / "b.yml").write_text(text(2))
    return folder


INSTEAD = "put one there, with `nodes: {}` if nothing is allocated"
BOTH = {"10.1.1.0/24", "10.1.2.0/24"}


def rename_over(folder: Path) -> None:
    (folder / ".a.new").write_text(text(1, 9))
    (folder / ".a.new").rename(folder / "a.yaml")


def write_in_place(folder: Path) -> None:
    (folder / "a.yaml").write_text(text(1, 9))


def like_vim(folder: Path) -> None:
    path = folder / "a.yaml"
    path.rename(folder / "a.yaml~")
    with path.open("w") as file:
        file.write(text(1, 9)[:20])
        file.flush()
        file.write(text(1, 9)[20:])
    (folder / "a.yaml~").unlink()


def another_name(folder: Path) -> None:
    (folder / "a.yaml").unlink()
    (folder / "c.yaml").write_text(text(1, 9))


def a_symlink(folder: Path) -> None:
    (folder.parent / "elsewhere").write_text(text(1, 9))
    (folder / "a.yaml").unlink()
    (folder / "a.yaml").symlink_to("../elsewhere")


@pytest.mark.parametrize("change", [rename_over, write_in_place, like_vim, another_name, a_symlink])
async def test_a_change_is_read_at_once(folder: Path, change: Callable[[Path], None]) -> None:
    feed = Feed(folder)
    assert prefixes(await feed.next()) == BOTH
    change(folder)
    await feed.until({"10.9.1.0/24", "10.1.2.0/24"}, within=SOON)


async def test_a_file_that_comes_and_one_that_goes_are_noticed_at_once(folder: Path) -> None:
    feed = Feed(folder)
    await feed.next()
    (folder / "c.yaml").write_text(text(3))
    assert prefixes(await feed.next()) == BOTH | {"10.1.3.0/24"}
    (folder / "a.yaml").unlink()
    assert prefixes(await feed.next()) == {"10.1.2.0/24", "10.1.3.0/24"}


async def test_hidden_and_other_files_do_not_count(folder: Path) -> None:
    feed = Feed(folder)
    (folder / ".hidden.yaml").write_text("nonsense")
    (folder / "README").write_text("nonsense")
    (folder / "a.yaml~").write_text("nonsense")
    (folder / "more.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    assert prefixes(await feed.next()) == BOTH
    (folder / ".hidden.yaml").write_text("other nonsense")
    with pytest.raises(TimeoutError):
        await feed.next(0.2)


async def test_a_config_map_of_kubernetes_is_followed(tmp_path: Path) -> None:
    for version in (1, 2):
        (tmp_path / f"..v{version}").mkdir()
        for name, node in (("a.yaml", 1), ("b.yaml", 2)):
            (tmp_path / f"..v{version}" / name).write_text(text(node, version))
    (tmp_path / "..data").symlink_to("..v1")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    feed = Feed(tmp_path)
    assert prefixes(await feed.next()) == BOTH
    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert prefixes(await feed.next()) == {"10.2.1.0/24", "10.2.2.0/24"}


async def test_a_folder_that_is_a_symlink_to_another_one_is_followed(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to("allocations.d")
    feed = Feed(link)
    assert prefixes(await feed.next()) == BOTH
    (folder / "c.yaml").write_text(text(3))
    assert prefixes(await feed.next()) == BOTH | {"10.1.3.0/24"}
    other = folder.parent / "other"
    other.mkdir()
    (other / "z.yaml").write_text(text(7))
    (folder.parent / "new").symlink_to("other")
    (folder.parent / "new").rename(link)
    assert prefixes(await feed.next()) == {"10.1.7.0/24"}


async def test_one_broken_file_is_named_and_nothing_is_said_of_the_others(folder: Path) -> None:
    feed = Feed(folder)
    await feed.next()
    (folder / "b.yml").write_text("nodes: [")
    (folder / "c.yaml").write_text(text(3))
    reading = await feed.next()
    assert reading.allocations is None
    assert reading.trouble == (
        f"{folder}/b.yml:2:1: the file ends in the middle of a value; see that it is complete"
    )
    (folder / "b.yml").write_text(text(2))
    assert prefixes(await feed.next()) == BOTH | {"10.1.3.0/24"}


async def test_what_two_files_contradict_is_named_with_both_places(folder: Path) -> None:
    feed = Feed(folder)
    await feed.next()
    (folder / "c.yaml").write_text(text(3).replace("10.1.3.0", "10.1.1.0"))
    assert (await feed.next()).trouble == (
        f"{folder}/c.yaml:1:52: nodes.node-3.prefixes[0]: 10.1.1.0/24 already belongs to node-1 at "
        f"{folder}/a.yaml:1:52; a prefix has one owner: keep it at one of them"
    )


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "there is no such folder; create it, or name the right one"),
        ("empty", f"holds no file whose name ends in .yaml or .yml; {INSTEAD}"),
        ("a file", "is a file, not a folder; name its folder, or write `type: file`"),
    ],
)  # fmt: skip
async def test_a_folder_that_is_none_is_an_error_until_it_is_one(
    tmp_path: Path, what: str, said: str
) -> None:
    path = tmp_path / "allocations.d"
    if what == "empty":
        path.mkdir()
    elif what == "a file":
        path.touch()
    feed = Feed(path)
    assert (await feed.next()).trouble == f"{path}: {said}"
    if what == "a file":
        path.unlink()
    path.mkdir(exist_ok=True)
    (path / "a.yaml").write_text(text(1))
    await feed.until({"10.1.1.0/24"})


async def test_a_symlink_that_leads_nowhere_is_an_error(folder: Path) -> None:
    (folder / "c.yaml").symlink_to("nowhere.yaml")
    assert (await Feed(folder).next()).trouble == (
        f"{folder}/c.yaml: there is no such file; create it, or name the right one"
    )


async def test_files_written_all_the_time_end_in_what_they_say_last(folder: Path) -> None:
    feed = Feed(folder)
    await feed.next()

    def write() -> None:
        for count in range(10, 100):
            for name, node in (("a.yaml", 1), ("b.yml", 2)):
                (folder / f".{name}").write_text(text(node, count))
                (folder / f".{name}").replace(folder / name)

    writing = asyncio.create_task(asyncio.to_thread(write))
    await feed.until({"10.99.1.0/24", "10.99.2.0/24"})
    await writing


async def test_without_inotify_the_folder_is_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("rr.ipam.sources.watch.Inotify", none)
    feed = Feed(folder, look_every=0.05)
    assert prefixes(await feed.next()) == BOTH
    (folder / "c.yaml").write_text(text(3))
    assert prefixes(await feed.next()) == BOTH | {"10.1.3.0/24"}


async def test_each_change_is_read_among_many_files_too(folder: Path) -> None:
    for node in range(3, 203):
        (folder / f"node-{node}.yaml").write_text(text(node))
    feed = Feed(folder)
    await feed.next(within=10)
    for count in range(2, 7):
        (folder / ".new").write_text(text(1, count))
        (folder / ".new").replace(folder / "a.yaml")
        assert f"10.{count}.1.0/24" in prefixes(await feed.next(within=10))
