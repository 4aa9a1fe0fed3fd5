"""The defaults of a translator: model, vocabularies, batches and budget.

Knows pairs, their sizes and training options; no model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from seriatim.data.batches.pairs import PairBatches, PairBoundaries
from seriatim.data.pairs import PairCorpus, Pairs
from seriatim.data.vocab.fit import COUNTED_VOCABULARIES, fit_vocabulary
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.errors import ConfigError
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.models.options.registry import configure
from seriatim.train.options import TrainingOptions, configure_training

LAYERS = ("transformer", "lstm", "gru", "rnn")
BPE_SIZES = (400, 8000)  # of "bpe", the least and the most
CHARACTERS_PER_BPE_SYMBOL = 150
EPOCHS, MIN_STEPS, MAX_STEPS = 20, 2_000, 20_000  # where no budget is given
STEPS_PER_EPOCH, PLACES = 200, (512, 4_096)  # what a token budget is chosen for, within these


def configured(
    family: str, options: Mapping[str, Any] | None = None, *, preset: str | None = None
) -> Seq2Seq:
    """A configuration by name: "seq2seq", or a kind of layer for encoder and decoder alike.

    Raises:
        ConfigError: no such name, or options that do not fit.
    """
    chosen = dict(options or {})
    if family != Seq2Seq.family:
        if family not in LAYERS:
            raise ConfigError(
                f"there is no translator {family!r}: choose one of {', '.join(LAYERS)}, or "
                f"{Seq2Seq.family} with --encoder and --decoder"
            )
        chosen = {"encoder": family, "decoder": family, **chosen}
    config = configure(Seq2Seq.family, chosen, preset=preset)
    if not isinstance(config, Seq2Seq):
        raise ConfigError(f"{config.family} takes no source: choose {Seq2Seq.family}")
    return config


def suited_options(
    recipe: Mapping[str, Any],
    given: Mapping[str, Any],
    corpus: PairCorpus | None,
    boundaries: Callable[[], PairBoundaries],
) -> TrainingOptions:
    """Training options: those given, then what suits the model and the data, then defaults.

    Args:
        recipe: the options that suit the model.
        given: the options that were given, by name.
        corpus: the training pairs, which decide how large a batch is and, where no budget is
            given, how many steps there are; None: not known yet.
        boundaries: returns the boundaries of the symbols, once there are any.

    Raises:
        ConfigError: if an option or value does not exist, or pairs have no use for it.
    """
    for name in ("length", "carry"):
        if name in given:
            raise ConfigError(f"{name} cuts long texts, and a pair is never cut: leave it out")
    suits = dict(recipe)
    if given.get("optimizer", "adamw") != "adamw":
        for name in ("learning_rate", "betas"):  # they mean nothing to another optimizer
            suits.pop(name, None)
    if corpus is not None and not {"batch_size", "token_budget"} & given.keys():
        suits["token_budget"] = token_budget(corpus)
    options = configure_training({**suits, **given})
    if corpus is None or {"steps", "epochs", "minutes"} & given.keys():
        return options
    per_epoch = pair_batches(corpus, boundaries(), options).steps_per_epoch
    return replace(options, steps=min(max(EPOCHS * per_epoch, MIN_STEPS), MAX_STEPS))


def pair_batches(
    corpus: PairCorpus, boundaries: PairBoundaries, options: TrainingOptions
) -> PairBatches:
    """The batches that the options ask for."""
    return PairBatches(
        corpus,
        boundaries,
        seed=options.seed,
        batch_size=options.batch_size,
        token_budget=options.token_budget,
    )


def token_budget(corpus: PairCorpus) -> int:
    """Places of a batch for about 200 steps an epoch: few pairs need small batches."""
    places = corpus.source.num_tokens + corpus.target.num_tokens + 2 * corpus.num_pairs
    return min(max(places // STEPS_PER_EPOCH, PLACES[0]), PLACES[1])


def suited_vocabularies(
    pairs: Pairs,
    given: tuple[Vocabulary | None, Vocabulary | None],
    source_spec: str | None,
    spec: str,
    *,
    cut: tuple[int, int | None],
    log: Callable[[str], None],
) -> tuple[Vocabulary, Vocabulary]:
    """The symbols of the sources and of the targets, chosen where they are not given.

    Args:
        pairs: the training pairs.
        given: the vocabularies of the sources and of the targets that there are already.
        source_spec: the kind of symbols of the sources; None: one vocabulary for both sides.
        spec: the kind of symbols of the targets.
        cut: the least count and the greatest number of symbols; see `suited_symbols`.
        log: callback that receives log messages.
    """
    source, target = given
    if target is None:
        side = "both sides" if source_spec is None else "the targets"
        log(f"building the vocabulary of {side}, {spec} symbols")
        sides = [pairs.sources, pairs.targets] if source_spec is None else [pairs.targets]
        target = suited_symbols(spec, [side.texts for side in sides], cut)
    if source_spec is None:
        return target, target
    if source is None:
        log(f"building the vocabulary of the sources, {source_spec} symbols")
        source = suited_symbols(source_spec, [pairs.sources.texts], cut, is_only_read=True)
    return source, target


def suited_symbols(
    spec: str,
    sides: Sequence[Callable[[], Iterator[Text]]],
    cut: tuple[int, int | None] = (1, None),
    *,
    is_only_read: bool = False,
) -> Vocabulary:
    """The symbols of one side, or of both together.

    Args:
        spec: as `fit_vocabulary` takes it; "bpe": one symbol for 150 characters, 400 to 8,000.
        sides: the texts; each is read once or twice.
        cut: how often a character or word must be seen, and how many at most; others have no
            counts.
        is_only_read: of sources alone, which nothing predicts.
    """
    if spec == "bpe":
        size = sum(sum(map(len, side())) for side in sides) // CHARACTERS_PER_BPE_SYMBOL
        spec = f"bpe:{min(max(size, BPE_SIZES[0]), BPE_SIZES[1])}"
    min_count, max_symbols = cut if spec in COUNTED_VOCABULARIES else (1, None)
    return fit_vocabulary(
        spec,
        chain.from_iterable(side() for side in sides),
        sequences="document",
        min_count=min_count,
        max_symbols=max_symbols,
        is_only_read=is_only_read,
    )
