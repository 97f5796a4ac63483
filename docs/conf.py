"""The site: ``sphinx-build -W docs site`` makes it of these pages and the docstrings."""

import re
from pathlib import Path

from detectron2_patch import __version__

ROOT = Path(__file__).resolve().parent.parent

project = "detectron2_patch"
author = "The detectron2_patch authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "detectron2_patch"
html_copy_source = False

# The pages are written for those who read them in the repository, too: links lead from file to
# file. What lies outside of docs/ is a page here under another name, or shown as a path.
PAGES = {
    "README.md": "index",
    "README.ko.md": "ko/index",
    "results/README.md": "committed",
    "results/bccd/README.md": "committed",
}
LINK = re.compile(r"(?<!!)\[([^]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def page_links(text: str, folder: Path) -> str:
    """``text`` of a file in ``folder``, its links within the project made those of the site."""

    def lead(match: re.Match) -> str:
        shown, target, anchor = match.groups()
        path = (folder / target).resolve().relative_to(ROOT).as_posix()
        page = PAGES.get(path) or (path[5:-3] if re.fullmatch(r"docs/.*\.md", path) else None)
        return f"`{path}`" if page is None else f"[{shown}](/{page}.md{anchor or ''})"

    return LINK.sub(lead, text)


def on_page(app, name: str, source: list[str]) -> None:
    source[0] = page_links(source[0], (ROOT / "docs" / name).parent)


def on_include(app, path: Path, name: str, source: list[str]) -> None:
    source[0] = page_links(source[0], (ROOT / "docs" / path).resolve().parent)


def setup(app) -> None:
    app.connect("source-read", on_page)
    app.connect("include-read", on_include)
