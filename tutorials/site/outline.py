"""The functions, classes and documented constants of a source file, which is read, not imported."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

ORDER = (
    ("Engine", ("kernels.spec", "tensor", "ops", "conv", "fused")),
    (
        "Spectral norm and training",
        ("spectral", "lipschitz", "regularizers", "regularizers.reparametrize",
         "regularizers.project", "regularizers.penalize", "regularizers.gradients",
         "regularizers.methods", "regularizers.teaching", "losses", "optim", "augment",
         "training"),
    ),
    ("Layers and networks", ("nn", "init", "models")),
    ("Gradient checks", ("gradcheck",)),
    ("Conformance of other libraries", ("conformance",)),
    ("Data and measures", ("data", "metrics", "instruments", "robustness")),
    ("Runs and studies",
     ("config", "training_set", "checkpoint", "runs", "health", "study", "bench", "bench_torch")),
    ("Fast kernels and foundations", ("kernels", "backend", "errors")),
    ("Pictures and commands", ("",)),
)  # fmt: skip
"""The reading order: groups of modules, named alone or by package; the last takes the rest."""

Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Item:
    """A function, class, method, property or documented constant.

    Args:
        name: dotted within its file.
        kind: function, class, method, property or data.
        node: syntax tree of the definition.
        doc: docstring, cleaned; empty without one.
        doc_lines: first and last line of the docstring, (0, 0) without one.
    """

    name: str
    kind: str
    node: Definition | ast.Assign | ast.AnnAssign
    doc: str
    doc_lines: tuple[int, int]

    @property
    def start(self) -> int:
        """The first line, decorators included."""
        decorators = getattr(self.node, "decorator_list", [])
        return min([self.node.lineno, *(d.lineno for d in decorators)])

    @property
    def public(self) -> bool:
        """Whether readers may use the item: its name is not private, or is documented magic."""
        *owners, last = self.name.split(".")
        magic = last.startswith("__") and last.endswith("__") and bool(self.doc)
        return not any(owner.startswith("_") for owner in owners) and (
            magic or not last.startswith("_")
        )


class Module:
    """A file of the library.

    Args:
        path: path of the file, from the root of the checkout.
        root: the checkout.
    """

    def __init__(self, path: Path, root: Path = ROOT):
        self.path = path
        self.text = (root / path).read_text("utf-8")
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)

    @property
    def dotted(self) -> str:
        """The name by which it is imported."""
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")

    @property
    def doc(self) -> str:
        """The module's docstring."""
        return ast.get_docstring(self.tree) or ""

    @cached_property
    def items(self) -> list[Item]:
        """All that the file defines, in its order; one of each name, overloads left out."""
        found: dict[str, Item] = {}
        for item in _items(self.tree.body, ""):
            found.setdefault(item.name, item)
        return list(found.values())

    @property
    def untold(self) -> list[tuple[int, int]]:
        """First and last lines of the docstrings of overloads, which are not items."""
        repeated = [n for n in self.tree.body if isinstance(n, ast.FunctionDef) and _repeats(n)]
        return [
            (n.body[0].lineno, n.body[0].end_lineno or 0) for n in repeated if _string(n.body[0])
        ]


def modules(root: Path = ROOT) -> list[tuple[str, list[Module]]]:
    """Return every file of the library, in groups, in reading order."""
    names = [(title, name) for title, inside in ORDER for name in inside]
    groups: dict[str, list[Module]] = {title: [] for title, _ in ORDER}
    every = [Module(path.relative_to(root), root) for path in sorted(root.glob("minisn/**/*.py"))]
    for module in sorted(every, key=lambda m: _place(m, names)):
        groups[names[_place(module, names)][0]].append(module)
    return list(groups.items())


def _place(module: Module, names: list[tuple[str, str]]) -> int:
    """Return the position of the longest name that is the module's own or its package's."""
    own = f"{module.dotted}.".removeprefix("minisn.")
    fits = [n for n, (_, name) in enumerate(names) if not name or own.startswith(f"{name}.")]
    return max(fits, key=lambda n: len(names[n][1]))


def _items(body: list[ast.stmt], prefix: str) -> Iterator[Item]:
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if not _repeats(node):
                first = node.body[0]
                doc = _string(first)
                span = (first.lineno, first.end_lineno or 0) if doc else (0, 0)
                yield Item(prefix + node.name, _kind(node, prefix), node, doc, span)
            if isinstance(node, ast.ClassDef):
                yield from _items(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and after is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            doc = _string(after)
            if doc and isinstance(target, ast.Name):
                span = (after.lineno, after.end_lineno or 0)
                yield Item(prefix + target.id, "data", node, doc, span)


def _string(node: ast.stmt) -> str:
    """Return the text of a string that stands alone, its indentation taken away."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        first, _, rest = str(node.value.value).partition("\n")
        margin = min((len(m) for m in re.findall(r"^ *(?=\S)", rest, re.M)), default=0)
        return "\n".join([first.strip(), *(line[margin:] for line in rest.splitlines())]).strip()
    return ""


def _decorators(node: Definition) -> list[str]:
    return [ast.unparse(d) for d in node.decorator_list]


def _repeats(node: Definition) -> bool:
    """Return whether a definition is an overload, or the setter of a property."""
    return any(d == "overload" or d.endswith(".setter") for d in _decorators(node))


def _kind(node: Definition, prefix: str) -> str:
    if isinstance(node, ast.ClassDef):
        return "class"
    if not prefix:
        return "function"
    return "property" if {"property", "cached_property"} & {*_decorators(node)} else "method"
