"""One self-contained HTML page: text, tables and pictures in a single file that asks no network and runs no script."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from jknas.errors import DrawingError

_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}

_WHOLE = 1e15  # floats below it that are whole numbers are written as such, a number of parameters for example

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 2rem auto; max-width: 72rem; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; } h2 { font-size: 1.15rem; margin-top: 2.4rem; border-bottom: 1px solid #c8c8c8; }
p.lead { color: #555; margin-top: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 0.6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; vertical-align: top; } tbody tr { border-top: 1px solid #e4e4e4; }
th { font-weight: 600; } td.number, th.number { text-align: right; } code { font-size: 0.8em; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: 0.9em; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="lead">$lead</p>
$body
</body>
</html>
""")


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """Return a page of titled sections, whose contents are HTML from the functions of this module."""
    body = "\n".join(f"<h2>{escape(name)}</h2>\n{content}" for name, content in sections if content)
    return _PAGE.substitute(title=escape(title), lead=escape(lead), body=body)


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; numbers are on the right, genotypes are set as code, and a column without any value is left out."""
    listed = [list(row) for row in rows]
    kept = [place for place in range(len(heads)) if not listed or any(row[place] is not None for row in listed)]
    heads, listed = [heads[place] for place in kept], [[row[place] for place in kept] for row in listed]
    right = [all(_is_number(row[place]) for row in listed) and bool(listed) for place in range(len(heads))]
    marks = [' class="number"' if one else "" for one in right]
    head = "".join(f"<th{mark}>{escape(name)}</th>" for name, mark in zip(heads, marks, strict=True))
    lines = ["".join(f"<td{mark}>{_cell(value)}</td>" for value, mark in zip(row, marks, strict=True)) for row in listed]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def facts(values: Mapping[str, Any]) -> str:
    """Return a table of names and values; a mapping becomes one line of its names and values."""
    body = "\n".join(f"<tr><th>{escape(str(name))}</th><td>{_cell(value)}</td></tr>" for name, value in values.items())
    return f'<div class="wide"><table><tbody>\n{body}\n</tbody></table></div>'


def pictures(paths: Iterable[Path], captions: Mapping[str, str] | None = None) -> str:
    """Return pictures, embedded. Those that are not there are left out.

    Args:
        paths: SVG and PNG files.
        captions: by the stem of a file's name; the stem itself by default.

    Raises:
        DrawingError: a file cannot be read.
    """
    figures = []
    for path in paths:
        if not path.exists():
            continue
        caption = escape((captions or {}).get(path.stem, path.stem))
        try:
            content = base64.b64encode(path.read_bytes()).decode()
        except OSError as error:
            raise DrawingError(f"{path} cannot be read ({error.strerror}): make it readable, or delete it.") from error
        image = f'<img alt="{caption}" src="data:{_KINDS[path.suffix]};base64,{content}">'
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    listed = "\n".join(figures)
    return f'<div class="pictures">\n{listed}\n</div>' if len(figures) > 1 else listed


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    match value:
        case Mapping():
            text = ", ".join(f"{escape(str(name))} {_cell(one)}" for name, one in value.items()) or "none"
        case list() | tuple():
            text = ", ".join(map(_cell, value)) or "none"
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}"
        case float() if math.isnan(value):
            text = "none"
        case float() if value.is_integer() and abs(value) < _WHOLE:
            text = f"{value:,.0f}"
        case float():  # shares and correlations stand below each other: as many digits for all
            text = f"{value:.4f}" if 1e-3 <= abs(value) < 1 else f"{value:.4g}"
        case None:
            text = "none"
        case _:
            text = escape(str(value))
            text = f"<code>{text}</code>" if "|" in text or "Genotype(" in text else text
    return text
