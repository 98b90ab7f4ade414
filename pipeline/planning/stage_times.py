"""The time of a stage on a device: its start, its layers, and the codecs at both of its ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.planning.problem import Problem

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StageTimes:
    """Seconds by device, for D devices in the fleet's order, L layers and L + 1 cuts.

    A stage of layers[b:e] takes start + layers + decoding of what it receives + encoding of what it sends.
    Transfers are not part of it.
    """

    layers_s: Floats
    """(D, L + 1): seconds of the first k layers."""
    start_s: Floats
    """(D,): seconds to start a stage: those that the profile measures, and the device's `dispatch_s`."""
    decode_s: Floats
    """(D, L + 1): seconds to decode the tensors of a cut."""
    encode_s: Floats
    """(D, L + 1): seconds to encode the tensors of a cut."""

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The times of a problem under its compression.

        Raises ConfigError where the profile lacks a codec that the compression needs.
        """
        profile, compression = problem.profile, problem.compression
        sizes = np.array([cut.num_bytes for cut in problem.graph.cuts], dtype=float)
        names = problem.fleet.by_name
        return cls(
            layers_s=np.stack([profile.cumulative_s(name) for name in names]),
            start_s=np.array([profile.start_s(d.name) + d.dispatch_s for d in names.values()]),
            decode_s=np.stack([profile.decode_s(name, compression, sizes) for name in names]),
            encode_s=np.stack([profile.encode_s(name, compression, sizes) for name in names]),
        )

    def seconds(
        self,
        device: npt.ArrayLike,
        begin: npt.ArrayLike,
        end: npt.ArrayLike,
        decodes: npt.ArrayLike = False,
        encodes: npt.ArrayLike = False,
    ) -> Floats:
        """Seconds of a stage of layers[begin:end] on a device (its index); all five arguments broadcast.

        decodes: whether its input arrives compressed; encodes: whether its output leaves compressed.
        """
        device, begin, end = (np.asarray(each, dtype=np.int64) for each in (device, begin, end))
        layers_s = self.layers_s[device, end] - self.layers_s[device, begin]
        codecs_s = np.where(decodes, self.decode_s[device, begin], 0.0)
        codecs_s = codecs_s + np.where(encodes, self.encode_s[device, end], 0.0)
        return np.asarray(layers_s + self.start_s[device] + codecs_s)

    def all_stages(self, *, codecs: bool) -> Floats:
        """(D, L + 1, L + 1): seconds of every stage [device, begin, end]; no meaning where end <= begin.

        codecs: include decoding and encoding, as for a stage whose neighbours run elsewhere. The model's
        input and output are not compressed.
        """
        devices, cuts = self.layers_s.shape
        device, begin, end = np.ogrid[:devices, :cuts, :cuts]
        decodes, encodes = (begin > 0, end < cuts - 1) if codecs else (False, False)
        return self.seconds(device, begin, end, decodes=decodes, encodes=encodes)

    @property
    def layer_s(self) -> Floats:
        """(D, L): seconds of each layer."""
        return np.diff(self.layers_s, axis=1)

    @property
    def opening_s(self) -> Floats:
        """(D, L + 1): seconds to start a stage at a cut and to decode the tensors that arrive there."""
        return self.start_s[:, None] + self.decode_s
