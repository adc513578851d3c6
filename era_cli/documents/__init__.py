"""Results as JSON documents. Loads no torch."""

from era_cli.documents.compare import FLIP_COLUMNS, comparison, flip_rows
from era_cli.documents.evaluation import MOST_PAIRS, fingerprint, metrics, mistake_columns, mistake_rows, mistakes
from era_cli.documents.gradcam import heatmaps
from era_cli.documents.runs import report, run, run_details, slimmed, verification
from era_cli.documents.training import curves, seeds, sweep

__all__ = [
    "FLIP_COLUMNS",
    "MOST_PAIRS",
    "comparison",
    "curves",
    "fingerprint",
    "flip_rows",
    "heatmaps",
    "metrics",
    "mistake_columns",
    "mistake_rows",
    "mistakes",
    "report",
    "run",
    "run_details",
    "seeds",
    "slimmed",
    "sweep",
    "verification",
]
