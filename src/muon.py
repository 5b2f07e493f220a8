"""
Muon, the optimizer of pretraining by the recipe `recall` (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon).

AdamW scales each number of a gradient by itself. Muon treats a matrix as a whole: the update has
the directions of the averaged gradient, all equally strong. So what a few examples need, such as
where one person was born, counts as much as what all of them need.
"""

from collections.abc import Iterable

import torch

MOMENTUM = 0.95
# Jordan's: five iterations of this polynomial bring singular values from 0.01 to 1 near 1.
ITERATIONS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.AdamW):
    """
    Muon for the groups of parameters that have muon=True, matrices (m, n); AdamW for all others.

    A matrix's update is orthogonalize(the gradient, averaged by Nesterov's momentum), times
    0.2 √max(m, n): its numbers are then about as large as AdamW's, so that one learning rate suits
    both (Liu et al. 2025, https://arxiv.org/abs/2502.16982, section 2.2). `dtype`: of the matmuls
    in orthogonalize. `found_inf` is as with torch's fused AdamW: a tensor; where it is 1, the step
    changes nothing.
    """

    def __init__(self, params: Iterable[dict], dtype: torch.dtype, **settings):
        super().__init__(params, **settings)
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        finite = 1.0 - self.found_inf
        for group in self.param_groups:
            rate = group["lr"] * finite
            for matrix in group["params"] if group.get("muon") else ():
                if matrix.grad is None:  # as AdamW: the batch had no target
                    continue
                gradient = matrix.grad.nan_to_num(0.0, 0.0, 0.0)
                state = self.state[matrix]
                if not state:  # AdamW, which loads it, expects a step as well
                    state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(matrix)}
                average = state["momentum"]
                average.lerp_(gradient, (1 - MOMENTUM) * finite)
                update = orthogonalize(gradient.lerp(average, MOMENTUM), self.dtype)
                matrix.mul_(1 - rate * group["weight_decay"])
                matrix.sub_(update * (rate * 0.2 * max(matrix.shape) ** 0.5))
                matrix.grad = None  # AdamW leaves out what has no gradient
        super().step()


def orthogonalize(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """
    A matrix (m, n) with the singular vectors of this one, and singular values between about 0.7
    and 1.2, by a Newton-Schulz iteration in `dtype`.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if is_tall else matrix
    x = (x / (x.norm() + 1e-7)).to(dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if is_tall else x).to(matrix.dtype)
