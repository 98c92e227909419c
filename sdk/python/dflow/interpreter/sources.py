"""Source texts as modules: the stage's own file, and the neighbours that it imports."""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys

from dflow.operator import Failure

from .trace import COMMAND

# Modules of the standard library that can do nothing here, and why.
NOTHING = {
    "socket": "there are no sockets in the sandbox", "ssl": "there are no sockets in the sandbox", "asyncio": "there is nothing to wait for in the sandbox",
    "subprocess": "no program can be started in the sandbox", "multiprocessing": "there is one process in the sandbox: rows are spread over the cores by dflow",
    "ctypes": "no native code can be called in the sandbox",
    "sqlite3": "it is native code, which can't be called in the sandbox", "tkinter": "there is no screen in the sandbox",
}


class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules among texts: `files` are texts by path, the paths as seen from the folder of the stage's file."""

    def __init__(self, files, names):
        # What each is called to people, by path.
        self.files, self.names = files, names

    def begin(self, entry):
        """Makes room for the files: what is beside a file comes before what Python has under the same name. Gives the name of one."""
        for path in self.files:
            name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            if name.split(".")[0] != "dflow":
                sys.modules.pop(name, None)
        return entry.removesuffix(".py").replace("/", ".")

    def place(self, module):
        """The path of a module, if it is among them."""
        path = module.replace(".", "/")
        return next((each for each in (f"{path}.py", f"{path}/__init__.py") if each in self.files), None)

    def find_spec(self, fullname, path=None, target=None):
        place = self.place(fullname)
        if place is None:
            folder = fullname.replace(".", "/") + "/"
            if not any(each.startswith(folder) for each in self.files):
                return None
            # A folder without `__init__.py` is a package, too.
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = []
            return spec
        is_package = place.endswith("/__init__.py")
        return importlib.util.spec_from_loader(fullname, self, origin=self.names[place], is_package=is_package)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        place = self.place(module.__name__)
        module.__file__ = self.names[place]
        exec(self.compiled(place), module.__dict__)

    def compiled(self, place):
        """A text as code whose errors show its lines."""
        text, name = self.files[place], self.names[place]
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        return compile(text, name, "exec", dont_inherit=True)


def missing(error):
    """What to say of a module that isn't there."""
    name = (error.name or "").split(".")[0]
    if name in NOTHING:
        return f"`{name}` doesn't work here: {NOTHING[name]}; {COMMAND}"
    if name in sys.stdlib_module_names:
        return f"`{name}` isn't in the sandbox's Python; {COMMAND}"
    return f"there is no module `{name}`: neither beside the file nor in the sandbox, where no packages are installed and none with native code can be; {COMMAND}"


def refuse_what_cannot_work(files, names):
    """Says of an import that it would do nothing here, before it does."""
    for path in files:
        for name in imported({path: files[path]}, names, own=False):
            if name.split(".")[0] in NOTHING:
                raise Failure("settings", f"`{names[path]}`: {missing(ImportError(name=name))}")


def imported(files, names, own=True):
    """The names of all modules that texts import; of those that aren't Python's own when `own`: what may be a neighbour."""
    found = {}
    for path, text in files.items():
        try:
            tree = ast.parse(text, names[path])
        except (SyntaxError, ValueError):
            continue
        package = path.rpartition("/")[0].replace("/", ".")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= dict.fromkeys(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    above = package.split(".") if package else []
                    above = above[: len(above) - (node.level - 1)]
                    base = ".".join([*above, *([base] if base else [])])
                found |= dict.fromkeys([base] if base else [])
                found |= dict.fromkeys(f"{base}.{alias.name}" if base else alias.name for alias in node.names if alias.name != "*")
    return [name for name in found if not own or name.split(".")[0] not in (*sys.stdlib_module_names, "dflow")]


def syntax(error):
    """A syntax error with its line."""
    line = (error.text or "").rstrip("\n")
    text = f"{error.filename}:{error.lineno}: {error.msg}"
    if line.strip():
        text += f"\n    {line.strip()}"
        if error.offset and error.offset > 0:
            begin = len(line) - len(line.lstrip())
            text += "\n    " + " " * max(error.offset - 1 - begin, 0) + "^"
    return Failure("settings", text)
