"""The small status page at `/`: plain HTML without scripts, for eyes and for screen readers."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from rr.api.appliance import Appliance
from rr.api.guard import NO_FRAMES
from rr.api.health import reasons_not_ready

REFRESH_SECONDS = 10
SHOWN = 20

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#d9dfe6;--paper:#fff;--band:#f5f7f9;
--good:#17693a;--bad:#b3261e;--warn:#8a5300}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#323b47;--paper:#12161c;
--band:#1a2028;--good:#6fce93;--bad:#ff8a80;--warn:#f5b94f}}
body{margin:0 auto;padding:1.5rem;max-width:70rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}p{margin:.3rem 0}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.good,.bad,.warn{font-weight:600}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.2rem 0}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}tbody tr:hover{background:var(--band)}td.n,th.n{text-align:right}
a{color:inherit}code{font-size:.95em}
""".strip()

_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS = {"Content-Security-Policy": (f"default-src 'none'; style-src 'sha256-{_HASH}'; {NO_FRAMES}")}
_MORE = (
    '<p class="soft">As data: <a href="/api/v1/">/api/v1/</a>, <a href="/metrics">/metrics</a>, '
    '<a href="/readyz">/readyz</a>. On this host: <code>rrctl status</code>.</p></main>'
)
_VIOLATION = ("last_seen", "peer", "node", "prefix", "reason", "count")
_COLOURS = {
    "running": "good",
    "established": "good",
    "in force": "good",
    "down": "bad",
    "not in force": "bad",
    "starting": "warn",
    "critical": "bad",
    "warning": "warn",
}


def render(appliance: Appliance) -> str:
    """Write the page of this moment."""
    status = appliance.status()
    tors = [peer for peer in appliance.peers() if peer["role"] != "node"]
    violations = appliance.violations()
    rejected = [row for row in violations if row["enforced"]][:SHOWN]
    events = list(reversed(appliance.events(0)[-SHOWN:]))
    body = [
        _head(status),
        _problems(status),
        _instances(status["instances"]),
        _ipam(status["ipam"]),
        _table(
            "ToR sessions",
            tors,
            ("instance", "address", "rack", "state", "since", "accepted", "advertised"),
            "No ToR is configured.",
        ),
        _table("Rejected announcements", rejected, _VIOLATION, "Nothing was rejected."),
        _observed([row for row in violations if not row["enforced"]][:SHOWN]),
        _table("Events", events, ("time", "kind", "subject", "text"), "Nothing has happened yet."),
        _MORE,
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        f"<title>{_text(status['name'])}: route reflector</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _text(value: object) -> str:
    return "-" if value is None or value == "" else escape(str(value))


def _head(status: Mapping[str, Any]) -> str:
    reasons = reasons_not_ready(status)
    word = '<span class="bad">not ready</span>' if reasons else '<span class="good">ready</span>'
    return (
        f"<header><h1>{_text(status['name'])} is {word}</h1>"
        f'<p class="soft">Route reflector appliance {_text(status["version"])}, running since '
        f"{_text(status['started'])}.</p></header><main>"
    )


def _problems(status: Mapping[str, Any]) -> str:
    problems = [(p["severity"], p["text"]) for p in status["problems"]]
    problems += [("critical", reason) for reason in reasons_not_ready(status)]
    if not problems:
        return ""
    items = "".join(
        f"<li>{_coloured(severity)}: {_text(said)}</li>" for severity, said in dict.fromkeys(problems)
    )
    return f"<h2>Problems</h2><ul>{items}</ul>"


def _instances(instances: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {
            "instance": row["instance"],
            "AS": row["asn"],
            "router id": row["router_id"],
            "engine": row["engine"]["state"],
            "policy": "in force" if row["policy"]["in_force"] else "not in force",
            "nodes": f"{row['sessions']['nodes']['up']} of {row['sessions']['nodes']['expected']}",
            "ToRs": f"{row['sessions']['tors']['up']} of {row['sessions']['tors']['expected']}",
            "accepted": row["routes"]["accepted"],
            "rejected": row["routes"]["rejected"],
        }
        for row in instances
    ]
    columns = ("instance", "AS", "router id", "engine", "policy", "nodes", "ToRs", "accepted", "rejected")
    return _table("Instances", rows, columns, "No instance is configured.")


def _observed(rows: Sequence[Mapping[str, Any]]) -> str:
    """What passes only because its rack is observed; nothing where there is none."""
    title = "Announcements that pass while their rack is observed"
    return _table(title, rows, _VIOLATION, "") if rows else ""


def _ipam(ipam: Mapping[str, Any]) -> str:
    said = f"{_text(ipam.get('nodes'))} nodes, {_text(ipam.get('prefixes'))} prefixes"
    if ipam.get("source"):
        said += f", from {_text(ipam['source'])}"
    if ipam.get("age_seconds"):
        said += f", {ipam['age_seconds']:.0f} s old"
    lines = [f"<p>{said}.</p>"]
    if ipam.get("error"):
        lines.append(f'<p><span class="warn">Last error</span>: {_text(ipam["error"])}</p>')
    if ipam.get("held"):
        lines.append(
            '<p><span class="warn">A snapshot is held back</span>; see <code>rrctl ipam diff</code>.</p>'
        )
    return f"<h2>Allocations</h2>{''.join(lines)}"


def _table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> str:
    if not rows:
        return f'<h2>{title}</h2><p class="soft">{nothing}</p>'
    numeric = {column for column in columns if all(isinstance(row.get(column), int) for row in rows)}
    head = "".join(
        f'<th scope="col"{_class(column, numeric)}>{_text(column.replace("_", " "))}</th>'
        for column in columns
    )
    body = "".join(f"<tr>{''.join(_cells(row, columns, numeric))}</tr>" for row in rows)
    return (
        f'<h2>{title}</h2><div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>'
        f"<caption>{title}: {len(rows)} shown</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(row: Mapping[str, Any], columns: Sequence[str], numeric: set[str]) -> Iterable[str]:
    for column in columns:
        yield f"<td{_class(column, numeric)}>{_coloured(row.get(column))}</td>"


def _class(column: str, numeric: set[str]) -> str:
    return ' class="n"' if column in numeric else ""


def _coloured(value: object) -> str:
    colour = _COLOURS.get(str(value))
    return f'<span class="{colour}">{_text(value)}</span>' if colour else _text(value)
