"""Grades Python that a model wrote: by its shape without running it, or by running it.

By shape, code is right if it parses, defines the function with the right number of arguments,
returns something, and has the ingredients that any correct solution needs. That is generous:
wrong code of the right shape passes. `Code.works` runs it instead, see `code_runner.py`.
"""

import ast
import re
from dataclasses import dataclass
from typing import Any

from examples.demo.code_runner import run_cases

LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
OPERATORS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Pow: "**",
    ast.Mod: "%",
    ast.FloorDiv: "//",
    ast.BitAnd: "&",
}


@dataclass(frozen=True)
class Case:
    """One call with its expected result; both are plain JSON values."""

    args: tuple[Any, ...]
    result: Any


@dataclass(frozen=True)
class Code:
    """What a function must be and do.

    Attributes:
        function: Its name.
        cases: Calls with their results; the first one gives the number of arguments.
        shape: Ingredients that must all be there, alternatives separated by a space; see
            `ingredients` for their names.
    """

    function: str
    cases: tuple[Case, ...]
    shape: tuple[str, ...] = ()

    def __call__(self, reply: str) -> bool:
        """Whether the code has the right shape; nothing is run."""
        source = code_of(reply, self.function)
        definition = source and find_function(source, self.function)
        if not definition or len(definition.args.args) != len(self.cases[0].args):
            return False
        found = ingredients(definition)
        return "return" in found and all(found & set(want.split()) for want in self.shape)

    def works(self, reply: str) -> bool:
        """Whether the code, run in a process with limits, gives every expected result."""
        source = code_of(reply, self.function)
        if source is None:
            return False
        calls = [case.args for case in self.cases]
        return run_cases(source, self.function, calls) == [case.result for case in self.cases]


def code_of(reply: str, function: str) -> str | None:
    """The first fenced block (else the whole reply) that parses and defines `function`."""
    fenced = re.findall(r"```[a-zA-Z]*\n(.*?)(?:```|\Z)", reply, flags=re.DOTALL)
    return next((code for code in [*fenced, reply] if find_function(code, function)), None)


def find_function(source: str, name: str) -> ast.FunctionDef | None:
    """The definition of `name` at the top level of some Python, None if there is none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    definitions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return next((node for node in definitions if node.name == name), None)


def ingredients(definition: ast.FunctionDef) -> set[str]:  # noqa: C901 - a flat list of cases
    """What a function is made of.

    Returns:
        Some of `return`, `loop`, `recursion`, `branch`, `compare`, `index`, the operators of
        `OPERATORS`, and the name of each function or method that it calls.
    """
    found: set[str] = set()
    for node in ast.walk(definition):
        match node:
            case ast.Return(value=ast.expr()):
                found.add("return")
            case ast.If() | ast.IfExp() | ast.BoolOp():
                found.add("branch")
            case ast.Compare():
                found.add("compare")
            case ast.Subscript():
                found.add("index")
            case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
                found.add(OPERATORS.get(type(operator), "operator"))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                found.add("recursion" if name == definition.name else name)
            case _ if isinstance(node, LOOPS):
                found.add("loop")
            case _:
                pass
    return found
