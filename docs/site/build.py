"""Build the site of all documents, the Python interface and the command line: build/site/html/index.html.

Usage: python docs/site/build.py. Every warning of Sphinx is an error: a link that leads nowhere, a page that nothing
leads to, a name in a docstring that does not exist.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gather import ROOT, gather, navigation, targets, toctree
from reference import write

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "site"


def main() -> int:
    """Gather the documents, write the pages of the site, and run Sphinx."""
    from sphinx.cmd.build import main as sphinx

    source, html = BUILD / "source", BUILD / "html"
    gather(source)
    start = source / "index.md"
    start.write_text(navigation(start.read_text(encoding="utf-8"), reference=write(source)), encoding="utf-8")
    decisions = source / "adr" / "README.md"
    text = decisions.read_text(encoding="utf-8")
    decisions.write_text(f"{text}\n{toctree(targets(text))}", encoding="utf-8")
    os.environ.setdefault("COLUMNS", "100")
    strict = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-c", str(HERE), "-d", str(BUILD / "trees")]
    code = sphinx([*strict, str(source), str(html)])
    if code == 0:
        print(f"the site: {html / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
