"""What Sphinx is told: the extensions, and what a name in a docstring may be that has no page."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

from gather import ROOT
from reference import public, resolve

project = "Bitspike"
author = copyright = "The Bitspike authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
nitpicky = True
html_theme = "furo"
html_title = "Bitspike"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
highlight_language = "none"
myst_heading_anchors = 4
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Example"]
napoleon_use_rtype = False


def names_of_the_source() -> set[str]:
    """Return every name that a docstring may speak of: modules, classes, functions, methods, constants."""
    names: set[str] = set()
    for path in (ROOT / "src" / "bitspike").rglob("*.py"):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        names.add(module)
        for item in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in _names(item):
                names |= {name, f"{module}.{name}"}
    return names


def _names(item: ast.stmt) -> list[str]:
    if isinstance(item, ast.FunctionDef):
        return [item.name]
    if isinstance(item, ast.ClassDef):
        inner = [name for part in item.body for name in _names(part)]
        return [item.name, *inner, *(f"{item.name}.{name}" for name in inner)]
    if isinstance(item, ast.Assign | ast.AnnAssign):
        targets = item.targets if isinstance(item, ast.Assign) else [item.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def missing(app: Any, env: Any, node: Any, text: Any) -> Any:
    """Lead a reference to the public name of what it means; leave it as text where that has no page but exists."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if name := page_of(target):
        domain = env.domains["py"]
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"bitspike.{name}", node, text)
    # Types of other packages have no page here; every other name exists in the source or is a mistake.
    foreign = node.get("reftype") in ("class", "obj", "exc") and not target.startswith("bitspike")
    return text if target in SOURCE or foreign else None


def page_of(target: str) -> str | None:
    """Return the public name with a page that a docstring means by another name of the same thing."""
    if "." not in target:
        return next((name for name in PAGES if name.rpartition(".")[2] == target), None)
    module, _, last = target.rpartition(".")
    try:
        value = getattr(importlib.import_module(module), last)
    except (ImportError, AttributeError):
        return None
    return next((name for name in PAGES if resolve(name) is value), None)


def literal(_app: Any, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    """Keep bars and stars of formulas as they stand, and an argument that is C.: |x| and [T, *shape] are no markup."""
    example = False
    for n, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = MARKUP.split(line)
            parts[::2] = [re.sub(r"(?<!\\)[*|]", r"\\\g<0>", part) for part in parts[::2]]
            lines[n] = re.sub(r"(: [A-Z])\.$", r"\1\\.", "".join(parts))


MARKUP = re.compile(r"(``.*?``|`[^`]*`|(?<![\w*])\*[A-Za-z][\w -]*\*(?![\w*]))")
"""Code, references and emphasis of a docstring."""
PAGES = [name for names in public().values() for name in names]
SOURCE = names_of_the_source()


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", missing)
    app.connect("autodoc-process-docstring", literal, priority=100)  # before napoleon reads it
