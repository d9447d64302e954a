"""Classes of programs: the key under which two programs count as the same solution.

Nothing here runs a program; it is only parsed.
"""

import ast
import hashlib
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

MAX_PROGRAM_CHARS = 100_000


class Ladder(NamedTuple):
    """Keys of ever wider classes of programs; two programs are of one class if their keys are equal."""

    layout: str
    """L1: differ only in layout, comments and docstrings."""
    names: str
    """L2: and in the names their author chose."""
    constants: str
    """L2b: and in the values of constants, which keep their types."""


def canonical(program: str) -> str | None:
    """Key of the class of programs that differ only in layout, comments, docstrings and own names.

    sha256 over the syntax tree with every name the program itself binds replaced by its order of first
    use within its scope; free names (builtins), attributes, keyword arguments of calls and constants
    stay. None for text that is empty, too long, too deeply nested or not Python. The program is parsed,
    never compiled or run.
    """
    found = ladder(program)
    return found and found.names


@lru_cache(maxsize=200_000)
def ladder(program: str) -> Ladder | None:
    """The keys of a program at every level that its text alone decides; None as for `canonical`."""
    if len(program) > MAX_PROGRAM_CHARS or not program.strip():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # '\d' in generated code is not our warning
            tree = ast.parse(program)
        writer = _Writer()
        writer.body(tree.body)
        return Ladder(*map(_sha256, writer.texts()))
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def program_key(program: str) -> str | None:
    """`canonical`, or the key of the bare text where it is not Python; None only for empty text."""
    if not program.strip():
        return None
    return canonical(program) or "text:" + _sha256(program)


class _Scope:
    __slots__ = ("bound", "elsewhere", "kind", "parent")

    def __init__(self, kind: str, parent: "_Scope | None") -> None:
        self.kind = kind  # "module", "function", "class" or "comprehension"
        self.parent = parent
        self.bound: set[str] = set()
        self.elsewhere: set[str] = set()  # declared global or nonlocal here


# Fields that say nothing about what a program does.
_SILENT = {"ctx", "type_comment", "kind", "type_ignores"}
_FIELDS: dict[type, tuple[str, tuple[str, ...]]] = {}


