"""Every preset, smaller, makes ten updates beside PyTorch and ends with the same numbers."""

import numpy as np
import pytest

from minisn.config import load_preset, presets
from minisn.data import list_datasets

pytestmark = pytest.mark.usefixtures("every_size")


def smaller(config):
    """Few channels and images; what takes thousands of steps to begin does so within ten.

    From the seventh step on the step sizes fall, if not from the first, and the average's decay
    has reached its limit.
    """
    return config.replace(
        width=4,
        batch_size=8,
        batch_size_g=min(config.batch_size_g, 12),
        steps=10,
        decay_after=0 if config.decay_at_once else 5,
        average=min(config.average, 0.4),
    )


def made_up(config):
    """Images of noise, with ten labels, each written into two corners, one also of a mirror image.

    With all contrast D would tell them from samples at once, and hinge losses of 0 teach nothing.
    """
    (colors,) = (entry.shape[0] for entry in list_datasets() if entry.name == config.data)
    shape, labels = (48, colors, config.size, config.size), np.arange(48) % 10
    images = np.random.default_rng(0).integers(96, 160, shape, dtype=np.uint8)
    images[:, :, 0, [0, -1]] = labels[:, None, None]
    return images, labels


# All is in double precision: two runs part where rounding brings a unit to the other side of a
# kink, and at 1e-16 that does not happen in ten steps. They part by 1e-10 to 1e-8 of the way where
# the first gradient of a bias cancels, as for 1 seed in 6: a channel is on one side of its ReLU
# in every pixel, and Adam divides what rounding leaves by its eps of 1e-8. For the presets' own
# seeds, which are used here, none cancels.
@pytest.mark.parametrize("name", presets())
def test_ten_steps_of_every_preset_agree_with_pytorch(torch, name):
    from torch_reference import Recorded, Reference, agree_in_double_precision

    config = smaller(load_preset(name))
    images, labels = made_up(config)
    trainer = Recorded(config, images, "float64", labels)
    start, theirs = trainer.arrays(), Reference(trainer)
    for _ in range(config.steps):
        ours = trainer.update()
        for x, *given in trainer.real:
            written = ((x[:, 0, 0, 0] + 1) * 127.5).round().long()
            assert all(torch.equal(y, written) for y in given)
        # losses are about 1, and 1e-13 was seen
        assert (ours.d, ours.g) == pytest.approx(theirs.update(), rel=0, abs=1e-12)
    agree_in_double_precision(trainer, theirs, start)
