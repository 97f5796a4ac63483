"""The parts of a detector that may be built alone: the sender's backbone, the receiver's heads."""

WHOLE, BACKBONE, HEADS = PARTS = ("whole", "backbone", "heads")
