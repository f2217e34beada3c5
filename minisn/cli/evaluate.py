"""``minisn evaluate``: measure the samples of a run, and real data in the same way."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    NamedPath,
    data_dir_option,
    file_option,
    refuse_data_dir,
    result_option,
)

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..data import Dataset
    from ..metrics import Extractor, Sample, Score

_SAMPLES, _REPEATS = 5000, 5
_REFERENCES = 10_000  # real reference images, at most half of the data [M18 App. B.1]
_ROWS = 4  # the fewest features: each has three neighbors, for precision and recall


@click.command()
@click.argument("run", metavar="[RUN]", required=False, type=NamedPath(file_okay=False))
@click.option(
    "--samples",
    type=click.IntRange(11),  # of eleven, two have the same class
    help=f"Images in each repeat [default: {_SAMPLES:,}, at most half the data].",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    help=f"Number of measurements, each on new images [default: {_REPEATS}].",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    help="Seed of latent vectors, halves of the data, subsets and pairs.",
)
@file_option("--features", help="NumPy file, [N, d], with features of samples.")
@file_option("--reference", help="NumPy file, [M, d], with features of real images.")
@result_option("--json", "out", help="File for the scores, with their provenance.")
@data_dir_option
def evaluate(
    run: Path | None,
    samples: int | None,
    repeats: int | None,
    seed: int,
    features: Path | None,
    reference: Path | None,
    out: Path | None,
    data_dir: Path | None,
) -> None:
    """Measure the quality and the variety of the samples of RUN.

    A small network that ships with minisn computes features and classes of the images: one network
    for digits of 28 x 28 pixels, one for color images of 32 x 32. In each repeat the real data are
    split into two random halves. The first half is the reference for the samples. The second half
    is compared with the first in the same way: its scores are those of perfect samples. Numbers
    after ± are standard deviations over the repeats.

    \b
    Measures:
        inception-style score  1 to 10: certain of each image, all classes equally often
        Fréchet distance       between Gaussians fitted to the features, Eq. (24)
        kernel distance        between the features, 0 on average for real data
        precision              share of samples that lie among real images
        recall                 share of real images that lie among samples
        MS-SSIM in a class     similarity of two images; above real data: mode collapse

    Do not compare these scores with scores of another feature network, such as Inception. With
    --features and --reference, the command measures files with the features of any network.

    \b
    Examples:
        minisn evaluate runs/mnist-1
        minisn evaluate runs/mnist-1 --samples 2000 --repeats 10 --json scores.json
        minisn evaluate --features samples.npy --reference real.npy
    """
    if (features is None) != (reference is None):
        raise click.UsageError("--features and --reference go together: give both, or neither.")
    if features and run:
        raise click.UsageError("Name a RUN, or give --features and --reference, not both.")
    if features and reference:
        if samples or repeats:
            raise click.UsageError(
                "--features are measured as they are; omit --samples and --repeats."
            )
        if data_dir:
            raise click.UsageError("--features are measured without images; omit --data-dir.")
        with _notes():
            columns = {"samples": _measure_files(features, reference, seed)}
    elif run:
        with _notes():
            columns = _measure_run(run, samples, repeats or _REPEATS, seed, data_dir)
    else:
        raise click.UsageError("Name a RUN, or give --features and --reference.")
    if out:
        from ..files import write_file

        scores = {name: [asdict(s) for s in column] for name, column in columns.items()}
        text = json.dumps(scores, indent=1, ensure_ascii=False)
        advice = "check the folder, or choose another file with --json"
        write_file(out, text.encode("utf-8", "backslashreplace"), advice)
    _show(columns)


@contextmanager
def _notes() -> Iterator[None]:
    """Print each different warning as one line, after the work."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        yield
    for text in dict.fromkeys(str(w.message) for w in found):
        click.echo(f"Note: {text}.", err=True)


