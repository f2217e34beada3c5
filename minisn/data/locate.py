"""Finding the files of a data set on disk."""

import os
from pathlib import Path

from minisn.data.catalog import Content, Entry
from minisn.errors import ConfigError
from minisn.files import StrPath

PACKAGE_FOLDER = Path(__file__).parent / "files"


def resolve_data_dir(data_dir: StrPath | None = None) -> Path:
    """Return the folder of the complete data sets.

    Args:
        data_dir: a folder; None for the environment variable MINISN_DATA or, if that is unset or
            empty, for ``minisn/data`` in the user's cache (XDG_CACHE_HOME, else ~/.cache).
    Returns:
        The path of the folder, which need not exist.
    Raises:
        ConfigError: the path begins with a home folder that does not exist.
    """
    chosen = data_dir or os.environ.get("MINISN_DATA")
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        if chosen:
            return Path(chosen).expanduser()
        return (Path(cache) if cache else Path.home() / ".cache") / "minisn" / "data"
    except RuntimeError:
        raise ConfigError(
            f"{chosen or '~/.cache'}: there is no such home folder; give a whole path with "
            "--data-dir or MINISN_DATA"
        ) from None


def names_of(entry: Entry, content: Content) -> tuple[str, ...]:
    """Return the names that the file of a content may have.

    Args:
        entry: the data set.
        content: one of its files.
    Returns:
        Relative paths, in the order of the search; :func:`minisn.data.fetch` writes the first.
    """
    if entry.folder:
        return entry.downloads[0].name, f"{entry.folder}/{content.name}"
    return f"{content.name}.gz", content.name


def locate(entry: Entry, content: Content, folder: Path) -> Path | None:
    """Find the file that holds a content, in a folder or its subfolder named after the data set.

    Args:
        entry: the data set.
        content: one of its files.
        folder: the folder to search, unless the content ships with minisn.
    Returns:
        The path of the first file found, or None.
    """
    if entry.format == "sample":
        return PACKAGE_FOLDER / content.name
    for place in (folder / entry.name, folder):
        for name in names_of(entry, content):
            if os.path.isfile(place / name):  # also False without permission to look
                return place / name
    return None
