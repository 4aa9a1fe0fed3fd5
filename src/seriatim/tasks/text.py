"""Options, language models and scores as text for people.

Knows numbers and what every model has; no family.
"""

from collections.abc import Mapping

from seriatim.core.model import SequenceModel
from seriatim.core.records import Json
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.metrics.pieces import Coverage
from seriatim.metrics.score import Score
from seriatim.metrics.size import num_parameters, state_bytes
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import describe
from seriatim.report.terminal import count_noun, format_bytes
from seriatim.tasks.training_record import LanguageRecord


def option_text(options: Mapping[str, object]) -> str:
    """The options of a model that are set, as "name=value, name=value"."""
    return ", ".join(f"{name}={value}" for name, value in options.items() if value is not None)


def language_facts(
    config: ModelConfig,
    model: SequenceModel,
    vocabulary: Vocabulary,
    sequences: str | None,
    training: LanguageRecord,
) -> Json:
    """What a language model is, how large, and how it came about, as JSON values."""
    return {
        "model": describe(config),
        "sequences": sequences,
        "symbols": {"kind": vocabulary.kind, "number": vocabulary.num_symbols},
        "parameters": num_parameters(model),
        "state_bytes": state_bytes(model),
        "reach": model.reach,
        "fingerprint": model.fingerprint(),
        "training": training.to_json(),
    }


def language_rows(
    config: ModelConfig,
    model: SequenceModel,
    vocabulary: Vocabulary,
    sequences: str,
    training: LanguageRecord,
) -> list[tuple[str, str]]:
    """The rows of a table about a language model."""
    reach = "unbounded" if model.reach is None else f"{model.reach:,} symbols"
    rows = [
        ("family", config.family),
        ("options", option_text(describe(config)["options"])),
        ("symbols", f"{vocabulary.num_symbols:,} ({vocabulary.kind})"),
        ("sequences", sequences),
        ("parameters", f"{num_parameters(model):,}"),
        ("state per sequence", f"{format_bytes(state_bytes(model))} after 512 symbols"),
        ("reach", reach),
        ("fingerprint", model.fingerprint()),
    ]
    for name, part in training.data.items():
        rows.append(
            (
                f"{name} part",
                f"{count_noun(part.symbols, 'symbol')} in {count_noun(part.sequences, 'sequence')}",
            )
        )
    for name, score in training.scores.items():
        rows.append((f"{name} bits", f"{score.bits_per_symbol:.4f} per symbol"))
    return rows


def score_lines(score: Score) -> list[str]:
    """A score for people, in lines."""
    lines = [
        f"{score.bits_per_symbol:.4f} bits per symbol" + _interval(score.bits_per_symbol_interval)
    ]
    if score.bits_per_character is not None and score.bits_per_byte is not None:
        lines.append(
            f"{score.bits_per_character:.4f} bits per character"
            + _interval(score.bits_per_character_interval)
        )
        lines.append(f"{score.bits_per_byte:.4f} bits per byte")
    else:
        lines.append(f"no bits per character: {score.not_spelled}")
    if score.bits_per_character_spelled is not None:
        lines.append(
            f"{score.bits_per_character_spelled:.4f} bits per character with unknown words spelled"
        )
    lines.append(f"{score.perplexity:.4f} perplexity")
    if score.unknown:
        lines.append(
            f"{100 * score.unknown_fraction:.1f} % of the symbols ({score.unknown:,}) are unknown"
        )
        known, unknown = score.perplexity_known, count_noun(score.unknown, "unknown symbol")
        if known is not None:
            lines.append(f"{known:.4f} perplexity without the {unknown}")
    lines.append(
        f"{count_noun(score.symbols, 'symbol')}, {count_noun(score.characters, 'character')}, "
        f"{score.symbols_per_second:,.0f} symbols/s"
    )
    lines.append(coverage_line(score.coverage))
    return lines


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"  (95 %: {interval[0]:.4f} to {interval[1]:.4f})"


def coverage_line(coverage: Coverage, what: str = "text") -> str:
    """What was scored, for people, and how it was read."""
    part = "all of the " if coverage.every == 1 else f"{_percent(coverage.fraction)} of the "
    line = f"on {part}{what}"
    if coverage.pieces is not None:
        pieces = count_noun(coverage.pieces, "piece")
        line += (
            f", in {pieces}, each read after a warm-up of {count_noun(coverage.warmup, 'symbol')}"
        )
    return line + (" (exact)" if coverage.is_exact else "")


def _percent(fraction: float) -> str:
    percent = 100 * fraction
    return f"{percent:.0f} %" if percent >= 2 else f"{percent:.2g} %"
