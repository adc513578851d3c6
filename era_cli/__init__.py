"""era: train a small residual network on CIFAR-10 or on your own image folder."""

__version__ = "0.1.0"
