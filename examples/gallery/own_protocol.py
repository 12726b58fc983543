"""A protocol of your own in a table and a product, judged by the kit; and one with a defect.

`Mine` is replicated 3PC. `Unmasked` forgets the fresh sharing of zero that hides a product from the
server that gets it, a defect of a released system: it computes correctly, so that only a look at
the messages finds it. A row of the picture is one check.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from wwfl_core import MPCBackend, SharingSemantics
from wwfl_core.sharing import Share
from wwfl_core.testing import conformance


class Mine(MPCBackend):
    """z_i = x_i y_i + x_i y_j + x_j y_i + (a fresh sharing of zero), with j = i + 1."""

    name = "mine"
    sharing = SharingSemantics(
        "mine", 3, (frozenset({2, 0}), frozenset({0, 1}), frozenset({1, 2})), (1, 1, 1)
    )

    def bilinear(self, f, x, y, truncate=0):
        op, A, i, j = self.party.op(f.name), x.algebra, self.me, (self.me + 1) % 3
        z = f.apply(A, [(x.parts[i], A.add(y.parts[i], y.parts[j])), (x.parts[j], y.parts[i])])
        z = self.mask(op, A, z, i, j)
        op.send((i + 2) % 3, z)
        z = Share(A, z.shape, {i: z, j: op.recv(j, A.dtype, z.shape)})
        return self.truncate(z, truncate) if truncate else z

    def mask(self, op, A, z, i, j):
        a, b = (op.random(self.sharing.holders[c], "zero", A, z.shape) for c in (i, j))
        return A.add(z, A.sub(a, b))


class Unmasked(Mine):
    def mask(self, op, A, z, i, j):
        return z


def main(quick: bool = False) -> Figure:
    reports = {
        kind.__name__: conformance(kind, only="views/" if quick else "")
        for kind in (Mine, Unmasked)
    }
    names = [verdict.name for verdict in reports["Mine"]]
    colours = {True: "#5a5", False: "#c33", None: "#ccc"}

    figure = Figure(figsize=(5, 0.6 + 0.13 * len(names)), layout="constrained")
    axes = figure.subplots()
    for column, (kind, report) in enumerate(reports.items()):
        failed = [verdict for verdict in report if verdict.passed is False]
        print(f"{kind}: {len(names)} checks, {len(failed)} failed")
        for verdict in failed:
            print(f"  {verdict.name}: {verdict.detail[:110]}")
        axes.scatter(
            [column] * len(names),
            range(len(names)),
            marker="s",
            s=40,
            c=[colours[report[name].passed] for name in names],
        )
    axes.set_xticks([0, 1], list(reports))
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set(xlim=(-0.5, 1.5), title="passed (green), failed (red), not promised (grey)")
    axes.title.set_fontsize(8)
    axes.invert_yaxis()
    return figure


if __name__ == "__main__":
    main("--quick" in sys.argv).savefig(f"{Path(__file__).stem}.svg")
