"""Decoding: sampling, greedy, beam, constrained and diverse search, streams, minimum Bayes risk."""

from typing import TYPE_CHECKING

from seriatim._lazy import attach

if TYPE_CHECKING:
    from seriatim.decode.beam import beam_search as beam_search
    from seriatim.decode.beam import beam_search_rows as beam_search_rows
    from seriatim.decode.constraints import Forbidden as Forbidden
    from seriatim.decode.constraints import Fusion as Fusion
    from seriatim.decode.constraints import constrained_beam_search as constrained_beam_search
    from seriatim.decode.diverse import diverse_beam_search as diverse_beam_search
    from seriatim.decode.forecast import mean_path as mean_path
    from seriatim.decode.forecast import sample_paths as sample_paths
    from seriatim.decode.greedy import greedy_search as greedy_search
    from seriatim.decode.hypotheses import Hypothesis as Hypothesis
    from seriatim.decode.mbr import ChrF as ChrF
    from seriatim.decode.mbr import minimum_bayes_risk as minimum_bayes_risk
    from seriatim.decode.sampling import Sampling as Sampling
    from seriatim.decode.sampling import sample as sample
    from seriatim.decode.sampling import sample_sequences as sample_sequences
    from seriatim.decode.settings import Decoding as Decoding
    from seriatim.decode.stream import Stream as Stream

__all__, __getattr__, __dir__ = attach(
    __name__,
    {
        "beam": ["beam_search", "beam_search_rows"],
        "constraints": ["Forbidden", "Fusion", "constrained_beam_search"],
        "diverse": ["diverse_beam_search"],
        "forecast": ["mean_path", "sample_paths"],
        "greedy": ["greedy_search"],
        "hypotheses": ["Hypothesis"],
        "mbr": ["ChrF", "minimum_bayes_risk"],
        "sampling": ["Sampling", "sample", "sample_sequences"],
        "settings": ["Decoding"],
        "stream": ["Stream"],
    },
)