def _measure_run(
    run: Path, samples: int | None, repeats: int, seed: int, data_dir: Path | None
) -> dict[str, list[Score]]:
    """Measure the samples of a run and real data in the same way, several times."""
    import numpy as np

    from ..data import unscale_images
    from ..errors import ConfigError
    from ..metrics import measure_images, repeated
    from .networks import draw, read_checkpoint
    from .progress import compile_notice, steady_bar

    checkpoint = read_checkpoint(run)
    extractor = _extractor(run, checkpoint)
    data = _real_images(run, checkpoint, data_dir)
    total = len(data.images)
    count = min(total // 2, _REFERENCES)
    samples = samples or min(_SAMPLES, total - count)
    if samples > total - count:
        raise ConfigError(
            f"--samples {samples}: expected at most {total - count}, the number of real images "
            f"beside the {count} of the reference"
        )
    source = f"{data.name} {data.split}, drawn anew in each repeat with seed {seed}"
    click.echo(f"{run}: step {checkpoint.step:,}; {repeats} x {samples:,} samples, averaged G")
    with compile_notice():
        fake = unscale_images(draw(checkpoint, samples * repeats, seed))
        rows = []
        for k in steady_bar(iterable=range(repeats), unit="repeat", leave=False):
            rng = np.random.default_rng((seed, k))
            order = rng.permutation(total)
            reference, _ = extractor(data.images[order[:count]], source)
            rows += [
                measure_images(extractor, images, of, reference, rng)
                for images, of in (
                    (fake[k * samples : (k + 1) * samples], str(run)),
                    (data.images[order[count : count + samples]], f"{data.name} {data.split}"),
                )
            ]
    return {
        "samples": [repeated(scores) for scores in zip(*rows[0::2], strict=True)],
        "real data": [repeated(scores) for scores in zip(*rows[1::2], strict=True)],
    }


def _real_images(run: Path, checkpoint: Checkpoint, data_dir: Path | None) -> Dataset:
    """Read the images of the run's data set, and warn if they are not its training images."""
    from ..data import check_images, fingerprint
    from ..training_set import training_set

    config = checkpoint.config
    refuse_data_dir(data_dir, config.data, run)
    data, _ = training_set(config, data_dir, run)
    check_images(data.images, config.size)
    found = fingerprint(data.images, None if config.conditional == "none" else data.labels)
    if checkpoint.images not in (None, found):
        warnings.warn(
            f"{run} was trained on {checkpoint.images}; its samples are compared with "
            f"the {found} of {data.source}",
            stacklevel=2,
        )
    return data


def _extractor(run: Path, checkpoint: Checkpoint) -> Extractor:
    """Return the feature network for a run's images, and warn if it is made for other images."""
    from ..errors import ConfigError
    from ..metrics import NETWORKS, extractor_for
    from .networks import channels_and_classes

    config = checkpoint.config
    shape = (channels_and_classes(checkpoint)[0], config.size, config.size)
    if shape not in NETWORKS:
        known = " and ".join(f"{n.subject} of {_times(n.shape)}" for n in NETWORKS.values())
        raise ConfigError(
            f"{run} draws images of {_times(shape)}, but the feature networks that ship with "
            f"minisn support only {known}. Export samples with `minisn sample {run} --n 50000 "
            "--format png-folder` and score them with the official tools (Official scores in "
            "tutorials/MEASURED.md), or give --features and --reference"
        )
    if not config.data.startswith(NETWORKS[shape].data):
        warnings.warn(
            f"the feature network is made for {NETWORKS[shape].subject}, not for {config.data}; "
            "compare the scores only with those of real data, and with caution",
            stacklevel=2,
        )
    return extractor_for(shape)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _measure_files(features: Path, reference: Path, seed: int) -> list[Score]:
    import numpy as np

    from ..metrics import measure_features

    rng = np.random.default_rng(seed)
    return measure_features(_read_features(features), _read_features(reference), rng)


def _read_features(path: Path) -> Sample:
    import numpy as np

    from ..errors import DataError
    from ..metrics import Sample

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        values = np.lib.format.open_memmap(path, mode="r")  # no larger than the file, and no pickle
    except Exception as error:  # NumPy raises any error of its parser on a damaged header
        raise DataError(
            f"{path}: expected a NumPy file of one array of numbers, [N, d], as written by "
            f"numpy.save, got {_found(path, error)}"
        ) from error
    sample = Sample(values, f"{path.name} (SHA-256 {digest[:16]})")
    if len(sample) < _ROWS:
        raise DataError(
            f"{path}: expected the features of at least {_ROWS} images, a row for each, got "
            f"{len(sample)}"
        )
    return sample


def _found(path: Path, error: Exception) -> str:
    """Say what a file of features is, and what to do, if it is no array of numbers."""
    import zipfile

    import numpy as np

    if zipfile.is_zipfile(path):
        return (
            "an archive (.npz); save its array of features alone; images, as `minisn sample` "
            "exports them, go through a feature network first"
        )
    with path.open("rb") as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return "a file of another kind; read it, and save the numbers with numpy.save"
    if "object" in str(error):
        return "an array of Python objects; save it with dtype float32"
    return f"a damaged file ({error})"


_TITLES = {  # printed name and format of a measure, and which values are better
    "inception-style score": ("inception-style score", ".3f", "more"),
    "Fréchet distance": ("Fréchet distance", ".3f", "less"),
    "kernel distance": ("kernel distance", ".5f", "less"),
    "precision": ("precision", ".3f", "more"),
    "recall": ("recall", ".3f", "more"),
    "MS-SSIM within a class": ("MS-SSIM in a class", ".3f", "as real data"),
}


def _show(columns: dict[str, list[Score]]) -> None:
    """Print a row for each measure, a column for each set of images, and the provenance."""
    click.echo(f"\n{'measure':24}{''.join(f'{name:20}' for name in columns)}better")
    for row in zip(*columns.values(), strict=True):
        title, form, better = _TITLES[row[0].provenance.measure.split(",")[0]]
        cells = "".join(f"{_cell(score, form):20}" for score in row)
        click.echo(f"{title:24}{cells}{better}")
    first = next(iter(columns.values()))
    compared = next(score.provenance for score in first if score.provenance.references)
    click.echo()
    for line in (
        f"Features: {compared.extractor}, SHA-256 {compared.digest[:16]}",
        f"Reference: {compared.reference}, {compared.references:,} images",
        f"Settings: {'; '.join(_settings(first))}",
    ):
        click.echo(click.wrap_text(line, 80, subsequent_indent="  "))


def _cell(score: Score, form: str) -> str:
    spread = "" if score.spread is None else f" ± {score.spread:{form}}"
    return f"{score.value:{form}}{spread}"


def _settings(scores: Sequence[Score]) -> list[str]:
    parts = [score.provenance.measure.split(", mean of")[0] for score in scores]
    return [part for part in parts if "," in part]
