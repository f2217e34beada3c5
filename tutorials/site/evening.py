"""The core in an evening: what to read, in which order, and on which lines.

``python -m tutorials.site.evening`` prints the path; the site has it as a page. The line numbers
come from the sources, so they are always right; ``tests/test_house.py`` keeps the path short.
"""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from .outline import ROOT

PATH: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("What a convolution and a power step are, as loops", "kernels/spec.py",
     ("_meetings", "conv2d", "conv2d_transpose", "conv2d_weight", "power_iteration", "_dot",
      "_normalize")),
    ("The engine: a recorded call, a rule, the walk back", "tensor.py",
     ("Node", "_Reading", "Primitive", "Fused", "add", "sum", "sum_to", "grad", "_walk", "_graph",
      "_pull")),
    ("Operations, each beside its rules", "ops.py",
     ("multiply", "divide", "inverse", "exp", "log", "_leaky_relu", "leaky_relu_pull",
      "_as_matrix", "_matmul_rule_a", "_matmul_rule_b", "matmul", "getitem", "scatter")),
    ("Convolution as a closed trio", "conv.py",
     ("adjoint", "conv2d", "conv2d_transpose", "conv2d_weight")),
    ("Spectral normalization: equations (8), (18) and (19)", "spectral.py",
     ("as_matrix", "sigma", "spectral_divide", "divide", "power_iteration", "initial_vectors")),
    ("Its fast form, and why nothing else is derived by hand", "fused.py",
     ("spectral_divide", "spectral_pull")),
    ("Its gradient in closed form: equations (9) to (12)", "regularizers/gradients.py",
     ("spectral_gradient", "layer_gradient")),
    ("A layer that computes with the normalized weight", "nn/layers.py",
     ("Weighted", "Linear", "Conv2d", "power_step")),
    ("The scheme of that layer", "regularizers/reparametrize.py",
     ("_one_round", "SpectralNorm")),
    ("Losses: equations (15) to (17)", "losses.py",
     ("standard_d", "hinge_d", "hinge_g")),
    ("Algorithm 1", "training.py",
     ("Trainer.update", "Trainer._update_d", "Trainer._update_g", "Trainer.loss_d",
      "Trainer.loss_g")),
)  # fmt: skip
"""Each part: its title, its file below ``minisn``, and the names to read there."""


class Stretch(NamedTuple):
    """Lines of a file that define a name."""

    part: str
    file: str
    name: str
    first: int
    last: int

    @property
    def lines(self) -> int:
        """The number of lines."""
        return self.last - self.first + 1


def stretches() -> Iterator[Stretch]:
    """Yield the stretches to read, in order.

    Raises:
        KeyError: a name is not defined where the path says.
    """
    for part, file, names in PATH:
        defined = _defined(ast.parse((ROOT / "minisn" / file).read_text("utf-8")))
        for name in names:
            node = defined[name]
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            yield Stretch(part, file, name, first, node.end_lineno or node.lineno)


Definition = ast.FunctionDef | ast.ClassDef


def _defined(tree: ast.Module) -> dict[str, Definition]:
    found: dict[str, Definition] = {}
    for node in tree.body:
        if isinstance(node, Definition):
            found[node.name] = node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, Definition):
                    found[f"{node.name}.{inner.name}"] = inner
    return found


def page() -> str:
    """Return the path in Markdown."""
    read = list(stretches())
    parts = [
        "# The core in an evening",
        "",
        f"These {sum(each.lines for each in read):,} lines, almost half of them formulas and "
        "prose, are the whole idea. Read them in this order; all other code makes them fast, "
        "complete or pleasant to use.",
        "",
        "| what | file | names and lines |",
        "|---|---|---|",
    ]
    for part, file, _ in PATH:
        here = [each for each in read if (each.part, each.file) == (part, file)]
        names = ", ".join(f"`{each.name}` {each.first}–{each.last}" for each in here)
        dotted = "minisn." + file.removesuffix(".py").replace("/", ".")
        parts.append(f"| {part} | [`{file}`](source/{dotted}.rst) | {names} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page())
