"""Federated learning at one server, which sees every client's model (McMahan et al.,
AISTATS'17)."""

from wwfl import SGD, Federation, LocalTrainers, Plain, Schedule, datasets
from wwfl.nn import mlp


def main(rounds: int = 5, clients: int = 10, samples: int = 100) -> float:
    train, test = datasets.mnist()
    schedule = Schedule(
        samples_per_client=samples, clients_per_round=clients // 2, batch=10, sgd=SGD(0.1)
    )
    trainers = LocalTrainers(clients)
    with Federation(
        mlp(1024, [16], 10), Plain(), [trainers], schedule=schedule, insecure_seed=1
    ) as fed:
        fed.fit(train, rounds=rounds)
        return fed.evaluate(test[:200])


if __name__ == "__main__":
    print(f"{main():.1%} of 200 digits right")
