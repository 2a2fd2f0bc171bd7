"""How the demo speaks: chapters, plain lines, commands with their real output; colour only on a terminal."""

import asyncio
import os
import time
from typing import TextIO

READING_SECONDS = 2.0
BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"


class Teller:
    """Writes the story to `stream`, each finding with the seconds since the start."""

    def __init__(self, stream: TextIO, *, unhurried: bool = False) -> None:
        """`unhurried`: on a terminal, leave the time to read between chapters."""
        self._stream = stream
        self._pause = READING_SECONDS if unhurried and stream.isatty() else 0.0
        self._colour = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._start = time.monotonic()
        self._chapter = 0

    def elapsed(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._start

    async def chapter(self, title: str) -> None:
        """Begin the next chapter."""
        if self._chapter:
            await asyncio.sleep(self._pause)
        self._chapter += 1
        self._write("")
        self._write(self._in(BOLD, f"{self._chapter}. {title}"))

    def title(self, text: str) -> None:
        """Begin the story."""
        self._write(self._in(BOLD, text))

    def say(self, text: str) -> None:
        """One line of the story."""
        self._write(f"   {text}")

    def found(self, text: str) -> None:
        """Something that was just seen to be so, with the time."""
        self._write(f"   {self._in(GREEN, 'ok')} {self._in(DIM, f'{self.elapsed():5.1f} s')}  {text}")

    def news(self, text: str) -> None:
        """Something that happened by itself, with the time."""
        self._write(f"      {self._in(DIM, f'{self.elapsed():5.1f} s')}  {text}")

    def command(self, line: str, output: str) -> None:
        """A command and what it printed."""
        self._write(f"   {self._in(CYAN, '$ ' + line)}")
        self.lines(output)

    def lines(self, text: str) -> None:
        """Preformatted lines, such as a table."""
        for line in text.rstrip("\n").splitlines():
            self._write(f"     {line}".rstrip())

    def failed(self, text: str) -> None:
        """Why the demo ends early."""
        self._write("")
        self._write(f"{self._in(RED, 'The demo failed')}: {text}")

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
