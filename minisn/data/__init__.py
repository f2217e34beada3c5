"""Images to train on: two samples inside the package, and the complete sets they come from.

`load` reads them, `scale_images` turns their pixels into what a network sees, `BatchStream` hands
them out; `list_datasets`, `fetch` and `verify` look after the files of the complete ones.
`read_folder` makes a data set of a folder of images, `fingerprint` tells one from another.
"""

from minisn.data.datasets import Dataset, Listing, list_datasets, load
from minisn.data.fetch import fetch
from minisn.data.fingerprint import Fingerprint, class_count, fingerprint
from minisn.data.folder import FolderReport, read_folder, refuse_ambiguous
from minisn.data.images import check_images, dequantize_images, scale_images, unscale_images
from minisn.data.locate import resolve_data_dir
from minisn.data.stream import BatchStream
from minisn.data.verify import FileReport, verify

__all__ = [
    "BatchStream",
    "Dataset",
    "FileReport",
    "Fingerprint",
    "FolderReport",
    "Listing",
    "check_images",
    "class_count",
    "dequantize_images",
    "fetch",
    "fingerprint",
    "list_datasets",
    "load",
    "read_folder",
    "refuse_ambiguous",
    "resolve_data_dir",
    "scale_images",
    "unscale_images",
    "verify",
]
