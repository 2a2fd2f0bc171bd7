"""Write the manual pages rrd.8, rrctl.1 and rr.yaml.5: `python packaging/manpages.py FOLDER`.

They come from the same sources as docs/commands.md and docs/configuration.md: the commands themselves, the schema, and
the prose beside it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from rr import __version__
from rr.cli.reference import commands
from rr.config.reference import default_of, example, prose
from rr.config.schema import kind_of, models, spelled
from rr.daemon import main as rrd

FILES = (
    ("/etc/rr/rr.yaml", "The configuration, see rr.yaml(5)."),
    ("/etc/rr/allocations.yaml", "Who owns what, where the IPAM writes it; any other path does too."),
    ("/etc/default/rr-appliance", "RRD_OPTIONS for rrd, and GOGC for the engines."),
    ("/run/rr/rrd.sock", "Where rrctl asks rrd: for root and for members of the group rr."),
    ("/run/rr/INSTANCE/gobgpd.sock", "Where rrd drives the engine of an instance; gobgpd.log beside it."),
    ("/run/rr-check/check.json", "What `rrctl check` said last, written every minute."),
    ("/var/lib/rr", "What is known over a restart: roster, allocations, drains, quarantine, events."),
)
UNITS = (
    ("rr.target", "The whole appliance."),
    (
        "rrd.service",
        "The controller. To stop or restart it touches no session; `systemctl reload` applies rr.yaml.",
    ),
    (
        "rr-engine@INSTANCE.service",
        "An engine. Restart loses no route; stop drains first. Which ones run follows from the instances in rr.yaml.",
    ),
    ("rr-engines.path, rr-engines.service", "Start and stop engines as instances come and go."),
    ("rr-check.timer, rr-check.service", "Run `rrctl check` every minute and keep its answer."),
)


def pages() -> dict[str, str]:
    """Every page's text by its file name."""
    return {"rrd.8": _rrd(), "rrctl.1": _rrctl(), "rr.yaml.5": _yaml()}


def _rrd() -> str:
    context = click.Context(rrd, info_name="rrd")
    return _page(
        _head("rrd", 8, "controller of the route-reflector appliance"),
        *_section("SYNOPSIS", [f".B rrd\n{_text(' '.join(rrd.collect_usage_pieces(context)))}"]),
        *_section("DESCRIPTION", _help(rrd.help or "")),
        *_section("OPTIONS", _options(rrd, context)),
        *_section("UNITS", _terms(UNITS)),
        *_section(
            "SIGNALS",
            _terms(
                [("SIGTERM, SIGINT", "End; engines and sessions run on."), ("SIGHUP", "Read rr.yaml again.")]
            ),
        ),
        *_section("FILES", _terms(FILES)),
        *_section("EXAMPLES", [_code([(rrd.epilog or "").removeprefix("Example: ")])]),
        *_section("SEE ALSO", [".BR rrctl (1),\n.BR rr.yaml (5),\n.BR gobgpd (1)"]),
    )


def _rrctl() -> str:
    (_, root), *rest = commands()
    body: list[str] = []
    for name, context in rest:
        command = context.command
        pieces = " ".join(command.collect_usage_pieces(context))
        body += [f'.SS "{_text(f"rrctl {name} {pieces}")}"', *_help(command.help or "")]
        body += _options(command, context)
    return _page(
        _head("rrctl", 1, "look at and steer the route-reflector appliance"),
        *_section("SYNOPSIS", [f".B rrctl\n{_text(' '.join(root.command.collect_usage_pieces(root)))}"]),
        *_section("DESCRIPTION", _help(root.command.help or "")),
        *_section("OPTIONS", _options(root.command, root)),
        *_section("COMMANDS", body),
        *_section("FILES", _terms(FILES)),
        *_section("SEE ALSO", [".BR rrd (8),\n.BR rr.yaml (5)"]),
    )


def _yaml() -> str:
    keys: list[str] = []
    for route, model in models():
        keys += [f'.SS "{_text(spelled(route) or "Top level")}"', *_markdown((model.__doc__ or "").strip())]
        keys += _terms(
            (
                name,
                f"{kind_of(field)}; default: {default_of(field)}. {field.description or ''}".replace(
                    "**", ""
                ),
            )
            for name, field in model.model_fields.items()
        )
    return _page(
        _head("rr.yaml", 5, "configuration of the route-reflector appliance"),
        *_section("DESCRIPTION", _markdown(prose("configuration.md").removesuffix("## Example").rstrip())),
        *_section("KEYS", keys),
        *_section("EXAMPLE", [_code(example("rr.yaml").rstrip().splitlines())]),
        *_section("ALLOCATIONS", _markdown(prose("allocations.md"))),
        *_section("EXAMPLE OF ALLOCATIONS", [_code(example("allocations.yaml").rstrip().splitlines())]),
        *_section("SEE ALSO", [".BR rrd (8),\n.BR rrctl (1)"]),
    )


# roff


def _page(*parts: str) -> str:
    return "\n".join(parts) + "\n"


def _head(name: str, section: int, what: str) -> str:
    title = f'.TH "{name}" "{section}" "" "rr-appliance {__version__}" "Route-reflector appliance"'
    return f"{title}\n.SH NAME\n{name} \\- {what}"


def _section(title: str, body: Iterable[str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from body


def _terms(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f".TP\n.B {_text(term)}\n{_text(what)}" for term, what in rows]


def _options(command: click.Command, context: click.Context) -> list[str]:
    records = (param.get_help_record(context) for param in command.get_params(context))
    return _terms(record for record in records if record)


def _help(text: str) -> Iterator[str]:
    r"""Paragraphs as click has them: one that begins with \b keeps its lines."""
    for paragraph in text.split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            yield _code(lines[1:])
        else:
            yield f".PP\n{_text(' '.join(line.strip() for line in lines))}"


def _markdown(text: str) -> Iterator[str]:
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if block.startswith("#"):
            yield f'.SS "{_text(block.lstrip("# "))}"'
        elif block.startswith("    "):
            yield _code(lines)
        elif block.startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            yield from _terms((row[0], "; ".join(row[1:])) for row in rows[2:])
        elif block.startswith("- "):
            items = re.split(r"\n(?=- )", block)
            yield from (f".IP \\(bu 2\n{_text(' '.join(item[2:].split()))}" for item in items)
        else:
            yield f".PP\n{_text(' '.join(lines))}"


def _code(lines: Iterable[str]) -> str:
    return "\n".join([".PP", ".RS 4", ".nf", *map(_text, lines), ".fi", ".RE"])


def _text(text: str) -> str:
    """Escape what roff would take for itself; what stands in backticks is bold."""
    safe = (
        text.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace('"', "\\(dq")
        .replace("'", "\\(aq")
        .replace("^", "\\(ha")
    )
    safe = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", safe).replace("`", "\\(ga").replace("~", "\\(ti")
    return f"\\&{safe}" if safe.startswith(".") else safe


def main() -> None:
    """Write the pages into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
