"""The families as frozen configuration dataclasses: the one place where an option is defined.

A configuration says what to build; `build` makes the `SequenceModel`. Nothing here imports
torch, so the command line can read options and print help at once. Only this module maps a
name to a family.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import Field
from pydantic.dataclasses import dataclass

from seriatim.core.validation import explain
from seriatim.errors import ConfigError
from seriatim.models.options import presets
from seriatim.models.options.base import ModelConfig as ModelConfig
from seriatim.models.options.base import Share, Size, TransformerConfig
from seriatim.models.options.base import strict as _strict
from seriatim.models.options.pairs import LABELLERS as LABELLERS
from seriatim.models.options.pairs import EncoderConfig as EncoderConfig
from seriatim.models.options.pairs import Seq2Seq as Seq2Seq

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True, config=_strict)
class Markov(ModelConfig):
    """The Markov model: the last order - 1 symbols, looked up in counts.

    Attributes:
        order: n of the n-gram: the predicted symbol and the n - 1 before it.
        smoothing: how counts become probabilities: modified "kneser-ney" (Chen, Goodman 1998),
            "witten-bell" (Witten, Bell 1991), "add-k" (Lidstone), "stupid-backoff" (Brants et
            al. 2007, normalized) or "maximum-likelihood" (with a floor); "arpa" is a model that
            was read from an ARPA file and cannot be fitted.
        k: what add-k adds to every count.
        prune: a count for each order, as `lmplz --prune`: n-grams that occur no more often are
            dropped; the last holds for all higher orders. Begins with 0 and never falls.
        prune_entropy: drop n-grams whose loss raises the model's own perplexity by a smaller
            share than this (Stolcke 1998); 0: none.
        memory: what counting may take, such as "2GB"; runs are then kept on disk, and counting
            that was killed goes on where it was. None: count in memory.
        workers: count on a Ray cluster in so many tasks at once (needs seriatim[ray]); the result
            is the same. None: count in this process.
        quantize_bits: of the codes, 4 to 8, that stand for probabilities in the model, as
            KenLM's -q; a byte for each n-gram instead of eight. None: none are quantized.
    """

    family: ClassVar[str] = "markov"

    order: Annotated[int, Field(ge=1, le=16)] = 5
    smoothing: Literal[
        "kneser-ney", "witten-bell", "add-k", "stupid-backoff", "maximum-likelihood", "arpa"
    ] = "kneser-ney"
    k: Annotated[float, Field(gt=0.0)] = 0.1
    prune: tuple[Annotated[int, Field(ge=0)], ...] = ()
    prune_entropy: Annotated[float, Field(ge=0.0)] = 0.0
    memory: str | None = None
    workers: Size | None = None
    quantize_bits: Annotated[int, Field(ge=4, le=8)] | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.workers is not None:
            raise ValueError(
                "memory bounds the counting of this process, and workers count elsewhere: give one"
            )
        if len(self.prune) > self.order or any(self.prune[:1]):
            raise ValueError(
                f"prune {list(self.prune)} needs at most {self.order} counts, one for each order, "
                "and the first must be 0: symbols are never dropped"
            )
        if list(self.prune) != sorted(self.prune):
            raise ValueError(
                f"prune {list(self.prune)} falls: a count may not be smaller than the one of the "
                "order below it"
            )
        if self.smoothing == "arpa" and self.quantize_bits is not None:
            raise ValueError(
                f"quantize_bits = {self.quantize_bits} is for models that are counted: one read "
                "from an ARPA file keeps its numbers"
            )
        if self.smoothing == "add-k" and (any(self.prune) or self.prune_entropy):
            raise ValueError("add-k cannot be pruned: it does not fall back to shorter contexts")


@dataclass(frozen=True, kw_only=True, config=_strict)
class Autoregressive(ModelConfig):
    """A feed-forward network over the last `window` symbols (Bengio et al. 2003).

    Attributes:
        window: how many symbols back it looks.
        embedding_size: width of a symbol's embedding.
        hidden_size: width of the hidden layers.
        num_layers: hidden layers.
        direct: connect the embeddings to the output directly as well (W of equation 1).
        dropout: share of hidden units dropped in training.
    """

    family: ClassVar[str] = "autoregressive"
    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 2e-3}
    widths: ClassVar[tuple[str, ...]] = ("hidden_size", "embedding_size")

    window: Size = 8
    embedding_size: Size = 64
    hidden_size: Size = 512
    num_layers: Size = 1
    direct: bool = False
    dropout: Share = 0.0


@dataclass(frozen=True, kw_only=True, config=_strict)
class RecurrentConfig(ModelConfig):
    """What RNN, LSTM and GRU have in common.

    Attributes:
        hidden_size: width D of the hidden state of each layer.
        num_layers: layers, each reading the hidden states of the one below.
        embedding_size: width of a symbol's embedding; None: hidden_size.
        dropout: share of units dropped before, between and after the layers in training
            (Zaremba et al. 2014).
        variational_dropout: let `dropout` leave out the same units at every step of a chunk (Gal,
            Ghahramani 2016, section 4); otherwise other ones at each step.
        recurrent_dropout: share of units of h left out where the gates read it, the same ones at
            every step of a chunk (Gal, Ghahramani 2016, equation 7); cells and what gates let
            through of h stay whole.
        weight_dropout: share of the recurrent weights U left out, the same ones at every step and
            in every row of a chunk (DropConnect, as in Merity et al. 2017, section 2).
        embedding_dropout: share of the symbols whose embedding is left out, wherever they stand in
            a chunk (Gal, Ghahramani 2016, section 4.2; Merity et al. 2017, section 4.3).
        layer_norm: normalize what the gates get (Ba et al. 2016).
        tie_embeddings: let the output layer use the embedding's weights (needs
            embedding_size = hidden_size).
        learn_initial_state: learn the state before the first element instead of zeros.
        init_uniform: draw all weights and biases from U(-a, a) at first, forget_bias or not
            (Zaremba et al. 2014: 0.1, 0.05 and 0.04); None: each as suits it.

    Where a stream is trained with carried state, each chunk leaves other things out.
    """

    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 3e-3}
    widths: ClassVar[tuple[str, ...]] = ("hidden_size", "embedding_size")

    hidden_size: Size = 256
    num_layers: Size = 1
    embedding_size: Size | None = None
    dropout: Share = 0.0
    variational_dropout: bool = False
    recurrent_dropout: Share = 0.0
    weight_dropout: Share = 0.0
    embedding_dropout: Share = 0.0
    layer_norm: bool = False
    tie_embeddings: bool = False
    learn_initial_state: bool = False
    init_uniform: Annotated[float, Field(gt=0.0)] | None = None

    def __post_init__(self) -> None:
        if self.variational_dropout and not self.dropout:
            raise ValueError("variational_dropout says how to drop, and dropout is 0: give dropout")
        if self.tie_embeddings and self.embedding_size not in (None, self.hidden_size):
            raise ValueError(
                f"tie_embeddings needs embedding_size = hidden_size, got {self.embedding_size} "
                f"and {self.hidden_size}"
            )


@dataclass(frozen=True, kw_only=True, config=_strict)
class RNN(RecurrentConfig):
    """The simple recurrent network (Elman 1990).

    Attributes:
        nonlinearity: what is applied to W x + U h + b.
    """

    family: ClassVar[str] = "rnn"
    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-3}

    nonlinearity: Literal["tanh", "relu"] = "tanh"


@dataclass(frozen=True, kw_only=True, config=_strict)
class LSTM(RecurrentConfig):
    """Long short-term memory (Hochreiter, Schmidhuber 1997; forget gate: Gers et al. 2000).

    Attributes:
        forget_bias: initial bias of the forget gate; 1 lets the cell remember at first
            (Jozefowicz et al. 2015).
    """

    family: ClassVar[str] = "lstm"

    forget_bias: float = 1.0


@dataclass(frozen=True, kw_only=True, config=_strict)
class GRU(RecurrentConfig):
    """The gated recurrent unit (Cho et al. 2014).

    Attributes:
        reset: where the reset gate acts: "before" the product U (r * h), as Cho et al. 2014
            write it, or "after" it, r * (U h), as fused kernels do.
    """

    family: ClassVar[str] = "gru"

    reset: Literal["before", "after"] = "after"


@dataclass(frozen=True, kw_only=True, config=_strict)
class Latent(ModelConfig):
    """A latent autoregressive model with any cell g(h, x) that you write.

    Attributes:
        cell: a subclass of `seriatim.Cell`; it is called as cell(input_size, hidden_size,
            **options).
        hidden_size: width of the hidden state.
        embedding_size: width of a symbol's embedding; None: hidden_size.
        options: further arguments of the cell; must be JSON values.
    """

    family: ClassVar[str] = "latent"
    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 3e-3}
    widths: ClassVar[tuple[str, ...]] = ("hidden_size", "embedding_size")

    cell: type
    hidden_size: Size = 256
    embedding_size: Size | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_strict)
class Transformer(TransformerConfig, ModelConfig):
    """A decoder of masked self-attention (Vaswani et al. 2017), by default in Llama's shape.

    Attributes:
        num_layers: blocks of attention and feed-forward.
        context: how many positions a query sees, its own included.
        tie_embeddings: let the output layer use the embedding's weights.
    """

    family: ClassVar[str] = "transformer"
    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 2e-3, "warmup": 100}
    widths: ClassVar[tuple[str, ...]] = ("model_size", "feedforward_size")

    model_size: Size = 128
    num_layers: Size = 4
    context: Size = 128
    tie_embeddings: bool = True

    @classmethod
    def classic(cls, **options: Any) -> Self:
        """Vaswani et al. 2017 to the letter: sinusoids, post-norm, ReLU, biases, shared weights."""
        return cls(**{**presets.CLASSIC, **options})


# ---- families by name ---------------------------------------------------------------------------

FAMILIES: Mapping[str, type[ModelConfig]] = {
    config.family: config
    for config in (Markov, Autoregressive, RNN, LSTM, GRU, Transformer, Latent)
}


# Families that answer to a source, which a language model has none of.
PAIRS: Mapping[str, type[ModelConfig]] = {Seq2Seq.family: Seq2Seq}

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "lstm": presets.ZAREMBA,
    "transformer": {"classic": presets.CLASSIC},
    "seq2seq": {"classic": presets.CLASSIC_PAIRS},
}


def configure(family: str, options: Mapping[str, Any], *, preset: str | None = None) -> ModelConfig:
    """The configuration of a family by name, from strings or JSON values.

    Args:
        family: a name in `FAMILIES` or `PAIRS`.
        options: of the family; they override the preset.
        preset: of the family, by name.

    Raises:
        ConfigError: no such family or preset, an option of another family, or a value out of
            its range.
    """
    config = {**FAMILIES, **PAIRS}.get(family)
    if config is None:
        raise ConfigError(f"there is no model {family!r}: choose one of {', '.join(FAMILIES)}")
    known = [f.name for f in fields(config)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            families = {**FAMILIES, **PAIRS}
            owners = [k for k, c in families.items() if name in {f.name for f in fields(c)}]  # type: ignore[arg-type]
            whose = f"belongs to {' and '.join(owners)}" if owners else "is no option of any model"
            raise ConfigError(f"{name} {whose}; {family} takes {', '.join(known)}")
    if preset is not None:
        its_own = PRESETS.get(family, {})
        if preset not in its_own:
            names = ", ".join(its_own) or "none"
            raise ConfigError(f"{family} has no preset {preset!r}; it has {names}")
        options = {**its_own[preset], **options}
    try:
        return pydantic.TypeAdapter(config).validate_python(dict(options))
    except pydantic.ValidationError as error:
        raise ConfigError(f"{family}: {explain(error)}") from None


def describe(config: ModelConfig) -> dict[str, Any]:
    """A configuration as JSON values; a class of the user's own stands there by its name."""
    options = options_read(config)
    named = {k: {"class": v.__name__} if isinstance(v, type) else v for k, v in options.items()}
    return {"family": config.family, "options": named}


