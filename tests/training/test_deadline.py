"""The deadline of a training run, on a simulated clock: nothing is trained, and no time passes."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from kmorph.graph import Dense, Flatten, GraphBuilder
from kmorph.training.clock import Clock
from kmorph.training.evaluation_time import COMPILING, FORWARD, EvaluationTime, Speed
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.race import FIRST_EVALUATION
from kmorph.training.trainer import train

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 255, (6000, 2, 2, 1)).astype(np.uint8), RNG.integers(0, 10, 6000)
SHARE = COMPILING["tensorflow"]


def data(n_val=400):
    return Data(X[:2000], Y[:2000], X[2000 : 2000 + n_val], Y[2000 : 2000 + n_val])


def graph():
    builder = GraphBuilder((2, 2, 1))
    builder.add(Flatten())
    return builder.build(builder.add(Dense(10))).initialize(0)


@dataclass
class Machine:
    """A machine on which a step takes the time that it is given, and longer when there is load."""

    compiling: float = 1.0  # seconds of the first step
    tracing: float = 0.25  # of each of the two functions of an evaluation, relative to that
    speed: float = 2000.0  # examples per second of training
    forward: float = 3.5  # speed of a forward pass, relative to that
    load: tuple[tuple[float, float], ...] = ()  # moments, and the factors by which all is slower from then on
    batch: int = 64
    now: float = 1000.0
    evaluations: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def clock(self):
        return self.now

    def work(self, seconds):
        since = [factor for moment, factor in self.load if self.now >= 1000 + moment]
        self.now += seconds * (since[-1] if since else 1.0)


class SimulatedStep:
    """Has the methods of a step, which take their time on a machine and do nothing else."""

    def __init__(self, graph, machine):
        self.graph, self.machine = graph, machine
        self.compiled = set()

    def _run(self, function, compiling, examples, speed):
        self.machine.work(examples / speed + (0 if function in self.compiled else compiling))
        self.compiled.add(function)

    def train(self, x, y, learning_rate, step, weights=None):
        self.machine.rates.append(learning_rate)
        self._run("train", self.machine.compiling, len(x), self.machine.speed)
        return 1.0

    def recalibrate(self, batches):
        machine = self.machine
        examples = sum(map(len, batches))
        machine.evaluations.append(machine.now)
        self._run(
            "recalibrate", machine.tracing * machine.compiling, examples, machine.forward * machine.speed
        )

    def predict(self, x, batch_size):
        machine = self.machine
        self._run("predict", machine.tracing * machine.compiling, len(x), machine.forward * machine.speed)
        return np.random.default_rng(0).normal(size=(len(x), 10)).astype(np.float32)

    def stop_augmenting(self):
        self.compiled.discard("train")

    def average(self, keep):
        pass

    def swap(self):
        pass

    def to_graph(self):
        return self.graph


@pytest.fixture
def simulate(monkeypatch):
    def run(machine, plan, n_val=400, **options):
        def make(graph, hyperparameters, seed, strategy, problem, policy):
            return SimulatedStep(graph, machine)

        monkeypatch.setattr("kmorph.training.trainer.make_step", make)
        return train(graph(), data(n_val), plan, clock=machine.clock, **options)

    return run


SLOW = {
    "as a small network": Machine(),
    "compiling is slow, evaluating takes 5 s": Machine(compiling=6.0, speed=4000.0),
    "evaluating takes 5 s, compiling does not": Machine(compiling=0.5, speed=300.0),
    "steps take 2 s": Machine(compiling=6.0, speed=500.0, batch=1000),
    "a forward pass is hardly faster": Machine(forward=3.0, speed=500.0),
    "tracing takes as long as it can": Machine(compiling=4.0, tracing=0.29),
    "load comes": Machine(compiling=2.0, speed=1000.0, load=((20.0, 4.0),)),
    "load goes": Machine(compiling=2.0, speed=1000.0, load=((0.0, 4.0), (20.0, 1.0))),
}


def test_a_falling_learning_rate_is_zero_when_the_deadline_ends_training(simulate):
    """Not only after the evaluation, for which training ends earlier than planned."""
    machine = Machine(compiling=6.0, speed=2000.0)
    simulate(machine, Plan(phase="decay", seconds=40.0, seconds_left=40.0), n_val=3000)
    assert max(machine.rates) > 0.09 and 0 <= machine.rates[-1] < 0.001


@pytest.mark.parametrize("case", SLOW)
def test_the_deadline_is_kept_and_the_time_until_then_used(case, simulate):
    machine = replace(SLOW[case], evaluations=[])
    settings = Hyperparameters(batch_size=machine.batch)
    plan = Plan(seconds=40.0, seconds_left=40.0, hyperparameters=settings)
    outcome = simulate(machine, plan, n_val=3000)
    evaluated = machine.now - machine.evaluations[-1]
    assert outcome.images
    assert machine.now <= 1040 + 0.02, "the deadline has passed"
    # Compiling was measured under a load that may come back: that case may leave some more.
    spare = 6.0 if case == "load goes" else 1.0 + 0.4 * evaluated
    assert machine.now >= 1040 - spare - 2 * machine.batch / machine.speed, "time was left"


@pytest.mark.parametrize("seconds", [0.5, 3.0, 8.0])
def test_a_deadline_shortly_after_compiling_ends_training_there(simulate, seconds):
    """Compiling cannot be foreseen, but what it took is: nothing else is trained if the rest is needed."""
    machine = Machine(compiling=6.0, speed=2000.0)
    outcome = simulate(machine, Plan(seconds=20.0, seconds_left=seconds))
    assert outcome.images == (0 if seconds < FIRST_EVALUATION else 64)


def test_images_stay_augmented_if_there_is_no_time_to_compile(simulate):
    settings = Hyperparameters(augment=("shift",))
    plan = Plan(phase="decay", seconds=30.0, seconds_left=30.0, plain_end=0.3, hyperparameters=settings)
    for compiling in (1.0, 8.0):
        machine = Machine(compiling=compiling)
        simulate(machine, plan)
        assert machine.now <= 1030.02
    assert machine.now > 1025


def test_a_race_is_left_out_if_the_last_evaluation_would_be_late(simulate, tmp_path):
    rival = tmp_path / "rival.npy"
    np.save(rival, 9 * RNG.normal(size=(3000, 10)))  # the worse of the two
    plan = Plan(seconds=30.0, rival=str(rival))
    for left, evaluations in ((40.0, 2), (14.0, 1)):
        machine = Machine(compiling=3.0, speed=400.0)
        simulate(machine, replace(plan, seconds_left=left), n_val=3000)
        assert len(machine.evaluations) == evaluations and machine.now <= 1000.02 + left


def test_the_weights_are_kept_before_an_evaluation_that_could_be_late(simulate):
    kept = []

    def keep(graph, images):
        kept.append((machine.now, images))

    machine = Machine()
    outcome = simulate(machine, Plan(seconds=60.0, seconds_left=60.0), checkpoint=keep)
    assert kept[-1][1] == outcome.images and kept[-1][0] > 1055
    assert [round(at - 1000) for at, _ in kept[:-1]] == [6, 33]  # fifty times what one takes apart
    # Where training ended for another reason, time is left.
    del kept[:]
    machine = Machine()
    outcome = simulate(machine, Plan(seconds=30.0, seconds_left=60.0), checkpoint=keep)
    assert kept[-1][1] < outcome.images


def test_before_an_evaluation_its_time_is_estimated_from_training():
    time = EvaluationTime(5000)
    assert time.seconds == FIRST_EVALUATION
    time.note_compiling(4.0)
    assert time.seconds == SHARE * 4
    for _ in range(50):
        time.note_training(64, 0.064)
    assert time.seconds == pytest.approx(SHARE * 4 + 5000 / (FORWARD * 1000))
    for _ in range(100):  # half as fast, for long enough
        time.note_training(64, 0.128)
    assert time.seconds == pytest.approx(2 * (SHARE * 4 + 5000 / (FORWARD * 1000)), rel=0.1)


def test_after_an_evaluation_its_time_counts_and_grows_with_load():
    time = EvaluationTime(5000)
    time.note_compiling(4.0)
    time.note_training(1000, 2.0)
    time.note_evaluation(0.3)
    assert time.seconds == 0.3
    time.note_training(3000, 3.0)
    assert time.seconds == 0.3  # a faster machine may become slow again
    time.note_training(1000, 20.0)
    assert time.seconds == pytest.approx(0.3 * 10, rel=0.2)


def test_an_evaluation_that_compiled_only_a_part_is_a_lower_bound():
    time = EvaluationTime(5000)
    time.note_evaluation(9.0, recalibrated=False)
    assert time.seconds == 9.0
    time.note_compiling(30.0)
    assert time.seconds == SHARE * 30
    time.note_evaluation(5.0)
    assert time.seconds == 5.0
    time.note_new_step()
    assert time.seconds == SHARE * 30


def test_speed_is_that_of_the_last_seconds():
    speed = Speed()
    assert speed.value is None
    speed.observe(64, 0.5)
    assert speed.value == 128 and not speed.is_settled
    for _ in range(100):
        speed.observe(64, 0.064)
    for _ in range(60):
        speed.observe(64, 0.128)
    assert 500 < speed.value < 650


def test_what_is_left_out_is_no_training():
    now = iter([0.0, 1.0, 3.0, 7.0, 15.0])
    clock = Clock(Plan(seconds=10.0, seconds_left=100.0), EvaluationTime(100), lambda: next(now))
    assert clock.leave_out() == 1.0
    clock.lap()
    clock.leave_out()
    clock.next_step(64)
    assert clock.trained == 10.0 and clock.now == 15.0 and clock.deadline == 100.0
    assert clock.progress(5, 100) == 1.0 and clock.progress(0, 100) == 0.0
    # Ten seconds for a step, and 100 / 3 / 6.4 for an evaluation.
    assert clock.allows(69.0) and not clock.allows(70.0)
