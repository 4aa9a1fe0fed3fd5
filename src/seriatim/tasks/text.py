"""Options and scores as text.

Knows numbers; no model.
"""

from collections.abc import Mapping

from seriatim.metrics.score import Score


def option_text(options: Mapping[str, object]) -> str:
    """The options of a model that are set, as "name=value, name=value"."""
    return ", ".join(f"{name}={value}" for name, value in options.items() if value is not None)


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
        known = score.perplexity_known
        shown = "none" if known is None else f"{known:.4f}"
        lines.append(f"{shown} perplexity without the {score.unknown:,} unknown symbols")
    lines.append(
        f"{score.symbols:,} symbols, {score.characters:,} characters, "
        f"{score.symbols_per_second:,.0f} symbols/s"
    )
    return lines


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"  (95 %: {interval[0]:.4f} to {interval[1]:.4f})"
