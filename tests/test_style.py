"""Style that matters is a test: determinism, purity, layers, sizes and names. Every ban is shown to
fire on a planted snippet."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kvgossip"
DETERMINISTIC = ("protocol", "releases", "sim")
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400
METHODS_MAX = 35
PROTOCOL_ENTRIES_MAX = 25
LONG_FILES = {"protocol/wire/message.py": 500, "protocol/replica.py": 500, "runtime/node.py": 500}
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
VAGUE_VERB = "told"
"""Of an acknowledgement, an event, an answer, a line of the log: a name says which."""
VAGUE_VERB_LINES_MAX = 39

MODULES = sorted(PACKAGE.rglob("*.py"))
DETERMINISTIC_MODULES = [
    path for path in MODULES if path.relative_to(PACKAGE).parts[0] in DETERMINISTIC
]

SET_NAMES = (
    "set",
    "frozenset",
    "AbstractSet",
    "MutableSet",
    "Set",
    "FrozenSet",
    "KeysView",
    "ItemsView",
)
SET_METHODS = ("union", "intersection", "difference", "symmetric_difference")
SET_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)
ORDERED_CONSUMERS = {
    "list", "tuple", "iter", "next", "enumerate", "zip", "map", "filter", "reversed", "min", "max",
    "sum", "deque", "array", "dict",
    "Counter", "join", "extend", "extendleft", "fromkeys", "islice", "chain", "from_iterable",
    "writelines", "bytes", "bytearray",
    "sample", "choice", "choices", "shuffle",
}  # fmt: skip
NAIVE_DATETIME = {"utcnow", "utcfromtimestamp", "today", "now", "fromtimestamp"}


# -- determinism ---------------------------------------------------------------------------------


class Determinism(ast.NodeVisitor):
    """Collects what makes a run depend on more than its seed: the random module, clocks, hash(),
    the order of a set, local time.

    `set_attributes` are the names of attributes that hold sets anywhere in the package: a static
    reader cannot know whose they are.
    """

    def __init__(self, set_attributes: set[str], set_functions: set[str]) -> None:
        self.found: list[str] = []
        self._set_attributes, self._set_functions = set_attributes, set_functions
        self._modules: dict[str, str] = {}
        self._scopes: list[dict[str, bool]] = [{}]

    def _ban(self, node: ast.AST, what: str) -> None:
        self.found.append(f"line {getattr(node, 'lineno', 0)}: {what}")

    # imports and names

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._modules[alias.asname or alias.name.split(".")[0]] = alias.name
            if alias.name.split(".")[0] == "time":
                self._ban(node, "the time module")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if node.module == "random" and alias.name != "Random":
                self._ban(node, f"random.{alias.name}")
            if node.module == "time":
                self._ban(node, f"time.{alias.name}")
            if node.module == "datetime":
                self._modules[alias.asname or alias.name] = f"datetime.{alias.name}"

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == "hash" and isinstance(node.ctx, ast.Load):
            self._ban(node, "hash()")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        module = self._modules.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if module == "random" and node.attr != "Random":
            self._ban(node, f"random.{node.attr}")
        if module == "time":
            self._ban(node, f"time.{node.attr}")
        self.generic_visit(node)

    # scopes: which local names hold sets

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._scopes.append(
            {argument.arg: _is_set_annotation(argument.annotation) for argument in every}
        )
        self.generic_visit(node)
        self._scopes.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._scopes[-1][node.target.id] = _is_set_annotation(node.annotation)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._scopes[-1][target.id] = self._is_set(node.value)
            elif isinstance(target, (ast.Tuple, ast.List)) and self._is_set(node.value):
                self._ban(node, "a set is unpacked")
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._scopes[-1][node.target.id] = self._is_set(node.value)
        self.generic_visit(node)

    # iteration

    def visit_For(self, node: ast.For) -> None:
        self._iterated(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._iterated(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._iterated(node.value)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._iterated(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = (
            node.func.id
            if isinstance(node.func, ast.Name)
            else node.func.attr
            if isinstance(node.func, ast.Attribute)
            else ""
        )
        if name in ORDERED_CONSUMERS or (
            name == "sorted" and any(keyword.arg == "key" for keyword in node.keywords)
        ):
            for argument in node.args:
                self._iterated(argument)
        if name == "pop" and isinstance(node.func, ast.Attribute) and not node.args:
            self._iterated(node.func.value)
        self._local_time(node, name)
        self.generic_visit(node)

    def _iterated(self, node: ast.expr) -> None:
        if self._is_set(node):
            self._ban(node, "iteration over a set")

    def _local_time(self, node: ast.Call, name: str) -> None:
        root = node.func
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and self._modules.get(root.id, "").startswith("datetime"):
            zoned = bool(node.args[1:] if name == "fromtimestamp" else node.args) or any(
                k.arg in ("tz", "tzinfo") for k in node.keywords
            )
            made = name in ("datetime", "time") and not any(
                keyword.arg == "tzinfo" for keyword in node.keywords
            )
            if made or (
                name in NAIVE_DATETIME and not (zoned and name in ("now", "fromtimestamp"))
            ):
                self._ban(node, "naive datetime")

    # which expressions are sets

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                return next(
                    (scope[name] for scope in reversed(self._scopes) if name in scope), False
                )
            case ast.Attribute(attr=name):
                return name in self._set_attributes
            case ast.Call(func=ast.Name(id=name)):
                return name in SET_NAMES or name in self._set_functions
            case ast.Call(func=ast.Attribute(attr=name, value=value)):
                return (
                    (name in SET_METHODS)
                    or name in self._set_functions
                    or (name == "copy" and self._is_set(value))
                )
            case ast.BinOp(left=left, op=operator, right=right):
                return isinstance(operator, SET_OPERATORS) and (
                    self._is_set_or_view(left) or self._is_set_or_view(right)
                )
            case ast.IfExp(body=body, orelse=orelse):
                return self._is_set(body) or self._is_set(orelse)
            case ast.BoolOp(values=values):
                return any(map(self._is_set, values))
            case _:
                return False

    def _is_set_or_view(self, node: ast.expr) -> bool:
        """Views of a dict are ordered, but what the set operators make of them is not."""
        view = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("keys", "items")
            and not node.args
        )
        return view or self._is_set(node)


def _is_set_annotation(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant(value=str() as text):
            return _is_set_annotation(ast.parse(text, mode="eval").body)
        case ast.Subscript(value=value):
            return _is_set_annotation(value)
        case ast.BinOp(left=left, right=right):
            return _is_set_annotation(left) or _is_set_annotation(right)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in SET_NAMES
        case _:
            return False


def _set_attributes(trees: list[ast.Module]) -> set[str]:
    """Names of attributes that are annotated as sets in a class body, or assigned one through
    `self`."""
    found: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                fields = (
                    field
                    for field in node.body
                    if isinstance(field, ast.AnnAssign) and _is_set_annotation(field.annotation)
                )
                found |= {field.target.id for field in fields if isinstance(field.target, ast.Name)}
            elif (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Attribute)
                and _is_set_annotation(node.annotation)
            ):
                found.add(node.target.attr)
            elif isinstance(node, ast.Assign) and Determinism(set(), set())._is_set(node.value):
                found |= {
                    target.attr for target in node.targets if isinstance(target, ast.Attribute)
                }
    return found


def _set_functions(trees: list[ast.Module]) -> set[str]:
    """Names of functions and properties that return sets."""
    functions = (
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    return {function.name for function in functions if _is_set_annotation(function.returns)}


def complaints_about(source: str) -> list[str]:
    """What breaks determinism in this source, which may use the deterministic modules of the
    package."""
    tree = ast.parse(source)
    attributes, functions = _sets_of_the_package()
    functions = functions | _set_functions([tree])
    reader = Determinism(attributes | _set_attributes([tree]) | functions, functions)
    reader.visit(tree)
    return reader.found


@cache
def _sets_of_the_package() -> tuple[set[str], set[str]]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in DETERMINISTIC_MODULES]
    return _set_attributes(trees), _set_functions(trees)


@pytest.mark.parametrize(
    "path", DETERMINISTIC_MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_one_seed_means_one_run(path: Path) -> None:
    assert complaints_about(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        ("import random\nrandom.shuffle(x)", "random.shuffle"),
        ("import random as r\nr.random()", "random.random"),
        ("from random import choice", "random.choice"),
        ("import random\nrng = random.SystemRandom()", "random.SystemRandom"),
        ("import time\nnow = time.monotonic()", "time.monotonic"),
        ("from time import time", "time.time"),
        ("x = hash('a')", "hash()"),
        ("xs.sort(key=hash)", "hash()"),
        ("for x in {1, 2}: pass", "iteration over a set"),
        ("for x in set(y): pass", "iteration over a set"),
        ("for x in frozenset(y): pass", "iteration over a set"),
        ("[x for x in {y for y in z}]", "iteration over a set"),
        ("def f(names: set[str]) -> None:\n    for name in names: pass", "iteration over a set"),
        (
            "def f(names: 'frozenset[str] | None') -> None:\n    for name in names: pass",
            "iteration over a set",
        ),
        ("names = set()\nxs = list(names)", "iteration over a set"),
        ("names: set[str] = g()\nxs = tuple(names)", "iteration over a set"),
        ("xs = sorted(set(y), key=len)", "iteration over a set"),
        ("x = next(iter({1}))", "iteration over a set"),
        ("x = ','.join({'a'})", "iteration over a set"),
        ("xs = [*{1, 2}]", "iteration over a set"),
        ("f(*{1, 2})", "iteration over a set"),
        ("a, b = {1, 2}", "a set is unpacked"),
        ("x = {1}.pop()", "iteration over a set"),
        ("for x in a.keys() - b.keys(): pass", "iteration over a set"),
        ("for x in a.union(b): pass", "iteration over a set"),
        (
            "class A:\n    names: set[str]\n    def f(self):\n        for name in self.names: pass",
            "iteration over a set",
        ),
        (
            (
                "class A:\n    def __init__(self):\n        self.names = set()\n    def f(self):\n "
                "   "
                "    return list(self.names)"
            ),
            "iteration over a set",
        ),
        ("def g() -> set[str]: ...\nfor x in g(): pass", "iteration over a set"),
        ("def f(xs: set[int]):\n    yield from xs", "iteration over a set"),
        ("d = dict.fromkeys({1})", "iteration over a set"),
        ("rng.sample(set(y), 2)", "iteration over a set"),
        ("from datetime import datetime\nt = datetime.now()", "naive datetime"),
        ("import datetime\nt = datetime.datetime.utcnow()", "naive datetime"),
        ("from datetime import datetime\nt = datetime(2020, 1, 1)", "naive datetime"),
        ("from datetime import datetime\nt = datetime.fromtimestamp(0)", "naive datetime"),
    ],
)
def test_what_makes_a_run_depend_on_more_than_its_seed_is_found(planted: str, what: str) -> None:
    assert any(what in complaint for complaint in complaints_about(planted)), complaints_about(
        planted
    )


@pytest.mark.parametrize(
    "innocent",
    [
        "from random import Random\nrng = Random(1)\nrng.shuffle(x)",
        "import random\nrng = random.Random(1)",
        "for x in sorted({2, 1}): pass",
        "names = set(y)\nif 'a' in names and len(names) > 1: names.add('b')",
        "for x in {}: pass",
        "for x in {'a': 1}: pass",
        "xs = list(dict.fromkeys(y))",
        "for x in a.keys(): pass",
        "both = a.keys() & b.keys()\nn = len(both)",
        "def f(names: set[str]) -> None: pass\ndef g(names: list[str]) -> None:\n    for name in "
        "names: pass",
        "from datetime import UTC, datetime\nt = datetime.now(UTC)",
        "x = a - b\nfor y in range(x): pass",
        "stack = []\nx = stack.pop()",
    ],
)
def test_what_follows_from_the_seed_is_not_complained_about(innocent: str) -> None:
    assert complaints_about(innocent) == []


# -- sizes and names -----------------------------------------------------------------------------


def long_functions(source: str) -> list[str]:
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    lengths = {
        function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions
    }
    return [
        f"{name} has {lines} lines" for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX
    ]


def crowded_classes(source: str) -> list[str]:
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    methods = {
        each.name: sum(
            isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) for part in each.body
        )
        for each in classes
    }
    return [f"{name} has {count} methods" for name, count in methods.items() if count > METHODS_MAX]


def too_long(source: str, place: str) -> list[str]:
    """Whether a file has more lines than a file of this place may have."""
    lines, most = len(source.splitlines()), LONG_FILES.get(place, FILE_LINES_MAX)
    return [f"{place} has {lines} lines"] if lines > most else []


def bad_names(relative: Path) -> list[str]:
    """The parts of a module's path that say nothing, or hide a module of the standard library.

    But for the package api/http: HTTP is the field's word, and nobody imports it by that alone.
    """
    parts = [part.removesuffix(".py") for part in relative.parts]
    if parts[:2] == ["api", "http"]:
        parts = parts[2:]
    return [
        part
        for part in parts
        if not part.startswith("__")
        and (
            part.lower() in VAGUE_NAMES
            or VAGUE_VERB in part.lower()
            or part in sys.stdlib_module_names
        )
    ]


def vague_identifiers(source: str) -> list[str]:
    """The names in a source that hold the vague verb, whatever they name; prose may have it."""
    fields = (
        value
        for node in ast.walk(ast.parse(source))
        if not isinstance(node, ast.Constant)
        for _, value in ast.iter_fields(node)
    )
    names = (
        name
        for value in fields
        for name in (value if isinstance(value, list) else [value])
        if isinstance(name, str)
    )
    return sorted({name for name in names if VAGUE_VERB in name.lower()})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_functions_and_classes_are_short_and_every_module_has_a_telling_name(
    path: Path,
) -> None:
    source, place = path.read_text(encoding="utf-8"), path.relative_to(PACKAGE)
    assert long_functions(source) == []
    assert too_long(source, place.as_posix()) == []
    # Node is the face of everything: its public methods delegate, and there are ten others at most
    assert [each for each in crowded_classes(source) if not each.startswith("Node ")] == []
    assert bad_names(place) == []
    assert vague_identifiers(source) == []


def test_the_vague_verb_is_rare_in_prose() -> None:
    lines = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in MODULES
        for line in path.read_text(encoding="utf-8").splitlines()
        if VAGUE_VERB in line.lower()
    ]
    assert len(lines) <= VAGUE_VERB_LINES_MAX, lines


def test_the_node_has_at_most_ten_methods_beside_its_public_ones() -> None:
    source = (PACKAGE / "runtime" / "node.py").read_text(encoding="utf-8")
    (node,) = (
        each
        for each in ast.walk(ast.parse(source))
        if isinstance(each, ast.ClassDef) and each.name == "Node"
    )
    names = [
        part.name for part in node.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    private = [name for name in names if name.startswith("_") and not name.startswith("__")]
    assert len(private) <= 10, private


def test_the_top_of_the_protocol_is_read_at_a_glance() -> None:
    entries = [
        path.name
        for path in (PACKAGE / "protocol").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    assert len(entries) <= PROTOCOL_ENTRIES_MAX, sorted(entries)


def test_what_is_too_long_or_badly_named_is_found() -> None:
    body = "    x = 1\n"
    most = FUNCTION_LINES_MAX
    assert long_functions("def f():\n" + body * (most - 1)) == []
    assert long_functions("def f():\n" + body * most) == [f"f has {most + 1} lines"]
    assert long_functions("class A:\n    async def g(self):\n" + ("    " + body) * 80) == [
        "g has 81 lines"
    ]
    assert too_long("x = 1\n" * 400, "api/keys.py") == []
    assert too_long("x = 1\n" * 401, "api/keys.py") == ["api/keys.py has 401 lines"]
    assert too_long("x = 1\n" * 500, "protocol/replica.py") == []
    method = "    def m{}(self): ...\n"
    assert crowded_classes("class A:\n" + "".join(map(method.format, range(35)))) == []
    assert crowded_classes("class A:\n" + "".join(map(method.format, range(36)))) == [
        "A has 36 methods"
    ]
    assert bad_names(Path("protocol/utils.py")) == ["utils"]
    assert bad_names(Path("sim/random.py")) == ["random"]
    assert bad_names(Path("common/entry.py")) == ["common"]
    assert bad_names(Path("api/http/json.py")) == ["json"]
    assert bad_names(Path("protocol/as_told.py")) == ["as_told"]
    assert bad_names(Path("protocol/__init__.py")) == []
    planted = """
