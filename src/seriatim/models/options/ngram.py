"""Options of the Markov model, whose probabilities come from counts of n-grams."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from seriatim.core.records import Json
from seriatim.models.options.base import ModelConfig, Size, option_class


@option_class
class Markov(ModelConfig):
    """The Markov model: the last order - 1 symbols, looked up in counts.

    Attributes:
        order: n of the n-grams: the predicted symbol and the n - 1 before it.
        smoothing: how counts become probabilities: modified "kneser-ney" (Chen, Goodman 1998),
            "witten-bell" (Witten, Bell 1991), "add-k" (Lidstone), "stupid-backoff" (Brants et
            al. 2007, normalized) or "maximum-likelihood" (with a floor); "arpa" is a model that
            was read from an ARPA file and cannot be fitted.
        k: the number that add-k adds to every count.
        prune: a threshold for each order, as `lmplz --prune`: n-grams that occur no more often
            are dropped; the last one holds for all higher orders. The first is 0, and none is
            smaller than the one before it.
        prune_entropy: drop n-grams without which the model's own perplexity rises by a smaller
            fraction than this (Stolcke 1998); 0: none.
        memory: the memory that counting and merging may use, such as "2GB", beside the program and
            the symbols of the text; sorted runs are then kept on disk, and counting that was
            interrupted is resumed. None: count in memory.
        workers: the number of tasks that count at once on a Ray cluster (needs seriatim[ray]); the
            result is the same. None: count in this process.
        quantize_bits: the bits, 4 to 8, of the codes that stand for probabilities in the model, as
            KenLM's -q: one byte for each n-gram instead of eight. None: no quantization.
    """

    family: ClassVar[str] = "markov"

    order: Annotated[int, Interval(ge=1, le=16)] = 5
    smoothing: Literal[
        "kneser-ney", "witten-bell", "add-k", "stupid-backoff", "maximum-likelihood", "arpa"
    ] = "kneser-ney"
    k: Annotated[float, Interval(gt=0.0)] = 0.1
    prune: tuple[Annotated[int, Interval(ge=0)], ...] = ()
    prune_entropy: Annotated[float, Interval(ge=0.0)] = 0.0
    memory: str | None = None
    workers: Size | None = None
    quantize_bits: Annotated[int, Interval(ge=4, le=8)] | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.workers is not None:
            raise ValueError(
                "memory limits the counting of this process, and workers count elsewhere: give "
                "one of them"
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

    @property
    def first_job(self) -> tuple[str, Json] | None:
        if self.order == 1 or self.memory is not None or self.workers is not None:
            return None
        return "seriatim.models.ngram.apart:count", {"order": self.order}
