"""Install, test and train in chroots of Debian: on its other Pythons, and on ARM.

    python tests/trust/pythons.py trixie:python3.13 sid:python3.14 sid:python3.15
    python tests/trust/pythons.py --arch arm64 trixie:python3.13      # under qemu: for hours

The script must run as root and needs Debian's mmdebstrap, and qemu-user-static for another
processor. Each chroot is a minimal Debian with a Python, its venv, git, and a clone of this
checkout. The script runs the README's two commands in it, but with some of the tests, and with a
few steps of ``mnist-tiny`` in place of the digits. ``results/pythons.json`` keeps the outcomes; the
classifiers of ``pyproject.toml`` name the Pythons on which everything passed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOUND = Path(__file__).parent / "results" / "pythons.json"
CORE = "tensor ops kernels losses optim config data training"
COMPILED = "kernels kernels_limits kernels_product kernels_winograd conv spectral"
NATIVE = CORE, 2
EMULATED = COMPILED, 3, "-vv --hypothesis-profile=few -k 'not import_is_fast'"
"""What to test, steps of training, and options of pytest: an emulator takes seconds for a test,
and more than half a second for an import."""

NETWORK = ["/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"]
"""Files of this machine that a chroot needs to reach the package index."""

TOLD = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")


def make(root: Path, suite: str, python: str, arch: str) -> None:
    """Make a Debian with a Python, and a clone of this checkout in it."""
    packages = f"--include={python},{python}-venv,git,ca-certificates"
    late = 'Acquire::Check-Valid-Until "false"'  # a mirror may lag behind
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={arch}", packages,
               f"--aptopt={late}", suite, str(root), "http://deb.debian.org/debian"]  # fmt: skip
    subprocess.run(command, check=True)
    for path in NETWORK:
        shutil.copy(path, root / path[1:])
    subprocess.run(["git", "clone", "--quiet", ROOT, root / "minisn"], check=True)


def within(root: Path, command: str) -> subprocess.CompletedProcess:
    """Run a command in the clone, as in a fresh terminal, and print its output."""
    print(f"$ {command}", flush=True)
    enter = 'mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"; mount -t tmpfs t "$1/tmp"; '
    enter += 'exec chroot "$1" /bin/sh -c "cd /minisn; $2"'
    kept = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
    plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    # pip reads 0 as yes; under qemu compiling takes longer than all its other steps
    plain |= {"PIP_NO_COMPILE": "0"}
    # NEON and no SME, as in laptops; with qemu 7.2's default, OpenBLAS multiplies doubles wrongly
    plain |= {"QEMU_CPU": "cortex-a76"}
    process = subprocess.Popen(
        ["unshare", "--mount", "/bin/sh", "-e", "-c", enter, "sh", root, command],
        env={**plain, "PIP_CERT": NETWORK[1], **kept},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return subprocess.CompletedProcess(command, process.wait(), "".join(lines))


def trial(root: Path, python: str, tests: str, steps: int, options: str = "") -> dict:
    """Run the README's commands in a chroot; return the outcome."""
    begin = time.perf_counter()
    training, testing = (
        subprocess.check_output([ROOT / ".ci" / "readme", n], text=True).strip() for n in "12"
    )
    testing = testing.replace("python3", python, 1)
    install, _, pytest = testing.rpartition(" && ")
    files = " ".join(f"tests/test_{name}.py" for name in tests.split())
    installed = within(root, f"{install} --quiet")
    if installed.returncode:
        return {"error": installed.stdout.strip().splitlines()[-1]}
    version = within(
        root, ".venv/bin/python -c 'import platform; print(platform.python_version())'"
    )
    tested = within(root, f"{pytest} -p no:cacheprovider --color no {options} {files}")
    trained = within(root, f"{training.rpartition(' && ')[2]} mnist-tiny --steps {steps}")
    counts = {what: int(n) for n, what in TOLD.findall(tested.stdout.strip().splitlines()[-1])}
    return {
        "version": version.stdout.strip(),
        "tests": tests,
        **counts,
        "steps": 0 if trained.returncode else steps,
        "good": not (tested.returncode or trained.returncode),
        "seconds": round(time.perf_counter() - begin),
    }


def main() -> None:
    """Try each place, and keep the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="+", metavar="SUITE:PYTHON")
    parser.add_argument("--arch", default="amd64", help="Debian's name of the processor")
    options = parser.parse_args()
    ours = options.arch == "amd64"
    for place in options.places:
        suite, _, python = place.partition(":")
        with tempfile.TemporaryDirectory(prefix="minisn-") as folder:
            make(Path(folder, suite), suite, python, options.arch)
            found = trial(Path(folder, suite), python, *(NATIVE if ours else EMULATED))
        kept = json.loads(FOUND.read_text()) if FOUND.exists() else {}
        kept[f"{suite} {python} {options.arch}"] = found
        FOUND.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        print(place, found, flush=True)


if __name__ == "__main__":
    main()
