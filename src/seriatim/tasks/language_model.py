"""The language model: a model of symbols bound to text.

It binds a configuration to data and calls the functions of data, train, evaluate and decode;
it holds no logic of its own and never asks which family it has.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.analysis.context.measure import CONTEXTS, LIMIT, EffectiveContext, effective_context
from seriatim.analysis.inspect.trace import TextTrace, trace_text
from seriatim.analysis.recorder import MAX_GIGABYTES
from seriatim.analysis.robustness.measure import LIMIT as TARGETS
from seriatim.analysis.robustness.measure import SEEDS, STRENGTHS, Robustness, measure_robustness
from seriatim.core.distributions import as_discrete
from seriatim.core.model import SequenceModel, State
from seriatim.data.batches.corpus import check_token_budget
from seriatim.data.corpus import Corpus, build_corpus
from seriatim.data.sources import Sequences, Source, open_source
from seriatim.data.splits import split_source
from seriatim.data.vocab.categories import CategoryChoice
from seriatim.data.vocab.fit import vocabulary_from_json
from seriatim.data.vocab.vocabulary import Vocabulary
from seriatim.decode.sampling import Sampling, sample
from seriatim.decode.stream import Stream
from seriatim.errors import ConfigError, DataError, SymbolError
from seriatim.laws import check
from seriatim.metrics.likelihood import summarize_surprisals, surprisals, unknown_targets
from seriatim.metrics.score import Score, score_text
from seriatim.metrics.size import num_parameters, state_bytes
from seriatim.models.build import build_model
from seriatim.models.options.base import ModelConfig
from seriatim.models.options.registry import configure, describe, restore
from seriatim.tasks import storage
from seriatim.tasks.analyses import categories_in, known_corpus
from seriatim.tasks.base import Say, Shares, corpus_facts, in_symbols, open_parts, scores
from seriatim.tasks.speller import fit_speller, speller, spelling_bits
from seriatim.tasks.text_stream import Prediction, Surprisal, TextStream
from seriatim.train.callbacks.callbacks import Callbacks
from seriatim.train.callbacks.history import History
from seriatim.train.checkpoint.resume import Kept, found_run, keep
from seriatim.train.closed_form import ClosedForm
from seriatim.train.distributed import current
from seriatim.train.loop import fit as fit_by_gradient
from seriatim.train.loop import seeded
from seriatim.train.options import BUDGETS, TrainingOptions, configure_training

Data: TypeAlias = str | PathLike[str] | Source | Sequence[str] | Sequence[list[str]]


class LanguageModel:
    """A sequence model of text: fit, score, generate, next, surprisal, stream, save.

    Attributes:
        config: what is, or will be, built.
        symbols: the alphabet; None before fitting.
        model: the `SequenceModel`; None before fitting.
        training: the record of how it came about, JSON values.
    """

    def __init__(
        self,
        model: ModelConfig | str = "lstm",
        *,
        symbols: str | Vocabulary = "char",
        sequences: Sequences | None = None,
        min_count: int = 1,
        max_size: int | None = None,
        device: str | None = None,
    ) -> None:
        """
        Args:
            model: a configuration, or the name of a family for its defaults.
            symbols: "byte", "char", "word", "bpe:N", or an alphabet to be used as it is.
            sequences: what one sequence is, "line", "document" or "stream"; None: as
                `open_source` decides for the training data.
            min_count: characters or words seen fewer times in training become `<unk>`.
            max_size: keep at most this many symbols.
            device: where to compute; None: a GPU if there is one.
        """
        self.config = configure(model, {}) if isinstance(model, str) else model
        self.sequences = sequences
        self.training: dict[str, Any] = {}
        self.vocabulary = symbols if isinstance(symbols, Vocabulary) else None
        self.model: SequenceModel | None = None
        self._speller: SequenceModel | None = None
        self._spec = symbols if isinstance(symbols, str) else symbols.kind
        self._cut = (min_count, max_size)
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    # ---- fitting --------------------------------------------------------------------------------

    def fit(
        self,
        train: Data,
        *,
        valid: Data | None = None,
        test: Data | None = None,
        split: Shares = (0.8, 0.1, 0.1),
        steps: int | None = None,
        epochs: float | None = None,
        minutes: float | None = None,
        seed: int | None = None,
        options: TrainingOptions | None = None,
        callbacks: Callbacks | None = None,
        checkpoints: Kept = None,
        resume: bool = False,
        figures: bool = True,
    ) -> Self:
        """Fit to text, by gradients or in closed form, as the family has it.

        A fitted model goes on from its weights and keeps its symbols (only models that are
        trained by gradients can).

        Args:
            train: a path, a `Source`, or texts.
            valid: for early stopping; without it a part of `train` is split off.
            test: for the final figures; without both, parts are split off for each.
            split: shares of train, validation and test where they are split off.
            steps, epochs, minutes: the budget, at most one; see `TrainingOptions`.
            seed: of weights, data order and dropout.
            options: all other training options; None: what suits the family.
            callbacks: functions to be called while it is fitted.
            checkpoints: a folder in which the run is kept every minute, or `Checkpoints`; it
                stays when the run is over: remove it when the model is saved.
            resume: go on with the run in that folder, to the bit, if there is one.
            figures: score the validation and the test text when the model is fitted.

        Returns:
            This model, fitted; `training` holds the record.
        """
        started = time.perf_counter()
        callbacks = callbacks or Callbacks()
        say = callbacks.log
        options = self._options(options, steps=steps, epochs=epochs, minutes=minutes, seed=seed)
        parts, record = self._parts(train, valid, test, split)
        data = {name: source.fingerprint() for name, source in parts.items()} if checkpoints else {}
        kept, found = found_run(
            checkpoints, resume, model=self._identity(), data=data, documents=["symbols"]
        )
        if found is not None:
            self.vocabulary = vocabulary_from_json(found[0])
        with current().main_first():  # it fills the cache, and the others map its files
            corpora = self._corpora(parts, say)
        self.training = {
            "data": {name: corpus_facts(corpus) for name, corpus in corpora.items()},
            "split": record,
            "symbols": {"spec": self._spec, "number": self._alphabet().num_symbols},
            "seed": options.seed,
        }
        began = time.perf_counter()

        def by_gradient(*given: Any) -> History:
            keep(kept, {"symbols": self._alphabet().to_json()})
            return fit_by_gradient(*given, callbacks=callbacks, checkpoints=kept)

        self._fit_model(corpora["train"], corpora.get("valid"), options, by_gradient, say)
        self.training["fit_seconds"] = time.perf_counter() - began
        if figures and current().is_main:
            self.training |= scores(
                corpora, lambda name: self._score(corpora[name], parts[name]), "text", say
            )
        self.training["seconds"] = time.perf_counter() - started
        return self

    def _corpora(self, parts: Mapping[str, Source], say: Say) -> dict[str, Corpus]:
        """The parts as symbols; chooses the symbols first, where that was not done."""
        self.vocabulary, corpora = in_symbols(
            parts, self.vocabulary, spec=self._spec, cut=self._cut, say=say
        )
        if self._speller is None:
            self._speller = fit_speller(parts["train"].texts(), self.vocabulary)
        return corpora

    def _identity(self) -> dict[str, Any]:
        """What makes a run another one."""
        return {
            "task": "language",
            "model": describe(self.config),
            "symbols": [self._spec, *self._cut],
            "sequences": self.sequences,
            "begun from": None if self.model is None else self.model.fingerprint(),
        }

    def training_options(
        self, given: Mapping[str, Any], *, preset: str | None = None
    ) -> TrainingOptions:
        """Training options: those given, then what suits the model, then the defaults.

        Args:
            given: by name.
            preset: that the model was made from; some have training options of their own.

        Raises:
            ConfigError: no such option or value, or options that contradict each other.
        """
        recipe = dict(self.config.recipe_for(preset))
        usual = recipe.get("optimizer", "adamw")
        if given.get("optimizer", usual) != usual:
            recipe.pop("learning_rate", None)  # a rate of one means nothing to another
        if given.keys() & set(BUDGETS):
            recipe = {name: value for name, value in recipe.items() if name not in BUDGETS}
        options = configure_training({**recipe, **given})
        check_token_budget(options.token_budget, options.length)
        return options

    def _options(self, options: TrainingOptions | None, **budget: Any) -> TrainingOptions:
        given = {name: value for name, value in budget.items() if value is not None}
        return self.training_options(given) if options is None else replace(options, **given)

    def _parts(
        self, train: Data, valid: Data | None, test: Data | None, split: Shares
    ) -> tuple[dict[str, Source], dict[str, Any] | None]:
        """The sources of training, validation and test, and how they were split, if they were."""
        source = self._open(train)
        self.sequences = source.sequences  # how the others are read, too
        given = {"train": source, "valid": valid, "test": test}
        return open_parts(given, split, self._open, split_source)

    def _open(self, data: Data) -> Source:
        return open_source(data, sequences=None if isinstance(data, Source) else self.sequences)

    def _fit_model(
        self,
        train: Corpus,
        valid: Corpus | None,
        options: TrainingOptions,
        by_gradient: Callable[..., History],
        say: Say,
    ) -> None:
        symbols = self._alphabet()
        is_new = self.model is None
        if self.model is None:
            with seeded(torch.device("cpu"), options.seed):
                model = build_model(self.config, symbols.num_symbols, symbols.boundary)
            self.model = model.to(self._device)
        if isinstance(self.model, ClosedForm):
            if current().size > 1:
                raise ConfigError(
                    f"a {self.config.family} model is counted, in one process: leave out processes"
                )
            if not is_new:
                raise ConfigError(
                    f"a {self.config.family} model is counted, not trained, so there is nothing "
                    "to go on from: fit a new one on all of the data"
                )
            say("counting")
            self.training["fit"] = self.model.fit_closed_form(train)
            return
        history = by_gradient(self.model, train, valid, options)
        self.training["fit"] = history.to_json()

    # ---- using ----------------------------------------------------------------------------------

    def score(
        self,
        data: Data,
        *,
        restart_every: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Score:
        """How well the model predicts a text.

        Args:
            data: a path, a `Source`, or texts.
            restart_every: for streams, forget everything every so many symbols.
            progress: called with the number of symbols scored so far.

        Raises:
            DataError: nothing to score.
        """
        source = self._open(data)
        corpus = build_corpus(source, self._fitted()[1])
        return self._score(corpus, source, restart_every=restart_every, progress=progress)

    def _score(
        self,
        corpus: Corpus,
        source: Source,
        *,
        restart_every: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Score:
        model, symbols = self._fitted()
        if corpus.num_scored == 0:
            raise DataError(f"{source.name} has no symbol to score: give a text that is not empty")
        started = time.perf_counter()
        nats, bounds = surprisals(model, corpus, restart_every=restart_every, progress=progress)
        seconds = time.perf_counter() - started
        found = summarize_surprisals(nats, bounds, unknown_targets(corpus, symbols.unknown))
        bits = None
        if found.unknown and corpus.is_respelled and self._speller is not None:
            bits = spelling_bits(self._speller, source.texts(), symbols)
        return score_text(found, corpus, seconds, spelling_bits=bits)

    def generate(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> str:
        """The prompt and up to `length` symbols after it; see `generating`."""
        return prompt + "".join(self.generating(prompt, length, seed=seed, sampling=sampling))

    def generating(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> Iterator[str]:
        """What follows a prompt, piece by piece as it is sampled.

        It ends after `length` symbols, or at the end that a model of lines or documents
        predicts.

        Args:
            prompt: what stands before; "": nothing but the beginning.
            length: symbols at most.
            seed: the same seed gives the same text.
            sampling: temperature and filters; None: from the model's own distribution.

        Raises:
            SymbolError: the prompt has symbols that the model has never seen.
        """
        model, symbols = self._fitted()
        if length < 0:
            raise ConfigError(
                f"length {length} is negative: give the number of symbols to generate"
            )
        ids = self._prompt(prompt)
        decoder = symbols.decoder()
        for i in ids:
            decoder.push(i)
        has_ends = self.sequences != "stream"
        state = self._read(ids)
        for _, (x, _) in zip(
            range(length), sample(model, state, sampling=sampling, seed=seed), strict=False
        ):
            symbol = int(x)
            if has_ends and symbol == symbols.boundary:
                break
            yield decoder.push(symbol)
        yield decoder.flush()

    def next(self, prompt: str = "", k: int = 10) -> list[Prediction]:
        """The k most probable symbols after a prompt."""
        model, symbols = self._fitted()
        with torch.inference_mode():
            values, found = as_discrete(model.predict(self._read(self._prompt(prompt)))).top(k)
        pairs = zip(found[0].tolist(), values[0].exp().tolist(), strict=True)
        return [Prediction(symbols.name(i), p) for i, p in pairs]

    def surprisal(self, text: str) -> list[Surprisal]:
        """The bits of every symbol of a text, the end of each sequence included."""
        model, symbols = self._fitted()
        is_stream, pieces = self.sequences == "stream", self._pieces(text)
        corpus = Corpus.from_tokens(pieces, is_stream=is_stream)
        nats, _ = surprisals(model, corpus)
        ends = [] if is_stream else [symbols.boundary]
        ids = [i for piece in pieces for i in (*piece.tolist(), *ends)]
        bits = nats / np.log(2)
        return [Surprisal(symbols.name(i), float(b)) for i, b in zip(ids, bits, strict=True)]

    def _pieces(self, text: str) -> list[NDArray[np.int64]]:
        """The sequences of a text, in symbols."""
        texts = text.removesuffix("\n").split("\n") if self.sequences == "line" else [text]
        return [self._fitted()[1].encode(t) for t in texts]

    def trace(
        self,
        text: str,
        top: int = 5,
        *,
        only: Collection[str] | None = None,
        max_gigabytes: float = MAX_GIGABYTES,
    ) -> TextTrace:
        """What happens inside of the model while it reads a text.

        Args:
            text: with lines as sequences, each is read from its own beginning.
            top: so many of the most probable symbols are given at each position.
            only: names to record, see `record`; None: everything.
            max_gigabytes: what may be recorded; more is refused.

        Raises:
            ConfigError: a text too long to be recorded.
            DataError: an empty text.
        """
        return trace_text(
            *self._fitted(),
            self._pieces(text),
            has_ends=self.sequences != "stream",
            top=top,
            only=only,
            max_gigabytes=max_gigabytes,
        )

    def effective_context(
        self,
        data: Data,
        *,
        contexts: Sequence[int] = CONTEXTS,
        categories: CategoryChoice = False,
        shuffled: bool = False,
        replaced: bool = False,
        gradients: bool = False,
        limit: int | None = LIMIT,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> EffectiveContext:
        """How far back the model looks on a text; see `analysis.context.measure`.

        Args:
            data: a path, a `Source`, or texts.
            contexts: numbers of elements to show, rising.
            categories: True for curves by the usual categories of symbols, or what
                `categories_of` takes.
            shuffled, replaced: what stands further back is shuffled, or replaced, too.
            gradients: the influence of each position, and gradients through time, too.
            limit: only the first so many symbols are looked at; None: all.
            seed: of the places that are looked at.
            progress: told which share of the work is done.
        """
        model, symbols = self._fitted()
        corpus = known_corpus(self._open(data), symbols)
        return effective_context(
            model,
            corpus,
            contexts=contexts,
            categories=categories_in(corpus, symbols, categories),
            shuffled=shuffled,
            replaced=replaced,
            gradients=gradients,
            limit=limit,
            seed=seed,
            progress=progress,
        )

    def robustness(
        self,
        data: Data,
        *,
        strengths: Mapping[str, Sequence[float]] = STRENGTHS,
        limit: int | None = TARGETS,
        seeds: int = SEEDS,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> Robustness:
        """What trimmed, omitted and permuted elements do; see `analysis.robustness.measure`."""
        model, symbols = self._fitted()
        corpus = known_corpus(self._open(data), symbols)
        return measure_robustness(
            model,
            corpus,
            strengths=strengths,
            limit=limit,
            seeds=seeds,
            seed=seed,
            progress=progress,
        )

    def stream(self, state: bytes | None = None) -> TextStream:
        """Push one element at a time and get its surprise; `state` goes on from a saved one."""
        model, symbols = self._fitted()
        return TextStream(Stream(model) if state is None else Stream.load(model, state), symbols)

    def check(self, *, budget_s: float = 60.0) -> check.LawReport:
        """Hold the fitted model to the laws of the contract."""
        return check.check_model(self._fitted()[0], budget_s=budget_s)

    def info(self) -> dict[str, Any]:
        """What it is, how large, and how it came about; JSON values."""
        model, symbols = self._fitted()
        return {
            "task": "language",
            "model": describe(self.config),
            "sequences": self.sequences,
            "symbols": {"kind": symbols.kind, "number": symbols.num_symbols},
            "parameters": num_parameters(model),
            "state_bytes": state_bytes(model),
            "reach": model.reach,
            "fingerprint": model.fingerprint(),
            "training": self.training,
        }

    def _alphabet(self) -> Vocabulary:
        if self.vocabulary is None:
            raise ConfigError("there are no symbols yet: call fit")
        return self.vocabulary

    def _fitted(self) -> tuple[SequenceModel, Vocabulary]:
        if self.model is None or self.vocabulary is None:
            raise ConfigError("this language model is not fitted yet: call fit, or load one")
        return self.model, self.vocabulary

    def _prompt(self, prompt: str) -> list[int]:
        _, symbols = self._fitted()
        unknown = symbols.unknown_symbols(prompt)
        was_trained = self.training.get("data", {}).get("train", {}).get("unknown", 0)
        if unknown and not was_trained:
            named = ", ".join(repr(u) for u in unknown[:5])
            raise SymbolError(
                f"the prompt has {len(unknown)} symbols that the model has never seen ({named}): "
                "leave them out, or fit on text that has them"
            )
        return [int(i) for i in symbols.encode(prompt)]

    def _read(self, ids: list[int]) -> State:
        model, _ = self._fitted()
        with torch.inference_mode():
            state = model.start(1)
            return model.update(state, torch.tensor([ids], dtype=torch.int64, device=model.device))

    # ---- on disk --------------------------------------------------------------------------------

    @classmethod
    def of_model(
        cls,
        model: SequenceModel,
        *,
        config: ModelConfig,
        vocabulary: Vocabulary,
        sequences: Sequences,
        words: Sequence[str] = (),
        training: Mapping[str, Any] | None = None,
        device: str | None = None,
    ) -> Self:
        """A language model of a model that was made elsewhere, such as one read from a file.

        Args:
            model: of these symbols.
            config: what it was built by.
            vocabulary: its alphabet.
            sequences: what one sequence is.
            words: from which the spelling of unknown ones is learnt.
            training: the record of how it came about, JSON values.
            device: where to compute; None: a GPU if there is one.
        """
        found = cls(config, symbols=vocabulary, sequences=sequences, device=device)
        found.model = model.to(found._device).eval()
        found._speller = fit_speller([list(words)], vocabulary)
        found.training = dict(training or {})
        return found

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the model as a folder, whole or not at all.

        Raises:
            OutputError: something stands there already, or there is no room for it.
        """
        model, symbols = self._fitted()
        storage.save(
            Path(path),
            config={
                "task": "language",
                "model": describe(self.config),
                "sequences": self.sequences,
            },
            documents={"symbols": symbols.to_json(), "training": self.training},
            modules={"model": model, **({"speller": self._speller} if self._speller else {})},
            overwrite=overwrite,
        )

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, classes: Iterable[type] = (), device: str | None = None
    ) -> Self:
        """The model that `save` wrote.

        Args:
            path: the folder.
            classes: classes of your own that the model uses, such as a cell.
            device: where to compute; None: a GPU if there is one.

        Raises:
            ModelError: no model, a damaged one, or one of a newer version or another task.
        """
        path = Path(path)
        config = storage.read_config(path, task="language")
        vocabulary = vocabulary_from_json(storage.read_document(path, "symbols"))
        model_config = restore(config["model"], classes)
        found = cls(model_config, symbols=vocabulary, sequences=config["sequences"], device=device)
        with seeded(torch.device("cpu"), 0):  # the weights made here are replaced at once
            model = build_model(model_config, vocabulary.num_symbols, vocabulary.boundary)
        modules = {"model": model}
        if vocabulary.unknown is not None:
            found._speller = modules["speller"] = speller()
        storage.read_weights(path, modules)
        found.model = model.to(found._device).eval()
        found.training = storage.read_document(path, "training")
        return found
