"""Checkpoints: nothing lost, nothing damaged taken for whole, nothing half written."""

import errno
import hashlib
import json
import os
import pickle
import resource
import struct
from contextlib import contextmanager

import numpy as np
import pytest
from safetensors.numpy import save as to_safetensors
from tiny import TINY

import minisn
from minisn import checkpoint as module
from minisn import use_kernels
from minisn.checkpoint import load, restore, save
from minisn.data import fingerprint
from minisn.errors import CheckpointError, NonFiniteError
from minisn.training import Trainer


def images(count=20, channels=1, size=8):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def trained(steps, config=TINY):
    trainer = Trainer(config, images())
    for _ in range(steps):
        trainer.update()
    return trainer


def everything(trainer):
    """All that decides what a trainer does next, as bits."""
    arrays = {
        **{f"G.{k}": v for k, v in trainer.G.state_dict().items()},
        **{f"D.{k}": v for k, v in trainer.D.state_dict().items()},
        **{f"average.{k}": v for k, v in trainer.average.items()},
        **{f"{a}.{k}": getattr(getattr(trainer, a), k)
           for a in ("adam_d", "adam_g") for k in ("m", "v")},
    }  # fmt: skip
    found = {
        k: (v.dtype, v.shape, hashlib.sha256(np.ascontiguousarray(v)).hexdigest())
        for k, v in arrays.items()
    }
    counts = (trainer.step, trainer.adam_d.steps, trainer.adam_g.steps)
    return found, counts, trainer.rng.bit_generator.state, trainer.data.state()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A good checkpoint: its path, whose content no test changes."""
    path = tmp_path_factory.mktemp("good") / "checkpoint.safetensors"
    trainer = trained(2)
    trainer.seconds = 12.5
    save(path, trainer)
    return path


def header_length(raw):
    return 8 + struct.unpack("<Q", raw[:8])[0]


def forge(path, source, facts=None, arrays=None, drop=(), sign=True):
    """Write another checkpoint with other facts or arrays, under a digest that holds."""
    good = load(source)
    meta = header(source)["__metadata__"]["minisn"]
    changed = {**json.loads(meta), **(facts or {})}
    changed = {k: v for k, v in changed.items() if k not in drop}
    all_arrays = {k: v for k, v in {**good.arrays, **(arrays or {})}.items() if k not in drop}
    if sign:
        changed["sha256"] = module._digest(changed, all_arrays)
    path.write_bytes(to_safetensors(all_arrays, {"minisn": json.dumps(changed)}))


def header(path):
    raw = path.read_bytes()
    return json.loads(raw[8 : header_length(raw)])


# --- going on ---------------------------------------------------------------------------------


def test_round_trip_brings_back_everything(saved):
    original, checkpoint = trained(2), load(saved)
    assert (checkpoint.step, checkpoint.seconds, checkpoint.config) == (2, 12.5, TINY)
    assert checkpoint.minisn == minisn.__version__
    assert set(checkpoint.part("average")) == set(original.G.state_dict())
    other = trained(1, TINY.replace(seed=8))
    assert everything(other) != everything(original)
    restore(other, checkpoint)
    assert everything(other) == everything(original)


PLAIN = [{}, {"average": 0.0}, {"width": 10, "n_dis": 1}]
SCHEMES = [
    {"regularizer": "sn-conv", "gain": True, "n_dis": 1},
    {"regularizer": "usv", "gain": True, "scale": 1.5},
    {"regularizer": "bsn", "gradient_penalty": 1.0},
    {"regularizer": "bn", "decay_after": 1},
]


@pytest.mark.parametrize(
    ("kernels", "changes"),
    [("auto", c) for c in [*PLAIN, SCHEMES[0]]] + [("array_api", c) for c in PLAIN + SCHEMES],
    ids=str,
)
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(tmp_path, kernels, changes):
    config = TINY.replace(**changes)
    z = np.random.default_rng(1).standard_normal((3, TINY.latent), np.float32)
    with use_kernels(kernels):
        straight = trained(3, config)
        save(tmp_path / "c", straight)
        resumed = Trainer(config.replace(seed=99), images())
        restore(resumed, load(tmp_path / "c"))
        for _ in range(4):  # past the end of an epoch: 3 batches, 2 a step
            expected, got = straight.update(), resumed.update()
            assert (expected.d, expected.g) == (got.d, got.g)
        assert everything(resumed) == everything(straight)
        assert np.array_equal(resumed.sample(z), straight.sample(z))


def test_arrays_that_do_not_lie_in_their_own_order_are_saved_as_they_are(tmp_path):
    trainer = trained(1, TINY.replace(regularizer="sn-conv"))
    layer = trainer.D.layers[0]
    for name in ("u", "v"):  # images, as compiled kernels return them: channels last in memory
        channels_last = np.ascontiguousarray(layer.state[name].transpose(0, 2, 3, 1))
        layer.state[name] = channels_last.transpose(0, 3, 1, 2)
    layer.weight.assign(np.asfortranarray(layer.weight.array))
    assert not layer.state["u"].flags.c_contiguous
    save(tmp_path / "c", trainer)
    found = load(tmp_path / "c").part("D")
    for name, value in trainer.D.state_dict().items():
        np.testing.assert_array_equal(found[name], value)


def test_training_on_leaves_a_loaded_checkpoint_as_it_was(saved):
    checkpoint = load(saved)
    before = {name: array.tobytes() for name, array in checkpoint.arrays.items()}
    trainer = trained(0)
    restore(trainer, checkpoint)
    for name, array in checkpoint.part("average").items():
        assert not np.shares_memory(trainer.average[name], array)
    assert not np.shares_memory(trainer.adam_d.m, checkpoint.arrays["adam_d/m"])
    trainer.update()
    assert {name: array.tobytes() for name, array in checkpoint.arrays.items()} == before


def test_saving_changes_nothing_and_equal_states_give_equal_files(tmp_path):
    trainer = trained(1)
    before = everything(trainer)
    save(tmp_path / "a", trainer)
    assert everything(trainer) == before
    save(tmp_path / "b", trained(1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_settings_that_do_not_shape_the_networks_may_change(saved):
    config = TINY.replace(rate_d=5e-4, steps=100)
    trainer = Trainer(config, images())
    restore(trainer, load(saved))
    assert trainer.config == config and trainer.adam_d.rate == 5e-4
    assert trainer.step == 2


# --- damage -----------------------------------------------------------------------------------


def refused(path, *words):
    with pytest.raises(CheckpointError) as caught:
        load(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_a_file_cut_short_anywhere_is_refused(saved, tmp_path):
    raw = saved.read_bytes()
    head, path = header_length(raw), tmp_path / "c"
    places = [0, 1, 7, 8, 9, head // 2, head - 1, head, head + 1, len(raw) // 2, len(raw) - 1]
    for place in places:
        path.write_bytes(raw[:place])
        refused(path, "damaged")
    path.write_bytes(raw + b"\0")
    refused(path, "damaged")


def test_a_flipped_bit_in_the_data_is_refused(saved, tmp_path):
    raw, path = saved.read_bytes(), tmp_path / "c"
    head, rng = header_length(raw), np.random.default_rng(0)
    for place in [head, len(raw) - 1, *rng.integers(head, len(raw), 60)]:
        changed = bytearray(raw)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        refused(path, "damaged", "SHA-256")


def test_a_flipped_bit_in_the_header_is_refused_or_says_the_same(saved, tmp_path):
    raw, path, good = saved.read_bytes(), tmp_path / "c", load(saved)
    rng, accepted = np.random.default_rng(0), 0
    for place in [*range(8), *rng.integers(8, header_length(raw), 500)]:
        changed = bytearray(raw)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            found = load(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            continue
        accepted += 1  # white space became other white space
        for field in ("config", "step", "seconds", "adam_d", "adam_g", "rng", "data"):
            assert getattr(found, field) == getattr(good, field)
        assert all(np.array_equal(found.arrays[k], v) for k, v in good.arrays.items())
    assert accepted < 25


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"steps = 10\n" * 50,
        pickle.dumps({"step": 1}),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        b"\x89PNG" + bytes(100),
    ],
    ids=["empty", "text", "pickle", "huge header", "list", "picture"],
)
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    refused(tmp_path / "c", "not a checkpoint")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_a_dtype_that_numpy_lacks_is_refused(tmp_path, dtype):
    data = bytes(4)
    shape = [4 // (2 if dtype == "BF16" else 1)]
    head = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, 4]}}).encode()
    (tmp_path / "c").write_bytes(struct.pack("<Q", len(head)) + head + data)
    refused(tmp_path / "c", "checkpoint")  # NumPy has the first as soon as ml_dtypes is imported


def test_safetensors_of_others_are_no_checkpoint(tmp_path):
    path = tmp_path / "c"
    path.write_bytes(to_safetensors({"w": np.ones(3)}))
    refused(path, "no checkpoint", "'minisn'")
    for text in ("{", "[" * 100_000, "9" * 5000):
        path.write_bytes(to_safetensors({"w": np.ones(3)}, {"minisn": text}))
        refused(path, "not JSON")
    path.write_bytes(to_safetensors({"w": np.ones(3)}, {"minisn": "[1]"}))
    refused(path, "format None")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    refused(tmp_path / "nothing", "No such file")
    refused(tmp_path, "cannot read")


def test_a_file_too_large_is_not_read(saved, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    refused(saved, "at most 1,000")


def test_another_format_names_both_versions(saved, tmp_path):
    forge(tmp_path / "c", saved, {"format": 2, "minisn": "9.9"})
    refused(tmp_path / "c", "format 2", "reads format 1", "'9.9'", minisn.__version__)


def test_an_unsigned_change_is_found(saved, tmp_path):
    forge(tmp_path / "c", saved, {"step": 3}, sign=False)
    refused(tmp_path / "c", "SHA-256")


@pytest.mark.parametrize("key", ["config", "step", "seconds", "adam_d", "rng", "data", "minisn"])
def test_a_missing_fact_is_named(saved, tmp_path, key):
    forge(tmp_path / "c", saved, drop=[key])
    refused(tmp_path / "c", f"{key}: expected", "nothing")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"step": "2"}, ["step: expected int", "'2'"]),
        ({"step": True}, ["step: expected int", "True"]),
        ({"step": -1}, ["out of range"]),
        ({"adam_g": -1}, ["out of range"]),
        ({"seconds": float("nan")}, ["out of range"]),
        ({"seconds": -1.0}, ["out of range"]),
        ({"data": [1]}, ["data: expected dict"]),
        ({"data": {"seed": 1.5}}, ["whole numbers"]),
        ({"config": {}}, ["configuration"]),
        ({"config": {**TINY.to_dict(), "widht": 4}}, ["configuration", "widht"]),
        ({"config": {**TINY.to_dict(), "width": 0}}, ["configuration", "at least 1"]),
    ],
)
def test_a_fact_of_another_kind_is_named(saved, tmp_path, facts, words):
    forge(tmp_path / "c", saved, facts)
    refused(tmp_path / "c", *words)


# --- what does not fit the trainer ------------------------------------------------------------


def not_restored(trainer, path, *words):
    """Restoring is refused, and the trainer is to the bit what it was."""
    before = everything(trainer)
    with pytest.raises(CheckpointError) as caught:
        restore(trainer, load(path))
    assert everything(trainer) == before
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_another_width_names_the_first_parameter_and_both_shapes(saved):
    trainer = Trainer(TINY.replace(width=3), images())
    not_restored(
        trainer,
        saved,
        "another architecture",
        "G/layers.0.weight",
        "[16, 6]",
        "[24, 6]",
        "width = 2, here 3",
    )


def test_another_size_and_number_of_channels_are_refused(saved):
    trainer = Trainer(TINY.replace(size=16), images(size=16))
    not_restored(trainer, saved, "G/layers.0.weight", "size = 8, here 16")
    not_restored(
        Trainer(TINY, images(channels=3)),
        saved,
        "was trained on 20 gray images",
        "has 20 color images",
        "go on with the same data",
    )


def test_a_run_without_an_average_does_not_take_one(saved, tmp_path):
    bare = TINY.replace(average=0.0)
    trainer = Trainer(bare, images())
    not_restored(trainer, saved, "it has average/", "average = 0.9, here 0.0")
    save(tmp_path / "c", trainer)
    not_restored(trained(1), tmp_path / "c", "it lacks average/", "average = 0.0, here 0.9")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"drop": ["D/layers.0.u"]}, ["it lacks D/layers.0.u"]),
        ({"arrays": {"D/extra": np.ones(2)}}, ["it has D/extra"]),
        ({"arrays": {"adam_d/m": np.ones(2, np.float32)}}, ["adam_d/m", "[2]"]),
        ({"arrays": {"D/layers.0.bias": np.zeros(2)}}, ["D/layers.0.bias", "float64", "float32"]),
        ({"facts": {"rng": {"bit_generator": "MT19937"}}}, ["PCG64"]),
        ({"facts": {"rng": {}}}, ["PCG64"]),
        ({"facts": {"data": {}}}, ["batch stream", "expected"]),
    ],
)
def test_arrays_and_states_that_do_not_fit_are_refused(saved, tmp_path, changes, words):
    forge(tmp_path / "c", saved, **changes)
    not_restored(trained(1), tmp_path / "c", *words)


def test_other_data_are_refused(saved):
    not_restored(
        Trainer(TINY, images(count=30)),
        saved,
        "was trained on 20 gray images (SHA-256 ",
        "but here mnist-10k has 30 gray images",
        "same data",
    )
    other = images()
    other[19, 0, 7, 7] ^= 1
    not_restored(
        Trainer(TINY, other),
        saved,
        f"was trained on 20 gray images (SHA-256 {fingerprint(images()).sha256[:12]}), but here",
        "same data",
    )
    not_restored(Trainer(TINY.replace(batch_size=5), images()), saved, "batch_size 6", "5")


def test_other_labels_are_refused_where_they_are_used(tmp_path):
    config, labels = TINY.replace(conditional="projection"), np.arange(20) % 4
    save(tmp_path / "c", Trainer(config, images(), labels=labels))
    assert load(tmp_path / "c").images == fingerprint(images(), labels)
    not_restored(
        Trainer(config, images(), labels=labels[::-1].copy()),
        tmp_path / "c",
        "20 gray images (4 classes, SHA-256 ",
    )


def test_a_checkpoint_of_before_images_were_known_is_restored(saved, tmp_path):
    assert load(saved).images == fingerprint(images())
    forge(tmp_path / "c", saved, drop=["images"])
    assert load(tmp_path / "c").images is None
    trainer = trained(1)
    restore(trainer, load(tmp_path / "c"))
    assert everything(trainer) == everything(trained(2))
    not_restored(Trainer(TINY, images(count=30)), tmp_path / "c", "size 20", "30", "same data")


IMAGES = {"count": 20, "channels": 1, "classes": 0, "sha256": "ab"}


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([1], "images: expected dict"),
        (None, "images: expected dict"),
        ({}, "count: expected int, found nothing"),
        ({**IMAGES, "sha256": 1}, "sha256: expected str, found 1"),
        ({**IMAGES, "channels": 2}, "images: the numbers are out of range"),
        ({**IMAGES, "channels": True}, "channels: expected int, found True"),
        ({**IMAGES, "classes": -1}, "images: the numbers are out of range"),
        ({**IMAGES, "count": -1}, "images: the numbers are out of range"),
    ],
)
def test_what_is_said_of_images_must_be_of_its_kind(saved, tmp_path, images, words):
    forge(tmp_path / "c", saved, {"images": images})
    refused(tmp_path / "c", words)


# --- writing ----------------------------------------------------------------------------------


@contextmanager
def small_files(most):
    """Let this process write no file beyond some bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 10_000])
