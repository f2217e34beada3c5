"""The settings of a run: one flat table, from a preset, a file or the command line."""

import dataclasses
import math
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

from .augment import KINDS, kinds_of
from .errors import ConfigError, nearest, similar
from .files import StrPath
from .init import INITIALIZERS
from .losses import OBJECTIVES
from .models import CONDITIONAL, GAMMAS, MODELS
from .regularizers import METHODS


@dataclass(frozen=True)
class Config:
    """All settings of a training run.

    Args:
        data: name of a data set, or path of a folder of images.
        size: width and height of the images, in pixels.
        model: ``cnn``, Table 3, or ``resnet``, Tables 4 to 6 by the size.
        width: channels of the first layer of D, or of its first block; 64 in the paper, but
            128 in the ResNet for 32 pixels.
        features: output channels of D's last convolution, in ``cnn``; 0 for those of Table 3.
        features_in: input channels of D's last convolution, in ``cnn``; 0 for those of Table 3.
        unit_norm: normalize each unit after G's dense layer, in ``cnn``, as the authors' code
            does, instead of each channel.
        last_bias: D's dense layer has a bias; in the authors' ResNet for 32 pixels it has none.
        latent: length of a latent vector.
        conditional: how labels enter D: ``concat``, ``projection`` or ``auxiliary``; or
            ``none``, for no labels at all. In G, labels enter the normalizations.
        objective: ``standard``, ``hinge`` or ``wasserstein``.
        regularizer: the regularizer of D, a name in :data:`minisn.regularizers.METHODS`; or
            ``gp``, short for ``none`` with a ``gradient_penalty`` of 10.
        init: initializer of D's weights: ``default``, which follows the regularizer, or a name in
            :data:`minisn.init.INITIALIZERS`.
        init_g: initializer of G's weights, likewise; ``default`` is ``normal``.
        scale: constant factor of D's normalized weights.
        gain: also learn such a factor for each layer of D.
        gamma: of ``cnn``: multiply the output of D's layers, weight and bias alike, by learned
            numbers that start at 1: ``layer``, one for each layer, ``shared``, one for all, or
            ``none``. L21's variants, which it trains with SN, the Wasserstein objective and a
            gradient penalty of 10.
        gradient_penalty: weight of the gradient penalty, beside any regularizer; 0 for none.
        rate_d, rate_g: Adam's step sizes.
        beta1, beta2: Adam's decay rates.
        decay_after: step from which the step sizes fall linearly to 0; 0 for never. A run that
            ends before that step has no decay.
        decay_at_once: the step sizes fall from the first step on; needs ``decay_after`` 0.
        n_dis: updates of D for each update of G.
        batch_size: images per batch.
        batch_size_g: samples in G's update; 0 for ``batch_size``.
        power_steps: ``update``, one round of power iteration before each update of D, as in
            Algorithm 1; or ``pass``, one round before each pass of D, as in the authors' code.
            With ``pass``, real images, samples and G's samples each meet another norm.
        first: the network that a step updates first: ``D``, as in Algorithm 1, or ``G``, as in
            the authors' code.
        dequantize: add noise to pixels, as the authors' code does, see
            :func:`minisn.data.dequantize_images`.
        flip: mirror each real image that D sees with probability 1/2, drawn anew each time.
        augment: random changes to all images that D sees: names in
            :data:`minisn.augment.KINDS`, separated by commas; or ``none``.
        average: decay of the running average of G's weights, which draws the samples;
            0 draws with G itself.
        steps: updates of G.
        seed: seed of weights, latent vectors and the order of the data.
        log_every, sample_every, checkpoint_every: steps between log lines, sample sheets
            and checkpoints.
    Raises:
        ConfigError: a value of another kind or out of range.
    """

    data: str
    size: int
    model: str
    width: int
    features: int
    latent: int
    conditional: str
    objective: str
    regularizer: str
    init: str
    scale: float
    gain: bool
    gradient_penalty: float
    rate_d: float
    rate_g: float
    beta1: float
    beta2: float
    decay_after: int
    n_dis: int
    batch_size: int
    flip: bool
    augment: str
    average: float
    steps: int
    seed: int
    log_every: int
    sample_every: int
    checkpoint_every: int
    features_in: int = 0
    unit_norm: bool = False
    last_bias: bool = True
    init_g: str = "default"
    gamma: str = "none"
    decay_at_once: bool = False
    batch_size_g: int = 0
    power_steps: str = "update"
    first: str = "D"
    dequantize: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is float and type(value) is int:
                value = float(value) if abs(value) < 2**1000 else math.inf
                object.__setattr__(self, field.name, value)
            elif type(value) is not field.type:
                raise ConfigError(
                    f"{field.name} = {value!r:.60}: expected {_KINDS[field.type]}, "
                    f"got {type(value).__name__}"
                )
            elif field.type is int and abs(value) >= 2**128:
                raise ConfigError(f"{field.name}: expected a whole number below 2^128")
            elif field.type is str and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise ConfigError(
                    f"{field.name} = {value!a:.60}: expected text that UTF-8 can encode; "
                    "rename the folder, or set a UTF-8 locale"
                )
        for expected, names, holds in _RANGES:
            for name in names:
                if not holds(getattr(self, name)):
                    raise ConfigError(f"{name} = {getattr(self, name)!r}: expected {expected}")
        if self.regularizer == "gp":
            if self.gradient_penalty:
                raise ConfigError(
                    f'regularizer = "gp" and gradient_penalty = {self.gradient_penalty}: expected '
                    'one of them; set regularizer = "none" and the whole weight as gradient_penalty'
                )
            object.__setattr__(self, "regularizer", "none")
            object.__setattr__(self, "gradient_penalty", 10.0)
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(
                    f"{name} = {value!r:.60}: expected one of {', '.join(known)}"
                    + similar(value, known)
                )
        if self.decay_at_once and self.decay_after:
            raise ConfigError(
                f"decay_after = {self.decay_after} and decay_at_once = true: expected one of "
                "them; set decay_after = 0"
            )
        for kind in kinds_of(self.augment):
            if kind not in KINDS:
                raise ConfigError(
                    f"augment = {self.augment!r:.60}: expected none, or some of "
                    f"{', '.join(KINDS)}, separated by commas, got {kind!r:.30}"
                )
        if not self.data.isprintable():  # for example a path that is not UTF-8
            raise ConfigError(
                f"data = {self.data!r:.60}: expected a name of printable characters; "
                "rename the folder"
            )

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some values changed.

        Raises:
            ConfigError: an unknown name (the message gives the nearest one) or a bad value.
        """
        _refuse_unknown(changes)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return dataclasses.asdict(self)


UNNAMED: dict[str, Any] = {
    field.name: field.default
    for field in dataclasses.fields(Config)
    if field.default is not dataclasses.MISSING
}
"""Settings that came later, each with the value that changes nothing. A file may leave them out."""

LATER: dict[str, Any] = {"flip": False, "augment": "none", **UNNAMED}
"""Settings that files of earlier versions lack, with the values that change nothing."""

NAMES = [field.name for field in dataclasses.fields(Config)]
_RANGES: list[tuple[str, tuple[str, ...], Callable[[Any], bool]]] = [
    ("at least 1", ("size", "width", "latent", "n_dis", "batch_size", "steps", "log_every",
                    "sample_every", "checkpoint_every"), lambda n: n >= 1),
    ("at least 0", ("seed", "decay_after", "features", "features_in", "batch_size_g"),
     lambda n: n >= 0),
    ("more than 0, and finite", ("rate_d", "rate_g", "scale"), lambda x: 0 < x < math.inf),
    ("at least 0, and finite", ("gradient_penalty",), lambda x: 0 <= x < math.inf),
    ("from 0 to below 1", ("beta1", "beta2", "average"), lambda x: 0 <= x < 1),
]  # fmt: skip
_CHOICES = {
    "model": tuple(MODELS),
    "conditional": CONDITIONAL,
    "objective": tuple(OBJECTIVES),
    "regularizer": tuple(METHODS),
    "init": ("default", *INITIALIZERS),
    "init_g": ("default", *INITIALIZERS),
    "gamma": GAMMAS,
    "power_steps": ("update", "pass"),
    "first": ("D", "G"),
}
_KINDS: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false",
}  # fmt: skip


def presets() -> list[str]:
    """List the presets that ship with the package."""
    folder = resources.files("minisn") / "presets"
    names = sorted(f.name.removesuffix(".toml") for f in folder.iterdir())
    return [name for name in names if name != "defaults"]


def preset_text(name: str) -> str:
    """Return a preset as a complete file: every setting with its meaning, changed or not.

    Raises:
        ConfigError: no preset has that name.
    """
    if name not in presets():
        raise ConfigError(f"unknown preset {name!r}{nearest(name, presets())}")
    own, defaults = (_shipped(each).splitlines() for each in (name, "defaults"))
    changed = {line.partition(" = ")[0]: line for line in own}
    lines = [line for line in own if line.startswith("#")]
    for line in defaults[1:]:
        now = changed.get(line.partition(" = ")[0], line)
        about = "" if "#" in now else line.partition("#")[2]
        lines.append(f"{now:25} #{about}" if about else now)
    return "\n".join(lines) + "\n"


def _shipped(name: str) -> str:
    return (resources.files("minisn") / "presets" / f"{name}.toml").read_text("utf-8")


def load_preset(name: str) -> Config:
    """Read a preset: its own values, and the rest from ``presets/defaults.toml``.

    Raises:
        ConfigError: no preset has that name.
    """
    return parse_config(preset_text(name), f"preset {name}")


def load_config(path: StrPath) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: the file is missing, not TOML, or not a complete configuration.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {path}: {why}") from None
    return parse_config(text, str(path))


def _parse_toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number too long, a list too deep
        raise ConfigError(f"{source} is not valid TOML: {error}") from None


def parse_config(text: str, source: str) -> Config:
    """Make a configuration from TOML text; errors name ``source``."""
    values = LATER | _parse_toml(text, source)
    _refuse_unknown(values, f"{source}: ")
    missing = [name for name in NAMES if name not in values]
    if missing:
        raise ConfigError(f"{source}: these settings are missing: {', '.join(missing)}")
    try:
        return Config(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _refuse_unknown(values: Iterable[str], where: str = "") -> None:
    for name in values:
        if name not in NAMES:
            raise ConfigError(f"{where}unknown setting {name!r}{nearest(name, NAMES)}")


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs; a value is TOML, or a bare word for a string.

    Raises:
        ConfigError: a pair has no name or no ``=``, or holds several lines, or a name comes twice.
    """
    values: dict[str, Any] = {}
    for text in pairs:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise ConfigError(f"--set {text!r}: expected name=value, for example width=16")
        if "\n" in value:
            raise ConfigError(f"--set {text!r}: expected one setting; give --set once for each")
        if name in values:
            raise ConfigError(f"--set {name} is given twice; expected one value, omit the other")
        try:
            values[name] = _parse_toml(f"value = {value}", f"--set {name}")["value"]
        except ConfigError:
            values[name] = value
    return values
