"""HTML that cannot be broken by what it shows: every value is escaped unless it is HTML already."""

from __future__ import annotations

import html as _html
from collections.abc import Iterable

_MANY_COLUMNS, _MANY_ROWS = 4, 16
"""From how many columns on a table is set in another way on a phone, and with how many rows at most row by row."""


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def html(template: str, /, **values: object) -> Html:
    """Fill ``{name}`` fields of a template; values are escaped, ``Html`` values are kept.

    Example:
        >>> html("<p>{a} {b}</p>", a="1 < 2", b=Html("<b>yes</b>"))
        '<p>1 &lt; 2 <b>yes</b></p>'
    """
    return Html(template.format(**{name: escape(value) for name, value in values.items()}))


def escape(value: object) -> Html:
    """Escape one value; None is an empty text."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else _html.escape(str(value)))


def join(parts: Iterable[Html], between: str = "\n") -> Html:
    """Put pieces of HTML one after the other."""
    return Html(between.join(parts))


def code(name: object) -> Html:
    """Set a name of the program, such as that of a layer, as code."""
    return html("<code>{name}</code>", name=name)


def plot(svg: str, caption: str) -> Html:
    """Put a drawing into the page with a line below it."""
    return html('<figure class="plot">{svg}<figcaption>{caption}</figcaption></figure>', svg=Html(svg), caption=caption)


def table(head: Iterable[object], rows: Iterable[Iterable[object]], *, numbers: Iterable[int] = ()) -> Html:
    """Write a table; ``numbers`` are the columns that are set flush right.

    On a phone a table of many columns stands row by row, every cell with the title of its column before it; one of
    many rows too is moved sideways below its first column.

    Example:
        >>> table(["layer", "bits"], [["conv", 2]], numbers=[1]).count("<td")
        2
    """
    right, titles, lines = frozenset(numbers), list(head), [list(cells) for cells in rows]
    wide = len(titles) >= _MANY_COLUMNS
    short = wide and len(lines) <= _MANY_ROWS

    def row(cells: Iterable[object], tag: str) -> Html:
        side = (" class=r" if i in right else "" for i in range(len(titles)))
        of = (html(' data-of="{t}"', t=title) if short and tag == "td" else "" for title in titles)
        whole = zip(side, of, cells, strict=True)
        return Html("".join(f"<{tag}{c}{t}>{escape(cell)}</{tag}>" for c, t, cell in whole))

    top = f"<thead><tr>{row(titles, 'th')}</tr></thead>" if any(titles) else ""
    body = "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in lines)
    kind = " rows" if short else " columns" if wide else ""
    return Html(f'<div class="wide{kind}"><table>{top}<tbody>\n{body}\n</tbody></table></div>')


def section(title: str, body: Html, *, kind: str = "") -> Html:
    """Put a titled card around a part of the page; ``kind`` may be ``good`` or ``bad``."""
    kind = html(' class="{k}"', k=kind) if kind else Html("")
    return html("<section{kind}><h2>{title}</h2>{body}</section>", kind=kind, title=title, body=body)
