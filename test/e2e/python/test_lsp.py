"""Language servers of the base snapshot: pylsp and typescript-language-server."""

import pytest
from clients import errors
from daytona.common.lsp_server import LspCompletionPosition, LspLanguageId

PYTHON = b"""import os

class Dog:
    def bark(self):
        return os.path.join("a", "b")

def walk():
    dog = Dog()
    dog.
"""

TYPESCRIPT = b"""export interface Todo { title: string }
export class TodoList {
  items: Todo[] = [];
  add(t: Todo) { this.items.push(t); }
}
const list = new TodoList();
list.
"""


def labels(completions):
    return [item.label for item in completions.items]


def test_python(base):
    base.process.exec("mkdir -p py")
    base.fs.upload_file(PYTHON, "py/dog.py")
    path = "/home/daytona/py/dog.py"
    server = base.create_lsp_server(LspLanguageId.PYTHON, "/home/daytona/py")
    with pytest.raises(errors.DaytonaError) as caught:
        server.document_symbols(path)
    assert (caught.value.status_code, caught.value.code) == (400, "LSP_SERVER_NOT_INITIALIZED")
    server.start()
    server.start()
    server.did_open(path)
    symbols = server.document_symbols(path)
    assert {"Dog", "bark", "walk"} <= {s.name for s in symbols}
    dog = next(s for s in symbols if s.name == "Dog")
    assert (dog.kind, dog.location.uri, dog.location.range.start.line) == (5, "file://" + path, 2)
    assert "bark()" in labels(server.completions(path, LspCompletionPosition(8, 8)))
    assert server.completions(path, LspCompletionPosition(0, 0)).items
    # a changed file is seen without being opened again
    base.fs.upload_file(PYTHON.replace(b"bark", b"woof"), "py/dog.py")
    assert "woof()" in labels(server.completions(path, LspCompletionPosition(8, 8)))
    # a crash is survived
    base.process.exec("pkill -9 -x pylsp")
    assert "woof()" in labels(server.completions(path, LspCompletionPosition(8, 8)))
    assert "Dog" in {s.name for s in server.sandbox_symbols("dog")}
    server.did_close(path)
    server.stop()
    assert base.process.exec("pgrep -x pylsp | wc -l").result.strip() == "0"
    with pytest.raises(errors.DaytonaError):
        server.document_symbols(path)


@pytest.mark.parametrize("language", ["typescript", "javascript"])
def test_typescript(base, language):
    base.process.exec("mkdir -p ts/src")
    name = {"typescript": "todo.ts", "javascript": "todo.js"}[language]
    text = TYPESCRIPT if language == "typescript" else TYPESCRIPT.replace(b"export interface Todo { title: string }", b"//").replace(b": Todo[]", b"").replace(b": Todo", b"")
    base.fs.upload_file(text, "ts/src/" + name)
    server = base.create_lsp_server(language, "ts")
    server.start()
    server.did_open("src/" + name)  # relative to the project
    path = "/home/daytona/ts/src/" + name
    assert {"TodoList", "add", "items"} <= {s.name for s in server.document_symbols(path)}
    assert {"add", "items"} <= set(labels(server.completions(path, LspCompletionPosition(6, 5))))
    assert "TodoList" in {s.name for s in server.sandbox_symbols("TodoL")}
    server.did_close(path)
    server.stop()


def test_missing_server_is_named(tiny):
    with pytest.raises(errors.DaytonaError) as caught:
        tiny.create_lsp_server("python", "/home/daytona").start()
    assert caught.value.status_code == 400 and "pylsp" in str(caught.value)
