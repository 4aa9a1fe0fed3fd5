"""An inspection as JSON values: what programs read of it.

Knows findings; nothing is computed here but quantiles.
"""

import math
from typing import Any

import torch
from torch import Tensor

from seriatim.analysis.inspect.findings import (
    Findings,
    GateFindings,
    MapFindings,
    OrderFindings,
    Passage,
    StateFindings,
)


def as_json(found: Findings) -> dict[str, Any]:
    """All findings; figures that are not finite are None."""
    record = {
        "title": found.title,
        "notes": list(found.notes),
        "bits_per_symbol": found.bits,
        "passages": [_passage(p) for p in found.passages],
        "states": [_state(s) for s in found.states],
        "gates": [_gate(g) for g in found.gates],
        "attention": [_map(m) for m in found.maps],
        "orders": [_order(o) for o in found.orders],
    }
    made: dict[str, Any] = _finite(record)
    return made


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value


def quartiles(values: Tensor) -> list[float] | None:
    """The least, the quarters and the largest of those that are finite; None: there are none."""
    kept = values[values.isfinite()].double()
    if not len(kept):
        return None
    cuts: list[float] = torch.quantile(kept, torch.linspace(0, 1, 5).double()).tolist()
    return cuts


def _passage(p: Passage) -> dict[str, Any]:
    record: dict[str, Any] = {"read": list(p.read.names)}
    if p.source is not None:
        record["source"] = list(p.source.names)
    if p.bits is not None:
        alternatives = p.alternatives or [()] * len(p.targets)
        record["symbols"] = [
            {"symbol": symbol, "bits": bits, "alternatives": [list(pair) for pair in others]}
            for symbol, bits, others in zip(p.targets, p.bits.tolist(), alternatives, strict=True)
        ]
    return record


def _state(s: StateFindings) -> dict[str, Any]:
    return {
        "name": s.name,
        "units": s.size,
        "half_life": s.trajectory.half_life,
        "unit_half_lives": quartiles(s.trajectory.unit_half_lives),
        "principal_shares": list(s.trajectory.shares),
        "mean_speed": float(s.trajectory.speed[1:].mean()) if len(s.trajectory.speed) > 1 else None,
        "path": s.trajectory.path.tolist(),
        "neurons": [
            {
                "unit": n.index,
                "label": n.label,
                "correlation": n.correlation,
                "p_value": n.p_value,
                "named": n.is_named,
            }
            for n in s.neurons
        ],
        "probes": [
            {
                "label": p.label,
                "measure": p.measure,
                "score": p.score,
                "chance": p.chance,
                "by_symbol": p.by_symbol,
                "control": p.control,
                "selectivity": p.selectivity,
                "held_out": p.positions,
            }
            for p in s.probes
        ],
    }


def _gate(g: GateFindings) -> dict[str, Any]:
    lives = g.gate.half_lives
    return {
        "name": g.name,
        "units": g.values.shape[1],
        "mean": g.gate.mean,
        "always_open": g.gate.always_open,
        "always_shut": g.gate.always_shut,
        "open": g.gate.open.tolist(),
        "shut": g.gate.shut.tolist(),
        "half_lives": None if lives is None else quartiles(lives),
    }


def _map(m: MapFindings) -> dict[str, Any]:
    return {
        "name": m.name,
        "heads": [
            {
                "head": h.index,
                "names": h.names,
                "entropy": h.entropy,
                "even_entropy": h.even_entropy,
                "distance": h.distance,
                "even_distance": h.even_distance,
                "monotone": h.monotone,
                "scores": [
                    {
                        "pattern": s.pattern,
                        "score": s.score,
                        "chance": s.chance,
                        "named": s.is_named,
                    }
                    for s in h.scores
                ],
            }
            for h in m.heads
        ],
    }


def _order(o: OrderFindings) -> dict[str, Any]:
    return {
        "name": o.name,
        "orders": o.orders.tolist(),
        "backoff_bits": None if o.path is None else o.path.tolist(),
        "table": [
            {"order": m.order, "positions": m.positions, "bits": m.bits, "backoff_bits": m.backoff}
            for m in o.table
        ],
    }
