"""Numbers and lists of sums in Python's words, without running them.

detectron2's configurations of RetinaNet have their anchors as
``[[x, x * 2**(1.0/3), x * 2**(2.0/3)] for x in [32, 64, 128, 256, 512]]``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LONGEST = 1000  # characters
_LARGEST = 1e6  # of a number on the way
_HIGHEST = 16  # of a power


def arithmetic(text: str) -> Any:
    """The value of numbers, sums of them, lists, and one ``[… for name in list]`` within another.

    Raises:
        ValueError, SyntaxError, TypeError, ArithmeticError: anything else.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError("no short text")
    return _value(ast.parse(text, mode="eval").body, {})


def _value(node: ast.AST, names: Mapping[str, float]) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(one, names) for one in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(_value(node.operand, names))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_number(_value(one, names)) for one in (node.left, node.right))
        if isinstance(node.op, ast.Pow) and abs(right) > _HIGHEST:
            raise ValueError(f"no power up to {_HIGHEST}: {right!r}")
        return _number(_OPERATORS[type(node.op)](left, right))
    if isinstance(node, ast.ListComp) and len(node.generators) == 1:
        part = node.generators[0]
        if isinstance(part.target, ast.Name) and not part.ifs and not part.is_async:
            values = _value(part.iter, names)
            name = part.target.id
            return [_value(node.elt, {**names, name: _number(one)}) for one in values]
    raise ValueError(f"no arithmetic: {type(node).__name__}")


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) <= _LARGEST:
        raise ValueError(f"no number up to {_LARGEST:g}: {value!r}")
    return value
