"""WW-FL beside privileged clients, who may see the model, train on data that never leaves them, and
share updates."""

from wwfl import (
    SGD,
    Additive2PC,
    Cluster,
    Federation,
    LocalTrainers,
    Replicated3PC,
    Schedule,
    datasets,
)
from wwfl.nn import mlp


def main(rounds: int = 5, clients: int = 4, samples: int = 100) -> float:
    train, test = datasets.mnist()
    schedule = Schedule(
        samples_per_client=samples, clients_per_round=clients // 2, batch=20, sgd=SGD(0.1)
    )
    members = [Cluster(Replicated3PC(), clients), LocalTrainers(clients, name="hospitals")]
    with Federation(
        mlp(1024, [16], 10), Additive2PC(), members, schedule=schedule, insecure_seed=1
    ) as fed:
        print(f"the model is protected against: {fed.guarantee}")
        fed.fit(train, rounds=rounds)
        return fed.evaluate(test[:200])


if __name__ == "__main__":
    print(f"{main():.1%} of 200 digits right")
