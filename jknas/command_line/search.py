"""``jknas search``: search a space, and leave a result, a drawing and the scores in one folder."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from jknas.command_line import options
from jknas.command_line.errors import interruptible
from jknas.command_line.output import Bars, print_json, show, table, write_json_file
from jknas.command_line.runs import expanded
from jknas.command_line.search_methods import METHOD_NAMES, method_of, takes, with_hyper_parameters
from jknas.command_line.search_ranking import ranked_by, ranking_named
from jknas.command_line.search_run import SearchRun
from jknas.command_line.search_table import draw_course, looked_up, table_problem
from jknas.errors import CommandError, DrawingError
from jknas.search import registry

_DIGITS_BATCH = 25  # of a supernet: 1,000 digits would give 16 steps per epoch instead of 40
_DATA = "digits"
_TRAINING = "train_batch", "learning_rate", "weight_decay", "group_by_length", "precision"
_QUICK = 5, 12  # candidates and epochs of a KNAS search on the digits: a minute's work


@expanded
@with_hyper_parameters
def command(
    run: SearchRun,
    *,
    out: Annotated[Path, typer.Option("--out", help="folder for result.json, the drawing, the scores and the checkpoint")],
    method: Annotated[str, typer.Option("--method", help=f"search method: {METHOD_NAMES}")] = "knas",
    proxy: Annotated[
        str | None,
        typer.Option(
            "--proxy",
            help=f"what ranks the architectures (consensus): {options.AGGREGATE_NAMES}, an expression such as log_rank(jacob_cov,synflow), "
            f"{options.PROXY_NAMES}, or module:NAME of yours",
        ),
    ] = None,
    seeds: options.Seeds = 1,
    settings: options.Set = None,
    table_of: Annotated[
        str | None,
        typer.Option(
            "--table", help="train nothing, look accuracies up in the table of NAS-Bench-201: cifar10, cifar100 or imagenet16-120"
        ),
    ] = None,
    accounting: Annotated[
        str | None, typer.Option("--accounting", help="what an evaluation on a table costs: twelve-epochs (the default) or full-training")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help="epochs of training (20; knas on digits 12, with --topk 5, if neither is given; tenas and best_by_proxy train only if "
            "it is given); of weight sharing, epochs of the supernet",
        ),
    ] = None,
    train_epochs: Annotated[
        int | None,
        typer.Option("--train-epochs", help="of weight sharing: epochs of training of the found cell (it is not trained)"),
    ] = None,
    data: options.Data = _DATA,
    batch: options.Batch = None,
    db: Annotated[Path | None, typer.Option("--db", help="store of scores (scores.sqlite in --out)")] = None,
    table_of_scores: Annotated[
        Path | None, typer.Option("--scores", help="with --table: rank by the scores of a table that `jknas score --scores` wrote")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint in --out")] = False,
    max_seconds: Annotated[float | None, typer.Option("--max-seconds", help="stop after this long; --resume goes on")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="stop after this many scores and trainings")] = None,
    **given: Any,
) -> None:
    """Search for an architecture; write DIR/result.json, drawings, scores.sqlite and the winner's trained weights; with --table a curve.

    With --workers, other processes compute ahead what the method knows that it will need; this one does what depends on the last result.
    The result is the same for every number of workers.
    """
    space = run.begin()
    from jknas import search
    from jknas.search.driver import first_state

    if (method, data, epochs, given["topk"], table_of) == ("knas", "digits", None, None, None):
        given["topk"], epochs = _QUICK
    named_options = {f"--{name.replace('_', '-')}": value for name, value in given.items()} | {"--proxy": proxy}
    batch, epochs = _own(method, space, named_options, data=data, batch=batch, epochs=epochs, train_epochs=train_epochs)
    made = method_of(method, named_options, train=epochs is not None or table_of is not None, table=table_of is not None)
    run.check_workers(made)
    ranking = ranking_named(proxy, space, made)
    scoring = {"seeds": None if seeds == 1 else seeds, "set": settings}
    if table_of is None:
        _refuse_table_options(table_of_scores, accounting)
        _refuse_needless(run, made, scoring | {"db": db})
    budget = search.Budget(steps=max_steps, seconds=max_seconds)
    parts: dict[str, Any] = {}
    if table_of is not None:
        problem: Any = table_problem(
            table_of,
            made,
            folder=run.folder,
            accounting=accounting,
            ranking=ranking,
            space=space,
            db=db,
            table_of_scores=table_of_scores,
            seed=run.seed,
            unused={"epochs": epochs, "batch": batch} | scoring | _unused(run, data),
        )
        space, epochs = problem.space, 1
    else:
        epochs = 20 if epochs is None else epochs
        recipe = run.recipe(space, data, epochs=epochs)
        scheme, dataset = run.scheme(), run.load(data, recipe)
        parts = {"space": space, "dataset": dataset, "network": run.network(space, dataset, recipe), "recipe": recipe, "seed": run.seed}
        parts |= ranked_by(ranking, settings) | {"scheme": scheme, "batch_size": batch, "score_seeds": seeds}
        problem = search.Problem(**parts)
    first_state(made, problem)  # so that nothing is written for a search that cannot be run
    place = options.made_folder(out)
    advice = "go on with the same command and --resume."
    kept = None if table_of or made.proxy != "ranks" else db or place / "scores.sqlite"
    with interruptible(advice), _store(kept) as store, Bars(quiet=run.json) as bars, run.pool_for(made, bars) as pool:
        if parts:
            problem = search.Problem(**parts, store=store, pool=pool)
        watch = _watcher(bars, epochs)
        result = search.run(made, problem, checkpoint=place / "checkpoint", resume=resume, budget=budget, on_event=watch)
        record = search.as_record(result)
        if parts and result.complete:
            _save_weights(result, problem, place)
    write_json_file(place / "result.json", record)
    try:
        _draw(record, place, space)
    except DrawingError as error:  # a space whose cells are no graphs
        bars.note(f"nothing is drawn: {error}")
    if table_of is not None:
        draw_course(result, place, title=_title(record))
    if run.json:
        print_json(record)
    else:
        _report(record, place, _unspent(result) if result.complete else f"the budget was spent before the search was complete; {advice}")


def _unspent(result: Any) -> str:
    """Return that a search with a budget of seconds ended by its number of evaluations, if it did."""
    seconds, state = getattr(result.method, "seconds", None), result.state
    if seconds is None or state.overflowed or state.train_seconds >= seconds:
        return ""
    count = len(state.chosen or ())
    return f"{count} evaluations, the most of this search, took {state.train_seconds:.0f} of {seconds:g} s: raise --max-evaluations."


def _refuse_table_options(table_of_scores: Path | None, accounting: str | None) -> None:
    if accounting is not None:
        raise CommandError("--accounting only says what an evaluation on a table costs: give --table, too, or leave it out.")
    if table_of_scores is not None:
        raise CommandError("--scores only says by what a search with --table ranks; scores of a store are used with --db.")


def _refuse_needless(run: SearchRun, method: Any, scoring: dict[str, Any]) -> None:
    """Refuse options of scores and of trainings that a method does not ask for; the sizes of networks and batches go with every method."""
    if method.proxy != "ranks":
        options.refuse(scoring, f"to --method {method.name}, which ranks by no scores: leave it out.")
    if not method.trains:
        options.refuse(run.given(*_TRAINING), f"to --method {method.name} as it is given, which trains no cell: leave it out.")


def _unused(run: SearchRun, data: str) -> dict[str, Any]:
    """Return the options that a search on a table has no use for; those that were not given are None."""
    names = ("resolution", "limit", "cells", "stem", "channels", "weights", "tokenizer", "workers", "ray", "init")
    found = run.given(*names, *_TRAINING)
    return found | {"data": None if data == _DATA else data}


def _own(
    method: str, space: Any, named_options: dict[str, Any], *, data: str, batch: int | None, epochs: int | None, train_epochs: int | None
) -> tuple[int | None, int | None]:
    """Give a method the options that mean something else to it; return the batch of the scores and the epochs of training."""
    if takes(method, "--batch"):
        named_options["--batch"], batch = batch, None
    if not takes(method, "--epochs"):
        if train_epochs is not None:
            raise CommandError(f"--train-epochs is for methods that share weights; --method {method} trains for --epochs.")
        return batch, epochs
    from jknas.networks.families import macro_of

    named_options["--epochs"] = epochs
    usual = getattr(macro_of(space), "supernet_recipe", None)
    if usual in registry.get(method).recipes:
        named_options["--supernet-recipe"] = named_options["--supernet-recipe"] or usual
    if data == "digits":
        named_options["--supernet-batch"] = named_options["--supernet-batch"] or _DIGITS_BATCH
    return batch, train_epochs


def _save_weights(result: Any, problem: Any, place: Path) -> None:
    """Write the weights of a trained winner beside the result."""
    winner = result.winner
    if winner is None or winner.training is None or (variables := result.evaluator.variables(winner.genotype)) is None:
        return
    from jknas.training.weights import save_weights

    save_weights(place, problem.network, winner.genotype, variables, space=problem.space.name, dataset=problem.dataset)


def _draw(record: dict[str, Any], place: Path, space: Any) -> None:
    """Draw the winner, the rounds of a pruning search, and the epochs of a supernet."""
    if record["genotype"] is not None:
        from jknas.report.cell_drawing import draw_cell

        for suffix in ("svg", "png"):
            draw_cell(space.parse(record["genotype"]), place / f"cell.{suffix}", space=space, title=_title(record))
    if record.get("rounds"):
        from jknas.report.pruning_drawing import draw_pruning

        for suffix in ("svg", "png"):
            draw_pruning(record["rounds"], record["left"], place / f"search.{suffix}", space=space, title=_title(record))
    if record.get("supernet"):
        from jknas.report.supernet_drawing import draw_supernet

        known = looked_up(record, space)
        for suffix in ("svg", "png"):
            draw_supernet(record["supernet"], place / f"search.{suffix}", space=space, title=_title(record), **known)


def _store(path: Path | None) -> Any:
    """Return the open store of scores; None of a search that computes none."""
    from jknas.scoring.store import Store

    return nullcontext() if path is None else Store(path)


def _watcher(bars: Bars, epochs: int) -> Any:
    """Return what turns events into bars; trainings count in epochs, so that the bar moves while one runs."""
    trained = 0

    def watch(event: Any) -> None:
        nonlocal trained
        if event.kind == "compile":
            bars.note(f"compiling the {event.detail['program']} program")
        elif event.phase in ("score", "prune", "supernet", "simulate"):
            bars.update(event.phase, event.completed, event.total)
            if remark := event.detail.get("remark"):
                bars.note(remark)
        else:
            if event.kind == "begin":
                bars.note(f"going on with {event.completed} of {event.total} candidates trained")
            trained = event.completed * epochs + (event.detail["record"].epoch + 1 if event.kind == "epoch" else 0)
            bars.update("train", trained, event.total * epochs)

    return watch


def _share(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.4f}"


def _title(record: dict[str, Any]) -> str:
    tested = "" if record["test_accuracy"] is None else f", test accuracy {record['test_accuracy']:.3f}"
    return f"{record['method']} on {record['dataset']['name']}{tested}"


def _report(record: dict[str, Any], place: Path, note: str) -> None:
    from jknas.scoring.record import STATUSES

    counts, null, timing = record["counts"], record["null_model"], record["timing"]
    last = ", ".join(f"{counts[status]} {status}" for status in STATUSES[1:] if counts[status])
    rows: dict[str, Any] = {"sampled": f"{counts['sampled']}" + (f" ({last}: ranked last)" if last else "")}
    if "rounds" in record:
        rows = {"pruned": f"{sum(len(entry['removed']) for entry in record['rounds'])} in {len(record['rounds'])} rounds"}
    if "supernet" in record:
        rows = {"epochs of the supernet": f"{len(record['supernet'])} of {record['settings']['epochs']}"}
    rows["trained"] = f"{counts['trained']}" + (f" ({counts['diverged']} diverged: ranked last)" if counts["diverged"] else "")
    if record["genotype"] is not None:
        place_by_size = null["winner_rank_by_parameters"]
        rows |= {
            "winner": record["genotype"],
            "validation accuracy": _share(record["validation_accuracy"]),
            "test accuracy": _share(record["test_accuracy"]),
            "parameters, MACs": f"{record['parameters']:,}, {record['macs']:,}",
        }
        if "rounds" not in record and "supernet" not in record:
            rows["null model"] = f"by number of parameters alone the winner ranks {place_by_size} of {counts['sampled']}"
    if null["spearman_status"] == "ok":
        rows["score and parameters"] = f"Spearman {null['spearman_score_parameters']:.2f}"
    rows["seconds"] = f"{record['seconds']:.1f}: " + ", ".join(f"{name} {value:.1f}" for name, value in timing.items())
    rows["files"] = place / "result.json"
    show(table(f"{record['method']} on {record['dataset']['name']}", rows))
    if note:
        show(note)
