"""Allocations from all YAML files of a folder, which count as one document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rr.errors import AllocationsError, Problem
from rr.ipam.sources.watch import FileWatch, chain
from rr.ipam.sources.watched import LOOK_EVERY, MAX_SIZE, Signature, WatchedSource, signature_of
from rr.yamlfile import read_text


def is_document(name: str) -> bool:
    """Whether a file of this name is read: editors and tools hide what they have not finished behind a dot."""
    return name.endswith((".yaml", ".yml")) and not name.startswith(".")


def documents(folder: Path) -> list[Path]:
    """The files that are read, by name; raises OSError. A symlink that leads nowhere is one: it is said."""
    found = sorted(path for path in folder.iterdir() if is_document(path.name))
    return [path for path in found if path.is_file() or not path.exists()]


class FolderWatch(FileWatch):
    """Watches a folder for documents that change, come and go, and for whatever their names go through."""

    _folder: Path | None = None
    """The folder itself, no symlink to it; None while there is none."""

    def places(self) -> dict[Path, set[str]]:
        """The names that decide what is read, by directory."""
        found = chain(self.path)
        try:
            self._folder = self.path.resolve(strict=True)
            files = documents(self._folder)
        except OSError:
            self._folder, files = None, []
        if self._folder is not None:
            found.setdefault(self._folder, set())
        for file in files:
            for directory, names in chain(file).items():
                found.setdefault(directory, set()).update(names)
        return found

    def concerned(self, directory: Path, name: str) -> bool:
        """Also by a document that was not there before."""
        return super().concerned(directory, name) or (directory == self._folder and is_document(name))


class FolderSource(WatchedSource):
    """Readings of a folder."""

    def __init__(self, path: Path, name: str | None = None, look_every: float = LOOK_EVERY) -> None:
        super().__init__(path, name or f"folder:{path}", look_every)

    def watch(self) -> FileWatch:
        """Watch the folder, its files, and what their names go through."""
        return FolderWatch(self.path)

    def read(self) -> Mapping[str, str]:
        """The text of each file. A folder without any is an error: emptied by mistake, it would take everything."""
        try:
            files = documents(self.path)
        except FileNotFoundError:
            raise self._problem("there is no such folder", "create it, or name the right one") from None
        except NotADirectoryError:
            raise self._problem("is a file, not a folder", "name its folder, or write `type: file`") from None
        except PermissionError:
            raise self._problem("may not be read by this user", "allow it with chmod or chown") from None
        except OSError as error:
            wrong = f"cannot be read ({error.strerror})"
            raise self._problem(wrong, "see that the file system works") from None
        if not files:
            right = "put one there, with `nodes: {}` if nothing is allocated"
            raise self._problem("holds no file whose name ends in .yaml or .yml", right)
        texts: dict[str, str] = {}
        problems: list[Problem] = []
        for file in files:
            try:
                texts[str(file)] = read_text(file, MAX_SIZE, AllocationsError)
            except AllocationsError as error:
                problems += error.problems
        if problems:
            raise AllocationsError(problems)
        return texts

    def _problem(self, wrong: str, right: str) -> AllocationsError:
        return AllocationsError([Problem(str(self.path), 0, 0, "", wrong, right)])

    def signature(self) -> Signature | None:
        """Of all files, and which there are."""
        try:
            files = documents(self.path)
        except OSError as error:
            return (error.errno or 0,)
        found = [(file.name, signature_of(file)) for file in files]
        return None if any(signature is None for _, signature in found) else tuple(found)
