"""Images to train on: two samples that ship with minisn, and the complete data sets.

:func:`load` reads a data set, :func:`scale_images` maps its pixels to the range of a network, and
:class:`BatchStream` yields batches. :func:`list_datasets`, :func:`fetch` and :func:`verify` manage
the files of the complete data sets. :func:`read_folder` makes a data set from a folder of images,
and :func:`fingerprint` identifies the images of a run.
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
