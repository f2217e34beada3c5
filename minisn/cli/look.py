"""``minisn sample``, ``spectrum`` and ``report``: samples, norms and the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import NamedPath, run_argument

if TYPE_CHECKING:
    import numpy as np


@click.command()
@run_argument
@click.option(
    "--n", "--count", "count", type=click.IntRange(1, 100_000), default=64, help="Number of images."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of latent vectors.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["sheet", "png-folder", "npz"]),
    default="sheet",
    help="One picture of all images; a folder of PNG files, as torch-fidelity and clean-fid read; "
    "or a NumPy file with `images`, uint8, [N, H, W, C].",
)
@click.option(
    "--out",
    metavar="PATH",
    type=NamedPath(),
    help="File or folder to write [default: RUN/sample-SEED, .png or .npz].",
)
def sample(run: Path, count: int, seed: int, form: str, out: Path | None) -> None:
    """Draw new images with the generator of RUN.

    \b
    Examples:
        minisn sample runs/mnist-1
        minisn sample runs/mnist-1 --n 16 --seed 7 --out digits.png
        minisn sample runs/cifar10-1 --n 50000 --format png-folder --out samples
    """
    from ..plots import columns_for, save_sheet
    from ..runs import FILES
    from .networks import channels_and_classes, draw, read_checkpoint

    checkpoint = read_checkpoint(run)
    ending = {"sheet": ".png", "png-folder": "", "npz": ".npz"}[form]
    path = out or run / f"sample-{seed}{ending}"
    if ending and path.suffix.lower() != ending:
        raise click.UsageError(f"--format {form} writes a {ending} file; --out is {path.name!r}.")
    if path.name in FILES and path.resolve().parent == run.resolve():
        raise click.UsageError(f"{path} is a file of the run itself; choose another --out.")
    if form == "png-folder":
        _make_empty(path)
    images = draw(checkpoint, count, seed)
    if form == "sheet":
        save_sheet(path, images, columns_for(channels_and_classes(checkpoint)[1]))
    else:
        {"png-folder": _save_folder, "npz": _save_npz}[form](path, images)
    click.echo(path)


def _make_empty(folder: Path) -> None:
    """Create a folder; refuse a folder with files, which would be scored with the samples."""
    from ..errors import DataError

    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            f"{folder} exists already, and its images would be scored with the new ones; "
            "remove it, or choose another folder with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)


def _save_folder(folder: Path, images: np.ndarray) -> None:
    from PIL import Image

    for k, pixels in enumerate(_pixels(images)):
        Image.fromarray(pixels.squeeze()).save(folder / f"{k:06}.png")


def _save_npz(path: Path, images: np.ndarray) -> None:
    import io

    import numpy as np

    from ..files import write_file

    file = io.BytesIO()
    np.savez_compressed(file, images=_pixels(images))
    write_file(path, file.getvalue())


def _pixels(images: np.ndarray) -> np.ndarray:
    """Convert images, [N, C, H, W] in (-1, 1), to uint8, [N, H, W, C]."""
    from ..data import unscale_images

    return unscale_images(images).transpose(0, 2, 3, 1)


@click.command()
@run_argument
def report(run: Path) -> None:
    """Write the report of RUN again.

    \b
    Example:
        minisn report runs/mnist-1
    """
    from ..report import write_report
    from .networks import discriminator, read_checkpoint

    checkpoint = read_checkpoint(run)
    D = discriminator(checkpoint)
    click.echo(write_report(run, D, checkpoint.step, checkpoint.seconds, checkpoint.images))


@click.command()
@run_argument
def spectrum(run: Path) -> None:
    """Show the spectral norms of the layers of RUN's D.

    \b
    For each weight W and its normalized form W_bar:
        sigma(W)     the divisor of W: the estimate of power iteration
        norm(W_bar)  the largest singular value of W_bar, as a matrix
        proved       a proved upper bound on norm(W_bar)
        stable rank  sum of the squared singular values over the largest square
        as conv      the norm of the convolution with W_bar, as a map between images
        ratio        as conv / norm(W_bar)

    \b
    Example:
        minisn spectrum runs/mnist-1
    """
    from ..lipschitz import lipschitz_bound
    from ..regularizers import METHODS
    from .networks import measure, read_checkpoint
    from .progress import compile_notice

    checkpoint = read_checkpoint(run)
    with compile_notice():
        rows = measure(checkpoint)
    click.echo(f"{run}: step {checkpoint.step:,}\n")
    click.echo(
        f"{'layer':7}{'kind':10}{'weight':17}{'sigma(W)':>9}{'norm(W_bar)':>13}"
        f"{'proved':>9}{'stable rank':>13}{'as conv':>9}{'ratio':>7}"
    )
    for k, row in enumerate(rows, 1):
        click.echo(f"{k:<7}{row}")
    config = checkpoint.config
    chain = (config.model, config.conditional) == ("cnn", "none")
    chain = chain and METHODS[config.regularizer].layer is None
    matrices = lipschitz_bound((f"layer {k}", row.proved, 1.0) for k, row in enumerate(rows, 1))
    operators = lipschitz_bound((f"layer {k}", row.operator, 1.0) for k, row in enumerate(rows, 1))
    click.echo(
        f"\nProduct of the norms, Eq. (7), kernels as matrices:  {matrices.value:.4g}\n"
        f"The same with the convolutions' own norms:          {operators.value:.4g}\n"
        + (
            "Only the second bounds the Lipschitz constant of D."
            if chain
            else "Neither bounds the Lipschitz constant of D: D is not a chain of these layers."
        )
    )
