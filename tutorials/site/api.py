"""The API: every public function and class with its signature, its formula and its source."""

import ast
from textwrap import indent

from .names import Scope
from .outline import Item, Module
from .prose import page_link, to_rest


def documented(module: Module) -> bool:
    """Return whether a file has anything for the API."""
    return any(item.public for item in module.items)


def page(scope: Scope) -> str:
    """Return the page of a file, in reStructuredText.

    Args:
        scope: the file, and the meaning of its names.
    """
    module = scope.module
    title = module.dotted
    parts = [title, "=" * len(title), "", f".. py:module:: {title}", ""]
    source = page_link("Source beside its formulas", f"../source/{title}.html")
    parts += [to_rest(module.doc, scope), "", source, ""]
    public = [item for item in module.items if item.public]
    for item in public:
        if "." not in item.name:
            inside = [i for i in public if i.name.startswith(f"{item.name}.")]
            parts.append(_entry(scope, item))
            parts += [indent(_entry(scope, i), "   ") for i in inside]
    return "\n".join(parts) + "\n"


def _entry(scope: Scope, item: Item) -> str:
    last = item.name.rpartition(".")[2]
    head = f".. py:{item.kind}:: {last}{_signature(scope, item)}"
    owner = item.name if item.kind == "class" else item.name.rpartition(".")[0]
    options = [f"   {o}" for o in _options(item)]
    source = page_link("source", f"../source/{scope.module.dotted}.html#{item.name}")
    body = indent(to_rest(item.doc, scope, owner), "   ")
    return "\n".join(
        [head, *options, "", body, "", "   .. rst-class:: source", "", f"   {source}", "", ""]
    )


def _options(item: Item) -> list[str]:
    decorators = [ast.unparse(d) for d in getattr(item.node, "decorator_list", [])]
    kinds = [d for d in ("classmethod", "staticmethod", "abstractmethod") if d in decorators]
    return [f":{kind}:" for kind in kinds if item.kind == "method"]


def _signature(scope: Scope, item: Item) -> str:
    """Return arguments and result as written, types with their full names so that they link."""
    node = item.node
    if isinstance(node, ast.ClassDef):
        return _constructor(node, scope)
    if not isinstance(node, ast.FunctionDef) or item.kind == "property":
        return ""
    arguments = ast.parse(ast.unparse(node)).body[0].args  # type: ignore[attr-defined]
    decorators = {ast.unparse(d) for d in node.decorator_list}
    if item.kind == "method" and "staticmethod" not in decorators:
        del (arguments.posonlyargs or arguments.args)[0]
    result = f" -> {ast.unparse(_Full(scope).visit(node.returns))}" if node.returns else ""
    return f"({ast.unparse(_Full(scope).visit(arguments))}){result}"


def _constructor(node: ast.ClassDef, scope: Scope) -> str:
    """Return the arguments of a class: those of __init__, or the fields of a dataclass."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            arguments = ast.parse(ast.unparse(inner)).body[0].args  # type: ignore[attr-defined]
            del arguments.args[0]
            return f"({ast.unparse(_Full(scope).visit(arguments))})"
    if not any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        return ""
    fields = [ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)]
    given = ", ".join(f for f in fields if "field(" not in f and "ClassVar" not in f)
    function = ast.parse(f"def f({given}): ...").body[0]
    return f"({ast.unparse(_Full(scope).visit(function.args))})"  # type: ignore[attr-defined]


class _Full(ast.NodeTransformer):
    """Give names in annotations their modules; default values stay as they are."""

    def __init__(self, scope: Scope):
        self.scope = scope

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        for argument in [*node.posonlyargs, *node.args, *node.kwonlyargs, node.vararg, node.kwarg]:
            if argument is not None and argument.annotation is not None:
                argument.annotation = self.visit(argument.annotation)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse(self.scope.names.full(self.scope.module, node.id), mode="eval").body
