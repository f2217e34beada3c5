"""The catalog of data sets, with the size and the digest of each file.

A compressed file has two pinned digests: ``Download.sha256`` of the archive as its authors serve
it, and ``Content.digest`` of the file inside. Reading checks the contents, so it accepts a plain, a
repacked and an official copy alike, if the contents are the same.

Digests are SHA-256, with one exception: for the files inside STL-10's archive only MD5 digests are
published. An MD5 digest reveals damage, but not a forgery. :func:`minisn.data.fetch` compares the
SHA-256 of the whole archive, and so reveals a forgery too.
"""

from dataclasses import dataclass

from minisn.errors import ConfigError, nearest


@dataclass(frozen=True)
class Content:
    """One uncompressed file of a data set.

    Args:
        name: file name, without a folder.
        size: length in bytes.
        digest: hexadecimal digest of its bytes.
        kind: kind of digest, ``"SHA-256"`` or ``"MD5"``.
    """

    name: str
    size: int
    digest: str
    kind: str = "SHA-256"


@dataclass(frozen=True)
class Download:
    """One file to download, and the files inside it.

    Args:
        name: file name, without a folder.
        size: length in bytes.
        sha256: hexadecimal digest of its bytes.
        mirrors: addresses to try in this order; each ends in a slash, and ``name`` follows.
        contents: the files inside.
    """

    name: str
    size: int
    sha256: str
    mirrors: tuple[str, ...]
    contents: tuple[Content, ...]


@dataclass(frozen=True)
class Entry:
    """One data set.

    Args:
        name: the name that :func:`minisn.data.load` takes.
        title: a description in one line.
        format: ``"sample"`` (ships with minisn), ``"idx"``, ``"cifar"`` or ``"stl"``.
        classes: name of each label, in order.
        shape: shape of one image after reading, (channels, height, width).
        counts: number of images in each split.
        files: contents of each split; images come first if labels have a file of their own.
        downloads: the files to fetch; none for a sample.
        folder: the folder inside the archive, if all files are in one archive.
    """

    name: str
    title: str
    format: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: dict[str, int]
    files: dict[str, tuple[Content, ...]]
    downloads: tuple[Download, ...] = ()
    folder: str = ""

    @property
    def download_bytes(self) -> int:
        """Size of all its downloads, in bytes; 0 for a sample."""
        return sum(download.size for download in self.downloads)


_DIGITS = tuple("0123456789")
_GARMENTS = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_THINGS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_CREATURES_AND_VEHICLES = (
    "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
)  # fmt: skip

CIFAR_FOLDER = "cifar-10-batches-bin"
STL_FOLDER = "stl10_binary"

_IDX_FILES = (
    ("train-images-idx3-ubyte", 47_040_016),
    ("train-labels-idx1-ubyte", 60_008),
    ("t10k-images-idx3-ubyte", 7_840_016),
    ("t10k-labels-idx1-ubyte", 10_008),
)


def _idx_entry(
    name: str,
    title: str,
    classes: tuple[str, ...],
    mirrors: tuple[str, ...],
    pins: tuple[tuple[int, str, str], ...],
) -> Entry:
    """Return the entry of a data set in MNIST's four files.

    Args:
        name, title, classes, mirrors: as in :class:`Entry` and :class:`Download`.
        pins: size, digest and digest of the content, for each file.
    """
    downloads = tuple(
        Download(f"{file}.gz", size, sha256, mirrors, (Content(file, inner_size, inner_sha256),))
        for (file, inner_size), (size, sha256, inner_sha256) in zip(_IDX_FILES, pins, strict=True)
    )
    images, labels, *test = (download.contents[0] for download in downloads)
    files = {"train": (images, labels), "test": tuple(test)}
    counts = {"train": 60_000, "test": 10_000}
    return Entry(name, title, "idx", classes, (1, 28, 28), counts, files, downloads)


