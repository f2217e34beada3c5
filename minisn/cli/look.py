"""``minisn sample``, ``spectrum`` and ``report``: what a run has come to."""

from pathlib import Path

import click

from .options import run_argument


@click.command()
@run_argument
@click.option("--n", "count", type=click.IntRange(1, 10_000), default=64, show_default=True,
              help="How many images.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of the latent vectors.")  # fmt: skip
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="PNG file to write [default: RUN/sample-SEED.png].")  # fmt: skip
def sample(run: Path, count: int, seed: int, out: Path | None) -> None:
    """Draw new images with the generator of RUN.

    \b
    Examples:
        minisn sample runs/mnist-1
        minisn sample runs/mnist-1 --n 16 --seed 7 --out digits.png
    """
    from ..plots import save_sheet
    from .networks import draw, read_checkpoint

    path = out or run / f"sample-{seed}.png"
    save_sheet(path, draw(read_checkpoint(run), count, seed))
    click.echo(path)


@click.command()
@run_argument
def report(run: Path) -> None:
    """Write the report of RUN anew.

    \b
    Example:
        minisn report runs/mnist-1
    """
    from ..report import write_report
    from .networks import discriminator, read_checkpoint

    checkpoint = read_checkpoint(run)
    D = discriminator(checkpoint)
    click.echo(write_report(run, D, checkpoint.step, checkpoint.seconds))


@click.command()
@run_argument
def spectrum(run: Path) -> None:
    """Show the norm of every layer of RUN's discriminator.

    \b
    For each weight W and its normalized form W_bar:
        sigma(W)     what W was divided by: the estimate of power iteration
        norm(W_bar)  the largest singular value of W_bar, as a matrix
        proved       a number that this norm is proved not to exceed
        stable rank  sum of the squared singular values over the largest one
        as conv      the norm of the convolution with W_bar, as a map between images
        ratio        of the last to norm(W_bar): what the reshaped kernel does not see

    \b
    Example:
        minisn spectrum runs/mnist-1
    """
    from ..spectral import lipschitz_bound
    from .networks import measure, read_checkpoint
    from .progress import compile_notice

    checkpoint = read_checkpoint(run)
    with compile_notice():
        rows = measure(checkpoint)
    click.echo(f"{run}: step {checkpoint.step:,}\n")
    click.echo(f"{'layer':7}{'kind':10}{'weight':17}{'sigma(W)':>9}{'norm(W_bar)':>13}"
               f"{'proved':>9}{'stable rank':>13}{'as conv':>9}{'ratio':>7}")  # fmt: skip
    for k, row in enumerate(rows, 1):
        click.echo(f"{k:<7}{row}")
    chain = (checkpoint.config.model, checkpoint.config.conditional) == ("cnn", "none")
    matrices = lipschitz_bound((f"layer {k}", row.proved, 1.0) for k, row in enumerate(rows, 1))
    operators = lipschitz_bound((f"layer {k}", row.operator, 1.0) for k, row in enumerate(rows, 1))
    click.echo(
        f"\nProduct of the norms, Eq. (7), kernels as matrices:  {matrices.value:.4g}\n"
        f"The same with the convolutions' own norms:          {operators.value:.4g}\n"
        + ("Only the second bounds the Lipschitz constant of D." if chain else
           "Neither bounds the Lipschitz constant of D, which is no chain of these layers.")
    )  # fmt: skip
