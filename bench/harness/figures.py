# SPDX-License-Identifier: Apache-2.0
"""Rows of figures, one kind for all benches. What counts is the ratio to something that
was measured in the same round; a table shows its median, and the least and the greatest."""
import dataclasses
import statistics

HEADS = ("what", "against", "ours", "theirs", "ratio (least-most)", "to reach", "reached",
         "CPU µs, ours", "theirs", "p50 / p99 ms", "MiB")


@dataclasses.dataclass
class Row:
    what: str
    ours: list                     # one value a round
    unit: str = "/s"
    against: str = ""
    theirs: list = dataclasses.field(default_factory=list)
    goals: tuple = ()              # of the ratio, or of `ours` where there is nothing against
    less: bool = False             # a goal is the most, not the least
    cpu: list = dataclasses.field(default_factory=list)
    their_cpu: list = dataclasses.field(default_factory=list)
    p50: list = dataclasses.field(default_factory=list)
    p99: list = dataclasses.field(default_factory=list)
    memory: list = dataclasses.field(default_factory=list)

    def ratios(self):
        return [a / b for a, b in zip(self.ours, self.theirs) if b]

    def judged(self):
        values = self.ratios() if self.theirs else self.ours
        return statistics.median(values) if values else None

    def reached(self):
        value = self.judged()
        if value is None:
            return ""
        said = ["yes" if (value <= g if self.less else value >= g) else "no" for g in self.goals]
        return said[0] if len(set(said)) == 1 else ", ".join(f"{number(g)} {s}" for g, s in zip(self.goals, said))

    def cells(self):
        ratios = self.ratios()
        spread = f" ({number(min(ratios))}-{number(max(ratios))})" if len(ratios) > 1 else ""
        sign = "≤" if self.less else "≥"
        return (self.what, self.against, median(self.ours, self.unit), median(self.theirs, self.unit),
                number(statistics.median(ratios)) + spread if ratios else "",
                f"{sign} {', then '.join(number(g) for g in self.goals)}"
                + ("" if self.theirs or not self.goals else f" {self.unit}") if self.goals else "",
                self.reached(), median(self.cpu), median(self.their_cpu),
                f"{median(self.p50)} / {median(self.p99)}" if self.p50 else "", median(self.memory))


def number(x):
    if x >= 100 or x == int(x):
        return f"{x:,.0f}"
    return f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def median(values, unit=""):
    if not values:
        return ""
    return number(statistics.median(values)) + (unit if unit.startswith("/") else f" {unit}" if unit else "")


def table(rows):
    """A Markdown table, of the columns that say something, aligned so that it reads well in a terminal."""
    lines = [HEADS] + [r.cells() for r in rows]
    used = [i for i in range(len(HEADS)) if any(line[i] for line in lines[1:])]
    widths = [max(len(line[i]) for line in lines) for i in used]
    text = ["| " + " | ".join(line[i].ljust(w) for i, w in zip(used, widths)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(text)
