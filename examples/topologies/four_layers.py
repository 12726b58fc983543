"""Four layers: clients, clusters that train, countries that combine their clusters, and global
servers."""

from wwfl import SGD, Additive2PC, Cluster, Federation, Group, Replicated3PC, Schedule, datasets
from wwfl.nn import mlp


def main(rounds: int = 5, clients: int = 4, samples: int = 100) -> float:
    train, test = datasets.mnist()
    schedule = Schedule(
        samples_per_client=samples, clients_per_round=clients // 2, batch=20, sgd=SGD(0.1)
    )
    north = Group(
        Replicated3PC(),
        [Cluster(Replicated3PC(), clients), Cluster(Additive2PC(), clients)],
        name="north",
    )
    south = Group(Additive2PC(), [Cluster(Additive2PC(), clients)], name="south")
    with Federation(
        mlp(1024, [16], 10), Additive2PC(), [north, south], schedule=schedule, insecure_seed=1
    ) as fed:
        fed.fit(train, rounds=rounds)
        return fed.evaluate(test[:200])


if __name__ == "__main__":
    print(f"{main():.1%} of 200 digits right")
