"""Metrics: likelihood, error rates, BLEU and chrF, anomaly detection, significance and cost."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.metrics.anomaly import Detection as Detection
    from seriatim.metrics.anomaly import auc_interval as auc_interval
    from seriatim.metrics.anomaly import best_f1 as best_f1
    from seriatim.metrics.anomaly import detect as detect
    from seriatim.metrics.anomaly import quantile_threshold as quantile_threshold
    from seriatim.metrics.anomaly import roc_auc as roc_auc
    from seriatim.metrics.bleu_chrf import TranslationScore as TranslationScore
    from seriatim.metrics.bleu_chrf import bleu as bleu
    from seriatim.metrics.bleu_chrf import chrf as chrf
    from seriatim.metrics.bleu_chrf import compare_scores as compare_scores
    from seriatim.metrics.bootstrap import PairedComparison as PairedComparison
    from seriatim.metrics.bootstrap import block_sums as block_sums
    from seriatim.metrics.bootstrap import bootstrap_interval as bootstrap_interval
    from seriatim.metrics.bootstrap import paired_bootstrap as paired_bootstrap
    from seriatim.metrics.bootstrap import ratio as ratio
    from seriatim.metrics.cost import generation_speed as generation_speed
    from seriatim.metrics.cost import operations_per_symbol as operations_per_symbol
    from seriatim.metrics.error_rates import Calibration as Calibration
    from seriatim.metrics.error_rates import ErrorRate as ErrorRate
    from seriatim.metrics.error_rates import LabelErrors as LabelErrors
    from seriatim.metrics.error_rates import calibration as calibration
    from seriatim.metrics.error_rates import edit_distance as edit_distance
    from seriatim.metrics.error_rates import exact_match as exact_match
    from seriatim.metrics.error_rates import fit_temperature as fit_temperature
    from seriatim.metrics.error_rates import label_errors as label_errors
    from seriatim.metrics.error_rates import symbol_error_rate as symbol_error_rate
    from seriatim.metrics.error_rates import word_error_rate as word_error_rate
    from seriatim.metrics.forecast_calibration import ConformalCorrection as ConformalCorrection
    from seriatim.metrics.forecast_calibration import QuantileCoverage as QuantileCoverage
    from seriatim.metrics.forecast_calibration import calibration_table as calibration_table
    from seriatim.metrics.forecast_calibration import fit_conformal as fit_conformal
    from seriatim.metrics.forecasting import coverage as coverage
    from seriatim.metrics.forecasting import crps_from_quantiles as crps_from_quantiles
    from seriatim.metrics.forecasting import crps_from_samples as crps_from_samples
    from seriatim.metrics.forecasting import crps_normal as crps_normal
    from seriatim.metrics.forecasting import interval_score as interval_score
    from seriatim.metrics.forecasting import log_score as log_score
    from seriatim.metrics.forecasting import mae as mae
    from seriatim.metrics.forecasting import mase as mase
    from seriatim.metrics.forecasting import mse as mse
    from seriatim.metrics.forecasting import pinball as pinball
    from seriatim.metrics.forecasting import rmse as rmse
    from seriatim.metrics.forecasting import seasonal_scale as seasonal_scale
    from seriatim.metrics.forecasting import smape as smape
    from seriatim.metrics.forecasting import weighted_quantile_loss as weighted_quantile_loss
    from seriatim.metrics.likelihood import Likelihood as Likelihood
    from seriatim.metrics.likelihood import as_batches as as_batches
    from seriatim.metrics.likelihood import summarize_surprisals as summarize_surprisals
    from seriatim.metrics.likelihood import surprisals as surprisals
    from seriatim.metrics.score import Score as Score
    from seriatim.metrics.significance import BestMixture as BestMixture
    from seriatim.metrics.significance import PairwiseDifference as PairwiseDifference
    from seriatim.metrics.significance import best_mixture as best_mixture
    from seriatim.metrics.significance import holm as holm
    from seriatim.metrics.significance import pairwise_differences as pairwise_differences
    from seriatim.metrics.size import num_parameters as num_parameters
    from seriatim.metrics.size import state_bytes as state_bytes

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "likelihood": ["Likelihood", "as_batches", "summarize_surprisals", "surprisals"],
        "score": ["Score"],
        "error_rates": [
            "Calibration",
            "ErrorRate",
            "LabelErrors",
            "calibration",
            "edit_distance",
            "exact_match",
            "fit_temperature",
            "label_errors",
            "symbol_error_rate",
            "word_error_rate",
        ],
        "bleu_chrf": ["TranslationScore", "bleu", "chrf", "compare_scores"],
        "forecast_calibration": [
            "ConformalCorrection",
            "QuantileCoverage",
            "calibration_table",
            "fit_conformal",
        ],
        "forecasting": [
            "coverage",
            "crps_from_quantiles",
            "crps_from_samples",
            "crps_normal",
            "interval_score",
            "log_score",
            "mae",
            "mase",
            "mse",
            "pinball",
            "rmse",
            "seasonal_scale",
            "smape",
            "weighted_quantile_loss",
        ],
        "anomaly": [
            "Detection",
            "auc_interval",
            "best_f1",
            "detect",
            "quantile_threshold",
            "roc_auc",
        ],
        "bootstrap": [
            "PairedComparison",
            "block_sums",
            "bootstrap_interval",
            "paired_bootstrap",
            "ratio",
        ],
        "significance": [
            "BestMixture",
            "PairwiseDifference",
            "best_mixture",
            "holm",
            "pairwise_differences",
        ],
        "cost": ["generation_speed", "operations_per_symbol"],
        "size": ["num_parameters", "state_bytes"],
    },
)
