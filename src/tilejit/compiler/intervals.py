"""What values an integer expression over loop variables can take: the reach of ``z[dy, 2 * dx]``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def interval_of(node: ast.expr, variables: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """Returns the least and largest value of ``node``, or None where it depends on anything but ``variables``.

    Example:
        >>> interval_of(ast.parse("2 * dy - 1", mode="eval").body, {"dy": (-2, 2)})
        (-5, 3)
    """
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value, node.value
    if isinstance(node, ast.Name):
        return variables.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = interval_of(node.operand, variables)
        if inner is None or isinstance(node.op, ast.UAdd):
            return inner
        return -inner[1], -inner[0]
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
        left, right = interval_of(node.left, variables), interval_of(node.right, variables)
        return None if left is None or right is None else _combined(node.op, left, right)
    return None


def _combined(operator: ast.operator, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    if isinstance(operator, ast.Add):
        return left[0] + right[0], left[1] + right[1]
    if isinstance(operator, ast.Sub):
        return left[0] - right[1], left[1] - right[0]
    corners = [a * b for a in left for b in right]
    return min(corners), max(corners)
