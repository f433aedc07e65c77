"""The lists of deliberate differences: tables in differences.md and differences-3.8.md.

A row is `| id | case | step | one answer | other answer | reason |`; case, step and the answers are patterns in which `*` stands for
anything. A mismatch is declared when one row fits all four. Which side gave which answer does not matter to the match (the head of
each table says it), so the same list serves both directions.
"""

import re


class Declared:
    """The rows that apply to a pair of targets, and which of them were needed."""

    def __init__(self, directory, reference, candidate):
        pair = {reference, candidate}
        self.rows, self.needed, self.expected = [], set(), set()
        if "ringkeeper" in pair:
            self._load(directory / "differences.md", pair == {"apache39", "ringkeeper"})
        if "apache38" in pair and pair != {"apache38"}:
            self._load(directory / "differences-3.8.md", pair == {"apache39", "apache38"})

    def _load(self, path, complete):
        for line in path.read_text().splitlines():
            cells = [cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) == 6 and re.fullmatch(r"D(38)?-\d+", cells[0]):
                self.rows.append((cells[0], *(_pattern(cell.replace("\\|", "|")) for cell in cells[1:5])))
                if complete:
                    self.expected.add(cells[0])

    def covers(self, mismatch):
        """Whether a row declares this (case, step, answer, answer)."""
        hit = False
        for identifier, case, step, one, other in self.rows:
            a, b = mismatch[2], mismatch[3]
            fits = (one(a) and other(b)) or (one(b) and other(a))
            if fits and case(mismatch[0]) and step(mismatch[1]):
                self.needed.add(identifier)
                hit = True
        return hit

    def unseen(self):
        return sorted(self.expected - self.needed)

    def seen_count(self):
        return len(self.needed)


def _pattern(text):
    compiled = re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)
    return lambda value: compiled.fullmatch(value) is not None
