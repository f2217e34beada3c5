"""``python -m tutorials.site [FOLDER]``: build the site offline, by default into ``site/``."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Set
from pathlib import Path

from fontTools.ttLib import TTFont
from sphinx.cmd.build import build_main

from minisn.conformance import read_table
from minisn.paper import Index

from . import annotated, api, conformance, evening, mathml, notebooks, papers
from .names import Names, Scope
from .outline import ROOT, Module, modules

HERE = Path(__file__).parent


def main() -> int:
    """Build the site, with every warning an error; return Sphinx's exit status, 0 for success."""
    parser = argparse.ArgumentParser(prog="python -m tutorials.site", description=__doc__)
    parser.add_argument("folder", nargs="?", default="site", type=Path, help="folder of the site")
    out = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as work:
        pages = Path(work, "pages")
        write_pages(pages)
        status = build_main(
            [
                "-b",
                "html",
                "-c",
                str(HERE),
                "-d",
                str(Path(work, "doctrees")),
                "-j",
                "auto",
                "-W",
                "--keep-going",
                "-n",
                "-q",
                "-D",
                f"html_static_path={pages / '_static'}",
                str(pages),
                str(out),
            ]
        )
    if not status:
        print(f"open {out / 'index.html'}")
    return status


def write_pages(pages: Path, root: Path = ROOT) -> None:
    """Write all that Sphinx reads.

    Args:
        pages: a folder, made here.
        root: the checkout.
    """
    index, groups = Index(root / "minisn"), modules(root)
    known = papers.anchors(index)
    library = [module for _, group in groups for module in group]
    texts = {
        "index.md": notebooks.markdown(HERE / "front.md", known),
        "evening.md": evening.page(),
        "papers.rst": papers.page(index, library),
        "conformance.md": conformance.page(read_table(root / "tutorials" / conformance.KEPT)),
        "source/index.rst": _list("Source beside its formulas", _SOURCE, groups),
        "api/index.rst": _list("API", _API, [
            (title, [m for m in group if api.documented(m)]) for title, group in groups
        ]),
        **tutorial_pages(root, known),
    }  # fmt: skip
    names = Names(library)
    for module in library:
        scope, documented = Scope(module, names, known), api.documented(module)
        texts[f"source/{module.dotted}.rst"] = annotated.page(scope, documented)
        if documented:
            texts[f"api/{module.dotted}.rst"] = api.page(scope)
    for name, text in texts.items():
        path = pages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    _copy_files(pages, root)


_SOURCE = """Every file of the library in reading order: prose and formulas from docstrings and
comments on the left, the code on the right."""
_API = """Every public function and class, with its formula, arguments and errors."""


def _list(title: str, text: str, groups: list[tuple[str, list[Module]]]) -> str:
    """Return a page that leads to the pages of modules, group by group, by short names."""
    parts = [title, "=" * len(title), "", text, ""]
    for caption, group in groups:
        if group:
            parts += [".. toctree::", "   :maxdepth: 1", f"   :caption: {caption}", ""]
            parts += [f"   {m.dotted.removeprefix('minisn.')} <{m.dotted}>" for m in group] + [""]
    return "\n".join(parts)


def tutorial_pages(root: Path, known: Set[str]) -> dict[str, str]:
    """Return the tutorials, two pages beside them, and the page that lists them."""
    books = notebooks.notebooks(root)
    texts = {f"tutorials/{path.name}": notebooks.prepared(path, known) for path in books}
    names = [path.stem for path in books]
    for name in ("TEACHING", "MEASURED"):
        page = root / "tutorials" / f"{name}.md"
        if page.exists():
            texts[f"tutorials/{name}.md"] = notebooks.markdown(page, known)
            names.append(name)
    listed = "\n".join(names)
    texts["tutorials/index.md"] = (
        "# Tutorials\n\nNotebooks with their outputs. To run and change them: "
        "`pip install -e '.[notebook]'`, then `jupyter lab tutorials`.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )
    return texts


def _copy_files(pages: Path, root: Path) -> None:
    """Copy pictures, and the style with its font in a form that browsers take."""
    shutil.copytree(root / "tutorials" / "pictures", pages / "tutorials" / "pictures")
    static = pages / "_static"
    static.mkdir()
    shutil.copy(HERE / "style.css", static)
    font = TTFont(mathml.font())
    font.flavor = "woff"
    font.save(static / "math.woff")


if __name__ == "__main__":
    sys.exit(main())
