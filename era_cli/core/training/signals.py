"""Signals during training: held, since a step must not be interrupted half-way."""

from __future__ import annotations

from era_cli.core.training.lightning import L
from era_cli.signals import HeldSignals


class SignalCallback(L.Callback):
    """Holds signals while the Trainer trains; a subclass checks `signals` wherever stopping is safe."""

    def __init__(self) -> None:
        self.signals = HeldSignals()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes over the signals, after Lightning took them."""
        self.signals.hold()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives the signals back before Lightning gives its own back: later, they would be Lightning's for good."""
        self.signals.release()
        self.signals.raise_received()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Gives the signals back when training fails or is stopped."""
        self.signals.release()
