"""Where the files of a data set lie."""

import os
from pathlib import Path

from minisn.data.catalog import Content, Entry
from minisn.files import StrPath

PACKAGE_FOLDER = Path(__file__).parent / "files"


def resolve_data_dir(data_dir: StrPath | None = None) -> Path:
    """Choose the folder of complete data sets.

    Args:
        data_dir: a folder; None for the environment variable MINISN_DATA or, where that is
            unset or empty, `minisn/data` in the user's cache (XDG_CACHE_HOME, else ~/.cache).
    Returns:
        its path, which need not exist.
    """
    chosen = data_dir or os.environ.get("MINISN_DATA")
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "minisn" / "data"


def names_of(entry: Entry, content: Content) -> tuple[str, ...]:
    """Tell under which names a content is looked for.

    Args:
        entry: the data set.
        content: one of its files.
    Returns:
        paths relative to a folder, in order; first what `fetch` writes.
    """
    if entry.folder:
        return entry.downloads[0].name, f"{entry.folder}/{content.name}"
    return f"{content.name}.gz", content.name


def locate(entry: Entry, content: Content, folder: Path) -> Path | None:
    """Find the file that holds a content: in a folder of the data set's name, or right here.

    Args:
        entry: the data set.
        content: one of its files.
        folder: where to look, unless the content ships with the package.
    Returns:
        the first file found, or None.
    """
    if entry.format == "sample":
        return PACKAGE_FOLDER / content.name
    for place in (folder / entry.name, folder):
        for name in names_of(entry, content):
            if os.path.isfile(place / name):  # False, too, where looking is forbidden
                return place / name
    return None
