"""WW-FL: clients share data with clusters of different protocols, which train it privately; nobody
sees a model."""

from wwfl import SGD, Additive2PC, Cluster, Federation, Replicated3PC, Schedule, datasets
from wwfl.nn import mlp


def main(rounds: int = 5, clients: int = 4, samples: int = 100) -> float:
    train, test = datasets.mnist()
    schedule = Schedule(
        samples_per_client=samples, clients_per_round=clients // 2, batch=20, sgd=SGD(0.1)
    )
    clusters = [Cluster(Replicated3PC(), clients), Cluster(Additive2PC(), clients)]
    with Federation(
        mlp(1024, [16], 10), Additive2PC(), clusters, schedule=schedule, insecure_seed=1
    ) as fed:
        fed.fit(train, rounds=rounds)
        return fed.evaluate(test[:200])


if __name__ == "__main__":
    print(f"{main():.1%} of 200 digits right")
