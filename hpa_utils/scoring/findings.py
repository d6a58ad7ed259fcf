"""What a check of a submission may find: the rules, and one line for each breach."""

from dataclasses import dataclass

LEVELS = ("error", "loss", "note")
SHOWN = 3  # findings of a rule that are told one by one


@dataclass(frozen=True)
class Finding:
    """One breach of a rule.

    Attributes
    ----------
    level : str
        "error": Kaggle refuses the file, or is not known to accept it; "loss": costs score; "note".
    row : int
        Row of the file, the header being 1; 0 for the whole file.
    what, mend : str
        What is wrong, and how to mend it.
    """

    level: str
    row: int
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.level:5s} {f'row {self.row}' if self.row else 'file'}: {self.what}; {self.mend}"


@dataclass(frozen=True)
class Rule:
    level: str
    mend: str


ENCODE = "encode masks with hpa_utils.masks.encode_mask, bool (height, width)"
DIGITS = "write all digits, never round; next to 1 float32 itself has few: calibrate scores that crowd there"
RULES = {
    # the file
    "file name": Rule("note", "copy it there with publish_submission before it is sent"),
    "file size": Rule("error", "leave out masks, or the classes of hopeless confidence"),
    "packed file": Rule("error", "unpack it: plain CSV is wanted"),
    "text encoding": Rule("error", "write plain ASCII or UTF-8"),
    "byte order mark": Rule("error", "write UTF-8 without a mark: encoding='utf-8', not 'utf-8-sig'"),
    "line ends": Rule("note", "end lines with \\n alone: lineterminator='\\n'"),
    "CSV syntax": Rule("error", "write the file with csv.writer or DataFrame.to_csv(index=False)"),
    "no rows": Rule("error", "write the header and one row a field"),
    # header and rows
    "columns": Rule("error", "write exactly ID,ImageWidth,ImageHeight,PredictionString: to_csv(index=False)"),
    "column order": Rule("note", "Kaggle goes by the names; the sample's order is safer"),
    "number of values": Rule("error", "write one value a column, predictions separated by spaces, not commas"),
    "blank line": Rule("note", "remove it"),
    "ID": Rule("error", "write the field's ID as the sample has it"),
    "repeated field": Rule("error", "write one row a field, all its cells in one prediction"),
    "unknown field": Rule("error", "remove the row, or mend the ID"),
    "missing field": Rule("error", "add its row, with its whole area as 18 0.00001 if need be"),
    "row order": Rule("note", "Kaggle goes by the IDs; nothing need be done"),
    "size": Rule("error", "write the field's width and height in px, as whole numbers"),
    "size swapped": Rule("loss", "swap ImageWidth and ImageHeight, and see that masks are bool (height, width)"),
    "size of the sample": Rule("loss", "write the field's own size, and encode its masks at that size"),
    # predictions
    "empty prediction": Rule("loss", "it can hit nothing: predict its cells, or its whole area as 18 0.00001"),
    "separators": Rule("error", "separate words by one space; base64.b64encode breaks no lines, encodebytes does"),
    "spaces": Rule("note", "separate words by one space, with none at the ends"),
    "number of words": Rule("error", "write label confidence mask for each cell and class, separated by spaces"),
    "label": Rule("error", "write the class number 0…18, without point or sign"),
    "confidence": Rule("error", "write a plain number in [0, 1]"),
    "damaged mask": Rule("error", ENCODE + "; text that begins with b' lacks .decode('ascii')"),
    "size of a mask": Rule("error", ENCODE + " at the field's full size"),
    "empty mask": Rule("loss", "leave the cell out, or mend its mask: one without pixels finds nothing"),
    "same mask and class": Rule("loss", "keep one: the second hit on a cell is a false positive"),
    "overlap": Rule("loss", "keep one: cells do not overlap, so at most one of the two can be right"),
    "slight overlap": Rule("note", "true cells do not overlap: give each pixel to one cell"),
    # the predictions of the whole file
    "unfinished": Rule("loss", "let 05_inference finish, or see why it found no cells there"),
    "class never predicted": Rule("loss", "predict every class for every cell: the AP of such a class is 0"),
    "equal confidences": Rule("loss", "write the probabilities: equal ones are ranked at random"),
    "ties": Rule("loss", DIGITS),
    "few ties": Rule("note", DIGITS),
}


class Findings:
    """Collects breaches in bounded memory: the first few of each rule, and the number of the others."""

    def __init__(self):
        self._first: dict[str, list[list]] = {}  # rule → [row, what, times in that row]
        self._others: dict[str, int] = {}
        self._last_row: dict[str, int] = {}

    def add(self, rule: str, row: int, what: str) -> None:
        """Note a breach of a rule of `RULES`. Several in one row become one finding."""
        first = self._first.setdefault(rule, [])
        again = row > 0 and self._last_row.get(rule) == row
        self._last_row[rule] = row
        if again:
            if not self._others.get(rule):
                first[-1][2] += 1
        elif len(first) < SHOWN:
            first.append([row, what, 1])
        else:
            self._others[rule] = self._others.get(rule, 0) + 1

    def listed(self) -> list[Finding]:
        """Errors first, then losses, then notes; each rule's findings together, in the order they were made."""
        findings = []
        for rule, first in sorted(self._first.items(), key=lambda item: LEVELS.index(RULES[item[0]].level)):
            level, mend = RULES[rule].level, RULES[rule].mend
            for row, what, times in first:
                again = f" ({times} times in this row)" if times > 1 else ""
                findings.append(Finding(level, row, what + again, mend))
            if rule in self._others:
                rows = "rows" if first[-1][0] else "findings"
                findings.append(Finding(level, 0, f"and {self._others[rule]:,} more {rows} like this ({rule})", mend))
        return findings
