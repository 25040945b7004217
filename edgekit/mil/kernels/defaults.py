"""MIL's default values, as the tensors that a program would have passed."""

from __future__ import annotations

import torch

ZERO = torch.tensor(0)
ONE = torch.tensor(1)
MINUS_ONE = torch.tensor(-1)
HALF = torch.tensor(0.5)
TRUE = torch.tensor(True)
FALSE = torch.tensor(False)