class _Writer:
    """Writes a syntax tree as tokens; own names are resolved once every binding has been seen."""

    def __init__(self) -> None:
        self.out: list[Any] = []  # strings; (scope, name) for names; (type, text) for constants
        self.scope = self.module = _Scope("module", None)

    def texts(self) -> tuple[str, str, str]:
        """With names as written, with own names numbered, and with constants reduced to their types."""
        numbers: dict[tuple[int, str], str] = {}
        layouts, names, constants = [], [], []
        for token in self.out:
            if type(token) is not tuple:
                layout = name = constant = token
            elif type(token[0]) is not _Scope:
                kind, layout = token
                name, constant = layout, "#" + kind
            else:
                scope, word = token
                layout, owner = "~" + word, self._owner(scope, word)
                name = layout
                if owner is not None:
                    name = numbers.setdefault((id(owner), word), f"@{len(numbers)}")
                constant = name
            layouts.append(layout)
            names.append(name)
            constants.append(constant)
        return " ".join(layouts), " ".join(names), " ".join(constants)

    @staticmethod
    def _owner(start: _Scope, name: str) -> _Scope | None:
        scope: _Scope | None = start
        while scope is not None:
            # A class body's names are not visible in the functions inside it.
            if (
                name in scope.bound
                and name not in scope.elsewhere
                and (scope.kind != "class" or scope is start)
            ):
                return scope
            scope = scope.parent
        return None

    def bind(self, name: str) -> None:
        self.scope.bound.add(name)
        self.out.append((self.scope, name))

    def body(self, statements: list[ast.stmt]) -> None:
        first = statements[0] if statements else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            statements = statements[1:]
        self.write(statements or [ast.Pass()])

    def write(self, node: Any) -> None:
        out = self.out
        if isinstance(node, ast.AST):
            special = _SPECIAL.get(type(node))
            if special is not None:
                special(self, node)
                return
            tag, names = _FIELDS.get(type(node)) or _learn(type(node))
            out.append(tag)
            for name in names:
                self.write(getattr(node, name, None))
            if names:
                out.append(")")
        elif isinstance(node, list):
            out.append("[")
            for item in node:
                self.write(item)
            out.append("]")
        else:
            out.append(repr(node))

    def name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.out.append((self.scope, node.id))
        else:
            self.bind(node.id)

    def constant(self, node: ast.Constant) -> None:
        self.out.append((type(node.value).__name__, repr(node.value)))

    def function(self, node: Any) -> None:
        """def, async def and lambda: decorators, defaults and annotations belong to the outer scope."""
        self.out.append(type(node).__name__)
        named = not isinstance(node, ast.Lambda)
        if named:
            self.bind(node.name)
            self.write(node.decorator_list)
            self.write(node.returns)
            self.write(getattr(node, "type_params", []))
        args: ast.arguments = node.args
        self.write([*args.defaults, "/", *args.kw_defaults])
        groups = [args.posonlyargs, args.args, [args.vararg] if args.vararg else []]
        groups += [args.kwonlyargs, [args.kwarg] if args.kwarg else []]
        self.write([arg.annotation for group in groups for arg in group])
        outer, self.scope = self.scope, _Scope("function", self.scope)
        for group in groups:
            self.out.append("|")
            for arg in group:
                self.bind(arg.arg)
        if named:
            self.body(node.body)
        else:
            self.write(node.body)
        self.scope = outer

    def klass(self, node: ast.ClassDef) -> None:
        self.out.append("ClassDef")
        self.bind(node.name)
        self.write([*node.decorator_list, "/", *node.bases, "/", *node.keywords])
        outer, self.scope = self.scope, _Scope("class", self.scope)
        self.body(node.body)
        self.scope = outer

    def comprehension(self, node: Any) -> None:
        """The first iterable is evaluated outside; the loop variables live inside."""
        self.out.append(type(node).__name__)
        self.write(node.generators[0].iter)
        outer, self.scope = self.scope, _Scope("comprehension", self.scope)
        for i, part in enumerate(node.generators):
            self.out.append("async" if part.is_async else "for")
            self.write(part.target)
            if i:
                self.write(part.iter)
            self.write(part.ifs)
        if isinstance(node, ast.DictComp):
            self.write(node.key)
            self.write(node.value)
        else:
            self.write(node.elt)
        self.scope = outer

    def walrus(self, node: ast.NamedExpr) -> None:
        here = home = self.scope
        while home.kind == "comprehension" and home.parent is not None:
            home = home.parent
        self.out.append("NamedExpr")
        self.scope = home
        self.write(node.target)
        self.scope = here
        self.write(node.value)

    def imported(self, node: Any) -> None:
        self.out.append(
            f"{type(node).__name__} {getattr(node, 'level', 0)} {getattr(node, 'module', None)!r}"
        )
        for alias in node.names:
            dotted = alias.asname is None and isinstance(node, ast.Import) and "." in alias.name
            self.out.append(repr(alias.name) + ("." if dotted else ""))
            if alias.name != "*":
                self.bind(alias.asname or alias.name.split(".")[0])

    def elsewhere(self, node: Any) -> None:
        for name in node.names:
            self.scope.elsewhere.add(name)
            if isinstance(node, ast.Global):
                self.module.bound.add(name)
        self.out.append(type(node).__name__)
        self.out.extend((self.scope, name) for name in node.names)

    def binder(self, node: Any) -> None:
        """except ... as name, and the captures of match patterns."""
        self.out.append(type(node).__name__)
        for field, value in ast.iter_fields(node):
            if field in ("name", "rest") and isinstance(value, str):
                self.bind(value)
            else:
                self.write(value)


def _learn(kind: type) -> tuple[str, tuple[str, ...]]:
    names = tuple(f for f in kind._fields if f not in _SILENT)  # type: ignore[attr-defined]
    _FIELDS[kind] = (kind.__name__ + "(" if names else kind.__name__, names)
    return _FIELDS[kind]


_SPECIAL: dict[type, Any] = {
    ast.Name: _Writer.name,
    ast.Constant: _Writer.constant,
    ast.Import: _Writer.imported,
    ast.ImportFrom: _Writer.imported,
    ast.ClassDef: _Writer.klass,
    ast.NamedExpr: _Writer.walrus,
}
_SPECIAL |= dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda), _Writer.function)
_SPECIAL |= dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), _Writer.comprehension)
_SPECIAL |= dict.fromkeys((ast.Global, ast.Nonlocal), _Writer.elsewhere)
_SPECIAL |= dict.fromkeys((ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping), _Writer.binder)
