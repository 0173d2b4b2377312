"""What a person has to look at in code written for AllenSDK: patterns of its text, and what its tables are asked."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from allen_ecephys.metric_names import METRICS, RELEASED_NAMES, STIMULI, is_stimulus_metric

_PARAMETER = "(orientation|temporal_frequency|spatial_frequency|phase|contrast|Dir|Speed)"
#: What stands between the brackets of a call, brackets within it included.
_ARGUMENTS = r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))*"

#: Patterns of code (which may go over lines), and why a person has to look.
LOOK_AT = (
    (r"\ballensdk\b", "this part of AllenSDK has no counterpart here"),
    (
        r"""["']null["']""",
        "a missing stimulus parameter is NaN here: write .isna() or .notna(), or open the session with "
        "compat='allensdk', where it is this text",
    ),
    (
        r"""["'][\[(]\s*-?[\d.]+\s*,\s*-?[\d.]+\s*[\])]["']""",
        "a pair of equal numbers is one number here ('[20.0, 20.0]' is 20.0), any other a tuple; compat='allensdk' "
        "keeps the text",
    ),
    (
        rf"""\b(groupby|pivot_table|crosstab)\((?!{_ARGUMENTS}\bdropna\s*=\s*False){_ARGUMENTS}["']{_PARAMETER}["']"""
        rf"""|\b{_PARAMETER}(["']\])?\.(value_counts|nunique)\((?!{_ARGUMENTS}\bdropna\s*=\s*False)""",
        "blank sweeps have NaN here, which groupby, pivot_table and value_counts leave out: give dropna=False to keep "
        "them",
    ),
    (r"[\w\])]\s*[&|]\s*\[", "pandas 3 refuses a mask & a list: make the list an array, np.array([...])"),
    (
        r"\b(asynchronous|fetch_tries|warehouse_kwargs)\s*="
        rf"|\b(from_warehouse|fixed|EcephysProjectCache)\({_ARGUMENTS}\b(timeout|version)\s*=",
        "taken by from_warehouse with a DeprecationWarning, and without effect: leave it out",
    ),
    (
        r"from_warehouse\(\s*(?!\w+\s*=)[^)\s*]",
        "the first arguments of from_warehouse are scheme and host: write manifest=",
    ),
    (
        r"\bEcephys\w*Api\b|\.api\b",
        "AllenSDK's readers have no counterpart: EcephysSession.from_nwb_path(path) opens a file",
    ),
    (r"\bspike_times\[[^\]]+\]\s*(=[^=]|[-+*/]=)", "arrays of spikes are read-only: change a copy"),
    (
        r"\b(make_star_plot|make_fan_plot|plot_response_summary|get_intrinsic_timescale)\b",
        "not offered here: allen_ecephys.processing.stimulus_metrics.plot_tuning_curve draws tuning",
    ),
)

_NOT_IN_UNITS = "session.units has no stimulus metrics: join session.unit_analysis_metrics"
_DOCUMENTED = (
    "metrics have their documented names (p_run_mod_..., fano_factor_...): names='release' gives those of files; the "
    "tables of DriftingGratings and the other classes of one stimulus keep these"
)
_NOT_PYTHON = "Python 3 cannot read this line, so what is taken from tables of units was not looked at"

_NAMES = frozenset(f"{metric}_{stimulus}" for metric in METRICS for stimulus in STIMULI)
_RELEASED_ONLY = frozenset(RELEASED_NAMES.values())
#: Methods after which a table of units may hold stimulus metrics.
_ADDING = frozenset({"join", "merge", "assign", "insert"})
#: What stands in a pattern for a part of a name that is not written down.
_ANY = r"\w*"


