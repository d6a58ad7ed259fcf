"""What `validate` may find in a submission: the rules, and one line for each breach."""

from typing import NamedTuple

LEVELS = ("error", "warning", "note")
SHOWN = 3  # findings of a rule that are told one by one


class Finding(NamedTuple):
    """One breach of a rule."""

    level: str  # "error": Kaggle refuses the file, or may refuse it; "warning": costs score; "note": harmless
    row: int  # of the file, the header being 1; 0 for the whole file
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level} {f'row {self.row}' if self.row else 'file'}: {self.what}; {self.remedy}"


ENCODE = "encode masks with hpa_utils.masks.encode_mask, bool (height, width)"
DIGITS = "write all digits, never round; float32 has few next to 1: average several models or views there"
RULES = {  # rule → level, remedy
    # the file
    "file name": ("note", "copy it there with publish_submission before it is sent"),
    "file size": ("error", "leave out masks, or the classes of hopeless confidence"),
    "packed file": ("error", "unpack it: plain CSV is wanted"),
    "text encoding": ("error", "write plain ASCII or UTF-8"),
    "byte order mark": ("error", "write UTF-8 without a mark: encoding='utf-8', not 'utf-8-sig'"),
    "line ends": ("note", "end lines with \\n alone: lineterminator='\\n'"),
    "CSV syntax": ("error", "write the file with csv.writer or DataFrame.to_csv(index=False)"),
    "no rows": ("error", "write the header and one row a field"),
    # header and rows
    "columns": ("error", "write exactly ID,ImageWidth,ImageHeight,PredictionString: to_csv(index=False)"),
    "column order": ("note", "Kaggle goes by the names; the sample's order is safer"),
    "number of values": ("error", "write one value a column, predictions separated by spaces, not commas"),
    "blank line": ("note", "remove it"),
    "ID": ("error", "write the field's ID as the sample has it"),
    "repeated field": ("error", "write one row a field, all its cells in one prediction"),
    "unknown field": ("error", "remove the row, or correct the ID"),
    "missing field": ("error", "add its row, with its whole area as 18 0.00001 if need be"),
    "row order": ("note", "Kaggle goes by the IDs; nothing need be done"),
    "size": ("error", "write the field's width and height in px, as whole numbers"),
    "size swapped": ("warning", "swap ImageWidth and ImageHeight, and see that masks are bool (height, width)"),
    "size of the sample": ("warning", "write the field's own size, and encode its masks at that size"),
    # predictions
    "empty prediction": ("warning", "it can hit nothing: predict its cells, or its whole area as 18 0.00001"),
    "separators": ("error", "separate words by one space; base64.b64encode breaks no lines, encodebytes does"),
    "spaces": ("note", "separate words by one space, with none at the ends"),
    "number of words": ("error", "write label confidence mask for each cell and class, separated by spaces"),
    "label": ("error", "write the class number 0…18, without point or sign"),
    "confidence": ("error", "write a plain number in [0, 1]"),
    "damaged mask": ("error", ENCODE + "; text that begins with b' lacks .decode('ascii')"),
    "size of a mask": ("error", ENCODE + " at the field's full size"),
    "empty mask": ("warning", "leave the cell out, or correct its mask: one without pixels finds nothing"),
    "same mask and class": ("warning", "keep one: the second hit on a cell is a false positive"),
    "overlap": ("warning", "keep one: cells do not overlap, so at most one of the two can be right"),
    "slight overlap": ("note", "true cells do not overlap: give each pixel to one cell"),
    # the predictions of the whole file
    "unfinished": ("warning", "let 05_inference finish, or see why it found no cells there"),
    "class never predicted": ("warning", "predict every class for every cell: the AP of such a class is 0"),
    "equal confidences": ("warning", "write the probabilities: equal ones are ranked at random"),
    "ties": ("warning", DIGITS),
    "few ties": ("note", DIGITS),
}


class Findings:
    """Collects breaches: the first few of each rule in words, of the others only the rows."""

    def __init__(self):
        self._found: dict[str, list[list]] = {}  # rule → [row, what, times in that row]

    def add(self, rule: str, row: int, what: str) -> None:
        """Note a breach of a rule of `RULES`. Several in one row become one finding."""
        found = self._found.setdefault(rule, [])
        if row and found and found[-1][0] == row:
            found[-1][2] += 1
        else:
            found.append([row, what if len(found) < SHOWN else "", 1])

    def listed(self) -> list[Finding]:
        """Errors first, then warnings, then notes; each rule's findings together, in the order they were made."""
        findings = []
        for rule, found in self._found.items():
            level, remedy = RULES[rule]
            for row, what, times in found[:SHOWN]:
                again = f" ({times} times in this row)" if times > 1 else ""
                findings.append(Finding(level, row, what + again, remedy))
            if len(found) > SHOWN:
                rows = "rows" if found[0][0] else "findings"
                findings.append(Finding(level, 0, f"and {len(found) - SHOWN:,} more {rows} like this ({rule})", remedy))
        return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
