"""The names that keys of JSON documents had before schema 3, kept beside the new ones for one version. Loads nothing.

To end it, delete this module and its calls.
"""

from __future__ import annotations

from typing import Any

# New key by its path, lists left out, and its old name.
RENAMED = {
    "result.val_acc": "best_val_acc",
    "result.val_loss": "best_val_loss",
    "result.test_acc_std": "test_acc_deviation",
    "runs.result.val_acc": "best_val_acc",
    "runs.result.val_loss": "best_val_loss",
    "runs.metrics": "epochs",
    "data.split": "part",
    "computed_from.checkpoint_sha256": "checkpoint",
    "computed_from.content_hash": "images",
    "computed_from.indices_sha256": "indices",
    "result.acc": "accuracy",
    "result.acc_interval_95": "accuracy_interval_95",
    "result.top5_acc": "top5_accuracy",
    "result.calibration.acc": "accuracy",
    "result.per_class.class": "name",
    "result.evaluated": "judged",
}
# A key that is new, and not renamed, where another stands beside it.
_NEW_BESIDE = {"result.acc": "suspects", "result.per_class.class": "lost"}  # in misclassified and in compare


def with_old_names(value: Any, at: str = "") -> Any:
    """The JSON values with every renamed key under its old name, too."""
    if isinstance(value, list | tuple):
        return [with_old_names(item, at) for item in value]
    if not isinstance(value, dict):
        return value
    named: dict[str, Any] = {}
    for key, item in value.items():
        path = f"{at}.{key}" if at else key
        named[key] = with_old_names(item, path)
        if path in RENAMED and _NEW_BESIDE.get(path) not in value:
            named[RENAMED[path]] = named[key]
    return named
