"""What a search is given: starts, settings and hyperparameters, chosen from an estimator's arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from kmorph.graph import Graph
from kmorph.morphs import Limits
from kmorph.problem import Problem
from kmorph.problem.packing import pack_problem
from kmorph.search.settings import Settings
from kmorph.search.store.disk import fit_disk
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.propose import SPEED_EXPONENT
from kmorph.search.strategy.steps import EPOCHS_TO_STEP, widened_starts
from kmorph.search.workers.calibration import GUESS, measure_power
from kmorph.search.workers.pool import Pool
from kmorph.tasks import options
from kmorph.tasks.arguments import Arguments, Given
from kmorph.tasks.fitting import Examples
from kmorph.tasks.outputs import without_ending
from kmorph.training.distribute import pack_strategy
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters


@dataclass(frozen=True)
class Beginning:
    """Where a search begins, and how large its networks become.

    Parameters
    ----------
    starts : tuple of (str, Graph)
    max_parameters : int or None
        Most parameters of a model.
    affordable : int or None
        FLOPs to which smaller networks are grown.
    is_sized : bool, default=False
        Whether the starts are kmorph's own, whose widths suit the time.
    growth : dict of str to float, default={}
        By name, how much larger starts of the user's became by that, in FLOPs.
    """

    starts: tuple[tuple[str, Graph], ...]
    max_parameters: int | None = None
    affordable: int | None = None
    is_sized: bool = False
    growth: dict[str, float] = field(default_factory=dict)


def choose_beginning(
    given: Given, examples: Examples, problem: Problem, arguments: Arguments, pool: Pool
) -> Beginning:
    """Starts as the user gave them or as suits time and data; `max_disk` bounds their parameters."""
    input, width, n = examples.input, examples.target.width, len(examples.train)
    limit, packed = arguments.time_limit, pack_problem(problem)

    def power(graph: Graph) -> float:
        return measure_power(pool, graph, n, limit, packed).multiply_adds

    starts = options.choose_starts(
        given.starts,
        input.starts(width, n, limit, power) if given.starts is None else (),
        input.shape,
        width,
        input.front(),
        arguments.searcher_args,
        partial(without_ending, ending=examples.target.ending),
        examples.adapted,
    )
    first = starts[0][1]

    def power_of(flops: int) -> float:
        """Speed of a network of so many FLOPs: larger ones keep processors busier than the user's start."""
        found = power(first)
        if found == GUESS.multiply_adds:  # not measured, so of no size
            return found
        return found * (flops / max(first.flops, 1)) ** (1 - SPEED_EXPONENT)

    own = given.starts is not None
    affordable = input.affordable(width, n, limit, (lambda graph: power_of(graph.flops)) if own else power)
    if affordable is not None and not own:
        affordable = first.flops  # ours have the right size, but the models of an earlier search may not
    most = arguments.max_parameters
    if arguments.max_disk is not None:
        data = examples.nbytes + input.kept_bytes
        starts, most = fit_disk(starts, most, arguments.max_disk, data)
    growth: dict[str, float] = {}
    is_new = not any(graph.has_weights for _, graph in starts)
    if own and is_new and affordable is not None and limit is not None:
        if limit * power_of(affordable) < EPOCHS_TO_STEP * n * affordable:
            limits = Limits(max_parameters=most, max_flops=arguments.max_flops)
            starts, growth = widened_starts(starts, affordable, limits, options.choose_morphs(given.morphs))
    return Beginning(starts, most, affordable, not own, growth)


def settings_of(
    given: Given,
    data: Data,
    beginning: Beginning,
    problem: Problem,
    arguments: Arguments,
    own_split: bool,
    seed: int,
    kept_changes: tuple[str, ...],
) -> Settings:
    """The settings of a search."""
    trainer, n = arguments.searcher_args.trainer_args, len(data.x)
    hyperparameters, space = options.choose_hyperparameters(
        given.hyperparameters,
        trainer,
        n,
        arguments.optimizer,
        problem.target.weight_decay,
        problem.input.hyperparameters(n),
        min(options.rate_share_for(graph) for _, graph in beginning.starts),
    )
    return Settings(
        starts=beginning.starts,
        n_train=n,
        n_val=len(data.x_val),
        problem=problem,
        hyperparameters=hyperparameters,
        space=space,
        augment=kept_changes if given.augment else (),
        always_augment=arguments.augment is True,
        limits=Limits(max_parameters=beginning.max_parameters, max_flops=arguments.max_flops),
        kinds=options.choose_morphs(given.morphs),
        affordable=beginning.affordable,
        is_sized=beginning.is_sized,
        growth=beginning.growth,
        max_models=arguments.max_models,
        max_disk=arguments.max_disk,
        max_epochs=trainer.max_iter_num,
        most_epochs=problem.input.most_epochs(n),
        patience=trainer.max_no_improvement_num,
        min_loss_decrease=trainer.min_loss_dec,
        # Validation data of the user's own stays apart; and a loss, unlike an accuracy, need not improve
        # by settling, so that it has to be measured.
        merge_validation=own_split and problem.objective.survives_merging,
        ensemble=arguments.ensemble,
        smooths=problem.loss.smooths and "label_smoothing" not in (given.hyperparameters or {}),
        seed=seed,
        strategy=pack_strategy(given.strategy),
    )


def hyperparameters_of(
    given: Given,
    record: ModelRecord,
    trainer: options.TrainerArgs,
    arguments: Arguments,
    optimizer: str | None,
) -> Hyperparameters:
    """Hyperparameters of `final_fit`: the user's values, otherwise the model's own.

    A learning rate is only the model's own for the `optimizer` that it was trained with.
    """
    trainer = trainer if trainer.lr is not None else arguments.searcher_args.trainer_args
    chosen, space = options.choose_hyperparameters(
        given.hyperparameters, trainer, optimizer=arguments.optimizer
    )
    now = None if arguments.optimizer is None else arguments.optimizer.name
    named = {*(given.hyperparameters or {})}
    if trainer.lr is not None or now != optimizer:
        named.add("learning_rate")
    fixed = {name: getattr(chosen, name) for name in named - set(space.dimensions)}
    return Hyperparameters.from_dict({**record.hyperparameters, **fixed})
