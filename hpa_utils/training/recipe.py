"""Everything that decides what is trained, in one frozen object that is saved with the model."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hpa_utils.manifest import configure
from hpa_utils.model import AugmentationConfig, ModelConfig
from hpa_utils.training.devices import PRECISIONS
from hpa_utils.training.losses import LOSSES
from hpa_utils.training.soft_labels import SoftLabelConfig


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes
    ----------
    cells_per_bag, bags_per_batch : int
        Cells drawn from a field in a step, fields in a step on all devices together. Cells of one field are much
        alike: few cells of many fields teach more than many of few (docs/weak_labels.md).
    head_epochs, epochs : int
        Passes over the fields with the backbone frozen, then with its last blocks trained.
    head_rate, rate : float
        Peak learning rates of the two phases: a tenth of it at the start, a cosine to a hundredth at the end.
    warm_up : float
        Share of a phase's steps in which the rate rises.
    unfrozen : float
        Share (0…1) of the backbone's blocks trained in the second phase.
    loss : {"bce", "focal", "asymmetric"}
        Of cells and fields (`LabelLoss`).
    cell_loss, field_loss : float
        Weights of the loss of the cells, on labels inherited or soft, and of the field's pooled logits.
    weight_decay, clip : float
        AdamW's, and the largest norm of all gradients together (0: any).
    ema : float
        Momentum of the moving average of the weights that is validated and kept; 0: the weights themselves.
    patience : int
        Epochs without a better validation score after which a phase ends with the best epoch's weights; 0: never.
    rounds : int
        1: cells inherit their field's labels; each further round trains anew on soft labels made from the
        out-of-fold scores of the one before, the last of several on all fields (`fit_rounds`).
    labels : str
        Path of soft labels, made earlier or edited (`write_soft_labels`), that the first round learns; empty: those
        inherited from the fields.
    samples : str
        Path of a CSV ``ID,sample``: fields of one sample go to one fold; empty: only near-duplicates do.
    rare_cap : float
        Fields with a rare set of labels are drawn up to so many times as often as those with the commonest; 1: all
        alike.
    spindles : int
        Cells of a field labelled 11 (mitotic spindle), most alike to one, that are always drawn and keep the label;
        0: none.
    graded : bool
        Human grades of the data set's ``cell_scores.csv`` take the place of inherited and soft labels.
    precision : {"auto", "float32", "mixed_float16"}
    steps_per_execution : int
        Steps that TensorFlow runs without coming back to Python.
    save_minutes : float
        Time between two saves of the state from which training is resumed.
    find_rate : bool
        Whether the notebook first tries learning rates and shows the loss of each.
    folds, trained_folds : int
        Folds the fields are split into, and how many of them get a model of their own.
    seed : int
    """

    cells_per_bag: int = 1
    bags_per_batch: int = 32
    head_epochs: int = 8
    epochs: int = 120
    head_rate: float = 1e-3
    rate: float = 3e-4
    warm_up: float = 0.1
    unfrozen: float = 1.0
    loss: str = "bce"
    cell_loss: float = 1.0
    field_loss: float = 0.5
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.0
    patience: int = 0
    rounds: int = 1
    labels: str = ""
    samples: str = ""
    rare_cap: float = 1.0
    spindles: int = 0
    graded: bool = True
    precision: str = "auto"
    steps_per_execution: int = 1
    save_minutes: float = 10.0
    find_rate: bool = False
    folds: int = 5
    trained_folds: int = 1
    seed: int = 0

    def __post_init__(self):
        least = dict.fromkeys(("cells_per_bag", "bags_per_batch", "rounds", "folds", "trained_folds"), 1)
        least |= dict.fromkeys(("head_epochs", "epochs", "head_rate", "rate", "cell_loss", "field_loss"), 0)
        least |= dict.fromkeys(("weight_decay", "clip", "patience", "spindles", "save_minutes", "seed"), 0)
        least |= {"steps_per_execution": 1, "rare_cap": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"training.{name} is {getattr(self, name)}; expected {value} or more")
        for name in ("warm_up", "unfrozen"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"training.{name} is {getattr(self, name)}; expected a share 0…1")
        if not 0 <= self.ema < 1:
            raise ValueError(f"training.ema is {self.ema}; expected 0 (off) ≤ … < 1")
        for name, choices in (("loss", LOSSES), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"training.{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        if self.head_epochs + self.epochs < 1:
            raise ValueError("training.head_epochs and training.epochs are both 0: nothing to train")
        if self.trained_folds > self.folds:
            raise ValueError(f"training.trained_folds is {self.trained_folds}, more than the {self.folds} folds")
        if self.rounds > 1 and self.trained_folds < 2:
            raise ValueError(
                f"training.rounds is {self.rounds}, but soft labels come from out-of-fold scores: "
                "training.trained_folds must be 2 or more"
            )


@dataclass(frozen=True)
class Recipe:
    """The configuration of a training run, a section each."""

    model: ModelConfig = ModelConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainConfig = TrainConfig()
    soft_labels: SoftLabelConfig = SoftLabelConfig()

    def sections(self) -> dict:
        """As JSON values, a section each, for ``config.json``."""
        return dataclasses.asdict(self)


def configure_recipe(config: str | Path = "", **values) -> Recipe:
    """A recipe from single values, each of the section that knows its name, overridden by a JSON file.

    Raises
    ------
    FileNotFoundError, ValueError
        As `manifest.configure`.
    """
    sections = {}
    for section in dataclasses.fields(Recipe):
        cls = type(section.default)
        own = {field.name for field in dataclasses.fields(cls)}
        sections[section.name] = configure(cls, section.name, config, **{n: values[n] for n in values if n in own})
    return Recipe(**sections)
