"""Measure the memory of a folder of 100,000 images, when it is read and when a run has kept it.

    python tests/benchmarks/own_images.py

The script writes such a folder (800 MB, removed at the end), reads it at 32 and at 48 pixels, each
time in a new process, and prints the peak memory of each process.
"""

import io
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from minisn.config import load_preset
from minisn.data import load, read_folder
from minisn.training_set import IMAGES, keep_images, training_set

COUNT, LABELS, KINDS = 100_000, 10, 500


def write_folder(folder: Path) -> None:
    """Write photographs of 320 x 240 pixels, as JPEG, some of them many times."""
    photographs = []
    for image in load("cifar10-2k").images[:KINDS]:
        raw = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).resize((320, 240)).save(raw, "JPEG")
        photographs.append(raw.getvalue())
    for label in range(LABELS):
        (folder / f"label{label}").mkdir(parents=True)
        for k in range(COUNT // LABELS):
            path = folder / f"label{label}" / f"{k:05}.jpg"
            path.write_bytes(photographs[(k + label) % KINDS])


def measure(folder: Path, size: int) -> None:
    """Read the folder, or what a run keeps of it, and print the peak of this process."""
    kept, start = folder / str(size), time.process_time()
    if kept.exists():
        what = f"{size} pixels, from the run's {IMAGES}"
        training_set(load_preset("cifar10").replace(data="", size=size), run=kept)
    else:
        what = f"{size} pixels, from the folder"
        dataset, _ = read_folder(folder / "photographs", size)
        kept.mkdir()
        keep_images(kept, dataset.images, dataset.labels, dataset.classes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    disk = (kept / IMAGES).stat().st_size / 1e6
    print(
        f"{what}: {peak:.0f} MB of memory, {time.process_time() - start:.1f} s of one core, "
        f"{disk:.0f} MB on the disk",
        flush=True,
    )


def main() -> None:
    """Write the folder, and measure in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder) / "photographs")
        for size in (32, 32, 48, 48):
            subprocess.run([sys.executable, __file__, folder, str(size)], check=True)


if __name__ == "__main__":
    measure(Path(sys.argv[1]), int(sys.argv[2])) if sys.argv[1:] else main()
