"""What the core hands to console and reports: frozen values and NumPy arrays. Loads no torch."""

from era_cli.results.arrays import Images, Labels
from era_cli.results.evaluation import Calibration, ClassScore, ConfusedPair, Evaluation, Metrics
from era_cli.results.heatmaps import Faithfulness, Heatmaps
from era_cli.results.history import Curves, EpochRow, StepRow
from era_cli.results.lr_sweep import STEEPEST, TENTH, VALLEY, LrSuggestion, LrSweep
from era_cli.results.mistakes import Mistakes
from era_cli.results.training import FitPlan, FitResult, LayerRow, Samples, SeedResults

__all__ = [
    "STEEPEST",
    "TENTH",
    "VALLEY",
    "Calibration",
    "ClassScore",
    "ConfusedPair",
    "Curves",
    "EpochRow",
    "Evaluation",
    "Faithfulness",
    "FitPlan",
    "FitResult",
    "Heatmaps",
    "Images",
    "Labels",
    "LayerRow",
    "LrSuggestion",
    "LrSweep",
    "Metrics",
    "Mistakes",
    "Samples",
    "SeedResults",
    "StepRow",
]
