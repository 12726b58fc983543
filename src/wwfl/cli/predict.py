"""`wwfl predict`: the model of a run answers, on shares."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wwfl.data import read_image
from wwfl.experiments import RunFolder, use_run
from wwfl_core.errors import ConfigError

from .options import Json, console_beside, write_json


def predict(
    run: Annotated[str, typer.Argument(help="A run's folder.")],
    image: Annotated[
        str | None, typer.Option(help="A picture (grey levels, light on dark) or a .npy array.")
    ] = None,
    index: Annotated[int | None, typer.Option(help="An image of the run's test set.")] = None,
    json: Json = None,
) -> dict[str, Any]:
    """Classify an image with a run's model, on shares; the asking client alone learns the label."""
    # This process is the client and runs the servers, too: it shows the protocol and hides nothing
    # from itself.
    console = console_beside(json)
    if (image is None) == (index is None):
        raise ConfigError("say either --image FILE or --index N (of the test set)")
    kept = RunFolder.open(run)
    with use_run(kept) as (federation, data):
        test, truth = data.test, None
        if image is not None:
            pixels = read_image(image, test, pool=kept.config.data.pool)
        else:
            assert index is not None
            if not 0 <= index < len(test):
                raise ConfigError(f"--index {index}: the test set has images 0..{len(test) - 1}")
            pixels, truth = test.images[index : index + 1], int(test.labels[index])
        label = int(federation.predict(pixels)[0])
        after = len(federation.history)
    result = {
        "run": run,
        "rounds": after,
        "image": image,
        "index": index,
        "label": label,
        "truth": truth,
    }
    known = "" if truth is None else f" (the test set says {truth})"
    console.print(f"label {label}{known}, by the model of {after} rounds")
    if kept.config.federation.engine == "mpc":
        console.print(
            "asked on shares: the servers learnt neither the image nor the label, the client only "
            "the label"
        )
    else:
        console.print(
            f"engine {kept.config.federation.engine} computes in the clear: nothing was hidden"
        )
    write_json(result, json)
    return result
