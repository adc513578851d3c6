"""What a number may be: types that state their range, which a reader of JSON checks."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Fraction = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Loss = Annotated[float, Meta(ge=0)]  # nats per image
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
LearningRate = Annotated[float, Meta(gt=0)]
