"""The report of a run: one HTML file that holds its pictures and loads nothing from a network."""

import base64
import html
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from . import __version__, plots, runs
from .backend import Array
from .config import Config
from .data import Fingerprint
from .files import StrPath, write_file
from .health import RULES, Finding, Health
from .instruments import estimates, spectra, stable_rank
from .nn import Module, weighted_layers
from .regularizers import METHODS

MOST_SHEETS = 6
"""How many sheets a report shows at most: the first, the last, and some evenly between."""

Log = Sequence[Mapping[str, Any]]
Spectra = Mapping[str, Array]


def write_report(
    folder: StrPath,
    discriminator: Module,
    step: int,
    seconds: float,
    images: Fingerprint | None = None,
) -> Path:
    """Draw the plots of a run and write its report.

    Args:
        folder: the folder of the run; ``plots/*.png`` and ``report.html`` there are replaced.
        discriminator: D as the run left it.
        step: the step of that D.
        seconds: the seconds of training until then.
        images: the fingerprint of the training images, if known.
    Returns:
        The report's path.
    Raises:
        DataError: a file cannot be written, or the log is damaged.
    """
    folder = Path(folder)
    config, log = runs.read_config(folder), runs.read_log(folder)
    found = spectra(discriminator)
    sections = [
        _summary(config, log, found, step, seconds, images),
        _health(config, log),
        _samples([sheet for sheet in sheets(folder) if sheet[0] <= step], config),
        _plots(folder / "plots", config, log, found),
        _section("Layers of D", _layer_table(discriminator, found)),
        _commands(folder),
    ]
    page = Template((resources.files("minisn") / "report.html").read_text("utf-8")).substitute(
        title=html.escape(f"{_shown(folder.resolve().name)}: a GAN on {config.data}"),
        body="\n".join(sections),
        version=html.escape(__version__),
    )
    path = folder / runs.REPORT
    write_file(path, page.encode())
    return path


def sheets(folder: StrPath) -> list[tuple[int, Path]]:
    """List the sample sheets of a run: (step, path), the earliest first."""
    folder = Path(folder)
    found = (folder / "samples").glob("*.png")
    return sorted((int(path.stem), path) for path in found if path.stem.isdecimal())


# -- sections ------------------------------------------------------------------------------------


def _summary(
    config: Config, log: Log, found: Spectra, step: int, seconds: float, images: Fingerprint | None
) -> str:
    """Describe the training and its outcome in a few large numbers."""
    norms = [values[0] for values in found.values()]
    facts = {"steps": f"{step:,} of {config.steps:,}", "time": duration(seconds)}
    if log and log[-1]["loss_d"] is not None:
        facts |= {f"loss of {n}": f"{log[-1][f'loss_{n.lower()}']:.3f}" for n in ("D", "G")}
    facts["norms σ₁(W̄)"] = f"{min(norms):.3f} – {max(norms):.3f}"
    cards = "".join(
        f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in facts.items()
    )
    words = (
        f"A GAN with {html.escape(METHODS[config.regularizer].title)}"
        f"{' and a gradient penalty' * bool(config.gradient_penalty)}, trained on "
        f"<b>{html.escape(config.data)}</b>: {images or 'images'} of "
        f"{config.size} × {config.size} pixels, networks {config.width} channels wide, "
        f"{html.escape(config.objective)} loss, {config.n_dis} update{'s' * (config.n_dis > 1)} "
        f"of the discriminator D for each of the generator G."
    )
    return f"<p>{words}</p>\n<dl>{cards}</dl>"


def _health(config: Config, log: Log) -> str:
    """List the failures that the log shows, and what to try."""
    health = Health(config)
    for line in log:
        health.see(line)

    def item(finding: Finding) -> str:
        spans = ", ".join(f"{first:,} to {last:,}" for first, last in finding.spans)
        title, seen, advice = map(html.escape, (finding.title, finding.seen, finding.advice))
        return f"<li><b>{title}</b>, steps {spans}. {seen}<br>{advice}.</li>"

    items = "".join(map(item, health.findings.values()))
    absent = [
        rule.title for key, rule in RULES.items() if key in health.looked - set(health.findings)
    ]
    words = f"<p>Looked for in the log and not found: {html.escape('; '.join(absent))}.</p>"
    return _section("Health", (f"<ul>{items}</ul>\n" if items else "") + (words if absent else ""))


