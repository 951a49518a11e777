"""Estimate how long an evaluation will take, so that training ends early enough before its deadline."""

from __future__ import annotations

from math import exp

from kmorph.training.race import FIRST_EVALUATION

# Time to compile the functions of an evaluation, relative to what the first training step takes. Measured on
# CPUs: mostly 0.3 to 0.5 with TensorFlow, which traces two functions, and 0.1 to 0.25 with JAX, where
# compiling gradients takes most; PyTorch compiles nothing. With these, evaluations of the starts took 0.45 to
# 0.9 times their estimates, on a core shared with little and with much other load.
COMPILING = {"tensorflow": 0.6, "jax": 0.3, "torch": 0.2}
FORWARD = 3.0  # speed of a forward pass relative to a training step's; 3 to 4 were measured
WINDOW = 1.0  # seconds over which speed is measured: less means little where a device works behind a queue
RECENT = 3.0  # seconds after which a measured speed counts 1/e


class Speed:
    """Examples per second of training; recent seconds count more, as the load of a machine may change."""

    def __init__(self) -> None:
        self._examples = self._seconds = 0.0  # of complete windows, decayed
        self._new_examples = self._new_seconds = 0.0  # of the window that is being filled

    def observe(self, examples: int, seconds: float) -> None:
        """Add examples, and the seconds that training on them took."""
        self._new_examples += examples
        self._new_seconds += seconds
        if self._new_seconds >= WINDOW:
            kept = exp(-self._new_seconds / RECENT)
            self._examples = kept * self._examples + self._new_examples
            self._seconds = kept * self._seconds + self._new_seconds
            self._new_examples = self._new_seconds = 0.0

    @property
    def is_settled(self) -> bool:
        """Return whether a window is complete."""
        return self._seconds > 0

    @property
    def value(self) -> float | None:
        """Examples per second; None before anything was measured."""
        if self.is_settled:
            return self._examples / self._seconds
        return self._new_examples / self._new_seconds if self._new_seconds > 0 else None


class EvaluationTime:
    """Estimate of the seconds that the next evaluation takes.

    Before an evaluation was measured, that is the time to compile it, a share of what the first training step
    took, and the time of the forward passes, which follows from the speed of training. Afterwards it is the
    time of the last evaluation. If training has become slower since compiling or evaluating was measured,
    these times grow in proportion.

    Parameters
    ----------
    examples : int
        Examples of one evaluation, those for recalibration included.
    backend : str, default="tensorflow"
        Keras' backend.
    """

    def __init__(self, examples: int, backend: str = "tensorflow") -> None:
        self.examples = examples
        self._share = COMPILING[backend]
        self.speed = Speed()
        self.last: float | None = None
        """Seconds of the last evaluation; None before the first."""
        self._is_compiled = False
        self._speed_at_last: float | None = None
        self._compiling = 0.0
        self._speed_at_compiling: float | None = None

    def note_compiling(self, seconds: float) -> None:
        """Take into account how long a training step took that was traced and compiled."""
        self._compiling, self._speed_at_compiling = seconds, None

    def note_training(self, examples: int, seconds: float) -> None:
        """Take into account the time of training steps, none of which compiled."""
        self.speed.observe(examples, seconds)
        if self._speed_at_compiling is None and self.speed.is_settled:
            self._speed_at_compiling = self.speed.value

    def note_evaluation(self, seconds: float, recalibrated: bool = True) -> None:
        """Take into account how long an evaluation took.

        Parameters
        ----------
        seconds : float
        recalibrated : bool, default=True
            False: it left out the statistics of batch norms, which the next evaluation has to compile.
        """
        self.last, self._speed_at_last, self._is_compiled = seconds, self.speed.value, recalibrated

    def note_new_step(self) -> None:
        """Take into account that a new step has replaced the one that was compiled."""
        self._is_compiled = False

    @property
    def compiling(self) -> float:
        """Seconds that compiling a training step is expected to take."""
        return self._compiling * self._slowdown(self._speed_at_compiling)

    @property
    def seconds(self) -> float:
        """Seconds that the next evaluation is expected to take."""
        measured = 0.0
        if self.last is not None:
            measured = self.last * self._slowdown(self._speed_at_last)
            if self._is_compiled:
                return measured
        forward = self.examples / (FORWARD * self.speed.value) if self.speed.value else 0.0
        return max(FIRST_EVALUATION, measured, self._share * self.compiling + forward)

    def _slowdown(self, before: float | None) -> float:
        """Factor, at least 1, by which training is slower than it was at the speed `before`."""
        now = self.speed.value
        return max(1.0, before / now) if before and now else 1.0
