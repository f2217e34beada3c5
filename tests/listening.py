"""Which sockets a process and those that it has started listen on, as Linux tells it."""

import os
import subprocess
import time
from pathlib import Path

TABLES = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
TOLD = TABLES[0].exists()
"""Whether this system tells it."""

LISTENS = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def family(pid: int) -> list[int]:
    """Return a process and all below it, those that have ended left out."""
    try:
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [pid, *(each for text in lists for child in text.split() for each in family(int(child)))]


def addresses(pid: int) -> set[tuple[str, str]]:
    """Return (address, port) of what a process and those below it listen on, in hexadecimal."""
    ours = set()
    for each in family(pid):
        try:
            opened = list(os.scandir(f"/proc/{each}/fd"))
        except OSError:  # it has ended
            continue
        for entry in opened:
            try:
                target = os.readlink(entry.path)
            except OSError:
                continue
            if target.startswith("socket:"):
                ours.add(target)
    if not ours:  # the tables, of all processes, take the system much longer
        return set()
    lines = [line.split() for table in TABLES for line in table.read_text().splitlines()[1:]]
    return {
        tuple(line[1].split(":"))
        for line in lines
        if line[3] == LISTENS and f"socket:[{line[9]}]" in ours
    }


def watched(command: list, **settings) -> tuple[set[tuple[str, str]], subprocess.Popen]:
    """Run a command to its end, and return what it was seen to listen on, and its process."""
    found: set[tuple[str, str]] = set()
    process = subprocess.Popen(command, **settings)
    while process.poll() is None:
        found |= addresses(process.pid)
        time.sleep(0.05)
    return found, process


def elsewhere(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return what can be reached from another machine."""
    return {each for each in found if each[0] not in LOOPBACK}