_CIFAR_TRAIN = tuple(
    Content(f"data_batch_{number}.bin", 30_730_000, sha256)
    for number, sha256 in enumerate(
        (
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        ),
        start=1,
    )
)
_CIFAR_TEST = Content(
    "test_batch.bin", 30_730_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
)

_STL_PIXELS = 3 * 96 * 96
_STL_UNLABELED = Content(
    "unlabeled_X.bin", 100_000 * _STL_PIXELS, "5242ba1fed5e4be9e1e742405eb56ca4", "MD5"
)
_STL_LABELED = (
    Content("train_X.bin", 5_000 * _STL_PIXELS, "918c2871b30a85fa023e0c44e0bee87f", "MD5"),
    Content("train_y.bin", 5_000, "5a34089d4802c674881badbb80307741", "MD5"),
)
_STL_TEST = (
    Content("test_X.bin", 8_000 * _STL_PIXELS, "7f263ba9f9e0b06b93213547f721ac82", "MD5"),
    Content("test_y.bin", 8_000, "36f9794fa4beb8a2c72628de14fa638e", "MD5"),
)

_ENTRIES = (
    Entry(
        "mnist-10k", "10,000 handwritten digits, in the package", "sample", _DIGITS,
        (1, 28, 28), {"train": 10_000},
        {"train": (Content(
            "mnist-10k.npz", 1_650_884,
            "c03d6af810269a0b25ef8e8971f521767d52b05849e4fd977d6ca9528003c0b3",
        ),)},
    ),
    Entry(
        "cifar10-2k", "2,000 small photographs, in the package", "sample", _THINGS,
        (3, 32, 32), {"train": 2_000},
        {"train": (Content(
            "cifar10-2k.npz", 3_660_366,
            "0a8f57ba46bcd4aceae0410b57bdc5a0587baa56fb3914e293784c3e83300273",
        ),)},
    ),
    _idx_entry(
        "mnist", "MNIST: 70,000 handwritten digits", _DIGITS,
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
             "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
             "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
             "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
             "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
    ),
    _idx_entry(
        "fashion-mnist", "Fashion-MNIST: 70,000 garments", _GARMENTS,
        (
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        (
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
             "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
             "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
             "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
             "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
    ),
    Entry(
        "cifar10", "CIFAR-10: 60,000 small photographs", "cifar", _THINGS,
        (3, 32, 32), {"train": 50_000, "test": 10_000},
        {"train": _CIFAR_TRAIN, "test": (_CIFAR_TEST,)},
        (Download(
            "cifar-10-binary.tar.gz", 170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            (
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
                "https://www.cs.toronto.edu/~kriz/",
            ),
            (*_CIFAR_TRAIN, _CIFAR_TEST),
        ),),
        CIFAR_FOLDER,
    ),
    Entry(
        "stl10", "STL-10: 113,000 photographs, 13,000 of them labeled, at half their size", "stl",
        _CREATURES_AND_VEHICLES, (3, 48, 48),
        {"train": 100_000, "labeled": 5_000, "test": 8_000},
        {"train": (_STL_UNLABELED,), "labeled": _STL_LABELED, "test": _STL_TEST},
        (Download(
            "stl10_binary.tar.gz", 2_640_397_119,
            "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
            ("https://cs.stanford.edu/~acoates/stl10/", "http://ai.stanford.edu/~acoates/stl10/"),
            (_STL_UNLABELED, *_STL_LABELED, *_STL_TEST),
        ),),
        STL_FOLDER,
    ),
)  # fmt: skip

CATALOG = {entry.name: entry for entry in _ENTRIES}
"""The data sets by name."""


def find_entry(name: str) -> Entry:
    """Look up a data set by name.

    Args:
        name: a key of :data:`CATALOG`.
    Returns:
        The entry of the data set.
    Raises:
        ConfigError: no data set has that name; the error suggests the nearest name.
    """
    if name in CATALOG:
        return CATALOG[name]
    raise ConfigError(f"no data set is called {name!r}{nearest(name, CATALOG)}")
