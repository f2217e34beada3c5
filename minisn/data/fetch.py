"""Downloading complete data sets with libcurl, through pycurl."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from minisn.data.catalog import Download, find_entry
from minisn.data.locate import resolve_data_dir
from minisn.data.verify import FileReport, check_files
from minisn.errors import ConfigError, DataError
from minisn.files import StrPath

_ATTEMPTS = 4  # per mirror, while each attempt receives some bytes
_CONNECT_SECONDS = 20
_STALL_SECONDS = 60


class _BrokenOffError(Exception):
    """A transfer ended before the file was complete; the message gives the reason."""


class _NoResumeError(_BrokenOffError):
    """The server can send the file only from the start."""


def fetch(name: str, data_dir: StrPath | None = None, progress: bool = True) -> list[FileReport]:
    """Download the missing and damaged files of a complete data set.

    The function tries the mirrors in turn. An incomplete file stays beside the target as
    ``….part``, and the next attempt, or the next call, continues it. A file gets its final name
    only if its SHA-256 is right; a damaged file with that name is renamed to ``….bad``.

    Args:
        name: ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"`` or ``"stl10"``.
        data_dir: as for :func:`minisn.data.load`; the files go to a subfolder with the name of the
            data set.
        progress: whether to show a progress bar for each file on standard error.
    Returns:
        A report for each file; all are ok.
    Raises:
        ConfigError: unknown name, a data set that ships with minisn, or pycurl is missing.
        DataError: no mirror sent the right file, or the folder cannot be written.
    """
    entry = find_entry(name)
    if not entry.downloads:
        raise ConfigError(f"{name} ships with minisn; there is nothing to fetch")
    folder = resolve_data_dir(data_dir)
    reports = []
    for download in entry.downloads:
        found = check_files(entry, download.contents, folder)
        if not all(report.ok for report in found):
            try:
                _fetch_file(download, folder / name, progress)
            except OSError as error:
                raise DataError(
                    f"{name}: cannot write {error.filename or folder / name}: {error.strerror}; "
                    "free some space or choose another folder with --data-dir or MINISN_DATA"
                ) from error
            found = check_files(entry, download.contents, folder)
        reports += found
    return reports


def _fetch_file(download: Download, folder: Path, progress: bool) -> None:
    pycurl = _import_pycurl()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / download.name
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for mirror in download.mirrors:
        try:
            _fill(pycurl, mirror + download.name, part, download, progress)
        except _BrokenOffError as error:
            reasons.append(f"{mirror}: {error}")
        else:
            if target.exists():
                target.replace(target.with_name(f"{target.name}.bad"))
            part.replace(target)
            return
    if part.exists() and part.stat().st_size == 0:
        part.unlink()
    raise DataError(
        f"{download.name}: no mirror sent it ({'; '.join(reasons)}); try again later (what has "
        f"arrived is kept), or put the file into {folder} yourself"
    )


def _import_pycurl() -> ModuleType:
    try:
        import pycurl
    except ImportError as error:
        raise ConfigError(
            "fetching needs a download library; run: pip install 'minisn[download]'"
        ) from error
    return pycurl


def _fill(pycurl: ModuleType, url: str, part: Path, download: Download, progress: bool) -> None:
    """Complete a part file from one mirror, and check its SHA-256."""
    reason = ""
    for _ in range(_ATTEMPTS):
        had = part.stat().st_size if part.exists() else 0
        try:
            if had < download.size:
                _transfer(pycurl, url, part, download, progress)
        except _NoResumeError as error:
            part.unlink()
            reason = str(error)
            continue
        except _BrokenOffError as error:
            if part.stat().st_size == had:
                raise
            reason = str(error)
            continue
        found = _sha256(part)
        if found == download.sha256:
            return
        part.unlink()
        reason = f"SHA-256 is {found}, expected {download.sha256}"
        if had == 0:
            break
    raise _BrokenOffError(reason)


def _transfer(pycurl: ModuleType, url: str, part: Path, download: Download, progress: bool) -> None:
    """Append the missing bytes to a part file."""
    with warnings.catch_warnings():  # tqdm warns in a notebook without ipywidgets
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    failures: list[Exception] = []
    with (
        part.open("ab") as file,
        tqdm(
            desc=download.name,
            total=download.size,
            initial=file.tell(),
            unit="B",
            unit_scale=True,
            disable=not progress,
        ) as bar,
    ):

        def write(data: bytes) -> int:
            # An exception must not cross libcurl: keep it, and end the transfer by a short count.
            if file.tell() + len(data) > download.size:
                failures.append(_BrokenOffError(f"sends more than {download.size:,} bytes"))
                return 0
            try:
                written = file.write(data)
            except OSError as error:
                failures.append(error)
                return 0
            bar.update(written)
            return written

        curl = _new_handle(pycurl, url, file.tell(), write)
        try:
            curl.perform()
        except pycurl.error as error:
            code, message = error.args
            if failures:
                raise failures[0] from None
            kind = _NoResumeError if code == pycurl.E_RANGE_ERROR else _BrokenOffError
            raise kind(message) from error
        finally:
            curl.close()


def _new_handle(pycurl: ModuleType, url: str, start: int, write: Callable[[bytes], int]) -> Any:
    """Return a libcurl handle that gets a file from byte ``start`` on."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.RESUME_FROM_LARGE, start)
    curl.setopt(pycurl.WRITEFUNCTION, write)
    curl.setopt(pycurl.FAILONERROR, True)
    curl.setopt(pycurl.FOLLOWLOCATION, True)
    curl.setopt(pycurl.NOSIGNAL, True)
    curl.setopt(pycurl.CONNECTTIMEOUT, _CONNECT_SECONDS)
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    curl.setopt(pycurl.LOW_SPEED_TIME, _STALL_SECONDS)
    curl.setopt(pycurl.NOPROGRESS, False)
    curl.setopt(pycurl.XFERINFOFUNCTION, lambda *_: None)  # lets Ctrl-C interrupt the transfer
    return curl


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
