"""Encoder-decoders: ragged sources, shared memory, alignment, options and refusals."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.errors import ConfigError, DataError
from seriatim.models import Seq2Seq, configure, describe, restore
from seriatim.models.build import build_model
from seriatim.models.encoder_decoder import Seq2SeqModel
from seriatim.models.source_memory import Memory

V, BOUNDARY, SIZE = 6, 1, 8
SOURCE = torch.tensor([[2, 3, 4, 5, 1], [3, 3, 1, 0, 0], [1, 0, 0, 0, 0]])
SOURCE_LENGTHS = torch.tensor([5, 3, 1])
TARGET = torch.tensor([[3, 4, 2, 1], [5, 1, 0, 0], [2, 2, 1, 0]])
LENGTHS = torch.tensor([4, 2, 3])

CONFIGS = {
    "transformer": Seq2Seq(model_size=SIZE, num_heads=2, encoder_layers=2, decoder_layers=2),
    "classic": Seq2Seq.classic(
        model_size=SIZE, num_heads=2, feedforward_size=12, encoder_layers=2, decoder_layers=2
    ),
    "additive": Seq2Seq(encoder="gru", decoder="lstm", model_size=SIZE, decoder_layers=2),
    "multiplicative": Seq2Seq(
        encoder="lstm", decoder="gru", attention="multiplicative", model_size=SIZE
    ),
    "none": Seq2Seq(encoder="lstm", decoder="lstm", attention="none", model_size=SIZE),
    "mixed": Seq2Seq(encoder="rnn", decoder="transformer", model_size=SIZE, num_heads=2),
}
LOOKING = [name for name in CONFIGS if name != "none"]


def build(name: str, **options: object) -> Seq2SeqModel:
    torch.manual_seed(0)
    model = build_model(replace(CONFIGS[name], **options), V, BOUNDARY)
    assert isinstance(model, Seq2SeqModel)
    model = model.double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def source(x: Tensor = SOURCE, lengths: Tensor | None = SOURCE_LENGTHS) -> Batch:
    return Batch(x, x, lengths)


def batch(given: Batch | None = None) -> Batch:
    inputs = torch.cat([torch.full((3, 1), BOUNDARY), TARGET[:, :-1]], 1)
    return Batch(inputs, TARGET, LENGTHS, None, given or source())


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# ---- ragged sources -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_each_row_scores_as_if_it_and_its_source_were_alone(name: str) -> None:
    model = build(name)
    together = model.log_prob(batch())
    for i, (n, m) in enumerate(zip(SOURCE_LENGTHS.tolist(), LENGTHS.tolist(), strict=True)):
        alone = source(SOURCE[i : i + 1, :n], None)
        one = batch()
        scores = model.log_prob(
            Batch(one.inputs[i : i + 1, :m], TARGET[i : i + 1, :m], None, None, alone)
        )
        close(together[i, :m], scores[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_of_a_source_changes_no_score_and_no_gradient(name: str) -> None:
    model = build(name)
    valid = torch.arange(5) < SOURCE_LENGTHS[:, None]
    junk = torch.where(valid, SOURCE, (SOURCE + 1) % V)
    longer = torch.cat([junk, junk[:, :2]], 1)
    parameters = list(model.parameters())
    expected = model.log_prob(batch())
    gradients = torch.autograd.grad(expected.sum(), parameters)
    for x in (junk, longer):
        scores = model.log_prob(batch(source(x)))
        close(scores, expected)
        for a, b in zip(torch.autograd.grad(scores.sum(), parameters), gradients, strict=True):
            close(a, b)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_target_answers_to_its_source(name: str) -> None:
    model = build(name)
    other = SOURCE.clone()
    other[0, 1] = 0
    change = (model.log_prob(batch(source(other))) - model.log_prob(batch())).abs()
    assert bool(change[0, 0] > 0) and bool((change[1:] == 0).all())


def test_a_source_of_the_boundary_alone_is_a_source() -> None:
    model = build("transformer")
    empty = model.bind(source(torch.tensor([[BOUNDARY]]), None))
    total = empty.predict(empty.start(1)).dense().exp().sum()
    close(total, torch.ones_like(total))


def test_a_source_without_any_element_is_refused() -> None:
    with pytest.raises(DataError, match="end every source with the boundary"):
        build("transformer").encode(source(SOURCE, torch.tensor([5, 0, 1])))


@pytest.mark.parametrize("name", CONFIGS)
def test_memories_of_sources_of_any_length_can_be_joined(name: str) -> None:
    model = build(name)
    with torch.no_grad():
        rows = [
            model.start(1, memory=model.encode(source(SOURCE[i : i + 1, :n], None)))
            for i, n in enumerate(SOURCE_LENGTHS.tolist())
        ]
        joined = tree.cat(rows)
        whole = model.start(3, memory=model.encode(source()))
        for state in (joined, model.step(joined, TARGET[:, 0])):
            expected = whole if state is joined else model.step(whole, TARGET[:, 0])
            close(model.predict(state).dense(), model.predict(expected).dense())


# ---- one memory for all rows of a source --------------------------------------------------------


def started(model: Seq2SeqModel) -> tuple:
    with torch.no_grad():
        state = model.start(3, memory=model.encode(source()))
        return state, model.update(state, TARGET[:, :2])


@pytest.mark.parametrize("name", LOOKING)
@pytest.mark.parametrize(
    ("index", "group"),
    [
        ([0, 0, 1, 3, 4, 4, 5, 6, 8, 11, 11, 11], 4),  # a beam of 4 over three sources
        ([4, 5, 6, 7, 8, 8, 8, 8], 4),  # the first source is done
        ([8, 9, 0, 1], 2),
        ([0, 3, 5, 2, 2, 7, 9], 1),  # no order at all
    ],
)
def test_rows_picked_in_any_order_look_at_their_own_source(
    name: str, index: list[int], group: int
) -> None:
    model = build(name)
    _, state = started(model)
    picked = tree.select(tree.repeat(state, 4), torch.tensor(index))
    memory = picked.carry[1]
    assert memory.group == group and memory.num_rows == len(index)
    symbols = torch.arange(len(index)) % V
    with torch.no_grad():
        together = model.predict(model.step(picked, symbols)).dense()
        for row, i in enumerate(index):
            alone = tree.select(state, torch.tensor([i // 4]))
            one = model.predict(model.step(alone, symbols[row : row + 1])).dense()
            close(together[row], one[0])


@pytest.mark.parametrize("name", LOOKING)
def test_a_beam_within_its_sources_copies_no_memory(name: str) -> None:
    _, state = started(build(name))
    beams = tree.repeat(state, 4)
    later = tree.select(beams, torch.tensor([1, 0, 0, 2, 4, 4, 4, 4, 11, 10, 9, 8]))
    places = [s.carry[1].keys[0].data_ptr() for s in (state, beams, later)]
    assert places[0] == places[1] == places[2]


def test_a_shared_memory_as_leaves_has_every_row() -> None:
    _, state = started(build("transformer"))
    memory = tree.repeat(state, 2).carry[1]
    assert memory.group == 2 and tree.rows(memory) == 6
    assert tree.leaves(memory)[0].shape[0] == 6
    assert tree.map_leaves(torch.clone, memory).group == 2
    turned = tree.map_leaves(lambda t: t[torch.tensor([0, 2, 4, 1, 3, 5])], memory)
    assert turned.group == 1
    assert torch.equal(turned.keys[0], memory.keys[0].repeat(2, 1, 1, 1))


def test_the_source_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("transformer")
    calls = []
    bind = type(model.decoder).bind
    monkeypatch.setattr(type(model.decoder), "bind", lambda *args: calls.append(1) or bind(*args))
    bound = model.bind(source())
    state = bound.start(3)
    for t in range(3):
        state = bound.step(state, TARGET[:, t])
    assert calls == [1]


# ---- alignment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOOKING)
def test_weights_sum_to_one_over_the_source_and_padding_weighs_nothing(name: str) -> None:
    model = build(name)
    weights = model.alignment(source(), batch())
    assert weights.shape == (3, 4, 5)
    close(weights.sum(-1), torch.ones(3, 4, dtype=torch.float64))
    assert bool((weights[1, :, 3:] == 0).all()) and bool((weights[2, :, 0] == 1).all())


@pytest.mark.parametrize("name", LOOKING)
def test_weights_of_all_heads_are_there_and_their_mean_is_the_alignment(name: str) -> None:
    model = build(name)
    layers = model.attention_weights(source(), batch())
    is_transformer = model.config.decoder == "transformer"
    assert len(layers) == (model.config.decoder_layers if is_transformer else 1)
    assert layers[0].shape == (3, 2 if is_transformer else 1, 4, 5)
    close(model.alignment(source(), batch(), layer=0), layers[0].mean(1))


@pytest.mark.parametrize("name", LOOKING)
def test_looking_inside_changes_no_score(name: str) -> None:
    model = build(name)
    before = model.log_prob(batch())
    model.alignment(source(), batch())
    assert torch.equal(model.log_prob(batch()), before)


@pytest.mark.parametrize("name", ["transformer", "mixed", "classic"])
def test_the_weights_are_those_that_the_scores_come_from(name: str) -> None:
    """The output of a head, computed from the weights, equals that of the fused kernel."""
    model = build(name)
    found: list[Tensor] = []
    last = model.decoder.blocks[-1].cross.output
    hook = last.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    weights = model.attention_weights(source(), batch())[-1]
    hook.remove()
    values = model.encode(source()).values[-1]
    close((weights @ values).transpose(1, 2).flatten(2), found[-1])


def test_a_decoder_without_attention_has_no_alignment() -> None:
    with pytest.raises(ConfigError, match="no layer -1 with attention to the source"):
        build("none").alignment(source(), batch())


# ---- refusals -----------------------------------------------------------------------------------


def test_without_a_source_it_says_how_to_give_one() -> None:
    model = build("transformer")
    with pytest.raises(ConfigError, match=r"none was given.*model.bind\(source\)"):
        model.start(1)


def test_another_number_of_sources_than_of_rows_is_refused() -> None:
    model = build("additive")
    with pytest.raises(ConfigError, match="2 sequences were given 3 sources"):
        model.start(2, memory=model.encode(source()))
    with pytest.raises(ConfigError, match="3 sources do not fit 2 sequences"):
        model.bind(source()).start(2)


def test_a_bound_model_moves_and_rounds_its_memory_with_its_weights() -> None:
    bound = build("additive").float().bind(source())
    memory = bound.double().memory
    assert {leaf.dtype for leaf in tree.leaves(memory)} == {torch.float64}


# ---- options ------------------------------------------------------------------------------------


def test_a_configuration_survives_its_description() -> None:
    for config in CONFIGS.values():
        assert restore(describe(config)) == config


def test_a_description_names_what_the_layers_read() -> None:
    of_layers = {"num_heads", "positions", "norm_first", "feedforward"}
    for config in CONFIGS.values():
        named = describe(config)["options"].keys()
        assert of_layers <= named if "transformer" in config.parts else not of_layers & named


def test_it_is_configured_by_name_and_preset() -> None:
    config = configure("seq2seq", {"encoder_layers": "2"}, preset="classic")
    assert config == Seq2Seq.classic(encoder_layers=2)
    assert configure("seq2seq", {}) == Seq2Seq()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "additive"}, "is for recurrent decoders"),
        (
            {"encoder": "gru", "decoder": "lstm", "num_heads": 8},
            "not of gru and lstm",
        ),
        ({"encoder": "gru", "decoder": "gru", "model_size": 5}, "even model_size"),
        ({"model_size": 10}, "not a multiple of num_heads"),
        ({"context": 5}, "context is not an option of seq2seq"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure("seq2seq", options)


def test_one_embedding_serves_all_where_the_symbols_are_the_same() -> None:
    config = CONFIGS["transformer"]
    joint, apart = build_model(config, V, BOUNDARY), build_model(config, V, BOUNDARY, V + 3)
    assert joint.encoder.embedding is joint.embedding
    assert apart.encoder.embedding.weight.shape == (V + 3, SIZE)
    kept_apart = build_model(replace(config, share_embeddings=False), V, BOUNDARY)
    assert kept_apart.encoder.embedding is not kept_apart.embedding
    with pytest.raises(ConfigError, match="the source has 9 and the target 6"):
        build_model(replace(config, share_embeddings=True), V, BOUNDARY, V + 3)


def test_an_output_layer_of_its_own_is_another_matrix() -> None:
    own = build("transformer", tie_embeddings=False)
    features = torch.ones(1, SIZE, dtype=torch.float64)
    assert own.head is not None and own.emit(features).weight is own.head.weight
    tied = build("transformer")
    assert tied.head is None and tied.emit(features).weight is tied.embedding.weight


@pytest.mark.parametrize("name", CONFIGS)
def test_dropout_acts_in_training_alone(name: str) -> None:
    model = build(name, dropout=0.5)
    assert torch.equal(model.log_prob(batch()), model.log_prob(batch()))
    model.train()
    torch.manual_seed(0)
    one, other = model.log_prob(batch()), model.log_prob(batch())
    assert not torch.allclose(one, other)


def test_a_memory_of_nothing_to_look_at_still_knows_its_rows() -> None:
    memory = build("none").encode(source())
    assert isinstance(memory, Memory) and not memory.keys and memory.num_rows == 3