def test_a_disk_that_fills_up_keeps_the_old_checkpoint(saved, tmp_path, room):
    path, trainer = tmp_path / "c", trained(1)
    path.write_bytes(saved.read_bytes())
    with (
        small_files(room),
        pytest.raises(CheckpointError, match=r"File too large.*earlier checkpoint") as caught,
    ):
        save(path, trainer)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == saved.read_bytes()
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_found_full_late_keeps_the_old_checkpoint(saved, tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "c"
    path.write_bytes(saved.read_bytes())
    trainer = trained(0)
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="No space left"):
        patch.setattr(os, call, full)
        save(path, trainer)
    assert path.read_bytes() == saved.read_bytes()
    assert os.listdir(tmp_path) == ["c"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    trainer = trained(0)
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "c", tmp_path / "no" / "such" / "c"):
        with pytest.raises(CheckpointError, match="cannot write") as caught:
            save(path, trainer)
        assert str(path) in str(caught.value)


def test_a_read_only_folder_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write into a read-only folder")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match="Permission denied"):
            save(tmp_path / "c", trained(0))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_diverged_state_does_not_replace_a_good_one(saved, tmp_path, value):
    path, trainer = tmp_path / "c", trained(0)
    path.write_bytes(saved.read_bytes())
    bad = trainer.G.state_dict()
    bad["layers.0.weight"] = np.full_like(bad["layers.0.weight"], value)
    trainer.G.load_state_dict(bad)
    with pytest.raises(NonFiniteError, match=r"step 0, G/layers\.0\.weight"):
        save(path, trainer)
    assert path.read_bytes() == saved.read_bytes()
