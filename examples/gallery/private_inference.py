"""A client asks a model that it does not see about images that nobody else sees.

The servers hold shares of a trained model. The client shares its images with them, they classify on
shares, and the client alone learns the labels: the ledger of the servers has no such opening. A
rate limit bounds what a client can learn about the model by asking.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from wwfl import (
    MLP,
    SGD,
    Cluster,
    Federation,
    InferenceService,
    RateLimit,
    Replicated3PC,
    Schedule,
    WwflError,
    datasets,
)


def main(quick: bool = False) -> Figure:
    train, test = datasets.mnist()
    schedule = Schedule(
        samples_per_client=100,
        clients_per_round=4,
        epochs=1 if quick else 4,
        batch=20,
        sgd=SGD(0.1),
    )
    with Federation(
        MLP(1024, [16 if quick else 32], 10),
        Replicated3PC(),
        [Cluster(Replicated3PC(), clients=4)],
        schedule=schedule,
        insecure_seed=1,
    ) as fed:
        fed.fit(train, rounds=1 if quick else 3)

        service = InferenceService(fed, limits=RateLimit(burst=20, per_s=0.0))
        asked = test[:20]
        answer = service.ask("a client", asked.images)
        print(
            f"{(answer.values == asked.labels).sum()} of {len(asked)} labels are right; a question "
            f"sent {answer.cost.bytes_sent() / len(asked) / 1e3:.0f} kB"
        )
        try:
            service.ask("a client", asked.images)
        except WwflError as refusal:
            print("asked again:", refusal)
        print("the service noted:", [(q.client, q.images, q.refused_by) for q in service.queries])

    figure = Figure(figsize=(7, 2.4), layout="constrained")
    for axes, image, label, true in zip(
        figure.subplots(2, 10).flat, asked.images, answer.values, asked.labels, strict=True
    ):
        axes.imshow(image[0], cmap="gray_r")
        axes.set_title(f"{label}", color="#292" if label == true else "#c33", fontsize=10)
        axes.axis("off")
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