import told.a, b as told_b
from c.told_c import d as e
class Told_f(g):
    told_h: int = 0
    async def told_i(self, *told_j, told_k=1):
        global told_l
        self.told_m = f(told_n=f"{told_o}")
        match self:
            case A(told_p=1, q=told_q): pass
        try: pass
        except E as told_r: pass
"""
    assert vague_identifiers(planted) == sorted(
        ["told.a", "c.told_c", "Told_f", *(f"told_{letter}" for letter in "bhijklmnopqr")]
    )
    assert vague_identifiers('"""Who is told?"""\nx = "told"  # told\n') == []


# -- import contracts ----------------------------------------------------------------------------

PLANTED = {
    "arrows point down: cli, contrib, api, cache, drivers, releases, protocol, errors": [
        ("api/routes/releases.py", "import kvgossip.cache.source"),
        ("cache/source.py", "import kvgossip.api.server"),
        ("client/client.py", "import kvgossip.cache.source"),
        ("cache/table.py", "import kvgossip.contrib.named"),
        ("contrib/named.py", "import kvgossip.cli"),
        ("releases/step.py", "import kvgossip.runtime.loop"),
        ("runtime/node.py", "import kvgossip.cache.source"),
        ("protocol/model/entry.py", "import kvgossip.runtime.network.transport"),
        ("runtime/network/transport.py", "import kvgossip.sim.network"),
        ("sim/network.py", "import kvgossip.runtime.network.transport"),
    ],
    "protocol is pure, releases and trends are: no event loop, socket, clock, file, thread or process": [
        ("releases/document.py", "import time"),
        ("protocol/model/hlc.py", "import time"),
        ("protocol/model/entry.py", "from pathlib import Path"),
    ],
    "the simulator is deterministic: no event loop, socket, clock or thread": [
        ("sim/cluster.py", "import time"),
        ("sim/faults.py", "import secrets"),
    ],
    "aiohttp lives in api and nowhere else": [
        ("cli/sim/cluster.py", "from aiohttp import web"),
        ("cache/member.py", "import aiohttp"),
        ("client/client.py", "import aiohttp"),
        ("contrib/openfeature.py", "import aiohttp"),
    ],
    "arrows point down inside protocol": [
        ("protocol/model/hlc.py", "import kvgossip.protocol.wire.frame"),
        ("protocol/store/digest.py", "import kvgossip.protocol.wire.message"),
        ("protocol/tombstones/expiry.py", "import kvgossip.protocol.merging"),
        ("protocol/rumors/policy.py", "import kvgossip.protocol.pools.shared"),
        ("protocol/pools/shared.py", "import kvgossip.protocol.writes"),
    ],
    "no circles among siblings": [
        ("protocol/store/hash_table.py", "import kvgossip.protocol.store.store"),
        ("sim/network.py", "import kvgossip.sim.cluster"),
        ("cache/table.py", "import kvgossip.cache.applying"),
        ("contrib/named.py", "import kvgossip.contrib.django"),
    ],
}


def _contracts() -> list[str]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [contract["name"] for contract in document["tool"]["importlinter"]["contracts"]]


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "300"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy_of_the_package(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "kvgossip", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_are_kept() -> None:
    run = _lint_imports(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_import_contract_has_a_planted_violation() -> None:
    assert sorted(PLANTED) == sorted(_contracts())


def _plantings() -> Iterator[tuple[str, str, str]]:
    for contract, places in PLANTED.items():
        for module, line in places:
            yield contract, module, line


@pytest.mark.parametrize(("contract", "module", "line"), list(_plantings()))
def test_an_import_contract_fails_when_a_violation_is_planted(
    contract: str, module: str, line: str, copy_of_the_package: Path
) -> None:
    path = copy_of_the_package / "kvgossip" / module
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    run = _lint_imports(copy_of_the_package)
    assert run.returncode != 0
    # how many imports a contract ignores follows that
    broken = [text for text in run.stdout.splitlines() if " BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), run.stdout
