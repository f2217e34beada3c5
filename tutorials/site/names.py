"""The full names in the library of the names in docstrings and annotations."""

import ast
import re
from dataclasses import dataclass

from .outline import Module

_ROLE = re.compile(r":(?:py:)?(func|meth|class|attr|data|mod|obj|exc):`(~?)([\w.]+)`")


class Names:
    """Every public name of the library, and every other name by which it can be imported.

    Args:
        library: all files.
    """

    def __init__(self, library: list[Module]):
        self.public = {m.dotted for m in library}
        self.public |= {f"{m.dotted}.{i.name}" for m in library for i in m.items if i.public}
        self.local = {m.dotted: _local(m) for m in library}

    def full(self, module: Module, name: str) -> str:
        """Return the full name of a name in a file, or the name itself if it is not known."""
        first, *rest = name.split(".")
        found = ".".join([self.local[module.dotted].get(first, first), *rest])
        for _ in range(4):  # a package may import the name from its files
            where, _, last = found.rpartition(".")
            found = self.local.get(where, {}).get(last, found)
        return found

    def resolve(self, module: Module, owner: str, name: str) -> str | None:
        """Return the full name that a docstring means, or None where nothing public fits.

        Args:
            module: the file of the docstring.
            owner: the class around the docstring, if any.
            name: the name as written; if the file does not know it, the only such name of the
                library is meant.
        """
        own = f"{module.dotted}.{owner}.{name}".replace("..", ".")
        for candidate in (own, self.full(module, name)):
            if candidate in self.public:
                return candidate
        alike = [known for known in self.public if known.endswith(f".{name}")]
        return alike[0] if len(alike) == 1 else None


def _local(module: Module) -> dict[str, str]:
    """Return the full names of a file's own names and of its imports from the library."""
    package = module.dotted.split(".")
    if module.path.stem != "__init__":
        package = package[:-1]
    names: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            where = ".".join([*base, *filter(None, [node.module])])
            names |= {a.asname or a.name: f"{where}.{a.name}" for a in node.names}
    for node in module.tree.body:
        defined = [t for n in ast.walk(node) if isinstance(n, ast.Assign) for t in n.targets]
        names |= {t.id: f"{module.dotted}.{t.id}" for t in defined if isinstance(t, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = f"{module.dotted}.{node.name}"
    return names


@dataclass(frozen=True)
class Scope:
    """The place of prose, which decides the meaning of its names and tags.

    Args:
        module: the file of the prose.
        names: the names of the library.
        known: the anchors of the index of the papers.
    """

    module: Module
    names: Names
    known: frozenset[str]

    def link_names(self, text: str, owner: str) -> str:
        """Write every role with the full name, so that it links from any page."""

        def linked(match: re.Match[str]) -> str:
            kind, short, name = match.groups()
            shown = name.rpartition(".")[2] if short else name
            shown += "()" if kind in ("func", "meth") else ""
            full = self.names.resolve(self.module, owner, name)
            return f":py:obj:`{shown} <{full or name}>`"

        return _ROLE.sub(linked, text)
