"""The translator: an encoder-decoder bound to pairs of texts.

It binds a configuration to data and calls the functions of data, train, metrics and decode; it
never asks which encoder or decoder it has.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from seriatim.analysis.inspect.trace import PairTrace, trace_pair
from seriatim.analysis.robustness.perturbations import STRENGTHS
from seriatim.analysis.robustness.result import Robustness
from seriatim.core.ensembles import Product
from seriatim.core.model import SequenceModel
from seriatim.core.records import Json
from seriatim.core.validation import checked_arguments
from seriatim.data.batches.pairs import PairBoundaries, PairPass, source_batch
from seriatim.data.file_names import check_text
from seriatim.data.pairs import (
    PairCorpus,
    PairData,
    Pairs,
    build_pair_corpus,
    open_pairs,
    split_pairs,
)
from seriatim.data.splits import SplitRecord
from seriatim.data.vocab.fit import vocabulary_from_json
from seriatim.data.vocab.vocabulary import Text, Vocabulary
from seriatim.decode.batched import search_sources
from seriatim.decode.hypotheses import Ints
from seriatim.decode.settings import Decoding
from seriatim.errors import ConfigError, ModelError
from seriatim.laws import check
from seriatim.metrics.pairs import POSITIONS, pair_surprisals, score_pairs
from seriatim.metrics.pieces import SampleLimit
from seriatim.metrics.score import Score
from seriatim.metrics.size import num_parameters
from seriatim.models.build import build_model
from seriatim.models.options.encoder_decoder import Seq2Seq
from seriatim.models.options.registry import describe, restore
from seriatim.tasks import storage
from seriatim.tasks.analyses import PAIRS, OutputMetricName
from seriatim.tasks.base import Log, Task, not_fitted
from seriatim.tasks.budget_batches import choose_batches
from seriatim.tasks.budget_policy import BudgetChoice
from seriatim.tasks.options import TEXT_FIELDS, DataFiles, TaskOptions, refuse, refuse_restart
from seriatim.tasks.parts import Fractions
from seriatim.tasks.protocols import NOUNS, EachScore
from seriatim.tasks.scoring import score_of
from seriatim.tasks.text import option_text, score_lines
from seriatim.tasks.training_record import PairFacts, TrainingRecord, VocabularyFacts
from seriatim.tasks.translation import (
    LengthRule,
    SavedTranslator,
    align,
    check_same_symbols,
    rank_by_risk,
    read_sources,
    required_phrases,
    scorers_for,
    target_prefixes,
    translations,
)
from seriatim.tasks.translation_quality import PairLogProb, Quality, group_references, judge
from seriatim.tasks.translator_defaults import (
    configured,
    pair_batches,
    suited_options,
    suited_vocabularies,
)
from seriatim.tasks.unknown import UnknownCount, check_unknown
from seriatim.train.callbacks.console import shown_in_python
from seriatim.train.callbacks.history import History
from seriatim.train.options import TrainingOptions
from seriatim.train.seeding import seeded

if TYPE_CHECKING:
    from seriatim.tasks.job import TrainingJob


class Translator(Task[PairData, Pairs, PairCorpus, PairFacts, Score]):
    """An encoder-decoder of texts: fit, translate, score, evaluate, save.

    Attributes:
        config: the configuration of the model.
        source_vocabulary: the vocabulary of the sources; None before fitting.
        vocabulary: the vocabulary of the targets; None before fitting.
        model: the `SequenceModel` that takes sources; None before fitting.
        length_rule: the rule for the maximum length of a target.
        training: the record of how the model came about; empty before fitting.
    """

    name = "translation"
    noun = NOUNS["translation"]
    reads = "pairs"
    example = "translate {folder} FILE"
    record_type = TrainingRecord[PairFacts, Score]
    document_names = ("source_symbols", "symbols")
    model: SequenceModel | None

    def __init__(
        self,
        model: Seq2Seq | str = "seq2seq",
        *,
        symbols: str | Vocabulary = "bpe",
        source_symbols: str | Vocabulary | None = None,
        joint: bool = False,
        min_count: int = 1,
        max_symbols: int | None = None,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: a configuration; "seq2seq" for its defaults; or "transformer", "lstm", "gru"
                or "rnn" for that encoder and decoder.
            symbols: the symbols of the targets: "byte", "char", "word", "bpe:N", "bpe" (N by the
                size of the training text, at most 8,000), or a vocabulary made for documents.
            source_symbols: the symbols of the sources; None: of the same kind as those of the
                targets. "nfd": characters decomposed into letters and accents, Korean syllables
                into their sounds.
            joint: whether both sides share one vocabulary, made of both.
            min_count: the least count of a character or word in training; rarer ones become
                `<unk>`.
            max_symbols: the number of characters or words of a side to keep at most.
            device: the device on which to compute; None: a GPU if there is one.

        Raises:
            ConfigError: if there is no such model, or joint symbols have others for the sources.
        """
        super().__init__(device)
        if joint and source_symbols is not None:
            raise ConfigError("joint means one vocabulary for both sides: leave out source_symbols")
        self.config = configured(model) if isinstance(model, str) else model
        self.is_joint = joint
        self.length_rule = LengthRule()
        self.vocabulary = symbols if isinstance(symbols, Vocabulary) else None
        own = symbols if joint else source_symbols
        self.source_vocabulary = own if isinstance(own, Vocabulary) else None
        self._spec = symbols if isinstance(symbols, str) else symbols.kind
        source_spec = source_symbols if source_symbols is not None else self._spec
        self._source_spec = source_spec if isinstance(source_spec, str) else source_spec.kind
        self._cut = (min_count, max_symbols)

    @classmethod
    def from_options(cls, options: TaskOptions) -> Self:
        """A translator from the options of the command line; see `Task.from_options`."""
        refuse(options, ("sequences",), cls.noun)
        family = options.model or Seq2Seq.family
        return cls(
            configured(family, options.model_options, preset=options.preset),
            symbols=options.symbols or "bpe",
            source_symbols=options.source_symbols,
            joint=options.joint,
            min_count=options.min_count or 1,
            max_symbols=options.max_symbols,
        )

    # ---- fitting --------------------------------------------------------------------------------

    def training_options(self, given: Mapping[str, Any]) -> TrainingOptions:
        """Training options: those given, then those that suit the model, then the defaults.

        `fit` also suits the size of a batch, and without a budget the number of steps, to the
        training pairs.

        Raises:
            ConfigError: if an option or value does not exist, or pairs have no use for it.
        """
        return self._suited(given, None)

    def open_files(self, files: DataFiles) -> Pairs:
        """The pairs in files; see `Task.open_files`."""
        refuse(files, TEXT_FIELDS, self.noun)
        return files.open_pairs()

    def _open_training(self, data: PairData) -> Pairs:
        return self._open(data)

    def _open(self, data: PairData) -> Pairs:
        return open_pairs(data)

    def _split(
        self, part: Pairs, fractions: Fractions
    ) -> tuple[Sequence[Pairs | None], SplitRecord]:
        return split_pairs(part, fractions)

    def _encode(self, parts: Mapping[str, Pairs], log: Log) -> dict[str, PairCorpus]:
        self.source_vocabulary, self.vocabulary = suited_vocabularies(
            parts["train"],
            (self.source_vocabulary, self.vocabulary),
            None if self.is_joint else self._source_spec,
            self._spec,
            cut=self._cut,
            log=log,
        )
        log("turning the pairs into symbols")
        return {name: build_pair_corpus(p, *self._vocabularies()) for name, p in parts.items()}

    def _suited(self, given: Mapping[str, Any], corpus: PairCorpus | None) -> TrainingOptions:
        return suited_options(self.config.recipe, given, corpus, self._boundaries)

    def _build(self, seed: int, corpus: PairCorpus | None) -> SequenceModel:
        if corpus is not None:
            self.length_rule = LengthRule.of(corpus)
        source, target = self._vocabularies()
        num_sources = None if self.is_joint else source.num_symbols
        with seeded(torch.device("cpu"), seed):
            return build_model(self.config, target.num_symbols, target.boundary, num_sources)

    def _choose(
        self, given: Mapping[str, Any], corpora: Mapping[str, PairCorpus], seconds: float
    ) -> BudgetChoice:
        batches = partial(pair_batches, corpora["train"], self._boundaries())
        suited = partial(self._suited, corpus=corpora["train"])
        return choose_batches(suited, given, seconds, self._build, batches, self.device)

    def _learn(self, corpora: Mapping[str, PairCorpus], job: "TrainingJob") -> History:
        boundaries, valid = self._boundaries(), corpora.get("valid")
        validation = None if valid is None else PairPass(valid, boundaries, token_budget=POSITIONS)
        batches = pair_batches(corpora["train"], boundaries, job.options)
        history = job.train(self._fitted()[0], batches, validation)
        # Of both sides, not of the targets alone.
        return replace(history, padding_fraction=batches.padding_fraction)

    def _score_part(
        self,
        part: Pairs,
        corpus: PairCorpus,
        limit: SampleLimit | None,
        progress: Callable[[int], None],
    ) -> Score:
        model, _, target = self._fitted()
        scored = score_pairs(model, corpus, self._boundaries(), limit=limit, progress=progress)
        return score_of(scored, corpus.target, target)

    def _unknown(self, corpus: PairCorpus) -> list[UnknownCount]:
        train = self.training.data.get("train")
        source, target = (None, None) if train is None else (train.source, train.target)
        return [
            UnknownCount.of(corpus.source, source, "sources"),
            UnknownCount.of(corpus.target, target, "targets"),
        ]

    def _facts(self, corpus: PairCorpus) -> PairFacts:
        return PairFacts.of(corpus)

    def _described(self) -> TrainingRecord[PairFacts, Score]:
        source, target = map(VocabularyFacts.of, self._vocabularies())
        return TrainingRecord(vocabulary=target, source_vocabulary=source)

    def _identity(self) -> Json:
        specs = [self._spec, self._source_spec, self.is_joint, *self._cut]
        return {"model": describe(self.config), "symbols": specs}

    def _fingerprint(self) -> str:
        return self._fitted()[0].fingerprint()

    def _documents(self) -> dict[str, Json]:
        source, target = self._vocabularies()
        return {"source_symbols": source.to_json(), "symbols": target.to_json()}

    def _adopt(self, documents: Sequence[Any]) -> None:
        source, self.vocabulary = map(vocabulary_from_json, documents)
        self.source_vocabulary = self.vocabulary if self.is_joint else source

    # ---- using ----------------------------------------------------------------------------------

    @checked_arguments
    def translate(
        self,
        texts: str | Sequence[Text],
        *,
        beam: int = 4,
        num_best: int = 1,
        decoding: Decoding | None = None,
        require: Sequence[Sequence[str]] | None = None,
        prefixes: str | Sequence[Text] | None = None,
        ensemble: "Sequence[Translator]" = (),
        alignment: bool = False,
        first: int = 0,
        progress: Callable[[int], None] | None = None,
        on_advance: Callable[[], None] | None = None,
    ) -> Any:
        """The best target of a source, a `Translation`; of a list, a list of them in its order.

        Args:
            texts: one source, or a list of sources.
            beam: the width of the beam; 1 is greedy search.
            num_best: the number of results of each source; the first one has the `others`.
            decoding: all settings of the search, beam and num_best included.
            require: for each source the texts that its target must hold, spelled as inside a text.
            prefixes: the text with which every target begins, or one for each source; the end of
                a text is the end of a symbol, so end it after a whole word, without a space.
            ensemble: further translators with the same target vocabulary; the search then
                follows the normalized product of all, with equal exponents.
            alignment: whether to add the attention to the source (of this translator alone).
            first: the number of the first source, on which its samples depend.
            progress: callback that receives the number of sources done so far.
            on_advance: callback before every step of the search; what it raises ends it.

        Raises:
            ConfigError: if the settings do not fit, required texts or prefixes cannot occur, or an
                alignment is requested of a model without attention to its source.
            SymbolError: if no target can have a required text, a forbidden one or a prefix.
        """
        decoding = decoding or Decoding(beam=beam, num_best=num_best)
        check_text(texts)
        texts = [texts] if (is_one := isinstance(texts, str)) else texts
        model, source, target = self._fitted()
        members = [self, *ensemble]
        check_same_symbols([member._fitted()[2] for member in members])
        read = [member._read(texts) for member in members]
        ids, notes = read[0]
        sizes, limits = self.length_rule.limits(ids, decoding.max_length)
        rule = self.length_rule
        begun, limits = target_prefixes(prefixes, target, limits, rule.extra, decoding.max_length)
        train = self.training.data.get("train")
        has_unknown = train is None or train.target.unknown != 0

        def bind(group: list[int]) -> SequenceModel:
            rows = [[own[i] for i in group] for own, _ in read]
            pairs = zip(members, rows, strict=True)
            bound = [member._bound(own, on_advance) for member, own in pairs]
            return bound[0] if len(bound) == 1 else Product(bound)

        hypotheses = search_sources(
            bind,
            sizes,
            limits,
            decoding,
            end=target.boundary,
            scorers=scorers_for(decoding, target, has_unknown=has_unknown),
            required=required_phrases(require, decoding, target, len(texts)),
            prefixes=begun,
            first=first,
            progress=progress,
        )
        results = translations(hypotheses, target, notes)
        results = [rank_by_risk(t) if decoding.minimum_bayes_risk else t for t in results]
        if alignment:
            results = align(model, model.device, ids, results, (source, target))
        return results[0] if is_one else results

    def _bound(self, sources: list[Ints], on_advance: Callable[[], None] | None) -> SequenceModel:
        model, source, _ = self._fitted()
        with torch.inference_mode():
            return model.bind(source_batch(sources, source.boundary).to(model.device), on_advance)

    def _read(self, texts: Sequence[Text]) -> tuple[list[Ints], list[tuple[str, ...]]]:
        """The symbols of sources, and what should be known of each."""
        train = self.training.data.get("train")
        longest = None if train is None else train.longest_source
        return read_sources(texts, self._fitted()[1], longest)

    def trace(
        self,
        source: str,
        target: str | None = None,
        *,
        beam: int = 4,
        top: int = 5,
        only: Collection[str] | None = None,
    ) -> PairTrace:
        """What happens inside the model while it reads a source and writes a target.

        Args:
            source: one text.
            target: one text; None: the best translation that a beam finds.
            beam: its width; 1 is greedy search.
            top: the number of the most probable symbols to give at each position.
            only: the names to record, see `record`; None: everything.
        """
        model, of_source, of_target = self._fitted()
        if target is None:
            best = self.translate(source, beam=beam)
            ids, is_ended = np.array(best.symbols, np.int64), best.is_ended
        else:
            ids, is_ended = of_target.encode(target), True
        alphabets, read = (of_source, of_target), of_source.encode(source)
        return trace_pair(model, alphabets, read, ids, is_ended=is_ended, top=top, only=only)

    def robustness(
        self,
        data: PairData,
        *,
        metric: OutputMetricName | None = None,
        decoding: Decoding | None = None,
        strengths: Mapping[str, Sequence[float]] = STRENGTHS,
        limit: int | None = PAIRS,
        seeds: int = 1,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Robustness:
        """How much perturbed sources worsen the translations; see `output_robustness`."""
        from seriatim.tasks.output_robustness import output_robustness

        source, decoding = self._fitted()[1], decoding or Decoding(beam=1)
        return output_robustness(
            open_pairs(data),
            source,
            lambda texts: [t.text for t in self.translate(texts, decoding=decoding)],
            metric or "chrf",
            strengths=strengths,
            limit=limit,
            seeds=seeds,
            seed=seed,
            progress=progress,
        )

    def score(
        self,
        data: PairData,
        *,
        restart_every: int | None = None,
        exact: bool = False,
        limit: int | None = None,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Score:
        """How well the targets of pairs are predicted from their sources.

        Bits per symbol and per character of the targets, ends included; see `log_probs` for each
        pair, and `Task.score` for the arguments. Targets are read as wholes, exact or not.
        """
        refuse_restart(restart_every, self.noun)
        sample = SampleLimit.of_symbols(limit)
        pairs = open_pairs(data)
        with shown_in_python(progress) as progress:
            return self._score_part(pairs, self._corpus(pairs, allow_unknown), sample, progress)

    def score_each(
        self,
        data: PairData,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[EachScore]:
        """The log-probability of each target given its source, in order."""
        values = self.log_probs(data, allow_unknown=allow_unknown, progress=progress)
        return iter([PairLogProb(value) for value in values])

    def log_probs(
        self,
        pairs: PairData,
        *,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> list[float]:
        """ln p(target, its end | source) of every pair, in order, nats."""
        corpus, model = self._corpus(pairs, allow_unknown), self._fitted()[0]
        nats, bounds = pair_surprisals(model, corpus, self._boundaries(), progress=progress)
        return [-float(s) for s in np.add.reduceat(nats.astype(np.float64), bounds[:-1])]

    @checked_arguments
    def evaluate(
        self,
        pairs: PairData,
        *,
        decoding: Decoding | None = None,
        ensemble: "Sequence[Translator]" = (),
        lowercase: bool = False,
        tokenize: str | None = None,
        each_pair: bool = False,
        allow_unknown: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> Quality:
        """Translate the sources of pairs and compare the results with their targets.

        Args:
            pairs: what `open_pairs` takes.
            decoding, ensemble, progress: as in `translate`.
            lowercase: compare BLEU and chrF in lower case.
            tokenize: sacrebleu's tokenizer of BLEU; "none" for text that is tokenized already.
            each_pair: whether every pair counts by itself; otherwise the targets of equal sources
                are references of one source, which counts once, by the closest of them.
            allow_unknown: whether to evaluate pairs most of whose symbols are unknown.
        """
        opened, began = open_pairs(pairs), time.perf_counter()
        self._corpus(opened, allow_unknown)  # refused, if most of it is unknown
        sources, references = group_references(opened.pairs())
        if each_pair:
            sources, targets = map(list, zip(*opened.pairs(), strict=True))
            references = [[target] for target in targets]
        results = self.translate(sources, decoding=decoding, ensemble=ensemble, progress=progress)
        seconds = time.perf_counter() - began
        symbols = self._fitted()[2]
        return judge(results, references, symbols, seconds, lowercase=lowercase, tokenize=tokenize)

    def _corpus(self, data: PairData, allow_unknown: bool) -> PairCorpus:
        self._fitted()
        pairs = open_pairs(data)
        corpus = build_pair_corpus(pairs, *self._vocabularies())
        check_unknown(self._unknown(corpus), pairs.name, allow=allow_unknown)
        return corpus

    def check(self, *, seconds: float = 60.0) -> check.LawReport:
        """Hold the fitted model, bound to a source, to the laws of the contract."""
        model, source, _ = self._fitted()
        # Any source will do: the symbols of the lowest ids, without the boundary.
        ids = [i for i in range(min(source.num_symbols, 4)) if i != source.boundary]
        bound = source_batch([np.array(ids, np.int64)], source.boundary)
        return check.check_model(model.bind(bound.to(model.device)), seconds=seconds)

    def info(self) -> Json:
        """What it is, how large, and how it came about; JSON values."""
        model, source, target = self._fitted()
        return {
            "task": self.name,
            "model": describe(self.config),
            "symbols": {"kind": target.kind, "number": target.num_symbols},
            "source_symbols": {"kind": source.kind, "number": source.num_symbols},
            "joint": self.is_joint,
            "parameters": num_parameters(model),
            "length_rule": asdict(self.length_rule),
            "fingerprint": model.fingerprint(),
            "training": self.training.to_json(),
        }

    def describe(self) -> list[tuple[str, str]]:
        """The rows of a table of `info` for people."""
        model, source, target = self._fitted()
        rule = self.length_rule
        rows = [
            ("task", "translation"),
            ("family", self.config.family),
            ("options", option_text(describe(self.config)["options"])),
            ("source symbols", f"{source.num_symbols:,} ({source.kind})"),
            (
                "target symbols",
                f"{target.num_symbols:,} ({target.kind})" + ", the same" * self.is_joint,
            ),
            ("longest target", f"{rule.slope:g} S + {rule.extra} symbols for a source of S"),
            ("parameters", f"{num_parameters(model):,}"),
            ("fingerprint", model.fingerprint()),
        ]
        for name, part in self.training.data.items():
            rows.append((f"{name} part", f"{part.pairs:,} pairs, {part.scored:,} target symbols"))
        for name, score in self.training.scores.items():
            rows.append((f"{name} bits", f"{score.bits_per_symbol:.4f} per target symbol"))
        return rows

    def headline(self) -> str:
        """The kind and the size of the model, in a line."""
        model, source, target = self._fitted()
        return (
            f"{self.config.encoder} to {self.config.decoder}: {num_parameters(model):,} "
            f"parameters, {source.num_symbols:,} {source.kind} symbols to "
            f"{target.num_symbols:,} {target.kind} symbols"
        )

    def describe_score(self, score: Score) -> list[str]:
        """A score for people, in lines."""
        return ["targets given their sources:", *score_lines(score)]

    def _fitted(self) -> tuple[SequenceModel, Vocabulary, Vocabulary]:
        if self.model is None or self.vocabulary is None or self.source_vocabulary is None:
            raise not_fitted(self)
        return self.model, self.source_vocabulary, self.vocabulary

    def _vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        if self.vocabulary is None or self.source_vocabulary is None:
            raise ConfigError("there are no symbols yet: call fit")
        return self.source_vocabulary, self.vocabulary

    def _boundaries(self) -> PairBoundaries:
        return PairBoundaries(*(symbols.boundary for symbols in self._vocabularies()))

    # ---- on disk --------------------------------------------------------------------------------

    def _config(self) -> SavedTranslator:
        return SavedTranslator(describe(self.config), self.is_joint, self.length_rule)

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self._fitted()[0]}

    @classmethod
    def _restored(cls, path: Path, classes: tuple[type, ...], device: str | None) -> Self:
        saved = storage.read_config(SavedTranslator, path)
        target = vocabulary_from_json(storage.read_document(path, "symbols"))
        source = None
        if not saved.joint:
            source = vocabulary_from_json(storage.read_document(path, "source_symbols"))
        config = restore(saved.model, classes)
        if not isinstance(config, Seq2Seq):
            raise ModelError(f"{path} holds a {config.family} model, which takes no source")
        translator = cls(
            config, symbols=target, source_symbols=source, joint=saved.joint, device=device
        )
        translator.length_rule = saved.length_rule
        translator.source_vocabulary = target if saved.joint else source
        return translator
