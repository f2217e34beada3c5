"""An endless stream of batches, with a state small enough for a checkpoint."""

from collections.abc import Iterator, Mapping

import numpy as np

from minisn.errors import CheckpointError, ConfigError


class BatchStream(Iterator[np.ndarray]):
    """An endless iterator over batches from shuffled epochs.

    The order of each epoch is drawn from the pair (seed, epoch), so the whole state is five
    integers: a stream that loads the state of another continues with the same batches. An epoch
    leaves out the images at its end that are too few for a batch.

    Args:
        images: array of any dtype, first axis over the images; batches are copies of its rows.
        batch_size: images per batch, 1 to len(images).
        seed: 0 or greater; equal seeds give equal batches.
    Raises:
        ConfigError: the batch size or the seed is out of range.

    Deviation: L21's code draws each batch of its CNN's images with replacement.
    """

    def __init__(self, images: np.ndarray, batch_size: int, seed: int = 0) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
        if len(images) < batch_size:
            raise ConfigError(
                f"batch_size is {batch_size}; expected at most {len(images)}, the number of "
                "images; use a smaller batch, with --set batch_size=N, or more data"
            )
        if seed < 0:
            raise ConfigError(f"seed is {seed}; expected 0 or greater")
        self._images = images
        self._batch_size = batch_size
        self._start_epoch(seed, 0)

    def __next__(self) -> np.ndarray:
        """Return the next batch, [batch_size, ...]."""
        return self._images[self.next_indices()]

    def next_indices(self) -> np.ndarray:
        """Return the row numbers of the next batch, which select images and labels alike.

        Returns:
            Row numbers, int64, [batch_size].
        """
        if self._position == self._batches_per_epoch:
            self._start_epoch(self._seed, self._epoch + 1)
        start = self._position * self._batch_size
        self._position += 1
        return self._order[start : start + self._batch_size]

    def state(self) -> dict[str, int]:
        """Return the state, from which another stream can continue.

        Returns:
            Seed, epoch, position (batches taken in this epoch), batch_size and size (images).
        """
        return {
            "seed": self._seed,
            "epoch": self._epoch,
            "position": self._position,
            "batch_size": self._batch_size,
            "size": len(self._images),
        }

    def load_state(self, state: Mapping[str, int]) -> None:
        """Continue from the state of another stream over the same images.

        Args:
            state: the result of :meth:`state` of the other stream.
        Raises:
            CheckpointError: a number is missing or out of range, or the other stream has another
                batch size or number of images.
        """
        mine = self.state()
        if state.keys() != mine.keys():
            raise CheckpointError(
                f"state of a batch stream has {sorted(state)}; expected {sorted(mine)}"
            )
        for key in ("size", "batch_size"):
            if state[key] != mine[key]:
                raise CheckpointError(
                    f"state of a batch stream has {key} {state[key]}; expected {mine[key]}; "
                    "continue with the same data and batch size"
                )
        if min(state.values()) < 0 or state["position"] > self._batches_per_epoch:
            raise CheckpointError(
                f"state of a batch stream is out of range: {dict(state)}; expected numbers from "
                f"0, position at most {self._batches_per_epoch}"
            )
        self._start_epoch(state["seed"], state["epoch"])
        self._position = state["position"]

    @property
    def _batches_per_epoch(self) -> int:
        return len(self._images) // self._batch_size

    def _start_epoch(self, seed: int, epoch: int) -> None:
        self._seed, self._epoch, self._position = seed, epoch, 0
        self._order = np.random.default_rng((seed, epoch)).permutation(len(self._images))
