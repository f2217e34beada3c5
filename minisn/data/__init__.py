"""Images to train on: two samples inside the package, and the complete sets they come from.

`load` reads them, `scale_images` turns their pixels into what a network sees, `BatchStream` hands
them out; `list_datasets`, `fetch` and `verify` look after the files of the complete ones.
"""

from minisn.data.datasets import Dataset, Listing, list_datasets, load
from minisn.data.fetch import fetch
from minisn.data.images import scale_images, unscale_images
from minisn.data.locate import resolve_data_dir
from minisn.data.stream import BatchStream
from minisn.data.verify import FileReport, verify

__all__ = [
    "BatchStream",
    "Dataset",
    "FileReport",
    "Listing",
    "fetch",
    "list_datasets",
    "load",
    "resolve_data_dir",
    "scale_images",
    "unscale_images",
    "verify",
]
