"""An ensemble in MPC (as in SafeNet): every client keeps training a model of its own, and
predictions are votes."""

from wwfl import SGD, Ensemble, Federation, LocalTrainers, Replicated3PC, Schedule, datasets
from wwfl.nn import mlp


def main(rounds: int = 3, clients: int = 3, samples: int = 100) -> float:
    train, test = datasets.mnist()
    schedule = Schedule(
        samples_per_client=samples, clients_per_round=clients, batch=10, sgd=SGD(0.1)
    )
    owners = [LocalTrainers(clients)]
    with Federation(
        mlp(1024, [16], 10), Replicated3PC(), owners, Ensemble(), schedule=schedule, insecure_seed=1
    ) as fed:
        fed.fit(train, rounds=rounds)
        return fed.evaluate(test[:200])


if __name__ == "__main__":
    print(f"{main():.1%} of 200 digits right")
