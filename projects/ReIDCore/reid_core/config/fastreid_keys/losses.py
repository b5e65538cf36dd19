"""Keys of FastReID: MODEL.LOSSES."""

from functools import partial

from ..declaration import existing
from ..values import FLAG, PROBABILITY, Allowed, number, registered, sequence

# Losses of FastReID's meta-architectures. A project whose meta-architecture has others adds theirs.
NAMES = ["CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface"]
LOSSES = sequence(
    registered("the name of a loss", lambda: NAMES),
    text=f"a list of losses, of {', '.join(NAMES)}, and at least one",
    least=1,
)
EPSILON = Allowed(
    "a number from 0 to 1, or -1 for an adaptive one",
    lambda value: PROBABILITY.holds(value) or value == -1,
)

loss = partial(existing, training=True)

KEYS = (
    loss("MODEL.LOSSES.NAME", LOSSES, "Losses of which the sum is trained"),
    loss("MODEL.LOSSES.CE.EPSILON", EPSILON, "Label smoothing of CrossEntropyLoss"),
    loss("MODEL.LOSSES.CE.ALPHA", PROBABILITY, "Strength of adaptive smoothing"),
    loss("MODEL.LOSSES.CE.SCALE", number(0), "Weight of CrossEntropyLoss"),
    loss("MODEL.LOSSES.TRI.MARGIN", number(0), "Margin of TripletLoss; 0 is the soft margin"),
    loss("MODEL.LOSSES.TRI.NORM_FEAT", FLAG, "Cosine instead of Euclidean distances"),
    loss("MODEL.LOSSES.TRI.HARD_MINING", FLAG, "Hardest pairs instead of weighted ones"),
    loss("MODEL.LOSSES.TRI.SCALE", number(0), "Weight of TripletLoss"),
    loss("MODEL.LOSSES.CIRCLE.MARGIN", number(0), "Margin of CircleLoss"),
    loss("MODEL.LOSSES.CIRCLE.GAMMA", number(above=0), "Scale of CircleLoss' similarities"),
    loss("MODEL.LOSSES.CIRCLE.SCALE", number(0), "Weight of CircleLoss"),
    loss("MODEL.LOSSES.COSFACE.MARGIN", number(0), "Margin of Cosface"),
    loss("MODEL.LOSSES.COSFACE.GAMMA", number(above=0), "Scale of Cosface's similarities"),
    loss("MODEL.LOSSES.COSFACE.SCALE", number(0), "Weight of Cosface"),
)
