"""The allocations file on a real file system, changed in every way that editors and tools do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rr.ipam.reading import Reading
from rr.ipam.sources.file import FileSource
from rr.ipam.sources.watch import chain

SOON = 0.6
"""Seconds: less than the look each second, so that what comes in time came from inotify."""


def text(number: int) -> str:
    return f"nodes: {{node-1: {{addresses: [10.2.0.11], prefixes: [10.244.{number}.0/24]}}}}\n"


def number(reading: Reading) -> int:
    assert reading.allocations is not None, reading.trouble
    return int(str(reading.allocations.nodes["node-1"].prefixes[0]).split(".")[2])


class Feed:
    """Readings as they come, with how long after the last change they came."""

    def __init__(self, path: Path, look_every: float = 1.0) -> None:
        self.readings: AsyncIterator[Reading] = aiter(FileSource(path, look_every=look_every))

    async def next(self, within: float = SOON) -> Reading:
        start = time.perf_counter()
        reading = await asyncio.wait_for(anext(self.readings), within)
        print(f"{(time.perf_counter() - start) * 1000:.1f} ms")
        return reading

    async def until(self, wanted: int, within: float = 3.0) -> Reading:
        """The reading with this number, whatever comes before it."""
        async with asyncio.timeout(within):
            while True:
                reading = await anext(self.readings)
                if reading.allocations and number(reading) == wanted:
                    return reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "allocations.yaml"
    path.write_text(text(1))
    return path


def rename_over(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text(text(2))
    new.replace(path)


def write_in_place(path: Path) -> None:
    path.write_text(text(2))


def like_vim(path: Path) -> None:
    path.rename(f"{path}~")
    with path.open("w") as file:
        file.write(text(2)[:20])
        file.flush()
        file.write(text(2)[20:])
        os.fsync(file.fileno())
    path.with_name(f"{path.name}~").unlink()


def like_sed(path: Path) -> None:
    new = path.with_name("sedXXXX")
    new.write_text(text(2))
    new.rename(path)


def delete_and_create(path: Path) -> None:
    path.unlink()
    path.write_text(text(2))


def replace_by_symlink(path: Path) -> None:
    (path.parent / "other.yaml").write_text(text(2))
    (path.parent / "link").symlink_to("other.yaml")
    (path.parent / "link").rename(path)


@pytest.mark.parametrize(
    "change", [rename_over, write_in_place, like_vim, like_sed, delete_and_create, replace_by_symlink]
)
async def test_a_change_is_read_at_once(path: Path, change: Callable[[Path], None]) -> None:
    feed = Feed(path)
    assert number(await feed.next()) == 1
    change(path)
    assert number(await feed.next()) == 2


async def test_what_follows_a_symlink_that_is_exchanged_is_read(tmp_path: Path) -> None:
    for version in (1, 2):
        (tmp_path / f"..v{version}").mkdir()
        (tmp_path / f"..v{version}" / "allocations.yaml").write_text(text(version))
    (tmp_path / "..data").symlink_to("..v1")
    path = tmp_path / "allocations.yaml"
    path.symlink_to("..data/allocations.yaml")
    feed = Feed(path)
    assert number(await feed.next()) == 1
    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert number(await feed.next()) == 2
    (tmp_path / "..v2" / "allocations.yaml").write_text(text(3))
    assert number(await feed.next()) == 3


async def test_a_file_that_is_missing_is_an_error_until_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "allocations.yaml"
    feed = Feed(path)
    assert (await feed.next()).trouble == f"{path}: there is no such file; create it, or name the right one"
    path.write_text(text(1))
    assert number(await feed.next()) == 1
    path.unlink()
    assert (await feed.next()).allocations is None
    path.write_text(text(2))
    assert number(await feed.next()) == 2


async def test_a_directory_that_comes_later_is_found(tmp_path: Path) -> None:
    path = tmp_path / "later" / "allocations.yaml"
    feed = Feed(path, look_every=0.05)
    assert (await feed.next()).error
    path.parent.mkdir()
    path.write_text(text(1))
    assert number(await feed.next()) == 1


async def test_a_broken_file_is_an_error_until_it_is_mended(path: Path) -> None:
    feed = Feed(path)
    await feed.next()
    path.write_text("nodes: [")
    reading = await feed.next()
    assert reading.allocations is None
    assert reading.trouble == f"{path}:2:1: the file ends in the middle of a value; see that it is complete"
    path.write_text(text(1))
    assert number(await feed.next()) == 1


async def test_touching_the_file_says_nothing_new(path: Path) -> None:
    feed = Feed(path, look_every=0.05)
    await feed.next()
    path.touch()
    with pytest.raises(TimeoutError):
        await feed.next(0.3)


async def test_other_files_of_the_directory_do_not_matter(path: Path) -> None:
    feed = Feed(path)
    await feed.next()
    (path.parent / "rr.yaml").write_text("name: rr-a")
    with pytest.raises(TimeoutError):
        await feed.next(0.2)


async def test_of_quick_successive_writes_the_last_one_always_wins(path: Path) -> None:
    feed = Feed(path)
    await feed.next()
    for last in range(10, 60):
        path.write_text(text(last - 5))
        if last % 3 == 0:
            await asyncio.sleep(0.001)
        path.write_text(text(last))
        if last % 5 == 0:
            await feed.until(last)
    await feed.until(59)


async def test_writes_from_another_thread_while_reading_lose_nothing(path: Path) -> None:
    feed = Feed(path)
    await feed.next()

    def write() -> None:
        for count in range(2, 200):
            new = path.with_suffix(".new")
            new.write_text(text(count))
            new.replace(path)

    writing = asyncio.create_task(asyncio.to_thread(write))
    await feed.until(199)
    await writing


async def test_without_inotify_the_file_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("rr.ipam.sources.watch.Inotify", none)
    feed = Feed(path, look_every=0.05)
    assert number(await feed.next()) == 1
    path.write_text(text(2))
    assert number(await feed.next()) == 2


async def test_the_latency_is_small(path: Path) -> None:
    feed = Feed(path)
    await feed.next()
    took = []
    for count in range(2, 32):
        new = path.with_suffix(".new")
        new.write_text(text(count))
        new.replace(path)
        start = time.perf_counter()
        assert number(await feed.next()) == count
        took.append(time.perf_counter() - start)
        await asyncio.sleep(0.005)
    took.sort()
    print(f"\nmedian {took[15] * 1000:.2f} ms, worst {took[-1] * 1000:.2f} ms")
    assert took[15] < 0.05


def test_every_name_on_the_way_is_watched(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "data").symlink_to("real")
    (tmp_path / "file").symlink_to("data/file")
    found = chain(tmp_path / "file")
    assert found[tmp_path.resolve()] >= {"file", "data"}
    assert found[tmp_path.resolve() / "real"] == {"file"}


def test_symlinks_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert chain(tmp_path / "a")
