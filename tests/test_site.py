"""The annotated spec as a site: it builds from the checkout, holds together and fetches nothing."""

import ast
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from listening import TOLD, elsewhere, watched

from minisn.paper import M18, Index

ROOT = Path(__file__).parent.parent
NEEDED = ("sphinx", "myst_nb", "furo", "math_core", "ziamath", "fontTools")
pytestmark = pytest.mark.needs(*NEEDED)  # pip install -e '.[site]'

CORE = [
    "kernels/spec.py", "tensor.py", "ops.py", "conv.py", "spectral.py", "losses.py", "optim.py",
    "training.py", *(f"regularizers/{p.name}" for p in ROOT.glob("minisn/regularizers/*.py")),
]  # fmt: skip
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src",
          "video": "src", "audio": "src", "embed": "src", "object": "data"}  # fmt: skip


class Page(HTMLParser):
    """What a page of the site holds: anchors, links, what it loads, and its text outside code."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loads = path, set(), [], []
        self.text, self.formulas, self.unlinked, self.code = [], 0, [], []
        self._open = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        classes = (given.get("class") or "").split()
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADED and given.get(LOADED[tag]):
            self.loads.append(given[LOADED[tag]])
        self.loads += re.findall(r"url\(([^)]+)\)", given.get("style") or "")
        self.formulas += tag == "math"
        inside = [name for name, _ in self._open]
        if tag == "code" and "xref" in classes and "a" not in inside:
            self.unlinked.append(classes)
        if tag not in VOID:
            self._open.append((tag, classes))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        inside = {name for name, _ in self._open}
        if any("an-code" in classes for _, classes in self._open):
            self.code.append(data)
        if not inside & {"code", "pre", "script", "style", "math", "title"}:
            self.text.append(data)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site as the one command of the README builds it, and what that listened on meanwhile."""
    out = tmp_path_factory.mktemp("site") / "html"
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tutorials.site", str(out)]
    with out.with_name("said").open("w+") as said:
        listened, process = watched(
            command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        said.seek(0)
        assert process.returncode == 0, said.read()
    return out, listened


@pytest.fixture(scope="module")
def site(built):
    return built[0]


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


@pytest.mark.skipif(not TOLD, reason="this system does not tell who listens")
def test_a_build_listens_to_no_other_machine(built):
    assert elsewhere(built[1]) == set()


def outside(url):
    return re.match(r"(https?:)?//|[a-z]+://", url, re.I)


def test_every_link_inside_the_site_leads_somewhere(site, pages):
    lost = []
    for name, page in pages.items():
        for link in page.links:
            if outside(link) or link.startswith("mailto:"):
                continue
            target, anchor = urldefrag(unquote(link))
            path = (site / name).parent / target if target else site / name
            at = path.resolve().relative_to(site.resolve()).as_posix() if path.exists() else None
            if at is None or (anchor and at in pages and anchor not in pages[at].ids):
                lost.append(f"{name}: {link}")
    assert lost == []


def test_nothing_is_loaded_from_a_network(site, pages):
    loads = [(name, url) for name, page in pages.items() for url in page.loads]
    assert len(loads) > len(pages)  # each has a style at least
    assert [load for load in loads if outside(load[1])] == []
    for sheet in site.rglob("*.css"):
        named = re.findall(r"(?:url\(|@import )\s*[\"']?([^\"')\s;]+)", sheet.read_text("utf-8"))
        assert [url for url in named if outside(url)] == [], sheet
        local = [url for url in named if not url.startswith("data:")]
        missing = [u for u in local if not (sheet.parent / re.split("[?#]", u)[0]).exists()]
        assert missing == [], sheet


def test_every_formula_was_rendered(pages):
    raw = re.compile(r"\\[a-zA-Z]{2,}|\$\$|\$[^$\n]*[\\^_][^$\n]*\$|:math:|\.\. math::")
    left = {
        name: found for name, page in pages.items() if (found := raw.findall("".join(page.text)))
    }
    assert left == {}
    broken = [n for n, page in pages.items() if "merror" in page.path.read_text("utf-8")]
    assert broken == []
    assert sum(page.formulas for page in pages.values()) > 1000


def test_every_name_in_prose_links(pages):
    assert {name: page.unlinked for name, page in pages.items() if page.unlinked} == {}


def test_every_part_of_the_paper_is_in_the_index(site, pages):
    index, text = pages["papers.html"], (site / "papers.html").read_text("utf-8")
    for entry in Index(ROOT / "minisn").entries:
        words = f"{entry.paper} {entry.part}".lower().replace("§", "s")
        anchor = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
        assert f"#{anchor}" in index.links and anchor in index.ids
        part = text.split(f'id="{anchor}"', 1)[1].split("<h3>", 2)[1]
        for place in entry.places:
            module = place.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            assert f'href="source/{module}.html' in part, (anchor, place.name)
        for name, path, line in entry.tests:
            assert f"<code>{name}</code> {path}:{line}" in part
        for path, _ in entry.sections:
            assert f'href="{Path(path).with_suffix(".html").as_posix()}' in part
    numbered = [f"#m18-eq-{n}" for n in range(1, 39)]
    assert set(numbered) <= set(index.links) and len(M18) > len(numbered)


def test_tags_in_source_api_and_tutorials_lead_to_the_index(pages):
    link = "../papers.html#m18-eq-8"
    for name in (
        "source/minisn.spectral.html",
        "api/minisn.spectral.html",
        "tutorials/05-spectral-normalization.html",
    ):
        assert link in pages[name].links, name
    for name, page in pages.items():  # in tutorials every tag of the paper's equations does
        if name.startswith("tutorials/"):
            tags = set(re.findall(r"M18 Eq\. \((\d+)\)", "".join(page.text)))
            linked = {u.rpartition("-")[2] for u in page.links if "papers.html#m18-eq-" in u}
            assert tags <= linked, name


@pytest.mark.parametrize("path", sorted(CORE))
def test_the_core_stands_beside_its_formulas(path, pages):
    module = f"minisn/{path}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    page, tree = pages[f"source/{module}.html"], ast.parse((ROOT / "minisn" / path).read_text())
    lines = (ROOT / "minisn" / path).read_text("utf-8").splitlines()
    code = "".join(page.code)
    told = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node in [
            tree,
            *tree.body,
            *(n for c in tree.body for n in getattr(c, "body", [])),
        ]:
            if ast.get_docstring(node):
                told.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
            if not isinstance(node, ast.Module):
                assert re.search(rf"\bL{node.lineno}\b", " ".join(page.ids)), node.name
    assert told
    for n, line in enumerate(lines, 1):
        if n in told:
            assert f"L{n}" not in page.ids
        elif line.strip() and not line.lstrip().startswith("#"):
            shown_beside = f"L{n}" not in page.ids
            assert shown_beside or line.strip() in code, (n, line)


def test_every_public_function_and_class_of_the_library_is_in_the_api(pages):
    anchors = {
        anchor for name, page in pages.items() if name.startswith("api/") for anchor in page.ids
    }
    wanted = set()
    for path in ROOT.glob("minisn/**/*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text("utf-8")).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_"):
                wanted.add(f"{module}.{node.name}")
    assert len(wanted) > 200 and wanted - anchors == set()


def test_tutorials_are_all_there_with_outputs_and_folded_solutions(site, pages):
    for path in sorted(ROOT.glob("tutorials/*.ipynb")):
        page = pages[f"tutorials/{path.stem}.html"]
        text = page.path.read_text("utf-8")
        cells = json.loads(path.read_text("utf-8"))["cells"]
        outputs = [o for cell in cells for o in cell.get("outputs", [])]
        pictures = [o for o in outputs if "image/png" in o.get("data", {})]
        assert text.count("<img ") >= len(pictures)
        printed = [o for o in outputs if o["output_type"] == "stream"]
        assert text.count('class="output stream') >= len(printed)
        folded = [c for c in cells if "hide-input" in c["metadata"].get("tags", [])]
        assert text.count("<details") == len(folded)
        assert "### " not in text.replace("&#35;", "#")  # the marks for graders
    listed = pages["tutorials/index.html"].links
    assert listed.index("00-notation.html") < listed.index("01-autograd-from-nothing.html")


def test_the_front_page_shows_digits_and_the_three_ways_in(pages):
    front = pages["index.html"]
    assert any("mnist" in url for url in front.loads)
    ways = {"tutorials/00-notation.html", "papers.html", "source/minisn.spectral.html"}
    assert ways <= set(front.links)


# -- the parts, without Sphinx's build --------------------------------------------------------


@pytest.fixture(scope="module")
def parts():
    sys.path.insert(0, str(ROOT))
    from tutorials.site import mathml, notebooks, prose

    yield mathml, prose, notebooks
    sys.path.remove(str(ROOT))


def test_a_formula_is_cut_only_where_nothing_encloses_it(parts):
    apart = parts[0].apart
    assert apart(r"a = \frac{b \qquad c}{d}, \qquad e") == [r"a = \frac{b \qquad c}{d}, ", " e"]
    assert apart(r"\left( a \qquad b \right)") == [r"\left( a \qquad b \right)"]
    aligned = r"\begin{aligned} a &= b \qquad c \end{aligned}"
    assert apart(aligned) == [aligned]


@pytest.mark.parametrize(
    "tex",
    [
        r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
        r"\begin{aligned} a &= b \\ c \end{aligned}",
        r"\operatorname{tr} A",
        r"\underset{x}{\mathrm{argmin}}\, f",
        r"\underbrace{a + b}_{c}",
        r"\tfrac12 \mathbb E",
        r"\text{where } x > 0",
        r"\sum_{\substack{i < j \\ k}} x_i",
        r"a &= b \\ c &= d",
        r"\Big(\frac{a}{b}\Big)^T",
        r"\mathbb R^{d}",
        r"\arg\max_x f",
    ],
)
def test_tex_of_every_kind_becomes_mathml(tex, parts):
    markup = parts[0].to_mathml(tex, block=True)
    assert markup.startswith("<math") and "\\" not in markup and "&amp;" not in markup


def test_unknown_tex_is_an_error_and_not_a_red_word(parts):
    with pytest.raises(Exception, match="nosuchcommand"):
        parts[0].to_mathml(r"\nosuchcommand x", block=False)


def test_tags_link_part_by_part_and_never_inside_code(parts):
    prose = parts[1]
    known = {"m18-eq-8", "m18-eq-9"}
    text = "``[M18 Eq. (8)]``, $$\\sigma$$ [M18 Eq. (8), (9), (99)] $y$"
    assert prose.link_tags(text, known, lambda words, anchor: f"<{words}|{anchor}>") == (
        "``[M18 Eq. (8)]``, $$\\sigma$$ [<M18 Eq. (8)|m18-eq-8>, <(9)|m18-eq-9>, (99)] $y$"
    )


def test_a_page_of_markdown_leads_to_pages_of_the_site_alone(parts, tmp_path):
    page = tmp_path / "TEACHING.md"
    page.write_text(
        "# Week 1\n[spec](../minisn/kernels/spec.py), [nn](../minisn/nn/__init__.py), "
        "[readme](../README.md), [05](05-a.ipynb) [M18 Eq. (8)]\n```py\n# no heading\n```\n"
    )
    text = parts[2].markdown(page, {"m18-eq-8"})
    assert text.splitlines()[1:] == [
        "# Week 1",
        "[spec](../source/minisn.kernels.spec.rst), [nn](../source/minisn.nn.rst), "
        "readme, [05](05-a.ipynb) [{ref}`M18 Eq. (8) <m18-eq-8>`]",
        "```py",
        "# no heading",
        "```",
    ]
    assert text.startswith("(nb-TEACHING-") and text.count("(nb-") == 1
