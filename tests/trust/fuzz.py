"""Fuzz every reader, guided by the code that an input reaches.

    pip install -e '.[test,trust]'
    python tests/trust/fuzz.py --seconds 360          # for each reader, over an hour in all
    python tests/trust/fuzz.py checkpoint --seconds 60

The script prints every defect and keeps its input in ``cases/``, which the test suite reads again.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).parent
CASES, FOUND = HERE / "cases", HERE / "results" / "fuzz.json"
INSTRUMENTED = [
    "minisn.checkpoint", "minisn.cli", "minisn.config", "minisn.data", "minisn.metrics",
    "minisn.runs", "minisn.study", "tarfile", "tomllib",
]  # fmt: skip
FORBIDDEN = ("os.system", "subprocess.Popen", "socket.connect", "pickle.find_class")
WRITING = os.O_WRONLY | os.O_RDWR
LARGEST_INPUT = 1 << 17


def fuzz(name: str, seconds: int) -> None:
    """Feed one reader until the time is over, then end the process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from readers import MEMORY, READERS, bounded_archives, forged

    import minisn
    from minisn.errors import MinisnError

    reader = READERS[name]
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    path = folder / reader.name
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(reader.seeds()):
        (corpus / str(number)).write_bytes(seed)
    seen: set[tuple[object, ...]] = set()
    inside = False

    def watch(event: str, args: tuple[object, ...]) -> None:
        if not inside:
            return
        made_up = event == "exec" and getattr(args[0], "co_filename", "<").startswith("<")
        if made_up or event in FORBIDDEN:  # imports execute code, too, but from a file
            raise AssertionError(f"a reader caused {event} {args!r:.80}")
        writes = event == "open" and isinstance(args[2], int) and args[2] & WRITING
        if writes and not str(args[0]).startswith(str(folder)):
            raise AssertionError(f"a reader opened {args[0]} for writing")

    def once(data: bytes) -> None:
        nonlocal inside
        path.write_bytes(data)
        try:
            inside = True
            reader.read(path)
        except MinisnError:
            pass
        except BaseException as error:
            inside = False
            frames = traceback.extract_tb(error.__traceback__)
            place = (type(error), *((f.filename, f.lineno) for f in frames[-2:]))
            if place not in seen:
                seen.add(place)
                (CASES / name).mkdir(parents=True, exist_ok=True)
                (CASES / name / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
                own = [frame for frame in frames if "minisn" in frame.filename]
                print(
                    f"DEFECT {name}: {error!r:.200}", *traceback.format_list(own[-2:]), flush=True
                )
        finally:
            inside = False

    sys.addaudithook(watch)
    once(reader.seeds()[0])  # imports what the reader needs
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={LARGEST_INPUT}",
            "-timeout=30",
            "-rss_limit_mb=0",
            "-print_final_stats=1",
            f"-artifact_prefix={folder}/",
            str(corpus),
        ],
        once,
    )
    with forged(), bounded_archives(), minisn.use_kernels("array_api"):
        atheris.Fuzz()


def main() -> None:
    """Fuzz some readers, one after another, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="readers of readers.py; default: all")
    parser.add_argument("--seconds", type=int, default=360, help="for each reader")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        fuzz(options.names[0], options.seconds)
    from readers import READERS  # not above: a child instruments its readers as it imports them

    results = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    for name in options.names or READERS:
        done = subprocess.run(
            [sys.executable, __file__, name, "--child", "--seconds", str(options.seconds)],
            capture_output=True,
            text=True,
            errors="replace",
        )
        defects = re.findall(r"^DEFECT .*?(?=^DEFECT|\Z)", done.stdout, re.M | re.S)
        runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        reached = re.findall(r"cov: (\d+)", done.stderr)
        if not runs or done.returncode:
            sys.exit(
                f"{name}: the fuzzer itself failed with {done.returncode}\n{done.stderr[-3000:]}"
            )
        results[name] = {"seconds": options.seconds, "inputs": int(runs[1]),
                         "places": int(reached[-1]), "defects": len(defects)}  # fmt: skip
        print(name, results[name], *defects, sep="\n", flush=True)
        FOUND.parent.mkdir(exist_ok=True)
        FOUND.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
