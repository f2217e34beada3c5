"""Checkpoints: all that a training run needs to continue, in one file that is never half written.

The file has the safetensors format. Its arrays are the parameters and state of G and D (u, v
and the running moments of batch normalization included), the averaged generator and Adam's
moments. Its metadata holds one line of JSON: the configuration, the counters, the state of the
random generator and of the stream of data, the fingerprint of the images, and a SHA-256 over
everything, which reveals any changed bit. Loading never runs code from the file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from . import __version__
from .backend import Array, to_device, to_numpy
from .config import LATER, Config
from .data import Fingerprint
from .errors import CheckpointError, ConfigError, NonFiniteError
from .files import StrPath, write_file
from .training import Trainer

FORMAT = 1
"""Version of the layout of a checkpoint; a reader refuses any other."""

MOST_BYTES = 64 * 2**30
"""The largest file that is read; the paper's largest networks need a thirtieth of this."""

_ARCHITECTURE = (
    "data", "size", "model", "width", "features", "features_in", "latent", "conditional",
    "regularizer", "gain", "gamma", "unit_norm", "last_bias", "average",
)  # fmt: skip
_COUNTERS = ("step", "adam_d", "adam_g")
_KINDS = {
    "config": dict, "step": int, "seconds": float, "adam_d": int, "adam_g": int,
    "rng": dict, "data": dict, "minisn": str,
}  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """The verified content of a checkpoint file.

    Args:
        path: the file.
        config: the settings of the run.
        step: the number of updates of G.
        seconds: the seconds of training until then.
        adam_d, adam_g: the number of updates of each optimizer.
        rng: the state of the trainer's bit generator.
        data: the state of the stream of data.
        images: the fingerprint of the training images; None in a file of an older minisn, which
            kept none.
        minisn: the version of the library that wrote the file.
        arrays: the arrays by name: ``G/``, ``D/`` or ``average/`` and the name in the network;
            ``adam_d/m``, ``adam_d/v``, ``adam_g/m``, ``adam_g/v``.
    """

    path: Path
    config: Config
    step: int
    seconds: float
    adam_d: int
    adam_g: int
    rng: dict[str, Any]
    data: dict[str, int]
    images: Fingerprint | None
    minisn: str
    arrays: dict[str, np.ndarray]

    def part(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays of ``"G"``, ``"D"``, ``"average"``, ``"adam_d"`` or ``"adam_g"``.

        Args:
            name: the name of the part; ``"average"`` is empty if the run kept no average.
        Returns:
            The arrays by their names in the part, for ``load_state_dict`` of a network.
        """
        prefix = f"{name}/"
        return {n.removeprefix(prefix): a for n, a in self.arrays.items() if n.startswith(prefix)}


def save(path: StrPath, trainer: Trainer) -> None:
    """Write a checkpoint; at any moment, the path holds the old file or the new one.

    Args:
        path: the file; an older file of that name is replaced.
        trainer: the trainer, between two updates.
    Raises:
        NonFiniteError: an array holds a NaN or an infinity, from which no run should go on.
        CheckpointError: the file cannot be written. In both cases an older file is untouched.
    """
    path = Path(path)
    arrays = {n: np.asarray(to_numpy(a), order="C") for n, a in _arrays(trainer).items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise NonFiniteError(
                f"{path} was not written: at step {trainer.step}, {name} holds a NaN or an "
                "infinity; lower the step sizes and go on from an earlier checkpoint"
            )
    facts = {
        "format": FORMAT,
        "minisn": __version__,
        "config": trainer.config.to_dict(),
        "step": trainer.step,
        "seconds": float(trainer.seconds),
        "adam_d": trainer.adam_d.steps,
        "adam_g": trainer.adam_g.steps,
        "rng": trainer.rng.bit_generator.state,
        "data": trainer.data.state(),
        "images": asdict(trainer.fingerprint),
    }
    facts["sha256"] = _digest(facts, arrays)
    write_file(
        path,
        to_bytes(arrays, {"minisn": json.dumps(facts)}),
        "an earlier checkpoint there is untouched: check the folder, then resume",
        CheckpointError,
    )


def load(path: StrPath) -> Checkpoint:
    """Read a checkpoint and check that nothing in it has changed since it was written.

    Args:
        path: the file.
    Returns:
        Its content; :func:`restore` puts it into a trainer.
    Raises:
        CheckpointError: the file is missing, cut short, altered, of another format, or no
            checkpoint at all.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise CheckpointError(
                f"{path} has {size:,} bytes; expected a checkpoint of at most {MOST_BYTES:,}"
            )
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason}") from error
    except CheckpointError:
        raise
    except (SafetensorError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint: expected a complete safetensors file of "
            f"minisn ({error})"
        ) from error
    facts = _facts(path, metadata.get("minisn"), arrays)
    values = {key: _fact(path, facts, key, kind) for key, kind in _KINDS.items()}
    if not 0 <= values["seconds"] < float("inf") or min(values[key] for key in _COUNTERS) < 0:
        raise CheckpointError(f"{path}: a counter is out of range; expected numbers of at least 0")
    if not all(type(value) is int for value in values["data"].values()):
        raise CheckpointError(f"{path}: state of the data stream: expected whole numbers")
    try:
        config = Config(**LATER | values.pop("config"))
    except (TypeError, ConfigError) as error:
        raise CheckpointError(f"{path}: its configuration is not valid: {error}") from None
    images = _fingerprint(path, facts)
    return Checkpoint(path=path, config=config, images=images, arrays=arrays, **values)


def restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Restore the state of a trainer from a checkpoint, completely or not at all.

    The trainer then makes, bit for bit, the updates that the saved one would have made. It
    keeps its own settings: step sizes, steps and the like may differ from the checkpoint's.

    Args:
        trainer: a trainer with the same data and architecture.
        checkpoint: the result of :func:`load`.
    Raises:
        CheckpointError: an array is missing, unknown or of another shape or dtype; the images
            are others; or the checkpoint's random generator or data are of another kind. The
            trainer does not change.
    """
    same = checkpoint.images in (None, trainer.fingerprint)
    if same or checkpoint.config.size != trainer.config.size:
        _check_arrays(trainer, checkpoint)
    if not same:  # other images can ask for another architecture: do not blame the settings
        raise CheckpointError(
            f"{checkpoint.path} was trained on {checkpoint.images}, but here {trainer.config.data} "
            f"has {trainer.fingerprint}; go on with the same data"
        )
    bits = trainer.rng.bit_generator
    try:
        type(bits)().state = checkpoint.rng
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: expected the state of a {type(bits).__name__} bit generator "
            f"({error})"
        ) from None
    try:
        trainer.data.load_state(checkpoint.data)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from None
    bits.state = checkpoint.rng
    trainer.G.load_state_dict(checkpoint.part("G"))
    trainer.D.load_state_dict(checkpoint.part("D"))

    def copied(array: np.ndarray) -> Array:
        return to_device(np.array(array), trainer.device)

    trainer.average = {name: copied(array) for name, array in checkpoint.part("average").items()}
    for name, adam in (("adam_d", trainer.adam_d), ("adam_g", trainer.adam_g)):
        moments = checkpoint.part(name)
        adam.m, adam.v = copied(moments["m"]), copied(moments["v"])
        adam.steps = getattr(checkpoint, name)
    trainer.step, trainer.seconds = checkpoint.step, checkpoint.seconds


# -- the pieces ------------------------------------------------------------------------------


def _arrays(trainer: Trainer) -> dict[str, Array]:
    """Name every array that a trainer carries from one update to the next."""
    adams = {"adam_d": trainer.adam_d, "adam_g": trainer.adam_g}
    parts: dict[str, Mapping[str, Array]] = {
        "G": trainer.G.state_dict(),
        "D": trainer.D.state_dict(),
        "average": trainer.average,
        **{name: {"m": adam.m, "v": adam.v} for name, adam in adams.items()},
    }
    return {f"{part}/{name}": a for part, arrays in parts.items() for name, a in arrays.items()}


def _digest(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Hash all facts and all arrays, with their names, dtypes and shapes."""
    known = {key: value for key, value in facts.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _facts(path: Path, text: str | None, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Read the metadata, and check everything against its digest."""
    if text is None:
        raise CheckpointError(
            f"{path} is a safetensors file, but no checkpoint: it lacks the metadata 'minisn'"
        )
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its metadata is not JSON ({error})") from None
    facts = facts if isinstance(facts, dict) else {}
    if facts.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {facts.get('format')!r}; this minisn ({__version__}) reads format "
            f"{FORMAT}: use the version that wrote it ({facts.get('minisn')!r})"
        )
    if _digest(facts, arrays) != facts.get("sha256"):
        raise CheckpointError(
            f"{path} is damaged: its content does not have the SHA-256 that was written with it; "
            "use a copy"
        )
    return facts


def _fact(path: Path, facts: Mapping[str, Any], key: str, kind: type) -> Any:
    if type(facts.get(key)) is not kind:
        found = f"{facts[key]!r:.60}" if key in facts else "nothing"
        raise CheckpointError(f"{path}: {key}: expected {kind.__name__}, found {found}")
    return facts[key]


def _fingerprint(path: Path, facts: Mapping[str, Any]) -> Fingerprint | None:
    """Read the fingerprint of the images; older checkpoints have none."""
    if "images" not in facts:
        return None
    found = _fact(path, facts, "images", dict)
    expected = {"count": int, "channels": int, "classes": int, "sha256": str}
    values = {key: _fact(path, found, key, kind) for key, kind in expected.items()}
    if values["channels"] not in (1, 3) or min(values["count"], values["classes"]) < 0:
        raise CheckpointError(f"{path}: images: the numbers are out of range: {found!r:.80}")
    return Fingerprint(**values)


def _check_arrays(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose arrays are not those of the trainer, naming the first."""
    mine, its = _arrays(trainer), checkpoint.arrays
    for name in [*mine, *its]:
        if name not in its:
            reason = f"it lacks {name}"
        elif name not in mine:
            reason = f"it has {name}, which is not expected"
        elif its[name].shape != tuple(mine[name].shape):
            expected = list(mine[name].shape)
            reason = f"{name} has shape {list(its[name].shape)}, expected {expected}"
        elif str(its[name].dtype) != str(mine[name].dtype).rpartition(".")[2]:
            reason = f"{name} is {its[name].dtype}, expected {mine[name].dtype}"
        else:
            continue
        before, now = checkpoint.config.to_dict(), trainer.config.to_dict()
        changed = [
            f"{key} = {before[key]}, here {now[key]}"
            for key in now
            if key in _ARCHITECTURE and before[key] != now[key]
        ]
        raise CheckpointError(
            f"{checkpoint.path} belongs to another architecture: {reason}"
            + (f"; it was written with {'; '.join(changed)}" if changed else "")
        )
