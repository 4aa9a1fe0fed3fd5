"""A family and a cell of your own, from the laws to the command line.

The script is also the file of its classes: seriatim fit text.txt --classes own_model.py
"""

import tempfile
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

import seriatim as st
from seriatim.cli import main as seriatim_command
from seriatim.core.tree import Tree
from seriatim.data.vocab import fit_vocabulary

LINES = ["the cat sat on the mat", "the dog sat on the cat", "a dog and a cat sat"]
SMALL = {"batch_size": 8, "length": 32}


@st.register
class Fading(st.ModelConfig):
    """The options of a fading average.

    Attributes:
        size: the width of the average.
    """

    family: ClassVar[str] = "fading"
    recipe: ClassVar[dict[str, float]] = {"learning_rate": 0.01}
    widths: ClassVar[tuple[str, ...]] = ("size",)

    size: int = 32

    def build(self, num_symbols: int, boundary: int) -> st.SequenceModel:
        return FadingAverage(num_symbols, boundary, self.size)


class FadingAverage(st.SequenceModel):
    """h_t = a h_{t-1} + (1 - a) E x_t,   p(x_{t+1}) = softmax(W h_t + b)."""

    def __init__(self, num_symbols: int, boundary: int, size: int = 32) -> None:
        super().__init__(st.Symbols(num_symbols, boundary))
        self.embedding = nn.Embedding(num_symbols, size)
        self.fade = nn.Parameter(torch.zeros(size))  # a = sigmoid(fade)
        self.head = nn.Linear(size, num_symbols)

    def empty(
        self, batch_size: int, *, memory: Tree | None = None, capacity: int | None = None
    ) -> Tensor:
        return self.head.weight.new_zeros(batch_size, self.fade.numel())

    def advance(
        self, carry: Tensor, x: Tensor, lengths: Tensor | None, *, keep: bool = True
    ) -> tuple[Tensor, Tensor]:
        a, h, features = self.fade.sigmoid(), carry, []
        for t, e in enumerate(self.embedding(x).unbind(1)):
            new = a * h + (1 - a) * e
            if lengths is not None:  # a row that has ended keeps what it had
                new = torch.where((t < lengths.to(x.device))[:, None], new, h)
            h = new
            features.append(h)
        return torch.stack(features, 1), h

    def emit(self, features: Tensor) -> st.Categorical:
        return st.Categorical(self.head(features))


@st.register
class MinimalGatedUnit(st.Cell):
    """Zhou et al. 2016; where only the recurrence is new, `Latent` makes the model of it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        f = self.gate(torch.cat([h, x], -1)).sigmoid()
        return (1 - f) * h + f * self.candidate(torch.cat([f * h, x], -1)).tanh()


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "text.txt"
    text = "\n".join(LINES * 100) + "\n"
    path.write_text(text)

    report = st.check_model(FadingAverage(num_symbols=5, boundary=0), seconds=1)
    print(
        f"laws that hold: {sum(r.holds is True for r in report.results)}, broken: {report.broken}"
    )

    vocabulary = fit_vocabulary("char", [text], sequences="stream")
    model = FadingAverage(vocabulary.num_symbols, vocabulary.boundary)
    ids = vocabulary.encode(text)
    history = st.train(model, ids[500:], ids[:500], {"steps": 60, "learning_rate": 0.01, **SMALL})
    lm = st.LanguageModel(model, symbols=vocabulary)
    print(
        f"trained on ids: {history.best_valid_nats:.3f} nats; {lm.generate('the ', 20, seed=1)!r}"
    )

    lm = st.LanguageModel(Fading(size=16)).fit(path, steps=60, options=SMALL)
    best = st.beam_search(lm.model, lm.model.start(1), beam=4, max_length=30, end=model.boundary)
    print(f"most probable line: {lm.vocabulary.decode(best[0].symbols)!r}")
    lm.save(folder / "fading")
    again = st.load(folder / "fading", classes=[Fading])
    print(f"the same bits after loading: {again.score(path).nats == lm.score(path).nats}")

    cell = st.Latent(cell=MinimalGatedUnit, hidden_size=16)
    models = {"fading": Fading(size=16), "minimal gated unit": cell, "counted": st.Markov(order=4)}
    for found in st.compare(path, models, steps=60, options=SMALL).record.ranked:
        print(f"{found.name:20s}{found.bits_per_character:6.3f} bits per character")

    classes = ["--classes", __file__]
    out = str(folder / "command")
    options = ["--model", "latent", "--cell", "MinimalGatedUnit", "--hidden-size", "16"]
    steps = ["--steps", "30", "--batch-size", "8", "--quiet"]
    assert seriatim_command(["fit", str(path), *options, *steps, "--out", out, *classes]) == 0
    assert seriatim_command(["generate", out, "the ", "-n", "20", *classes]) == 0


if __name__ == "__main__":
    main()
