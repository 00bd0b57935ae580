"""``jknas train``: train one cell."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jknas.command_line import options
from jknas.command_line.errors import interruptible
from jknas.command_line.output import Bars, print_json, show, table, write_json_file
from jknas.command_line.runs import TrainingRun, expanded
from jknas.errors import CommandError


@expanded
def command(
    run: TrainingRun,
    *,
    arch: Annotated[str, typer.Option("--arch", help="architecture string, index ('#1462') or name (resnet)")],
    out: Annotated[Path, typer.Option("--out", help="folder for result.json, weights.msgpack and the checkpoint")],
    recipe: options.Recipe = None,
    data: options.Data = "digits",
    epochs: Annotated[int | None, typer.Option("--epochs", help="epochs of training; the recipe's by default")] = None,
    auxiliary: options.Auxiliary = None,
    cutout: options.Cutout = None,
    drop_path: options.DropPath = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint in --out")] = False,
) -> None:
    """Train one cell; write DIR/result.json with its curves, and DIR/weights.msgpack. Test accuracy is that of the last epoch."""
    space = run.begin()
    from jknas.networks.network import facts_of
    from jknas.scoring.environment import device, versions
    from jknas.training import evaluate, preset, save_weights, train
    from jknas.training.prediction import f1_score, predict

    genotype = options.architecture(space, arch)
    plan = run.recipe(space, data, recipe, epochs=epochs, cutout=cutout, drop_path=drop_path)
    if auxiliary is not None:
        weight = (plan.auxiliary_weight or preset("darts").auxiliary_weight) if auxiliary else 0.0
        plan = run.changed(plan, auxiliary_weight=weight)
    scheme, dataset = run.scheme(), run.load(data, plan)
    network = run.network(space, dataset, plan)
    place = options.made_folder(out)
    if (place / "result.json").exists() and not resume:
        raise CommandError(f"{place} already holds a result: give another folder with --out, or --resume.")
    with interruptible("go on with the same command and --resume."), Bars(quiet=run.json) as bars:
        bars.note("compiling the training program")
        bars.update("train", 0, plan.epochs)
        training = train(
            network,
            genotype,
            dataset,
            recipe=plan,
            seed=run.seed,
            scheme=scheme,
            wiring="static",
            checkpoint=place / "checkpoint",
            resume=resume,
            on_epoch=lambda record: bars.update("train", record.epoch + 1, plan.epochs),
        )
        weights = save_weights(place, network, genotype, training.variables, space=space.name, dataset=dataset)
        test = evaluate(network, training.variables, genotype, dataset, "test", precision=plan.precision)
        more = {}
        if dataset.has_f1:
            for split in ("validation", "test"):
                predicted = predict(network, training.variables, genotype, dataset, split)
                more[f"{split}_f1"] = f1_score(dataset.split(split)[1], predicted)
    result: dict[str, Any] = {
        **training.as_dict(),
        "validation_accuracy": training.final["validation"].accuracy,
        "test_accuracy": test.accuracy,
        **more,
        "space": run.space,
        "dataset": {"name": dataset.name, "source": dataset.source, "digest": dataset.digest},
        "network": {**facts_of(network), "resolution": dataset.resolution, "init": scheme},
        "seconds": training.run_seconds + training.compile_seconds,
        "device": device(),
        "versions": versions(),
    }
    write_json_file(place / "result.json", result)
    if run.json:
        print_json(result)
        return
    rows = {
        "genotype": result["genotype"],
        "status": result["status"],
        "validation accuracy": f"{result['validation_accuracy']:.4f}",
        "test accuracy": f"{result['test_accuracy']:.4f}",
        **{name.replace("_f1", " F1"): f"{value:.4f}" for name, value in more.items()},
        "seconds": f"{training.compile_seconds:.1f} compiling, {training.run_seconds:.1f} training",
        "result": place / "result.json",
        "weights": weights,
    }
    show(table(f"{plan.epochs} epochs on {dataset.name}", rows))
