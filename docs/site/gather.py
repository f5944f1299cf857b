"""The documents of the repository as the source of a site, with their links, and a start page that leads to all.

``docs/README.md`` becomes the start page; what its sections link to becomes the navigation. A document that nothing
leads to is an error of Sphinx, and of ``tests/contracts/test_site.py`` without Sphinx.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
FENCE = re.compile(r"(^```.*?^```\n)", re.S | re.M)
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
REFERENCE = "<!-- site:reference -->"


def documents() -> list[Path]:
    """Return every document that belongs into the site."""
    inside = (path for path in (ROOT / "src" / "bitspike").rglob("*.md") if "egg-info" not in str(path))
    return [*(ROOT / name for name in ELSEWHERE), *sorted((ROOT / "docs").rglob("*.md")), *sorted(inside)]


def place(path: Path) -> Path:
    """Return where a file of the repository lies in the site's source.

    Example:
        >>> str(place(ROOT / "docs" / "adr" / "README.md")), str(place(ROOT / "README.md"))
        ('adr/README.md', 'overview.md')
    """
    name = path.relative_to(ROOT)
    if str(name) in ELSEWHERE:
        return Path(ELSEWHERE[str(name)])
    if name.parts[0] == "docs":
        return Path("index.md") if str(name) == "docs/README.md" else name.relative_to("docs")
    if name.suffix == ".md":
        return Path("inside") / name.relative_to("src/bitspike").parent / f"{name.stem.lower()}.md"
    return Path("files") / name


def links_in(text: str, path: Path) -> list[Path]:
    """Return the files of the repository that a document links to, in order; a folder stands for its README."""
    prose = FENCE.sub("", text)
    links = [match[1] for match in LINK.finditer(prose) if not re.match(r"[a-z]+:", match[1])]
    return [_file((path.parent / link).resolve()) for link in links]


def _file(target: Path) -> Path:
    return target / "README.md" if target.is_dir() else target


def moved(text: str, path: Path) -> str:
    """Return a document with links that lead to the same files in the site's source, and anchors that MyST knows."""
    here = place(path).parent

    def link(match: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", match[1]):
            return match[0]
        target = place(_file((path.parent / match[1]).resolve()))
        return f"]({os.path.relpath(target, here)}{match[2] or ''})"

    parts = FENCE.split(text)
    prose = (re.sub(r'^<a id="([\w-]+)"></a>$', r"(\1)=", LINK.sub(link, part), flags=re.M) for part in parts[::2])
    blocks = [*parts[1::2], ""]
    return "".join(part + block for part, block in zip(prose, blocks, strict=True))


def gather(source: Path) -> None:
    """Copy all documents, and the files that they link to, into a folder that is made anew."""
    shutil.rmtree(source, ignore_errors=True)
    for path in documents():
        text = path.read_text(encoding="utf-8")
        for linked in links_in(text, path):
            if linked.suffix != ".md":
                _copy(linked, source)
        new = source / place(path)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(moved(text, path), encoding="utf-8")


def _copy(path: Path, source: Path) -> None:
    new = source / place(path)
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, new)


def navigation(page: str, *, reference: list[tuple[str, str]]) -> str:
    """Return the start page with a table of contents for each of its sections.

    Args:
        page: the start page, in the site's source.
        reference: title and file of the pages that only the site has.
    """
    said = "\n".join(f"* [{title}]({name})" for title, name in reference)
    page = page.replace(f"{REFERENCE}\n", f"{said}\n")
    first, *sections = re.split(r"^## ", page, flags=re.M)
    first += toctree(["Overview <overview.md>"])
    listed = {target for section in sections for target in targets(section)}
    assert listed, "the start page lists nothing"
    seen: set[str] = {"overview.md"}
    for n, section in enumerate(sections):
        own = [target for target in targets(section) if target not in seen]
        seen |= set(own)
        sections[n] = f"## {section.rstrip()}\n\n{toctree(own, section.partition(chr(10))[0])}"
    return first + "".join(sections)


def targets(text: str) -> list[str]:
    """Return the pages that a part of a page links to, each once."""
    pages = [match[1] for match in LINK.finditer(FENCE.sub("", text)) if match[1].endswith((".md", ".rst"))]
    return list(dict.fromkeys(pages))


def toctree(pages: list[str], caption: str = "") -> str:
    """Write a hidden table of contents."""
    head = ["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), ""]
    return "\n".join([*head, *pages, "```", "", ""]) if pages else ""
