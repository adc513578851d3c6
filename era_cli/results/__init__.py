"""What the core hands to console and reports: frozen values and NumPy arrays. Loads no torch."""

from era_cli.results.arrays import Images, Labels
from era_cli.results.compare import (
    Better,
    ClassComparison,
    ComparedRun,
    Comparison,
    Difference,
    Flips,
    PairedCounts,
    SettingChange,
    Side,
)
from era_cli.results.curves import Curves, EpochRow, StepRow
from era_cli.results.eval import Calibration, ClassScore, ConfusedPair, Direction, Evaluation, Metrics, softmax
from era_cli.results.fit import FitPlan, FitResult, LayerRow, Samples, SeedResults
from era_cli.results.gradcam import Faithfulness, Heatmaps
from era_cli.results.lr_find import STEEPEST, TENTH, VALLEY, LrSuggestion, LrSweep, Recommendation, SweepSummary
from era_cli.results.misclassified import Mistakes
from era_cli.results.report import Gallery, ImageGroup, Report, Selection
from era_cli.results.runs import RunDetails, RunFile, RunSummary, Setting, Slimmed
from era_cli.results.verify import Check, CheckStatus, Verification

__all__ = [
    "STEEPEST",
    "TENTH",
    "VALLEY",
    "Better",
    "Calibration",
    "Check",
    "CheckStatus",
    "ClassComparison",
    "ClassScore",
    "ComparedRun",
    "Comparison",
    "ConfusedPair",
    "Curves",
    "Difference",
    "Direction",
    "EpochRow",
    "Evaluation",
    "Faithfulness",
    "FitPlan",
    "FitResult",
    "Flips",
    "Gallery",
    "Heatmaps",
    "ImageGroup",
    "Images",
    "Labels",
    "LayerRow",
    "LrSuggestion",
    "LrSweep",
    "Metrics",
    "Mistakes",
    "PairedCounts",
    "Recommendation",
    "Report",
    "RunDetails",
    "RunFile",
    "RunSummary",
    "Samples",
    "SeedResults",
    "Selection",
    "Setting",
    "SettingChange",
    "Side",
    "Slimmed",
    "StepRow",
    "SweepSummary",
    "Verification",
    "softmax",
]
