"""era: train a small residual network, and see where and why it is wrong."""

__version__ = "0.1.0"
