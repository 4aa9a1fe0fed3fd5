"""A cell of your own, here the minimal gated unit (Zhou et al. 2016), is a sequence model."""

import torch
from torch import Tensor, nn

from seriatim.core import Batch
from seriatim.layers import Cell
from seriatim.models import Latent, build_model


class MinimalGatedUnit(Cell):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.candidate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        f = self.gate(torch.cat([h, x], -1)).sigmoid()
        return (1 - f) * h + f * self.candidate(torch.cat([f * h, x], -1)).tanh()


torch.manual_seed(0)
names = ["do", "re", "mi", "fa", "sol"]
melody = torch.tensor([[0, 1, 2, 3, 4, 3, 2, 1] * 3])  # after mi, only memory tells up from down
model = build_model(Latent(cell=MinimalGatedUnit, hidden_size=16), num_symbols=5, boundary=0)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
for _ in range(80):
    loss = -model.log_prob(Batch(melody[:, :-1], melody[:, 1:])).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"{loss.item() / 0.6931:.3f} bits per note")

state = model.start(1)
for _ in range(12):
    note = model.predict(state).dense().argmax(-1)
    print(names[int(note)], end=" ")
    state = model.step(state, note)
print()
