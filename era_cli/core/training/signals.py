"""What every training of era does about signals: hold them, since a step must not be broken off in its midst."""

from __future__ import annotations

import lightning.pytorch as L

from era_cli.signals import HeldSignals


class SignalCallback(L.Callback):
    """Holds the signals while the Trainer trains; whoever inherits it asks `signals` where stopping is safe."""

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
        """Gives the signals back when training is broken off."""
        self.signals.release()
