import io

import pytest

from rr.demo.telling import Teller


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
async def test_colour_is_for_terminals_alone(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    teller = Teller(stream)
    await teller.chapter("Sessions")
    teller.found("all up")
    assert ("\x1b[" in stream.getvalue()) is stream.isatty()


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Teller(stream).failed("no engine")
    assert stream.getvalue() == "\nThe demo failed: no engine\n"