class Review:
    """The lines of a script, or of a notebook cell after cell, that a person has to look at.

    What the variables of one cell stand for is known in the next.
    """

    def __init__(self) -> None:
        #: Variable -> the table it stands for: ``units`` of a session, metrics of a ``class``, or any other ("").
        self._tables = {"units": "units"}
        #: Variable -> the expression that gave it its value.
        self._values: dict[str, ast.expr] = {}

    def findings(self, code: str) -> list[tuple[int, str, str]]:
        """Return number from 1, text and reason of each line to look at."""
        bare = _without_comments(code)
        found = [
            (bare.count("\n", 0, match.start()) + 1, why)
            for pattern, why in LOOK_AT
            for match in re.finditer(pattern, bare)
        ]
        try:
            tree = _parsed(bare)
        except SyntaxError as error:
            if not code.lstrip().startswith("%%"):  # a cell of another language
                found.append((error.lineno or 1, _NOT_PYTHON))
        else:
            found += self._of_tables(tree)
        lines = code.split("\n")
        return [
            (number, lines[min(number, len(lines)) - 1].strip(), why)
            for number, why in sorted(dict.fromkeys(found), key=lambda finding: finding[0])
        ]

    def _of_tables(self, tree: ast.Module) -> list[tuple[int, str]]:
        """Return lines that ask a table of units for stimulus metrics, or any table for names it has only in files."""
        found = []
        of_classes: set[ast.AST] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.comprehension) and isinstance(node.target, ast.Name):
                self._values[node.target.id] = node.iter
        for node in _in_order(tree):
            self._learn(node)
            table, named = self._asked(node)
            if table == "units" and named:
                found.append((getattr(named[0], "lineno", 1), _NOT_IN_UNITS))
            elif table == "class":
                of_classes.update(named)
        for node in ast.walk(tree):
            if node in of_classes or not isinstance(node, ast.Attribute | ast.Constant):
                continue
            text = node.attr if isinstance(node, ast.Attribute) else str(node.value)
            if _RELEASED_ONLY & set(re.findall(r"\w+", text)):
                found.append((node.lineno, _DOCUMENTED))
        return found

    def _learn(self, node: ast.AST) -> None:
        """Remember what a variable stands for."""
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            self._values[node.target.id] = node.iter
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) or node.value is None:
            return
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                self._tables[target.id] = self._table(node.value)
                self._values[target.id] = node.value
            elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
                self._tables[target.value.id] = ""  # it is given a column

    def _table(self, node: ast.expr) -> str:
        """Return the table that an expression stands for, whole or in part."""
        match node:
            case ast.Name():
                return self._tables.get(node.id, "")
            case ast.Attribute(attr="units"):
                return "units"
            case ast.Attribute(attr="metrics"):
                return "class"
            case ast.Attribute():
                return "" if node.attr in _ADDING else self._table(node.value)
            case ast.Subscript():
                return self._table(node.value)
            case ast.Call():
                return self._table(node.func)
        return ""

    def _asked(self, node: ast.AST) -> tuple[str, list[ast.expr]]:
        """Return which table is asked for columns here, and where those of stimulus metrics are named."""
        match node:
            case ast.Attribute(attr=name):
                return self._table(node.value), [node] if is_stimulus_metric(name) else []
            case ast.Subscript(ctx=ast.Load()):
                return self._table(node.value), list(self._naming(node.slice))
            case ast.Call() if not (isinstance(node.func, ast.Attribute) and node.func.attr.startswith("to_")):
                asked = next((keyword.value for keyword in node.keywords if keyword.arg == "data"), node.func)
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                return self._table(asked), [part for argument in given for part in self._naming(argument)]
        return "", []

    def _naming(self, node: ast.expr | None, follow: bool = True) -> Iterator[ast.expr]:
        """Yield the parts of an expression that name stimulus metrics, the values of its variables included."""
        match node:
            case ast.Name() if follow:
                yield from self._naming(self._values.get(node.id), follow=False)
            case ast.List() | ast.Tuple() | ast.Set():
                for part in node.elts:
                    yield from self._naming(part, follow)
            case ast.Dict():
                for key in node.keys:
                    yield from self._naming(key, follow)
            case ast.expr():
                if any(_names_a_metric(word) for word in re.findall(r"(?:\\w\*|\w)+", _spelled(node))):
                    yield node


def _names_a_metric(word: str) -> bool:
    """Tell whether a word, parts of which may not be written down, is a stimulus metric."""
    if _ANY not in word:
        return is_stimulus_metric(word)
    return len(word.replace(_ANY, "")) > 2 and any(re.fullmatch(word, name) for name in _NAMES)  # "_dg" says enough


def _spelled(node: ast.expr) -> str:
    """Return the text that an expression is, with a pattern for each part that is not written down."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(_spelled(part) for part in node.values)
        case ast.BinOp(op=ast.Add()):
            return _spelled(node.left) + _spelled(node.right)
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod()):
            return re.sub(r"%\w", lambda _: _ANY, text)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
            return re.sub(r"\{[^}]*\}", lambda _: _ANY, text)
    return _ANY


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those in it in the order of the code; an assignment after the value that it assigns."""
    if not isinstance(node, ast.Assign):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _in_order(child)
    if isinstance(node, ast.Assign):
        yield node


def _without_comments(code: str) -> str:
    lines = code.split("\n")
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError):
        pass  # commands of a notebook: what follows keeps the comments at the end of its lines
    return "\n".join("" if line.lstrip().startswith("#") else line for line in lines)


def _parsed(code: str) -> ast.Module:
    """Return the tree of Python code, in which a notebook's own commands may stand.

    Raises
    ------
    SyntaxError
        If it is neither.
    """
    try:
        return ast.parse(code)
    except SyntaxError:
        code = re.sub(r"(?m)^(\s*)%time(it)?\s+(?!-)", r"\1", code)
        code = re.sub(r"(?m)^([ \t]*)(?:[%!?].*|.*\?)$", r"\1pass", code)
        return ast.parse(re.sub(r"(?m)=[ \t]*[%!].*$", "= None", code))
