"""Trees of tensors: rows are selected, repeated and concatenated; trees survive as bytes."""

from dataclasses import dataclass

import pytest
import torch

from seriatim.core import tree
from seriatim.core.batch import Batch
from seriatim.errors import ModelError


@tree.register
@dataclass(frozen=True)
class Pair:
    left: tree.Tree
    right: tree.Tree


def _nested() -> tree.Tree:
    x = torch.arange(6.0).view(3, 2)
    return (x, {"a": Pair(x + 10, None), "b": [torch.tensor([1, 2, 3])]})


def _values(t: tree.Tree) -> list[object]:
    return [leaf.tolist() for leaf in tree.leaves(t)]


def test_select_takes_rows_in_any_order_with_repeats() -> None:
    chosen = tree.select(_nested(), torch.tensor([2, 0, 2]))
    assert _values(chosen)[2] == [3, 1, 3]
    assert chosen[1]["a"].right is None
    assert tree.rows(chosen) == 3


def test_repeat_keeps_the_copies_of_a_row_together() -> None:
    """Tiling instead mixes rows, as in pytorch-seq2seq #122."""
    assert _values(tree.repeat(_nested(), 2))[2] == [1, 1, 2, 2, 3, 3]


def test_cat_is_the_inverse_of_selecting_each_row() -> None:
    rows = [tree.select(_nested(), torch.tensor([i])) for i in range(3)]
    assert _values(tree.cat(rows)) == _values(_nested())


def test_to_a_precision_leaves_integers_alone() -> None:
    types = [leaf.dtype for leaf in tree.leaves(tree.to(_nested(), torch.float64))]
    assert types == [torch.float64, torch.float64, torch.int64]


def test_saved_bytes_can_only_be_loaded_by_their_owner() -> None:
    data = tree.to_bytes(_nested(), owner="me")
    loaded = tree.from_bytes(data, owner="me")
    assert _values(loaded) == _values(_nested())
    assert isinstance(loaded[1]["a"], Pair)
    with pytest.raises(ModelError, match="belongs to model me and this is model you"):
        tree.from_bytes(data, owner="you")


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:40] + b"x" + d[41:], lambda d: b"?"]
)
def test_damaged_bytes_are_refused(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(ModelError):
        tree.from_bytes(damage(tree.to_bytes(_nested(), owner="me")), owner="me")


def test_an_unregistered_class_cannot_be_saved() -> None:
    @dataclass
    class Stranger:
        x: int = 1

    with pytest.raises(
        TypeError, match=r"decorate its dataclass with seriatim\.core\.tree\.register"
    ):
        tree.to_bytes((Stranger(),), owner="me")


def test_trees_are_pytrees_of_torch() -> None:
    import torch.utils._pytree as pytree

    flat, spec = pytree.tree_flatten(_nested())
    assert _values(pytree.tree_unflatten(flat, spec)) == _values(_nested())


def test_a_batch_weights_valid_targets_and_keeps_lengths_on_the_cpu() -> None:
    x = torch.zeros(2, 3, dtype=torch.int64)
    batch = Batch(x, x, torch.tensor([3, 1]), torch.tensor([[1.0, 0.5, 1.0], [2.0, 9.0, 9.0]]))
    assert batch.target_weights().tolist() == [[1.0, 0.5, 1.0], [2.0, 0.0, 0.0]]
    assert batch.num_targets() == 4.5
    assert Batch(x, x, torch.tensor([3, 1])).num_targets() == 4
    moved = batch.to(torch.device("meta"))
    assert moved.inputs.device.type == "meta"
    assert moved.lengths is not None
    assert moved.lengths.device.type == "cpu"


def test_the_last_valid_element_of_each_row_or_the_old_value_is_selected():
    new = (torch.arange(12).view(3, 4), torch.arange(24).view(3, 4, 2))
    old = (torch.tensor([-1, -2, -3]), -torch.ones(3, 2, dtype=torch.int64))
    last = tree.last_valid(new, torch.tensor([4, 0, 2]), old)
    assert last[0].tolist() == [3, -2, 9]
    assert last[1].tolist() == [[6, 7], [-1, -1], [18, 19]]
    whole = tree.last_valid(new, None, old)
    assert torch.equal(whole[0], new[0][:, -1])


def test_rows_that_are_not_chosen_keep_their_values():
    new, old = torch.arange(6).view(3, 2), torch.full((3, 2), 9)
    merged = tree.where_rows(torch.tensor([True, False, True]), {"h": new}, {"h": old})
    assert merged["h"].tolist() == [[0, 1], [9, 9], [4, 5]]


def test_rows_selected_from_blocks_form_the_largest_possible_blocks():
    for index, size, expected in (
        ([0, 0, 1, 1], 1, ([0, 1], 2)),
        ([3, 1, 0, 2, 7, 6, 5, 4], 4, ([0, 1], 4)),
        ([0, 1, 4, 5], 4, ([0, 1], 2)),
        ([0, 0, 0, 0, 1, 1], 1, ([0, 0, 1], 2)),
        ([0, 1, 2], 1, ([0, 1, 2], 1)),
        ([], 3, ([], 1)),
    ):
        blocks, n = tree.regroup_blocks(torch.tensor(index, dtype=torch.int64), size)
        assert (blocks.tolist(), n) == expected