def _samples(found: list[tuple[int, Path]], config: Config) -> str:
    """Show the last samples beside the settings, then samples over time."""

    def shown(index: int) -> str:
        step, path = found[index]
        return _figure(path.read_bytes(), f"Samples at step {step}", f"step {step:,}")

    settings = _section("Settings", _table(("setting", "value"), config.to_dict().items()))
    if not found:
        return settings
    newest = _section("Samples", shown(-1))
    if len(found) == 1:
        return _side_by_side(newest, settings)
    chosen = np.unique(np.linspace(0, len(found) - 1, MOST_SHEETS).round().astype(int))
    return _side_by_side(newest, settings) + _section(
        "Samples over time",
        "<p>Each place shows the sample of one latent vector z, the same at every step.</p>\n"
        f'<div class="sheets">{"".join(map(shown, chosen))}</div>',
    )


def _plots(folder: Path, config: Config, log: Log, found: Spectra) -> str:
    """Draw each plot that the log has numbers for, save it as a file, and explain it."""
    folder.mkdir(exist_ok=True)
    drawn = []
    if any(line["loss_d"] is not None for line in log):
        drawn.append(("losses", plots.loss_figure(log, config.objective), *_LOSSES))
    if any(line.get("norm") for line in log):
        drawn.append(("norms", plots.norm_figure(log, config.scale), *_NORMS))
    if any(line.get("sigma") for line in log):
        drawn.append(("sigma", plots.sigma_figure(log), *_SIGMA))
    drawn.append(("spectra", plots.spectrum_figure(list(found.values())), *_SPECTRA))
    sections = []
    for name, figure, title, words in drawn:
        picture = plots.png(figure)
        write_file(folder / f"{name}.png", picture)
        sections.append(_section(title, _figure(picture, title, words)))
    return _side_by_side(*sections)


def _layer_table(network: Module, found: Spectra) -> str:
    sigmas, rows = estimates(network), []
    for k, (name, layer) in enumerate(weighted_layers(network).items(), 1):
        shape, values = " × ".join(map(str, layer.shape)), found[name]
        sigma = f"{sigmas[name]:.4f}" if name in sigmas else "–"
        rows.append((k, shape, sigma, f"{values[0]:.4f}", f"{stable_rank(values):.1f}"))
    return _table(("layer", "weight W", "σ(W)", "σ₁(W̄)", "stable rank"), rows)


def _commands(folder: Path) -> str:
    run = shlex.quote(_shown(folder))
    lines = {
        "Go on training": f"minisn train --resume {run} --steps N",
        "Draw new samples": f"minisn sample {run}",
        "Look at the norms": f"minisn spectrum {run}",
    }
    items = (f"<li>{what}: <code>{html.escape(line)}</code></li>" for what, line in lines.items())
    return _section("Go on from here", f"<ul>{''.join(items)}</ul>")


def _shown(path: str | Path) -> str:
    """Return the name of a file as valid UTF-8, whatever bytes the file system has."""
    return os.fsencode(path).decode("utf-8", "replace")


# -- pieces of HTML -------------------------------------------------------------------------


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{body}\n</section>\n" if body else ""


def _side_by_side(*sections: str) -> str:
    return f'<div class="pairs">{"".join(sections)}</div>\n'


def _figure(png: bytes, alternative: str, caption: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure><img alt="{html.escape(alternative)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def row(cells: Sequence[Any], tag: str) -> str:
        return "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)

    body = "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return (
        f'<div class="wide"><table><thead><tr>{row(heads, "th")}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def duration(seconds: float) -> str:
    """Format a time in its two largest units: ``1 h 02 min``, ``4 min 05 s``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


_LOSSES = (
    "Losses",
    "What D and G minimize, each at its last update. Neither loss measures how good the samples "
    "are: each depends on an opponent that improves as well.",
)
_NORMS = (
    "Norm of each normalized weight",
    "The largest singular value of the weights that D computes with, by decomposition. Power "
    "iteration, one round per update, never overestimates a norm, so these norms lie at the target "
    "or a little above it, higher while weights change fast. The plot has the form of Figure 9 of "
    "Miyato et al. (2018).",
)
_SIGMA = (
    "Norm of each weight",
    "The estimate that each weight is divided by. It is free to drift: only the direction of a "
    "weight counts.",
)
_SPECTRA = (
    "Singular values",
    "Squared singular values of each weight that D computes with, the largest scaled to 1. A "
    "weight with a broad spectrum uses many features of its input, one with a steep spectrum uses "
    "few. The plot has the form of Figure 3 of Miyato et al. (2018).",
)
