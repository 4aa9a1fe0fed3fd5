"""Models of torch's own layers become models here with the same outputs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seriatim as st
from seriatim.errors import ConfigError
from seriatim.export import from_torch

CHARACTERS = ["b", "\n", "a", "c", " ", "d"]
WORDS = ["the", "<eos>", "cat", "<unk>", "sat", "mat"]


class Net(nn.Module):
    """What people write after a tutorial."""

    def __init__(self, layers: nn.RNNBase, num_symbols: int, *, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_symbols, layers.input_size)
        self.layers = layers
        self.head = nn.Linear(layers.hidden_size, num_symbols)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.layers(self.embedding(x))
        return self.head(outputs).log_softmax(-1)


def layers(kind: type[nn.RNNBase], width: int = 5, **options: Any) -> nn.RNNBase:
    return kind(width, 7, batch_first=True, **options)


NETS = {
    "lstm": lambda: Net(layers(nn.LSTM, num_layers=2), 6),
    "gru": lambda: Net(layers(nn.GRU), 6),
    "rnn": lambda: Net(layers(nn.RNN), 6),
    "relu": lambda: Net(layers(nn.RNN, nonlinearity="relu"), 6),
    "without biases": lambda: Net(layers(nn.LSTM, bias=False), 6),
    "tied": lambda: Net(layers(nn.GRU, width=7), 6, tied=True),
}


def both(net: Net, lm: st.LanguageModel, theirs: list[str]) -> tuple[Tensor, Tensor]:
    """Log-probabilities of every symbol after each of a random text, in the order of theirs."""
    x = torch.randint(len(theirs), (3, 50), generator=torch.Generator().manual_seed(0))
    vocabulary = lm.vocabulary
    assert vocabulary is not None
    assert lm.model is not None
    names = {"\n": vocabulary.boundary, "<eos>": vocabulary.boundary, "<unk>": 0}
    number = {vocabulary.decode([i]): i for i in range(2, vocabulary.num_symbols)}
    ours = torch.tensor([names.get(text, number.get(text, -1)) for text in theirs])
    with torch.no_grad():
        features, _ = lm.model.advance(lm.model.empty(3), ours[x], None, keep=False)
        log_probs = lm.model.emit(features).dense()
        return net(x), log_probs[..., ours]


@pytest.mark.parametrize("name", NETS)
def test_a_module_of_torch_has_the_same_outputs(name: str) -> None:
    torch.manual_seed(0)
    net = NETS[name]()
    lm = from_torch(net, CHARACTERS)
    theirs, ours = both(net, lm, CHARACTERS)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert lm.config.tie_embeddings == (name == "tied")
    assert len(lm.generate("ab", 20, seed=0)) == 22


def test_words_and_a_state_dict_with_other_names(tmp_path: Any) -> None:
    torch.manual_seed(0)
    net = Net(layers(nn.LSTM), 6)
    renamed = {"embedding": "encoder", "layers": "rnn", "head": "decoder"}
    weights = {
        f"{renamed[name.partition('.')[0]]}.{name.partition('.')[2]}": weight
        for name, weight in net.state_dict().items()
    }
    lm = st.from_torch(weights, WORDS)
    theirs, ours = both(net, lm, WORDS)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    lm.save(tmp_path / "model")
    again = st.load(tmp_path / "model")
    assert again.surprisal("the cat sat").bits == lm.surprisal("the cat sat").bits


def test_a_symbol_that_the_model_did_not_have_is_never_predicted() -> None:
    lm = from_torch(NETS["gru"](), CHARACTERS)
    assert lm.model is not None
    assert lm.vocabulary.unknown == 0
    dense = lm.model.predict(lm.model.start(1)).dense().detach()
    assert dense[0, 0].exp() == 0
    assert float(dense.exp().sum()) == pytest.approx(1)


def refusal(net: nn.Module, symbols: list[str], **options: Any) -> str:
    with pytest.raises(ConfigError) as error:
        from_torch(net, symbols, **options)
    return str(error.value)


def test_what_cannot_be_imported_is_refused_with_a_sentence() -> None:
    assert "backward direction" in refusal(Net(layers(nn.GRU, bidirectional=True), 6), CHARACTERS)
    assert "these weights have 0" in refusal(nn.Linear(3, 6), CHARACTERS)
    assert "no weights have the shape (5, 5) of the embedding" in refusal(
        NETS["gru"](), CHARACTERS[:5]
    )
    assert "is there twice" in refusal(NETS["gru"](), ["a", "a", "b", "c", "d", "\n"])
    assert "give boundary" in refusal(NETS["gru"](), list("abcdef"))
    assert "none of the 6 symbols" in refusal(NETS["gru"](), CHARACTERS, boundary="x")
    assert "head='layers.weight_ih_l0' is not a weight of shape" in refusal(
        NETS["gru"](), CHARACTERS, head="layers.weight_ih_l0"
    )
