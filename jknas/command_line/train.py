"""``jknas train``: train one cell."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jknas.command_line import options
from jknas.command_line.errors import interruptible
from jknas.command_line.output import Bars, print_json, show, table, write_json_file
from jknas.errors import CommandError


def command(
    *,
    arch: Annotated[str, typer.Option("--arch", help="architecture string, index ('#1462') or name (resnet)")],
    out: Annotated[Path, typer.Option("--out", help="folder for result.json, weights.msgpack and the checkpoint")],
    space: options.Space = "nasbench201",
    recipe: options.Recipe = None,
    data: options.Data = "digits",
    folder: options.Folder = None,
    resolution: options.Resolution = None,
    limit: options.Limit = None,
    channels: options.Channels = 16,
    cells: options.Cells = None,
    init: options.Init = "pytorch",
    epochs: Annotated[int | None, typer.Option("--epochs", help="epochs of training; the recipe's by default")] = None,
    train_batch: options.TrainBatch = None,
    learning_rate: options.LearningRate = None,
    weight_decay: options.WeightDecay = None,
    auxiliary: options.Auxiliary = None,
    cutout: options.Cutout = None,
    drop_path: options.DropPath = None,
    precision: options.Precision = "float32",
    seed: options.Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint in --out")] = False,
    compile_cache: options.CompileCache = None,
    json: options.Json = False,
) -> None:
    """Train one cell; write DIR/result.json with its curves, and DIR/weights.msgpack. Test accuracy is that of the last epoch."""
    options.use_compile_cache(compile_cache)
    from jknas import spaces
    from jknas.scoring.environment import device, versions
    from jknas.training import evaluate, save_weights, with_auxiliary
    from jknas.training import train as run_training

    chosen = spaces.get(space)
    genotype = options.architecture(chosen, arch)
    choice = options.DataChoice(data, folder, resolution, limit)
    plan = options.recipe_for(
        choice,
        options.recipe_name(chosen, recipe),
        epochs=epochs,
        train_batch=train_batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        precision=precision,
        auxiliary=auxiliary,
        cutout=cutout,
        drop_path=drop_path,
    )
    scheme = options.check_init(init)
    dataset = choice.load(plan)
    network = options.network_for(chosen, dataset, channels, cells)
    if plan.auxiliary_weight:
        network = with_auxiliary(network)
    place = options.output_folder(out)
    if (place / "result.json").exists() and not resume:
        raise CommandError(f"{place} already holds a result: give another folder with --out, or --resume.")
    with interruptible("go on with the same command and --resume."), Bars(quiet=json) as bars:
        bars.note("compiling the training program")
        bars.update("train", 0, plan.epochs)
        training = run_training(
            network,
            genotype,
            dataset,
            recipe=plan,
            seed=seed,
            scheme=scheme,
            wiring="static",
            checkpoint=place / "checkpoint",
            resume=resume,
            on_epoch=lambda record: bars.update("train", record.epoch + 1, plan.epochs),
        )
        test = evaluate(network, training.variables, genotype, dataset, "test", precision=plan.precision)
    result: dict[str, Any] = {
        **training.as_dict(),
        "validation_accuracy": training.final["validation"].accuracy,
        "test_accuracy": test.accuracy,
        "space": space,
        "dataset": {"name": dataset.name, "source": dataset.source, "digest": dataset.digest},
        "network": {
            "channels": channels,
            "cells": network.cells,
            "classes": network.classes,
            "resolution": dataset.resolution,
            "init": init,
        },
        "seconds": training.run_seconds + training.compile_seconds,
        "device": device(),
        "versions": versions(),
    }
    weights = save_weights(place, network, genotype, training.variables, space=space, dataset=dataset)
    write_json_file(place / "result.json", result)
    if json:
        print_json(result)
        return
    rows = {
        "genotype": result["genotype"],
        "status": result["status"],
        "validation accuracy": f"{result['validation_accuracy']:.4f}",
        "test accuracy": f"{result['test_accuracy']:.4f}",
        "seconds": f"{training.compile_seconds:.1f} compiling, {training.run_seconds:.1f} training",
        "result": place / "result.json",
        "weights": weights,
    }
    show(table(f"{plan.epochs} epochs on {dataset.name}", rows))
