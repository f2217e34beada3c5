"""The paper's networks, at any width."""

from .cnn import PAPER_WIDTH, cnn_discriminator, cnn_generator

__all__ = ["PAPER_WIDTH", "cnn_discriminator", "cnn_generator"]
