"""Inspection: what a model's states, gates, attention and counts show while it reads a text."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.analysis.inspect.findings import Findings as Findings
    from seriatim.analysis.inspect.findings import GateFindings as GateFindings
    from seriatim.analysis.inspect.findings import InspectedSide as InspectedSide
    from seriatim.analysis.inspect.findings import MapFindings as MapFindings
    from seriatim.analysis.inspect.findings import Matches as Matches
    from seriatim.analysis.inspect.findings import OrderFindings as OrderFindings
    from seriatim.analysis.inspect.findings import Passage as Passage
    from seriatim.analysis.inspect.findings import StateFindings as StateFindings
    from seriatim.analysis.inspect.gates import Gate as Gate
    from seriatim.analysis.inspect.gates import describe_gate as describe_gate
    from seriatim.analysis.inspect.head_names import HeadScore as HeadScore
    from seriatim.analysis.inspect.head_names import NamedHead as NamedHead
    from seriatim.analysis.inspect.head_names import SelfMap as SelfMap
    from seriatim.analysis.inspect.head_names import describe_cross_heads as describe_cross_heads
    from seriatim.analysis.inspect.head_names import describe_heads as describe_heads
    from seriatim.analysis.inspect.inspection import Inspection as Inspection
    from seriatim.analysis.inspect.labels import Label as Label
    from seriatim.analysis.inspect.labels import text_labels as text_labels
    from seriatim.analysis.inspect.labels import user_label as user_label
    from seriatim.analysis.inspect.measure import inspect_passages as inspect_passages
    from seriatim.analysis.inspect.probes import Neuron as Neuron
    from seriatim.analysis.inspect.probes import Probe as Probe
    from seriatim.analysis.inspect.probes import linear_probes as linear_probes
    from seriatim.analysis.inspect.probes import rank_neurons as rank_neurons
    from seriatim.analysis.inspect.text import summary as summary
    from seriatim.analysis.inspect.trace import Alternative as Alternative
    from seriatim.analysis.inspect.trace import PairTrace as PairTrace
    from seriatim.analysis.inspect.trace import TextTrace as TextTrace
    from seriatim.analysis.inspect.trace import trace_pair as trace_pair
    from seriatim.analysis.inspect.trace import trace_text as trace_text
    from seriatim.analysis.inspect.trajectory import Trajectory as Trajectory
    from seriatim.analysis.inspect.trajectory import follow as follow

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "findings": [
            "Findings",
            "GateFindings",
            "InspectedSide",
            "MapFindings",
            "Matches",
            "OrderFindings",
            "Passage",
            "StateFindings",
        ],
        "gates": ["Gate", "describe_gate"],
        "head_names": [
            "HeadScore",
            "NamedHead",
            "SelfMap",
            "describe_cross_heads",
            "describe_heads",
        ],
        "inspection": ["Inspection"],
        "labels": ["Label", "text_labels", "user_label"],
        "measure": ["inspect_passages"],
        "probes": ["Neuron", "Probe", "linear_probes", "rank_neurons"],
        "text": ["summary"],
        "trace": ["Alternative", "PairTrace", "TextTrace", "trace_pair", "trace_text"],
        "trajectory": ["Trajectory", "follow"],
    },
)