def options_read(config: ModelConfig | EncoderConfig) -> dict[str, Any]:
    """The options of a configuration that something reads, by name."""
    names = [f.name for f in fields(config) if f.name not in config.unread]  # type: ignore[arg-type]
    return {name: getattr(config, name) for name in names}


def restore(record: Mapping[str, Any], classes: Iterable[type] = ()) -> ModelConfig:
    """The inverse of `describe`; nothing is ever imported by its name.

    Args:
        record: what `describe` returned.
        classes: where classes of the user's own are found, beside the registered ones.

    Raises:
        ConfigError: a class that was not given, or no such family, option or value.
    """
    known = {c.__name__: c for c in (*_REGISTERED, *classes)}
    options = dict(record["options"])
    for name, value in options.items():
        if isinstance(value, Mapping) and value.keys() == {"class"}:
            if value["class"] not in known:
                raise ConfigError(
                    f"this model has a {name} of the class {value['class']}, which is not known "
                    f"here: pass it, load(path, classes=[{value['class']}]), or decorate it with "
                    "seriatim.register before loading"
                )
            options[name] = known[value["class"]]
    return configure(record["family"], options)


_REGISTERED: list[type] = []


def register(cls: type) -> type:
    """Class decorator: let models that use this class, such as a cell, be loaded by its name."""
    _REGISTERED.append(cls)
    return cls
