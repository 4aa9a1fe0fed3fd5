"""An inspection as JSON values, for programs.

Knows findings; nothing is computed here but quantiles.
"""

import math

from seriatim.analysis.inspect.findings import (
    Findings,
    GateFindings,
    MapFindings,
    OrderFindings,
    Passage,
    StateFindings,
)
from seriatim.analysis.inspect.head_names import NamedHead
from seriatim.analysis.inspect.probes import Neuron, Probe
from seriatim.analysis.inspect.tables import quartiles
from seriatim.core.records import Json


def as_json(findings: Findings) -> Json:
    """All findings; figures that are not finite become None."""
    record = {
        "title": findings.title,
        "notes": list(findings.notes),
        "bits_per_symbol": findings.bits,
        "passages": [_passage(p) for p in findings.passages],
        "states": [_state(s) for s in findings.states],
        "gates": [_gate(g) for g in findings.gates],
        "attention": [_map(m) for m in findings.maps],
        "orders": [_order(o) for o in findings.orders],
    }
    return {key: _finite(value) for key, value in record.items()}


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value


def _passage(p: Passage) -> Json:
    record: dict[str, object] = {"read": list(p.read.names)}
    if p.source is not None:
        record["source"] = list(p.source.names)
    if p.bits is not None:
        alternatives = p.alternatives or [()] * len(p.targets)
        record["symbols"] = [
            {"symbol": symbol, "bits": bits, "alternatives": [list(pair) for pair in others]}
            for symbol, bits, others in zip(p.targets, p.bits.tolist(), alternatives, strict=True)
        ]
    return record


def _state(s: StateFindings) -> Json:
    speed = s.trajectory.speed[1:]
    return {
        "name": s.name,
        "units": s.size,
        "half_life": s.trajectory.half_life,
        "unit_half_lives": quartiles(s.trajectory.unit_half_lives),
        "variance_fractions": list(s.trajectory.variance_fractions),
        "mean_speed": float(speed.mean()) if len(speed) else None,
        "path": s.trajectory.path.tolist(),
        "neurons": [_neuron(n) for n in s.neurons],
        "probes": [_probe(p) for p in s.probes],
    }


def _neuron(n: Neuron) -> Json:
    return {
        "unit": n.index,
        "label": n.label,
        "correlation": n.correlation,
        "p_value": n.p_value,
        "named": n.is_named,
    }


def _probe(p: Probe) -> Json:
    return {
        "label": p.label,
        "measure": p.measure,
        "score": p.score,
        "chance": p.chance,
        "by_symbol": p.by_symbol,
        "control": p.control,
        "selectivity": p.selectivity,
        "held_out": p.positions,
    }


def _gate(g: GateFindings) -> Json:
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


def _map(m: MapFindings) -> Json:
    return {"name": m.name, "heads": [_head(h) for h in m.heads]}


def _head(h: NamedHead) -> Json:
    return {
        "head": h.index,
        "names": h.names,
        "entropy": h.entropy,
        "even_entropy": h.even_entropy,
        "distance": h.distance,
        "even_distance": h.even_distance,
        "monotone": h.monotone,
        "scores": [
            {"pattern": s.pattern, "score": s.score, "chance": s.chance, "named": s.is_named}
            for s in h.scores
        ],
    }


def _order(o: OrderFindings) -> Json:
    return {
        "name": o.name,
        "orders": o.orders.tolist(),
        "backoff_bits": None if o.path is None else o.path.tolist(),
        "table": [
            {"order": m.order, "positions": m.positions, "bits": m.bits, "backoff_bits": m.backoff}
            for m in o.table
        ],
    }
