"""A step of training that is the same operations each time: on CUDA it is recorded once and replayed.

A step of a thin network is some thousand small kernels; launched one by one from Python they keep the device waiting.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps as they come: libraries choose their algorithms, constants are brought to the device


class RecordedStep:
    """Calls a function as it is on a CPU; on CUDA, from the fourth call on, replays what it did."""

    def __init__(self, step: Callable[[], dict[str, Tensor]], random: torch.Generator) -> None:
        """
        Args:
            step: takes and makes nothing on the host; a value that changes between calls is in a tensor on the device.
            random: all that `step` draws is drawn from it; it may be seeded before each call.
        """
        self._step = step
        self._random = random
        self._n_calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results: dict[str, Tensor] = {}

    def __call__(self) -> dict[str, Tensor]:
        """What `step` gives; on CUDA the next call overwrites it. To be called on one stream that is not the default.

        Raises:
            RuntimeError: on CUDA, the step waits for the device or copies from the host.
        """
        self._n_calls += 1
        if self._random.device.type != "cuda" or self._n_calls <= WARM_UP:
            return self._step()
        if self._graph is None:
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self._random)
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                self._results = self._step()
            self._graph = graph
        self._graph.replay()
        return self._results
